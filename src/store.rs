//! All queries of the service: each is one call of an SQL function (`sql/migrations/`), and what comes
//! back is JSON text to relay. Knows neither the hub, nor HTTP, nor WebSocket.

mod adopt;
mod changes;
mod connect;
mod conversations;
mod describe;
mod failure;
mod held_rows;
mod hosts;
mod lease;
mod live;
mod lock_retries;
mod marks;
mod messages;
mod migrate;
mod migrations;
mod pages;
mod pooled;
mod position;
pub mod roles;
mod rows;
mod search;
mod search_index;
mod sending;
mod shares;
mod statements;
mod tickets;
mod timelines;
mod tls;
mod triggers;
mod user_lookups;
mod users;
mod users_fit;
mod users_table;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Status;
use tokio::time::Instant;

pub use changes::{Change, Changes, MissedChanges, MissedRead, ReadBack, RowBack, RowId};
pub use connect::{ConnectError, Connector, DbConnection, RenewablePool, Session};
pub(crate) use connect::{ISOLATION, LASTING};
pub use conversations::Opened;
pub use describe::{Obstacle, describe};
pub use held_rows::Gone;
pub use lease::{AT_ONCE, Way};
pub use live::{Pair, Roll, RollChange, Telling};
pub use lock_retries::Purpose;
pub use marks::{Marked, MarksFigures};
pub use migrate::{Around, MigrateError, Migration, UsersLinked};
pub use pages::{Listing, Page, Window};
pub use search::Search;
pub use search_index::SearchIndex;
pub use sending::{Locks, Outcome, Outgoing, SendFailure};
pub use tickets::{IssuedTicket, RedeemedTicket};
pub use tls::{TlsError, check_ca_file};
pub use users::UserFilter;
pub use users_table::{UsersLink, UsersTable};

use held_rows::HeldRows;
use lease::Turn;
use marks::MarksLine;
use pages::{PAGE_BYTES, listing};
use rows::{column_of, raw_json, single, unknown_status};
use search::Searches;
use shares::Shares;
use statements::Statement;
use tickets::TicketTurns;
use user_lookups::UserLookups;

use crate::config::Config;
use crate::error::Error;
use crate::turns::Kind;

/// A handle on the database; clones share all but the turn.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// Whose turn it is while this handle's statements run.
    turn: Option<Turn>,
}

struct Shared {
    /// Requests.
    pool: RenewablePool,
    /// The writer's own, so that slow reads never hold up a send.
    write_pool: RenewablePool,
    /// What the replica lives by (heartbeats, what the listener reads, probes), so that no request ever holds up these.
    vital_pool: RenewablePool,
    held_rows: HeldRows,
    marks: Arc<MarksLine>,
    user_lookups: Arc<UserLookups>,
    tickets: TicketTurns,
    searches: Searches,
    shares: Shares,
    connector: Connector,
    /// The schema, quoted, with its dot: what every function's name starts with.
    prefix: String,
    /// Bound of one statement, waiting for a pooled connection included (`DB_TIMEOUT_SECONDS`).
    timeout: Duration,
    way: Way,
}

/// Connections beside those of `DB_POOL_SIZE`: one for what the listener reads, which may take long, and one for heartbeats and
/// probes meanwhile.
const VITAL_CONNECTIONS: usize = 2;

/// Connections of a store, and how long its statements may take.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// `DB_POOL_SIZE`, shared between requests and the writer; [`VITAL_CONNECTIONS`] come on top.
    pub pool_size: usize,
    /// `DB_TIMEOUT_SECONDS`.
    pub timeout: Duration,
    /// `SEARCH_TIMEOUT_SECONDS`.
    pub search_timeout: Duration,
}

impl From<&Config> for StoreLimits {
    fn from(config: &Config) -> Self {
        Self {
            pool_size: config.pool_size,
            timeout: config.timeouts.database,
            search_timeout: config.timeouts.search,
        }
    }
}

/// How many connections reads may use at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadConnections {
    pub of_all: usize,
    pub of_one_user: usize,
    /// Lists of users, which are none of the others.
    pub of_directory: usize,
}

impl Store {
    /// Opens nothing yet: connections are made when they are needed.
    pub fn new(
        connector: &Connector,
        schema: &str,
        limits: StoreLimits,
        way: Way,
    ) -> Result<Self, ConnectError> {
        let StoreLimits {
            pool_size,
            timeout,
            search_timeout,
        } = limits;
        let shares = Shares::of(pool_size);
        let shared = Shared {
            pool: connector.pool(shares.requests, timeout, way)?,
            write_pool: connector.pool(shares.writer, timeout, way)?,
            vital_pool: connector.pool(VITAL_CONNECTIONS, timeout, way)?,
            held_rows: HeldRows::new(shares.changes, shares.changes_of_a_user),
            marks: Arc::new(MarksLine::new()),
            user_lookups: Arc::new(UserLookups::new(shares.user_lookups)),
            tickets: TicketTurns::new(shares.tickets),
            searches: Searches::new(shares.searches, search_timeout),
            shares,
            connector: connector.clone(),
            prefix: format!("{}.", quoted_name(schema)),
            timeout,
            way,
        };
        Ok(Self {
            shared: Arc::new(shared),
            turn: None,
        })
    }

    /// Connections for reads in turns. Where there are several, one is left to what else is asked, such as whom a typing indicator is for:
    /// a send may follow that.
    pub fn connections_of_reads(&self) -> ReadConnections {
        let Shares {
            requests,
            reads_of_a_user,
            directory,
            ..
        } = self.shared.shares;
        ReadConnections {
            of_all: (requests - 1).max(1),
            of_one_user: reads_of_a_user,
            of_directory: directory,
        }
    }

    /// Connections that replays may use at a time.
    pub fn connections_of_replays(&self) -> usize {
        self.shared.shares.replays
    }

    /// A handle for what is somebody's turn. It is over when the handle is dropped and its statements have ended, those of a caller who went
    /// away included.
    pub fn in_turn(&self, turn: impl Send + Sync + 'static) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            turn: Some(Arc::new(turn)),
        }
    }

    /// A handle for what is nobody's turn.
    fn in_no_turn(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            turn: None,
        }
    }

    /// Connections that are open and in use, by pool.
    pub fn pool_status(&self) -> [(&'static str, Status); 3] {
        [
            ("requests", self.shared.pool.status()),
            ("writer", self.shared.write_pool.status()),
            ("vital", self.shared.vital_pool.status()),
        ]
    }

    /// How many wait for a turn before they have, or wait for, a connection.
    pub fn turns_waiting(&self) -> [(Kind, usize); 4] {
        [
            (Kind::Changes, self.shared.held_rows.waiting()),
            (Kind::Searches, self.shared.searches.waiting()),
            (Kind::Tickets, self.shared.tickets.waiting()),
            (Kind::UserLookups, self.shared.user_lookups.waiting()),
        ]
    }

    /// How read marks come to be made together.
    pub fn marks(&self) -> MarksFigures {
        self.shared.marks.figures()
    }

    /// Replaces the writer's connections: one of them was silent, and those to the same server may be. New ones prove
    /// themselves by being made.
    pub fn renew_writer_connections(&self) {
        self.shared.write_pool.renew();
    }

    /// Replaces all connections: they are at a server that is not the primary any more. A statement that runs comes to its end there.
    pub fn renew_connections(&self) {
        let Shared {
            pool,
            write_pool,
            vital_pool,
            ..
        } = &*self.shared;
        for pool in [pool, write_pool, vital_pool] {
            pool.renew();
        }
    }

    /// Whether the database answers within `patience`.
    pub async fn ping(&self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        self.connect_vital(deadline).await?;
        let statement = Statement {
            deadline,
            ..self.statement("select 1", &[])
        };
        let answer = self.run(&self.shared.vital_pool, &statement).await;
        Ok(answer.map(drop)?)
    }

    /// Fraction of the NOTIFY queue that is in use, 0 to 1. Takes a lock that listeners need: ask sparingly.
    pub async fn notification_queue_usage(&self) -> Result<f64, Error> {
        let statement = self.statement("select pg_notification_queue_usage()", &[]);
        let rows = self.run(&self.shared.vital_pool, &statement).await?;
        single(&rows, 0)
    }
}

/// The channel that belongs to a schema; `chat_channel()` says the same in SQL.
pub(crate) fn channel_of(schema: &str) -> String {
    match schema {
        "public" => "chat_events".to_owned(),
        other => format!("chat_events_{other}"),
    }
}

/// A name of the database's, as SQL takes it whatever is in it.
pub(crate) fn quoted_name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal of SQL, whatever is in it.
pub(crate) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
