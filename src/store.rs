//! All queries of the service: each is one call of an SQL function (`sql/migrations/`), and what comes
//! back is JSON text to relay. Knows neither the hub, nor HTTP, nor WebSocket.

mod admission;
mod changes;
mod connect;
mod conversations;
mod describe;
mod failure;
pub mod foreign_numbers;
mod held_rows;
mod install;
mod lease;
mod live;
mod marks;
mod messages;
mod migration_files;
mod pages;
mod position;
mod rows;
mod search;
mod sending;
mod shares;
mod statements;
mod tickets;
mod user_lookups;
mod users;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Status;
use tokio::time::Instant;

pub use changes::{Change, MissedChanges, MissedRead, ReadBack, RowBack, RowId};
pub use connect::{
    ConnectError, Connector, DbConnection, RenewablePool, Session, Way, check_ca_file,
};
pub(crate) use connect::{ISOLATION, LASTING};
pub use conversations::ConversationFilter;
pub use describe::{Obstacle, describe};
pub use held_rows::Gone;
pub use install::{
    Around, MigrateError, Migration, Purpose, SearchIndex, UsersLink, UsersLinked, UsersTable,
    roles,
};
pub use lease::AT_ONCE;
pub use live::{Pair, Roll, RollChange, Telling};
pub use marks::MarksFigures;
pub use pages::{Listing, Page, Window};
pub use search::Search;
pub use sending::{Locks, Outcome, Outgoing, SendFailure};
pub use users::UserFilter;

use admission::Turns;
use held_rows::HeldRows;
use lease::TurnGuard;
use marks::{MarksLine, SlowReaders};
use pages::{PAGE_BYTES, listing};
use rows::{column_of, raw_json, single, unknown_status};
use shares::Shares;
use statements::Statement;
use user_lookups::UserLookups;

use crate::config::Config;
use crate::error::Error;

/// A handle on the database; clones share all but the turn.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    /// Whose turn it is while this handle's statements run.
    turn: Option<TurnGuard>,
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
    /// Whose marks are made alone, since others would wait long for them.
    slow_readers: Arc<SlowReaders>,
    user_lookups: Arc<UserLookups>,
    /// In which tickets are made and used up, so that a flood of them leaves connections to those who are in.
    tickets: Turns,
    searches: Turns,
    /// Of reads over HTTP.
    reads: Turns,
    /// Of lists of users.
    directory: Turns,
    replays: Turns,
    connector: Connector,
    /// The schema, quoted, with its dot: what every function's name starts with.
    prefix: String,
    /// Bound of one statement, waiting for a pooled connection included (`DB_TIMEOUT_SECONDS`).
    timeout: Duration,
    /// Of a search from its connection on, which it may have to wait for (`SEARCH_TIMEOUT_SECONDS`).
    search_timeout: Duration,
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
    /// `REPLAY_PARALLEL`: replays at a time of all users, one of each: after a replica's death many come back at once, and each read
    /// competes with the writer for PostgreSQL's time. Fewer where there are fewer connections for it.
    pub replays: usize,
}

impl From<&Config> for StoreLimits {
    fn from(config: &Config) -> Self {
        Self {
            pool_size: config.pool_size,
            timeout: config.timeouts.database,
            search_timeout: config.timeouts.search,
            replays: config.limits.replay_parallel,
        }
    }
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
            replays,
        } = limits;
        let shares = Shares::of(pool_size);
        let turns = |kind, refusal, share| Turns::new(kind, refusal, timeout, share);
        let shared = Shared {
            pool: connector.pool(shares.requests, timeout, way)?,
            write_pool: connector.pool(shares.writer, timeout, way)?,
            vital_pool: connector.pool(VITAL_CONNECTIONS, timeout, way)?,
            held_rows: HeldRows::new(turns(
                "changes",
                "other changes take too long: try again",
                (shares.changes, shares.changes_of_a_user),
            )),
            marks: Arc::new(MarksLine::new()),
            slow_readers: Arc::new(SlowReaders::new()),
            user_lookups: Arc::new(UserLookups::new(shares.user_lookups)),
            tickets: turns(
                "tickets",
                "too many requests are waiting for the database",
                (shares.tickets, shares.tickets),
            ),
            searches: turns(
                "searches",
                "other searches take too long: try again",
                (shares.searches, 1),
            ),
            directory: turns(
                "directory",
                "other lists of users take too long: try again",
                (shares.directory, 1),
            ),
            reads: turns(
                "reads",
                "other requests take too long: try again",
                (shares.reads, shares.reads_of_a_user),
            ),
            replays: turns(
                "replays",
                "too many wait for what they missed",
                (shares.replays.min(replays), 1),
            ),
            connector: connector.clone(),
            prefix: format!("{}.", quoted_name(schema)),
            timeout,
            search_timeout,
            way,
        };
        Ok(Self {
            shared: Arc::new(shared),
            turn: None,
        })
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
