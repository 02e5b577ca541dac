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
mod messages;
mod migrate;
mod migrations;
mod pages;
mod pooled;
mod position;
pub mod roles;
mod search;
mod search_index;
mod sending;
mod shares;
mod tickets;
mod tls;
mod triggers;
mod user_lookups;
mod users;
mod users_table;

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Status, Timeouts};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use uuid::Uuid;

pub use changes::{Change, Changes, MissedChanges, MissedRead, ReadBack, RowBack};
pub use connect::{ConnectError, Connector, DbConnection, RenewablePool, Session};
pub(crate) use connect::{ISOLATION, LASTING};
pub use conversations::{Marked, Opened};
pub use describe::{Obstacle, describe};
pub use held_rows::Gone;
pub use lease::{AT_ONCE, Way};
pub use live::{Pair, Roll, RollChange, Telling};
pub use lock_retries::Purpose;
pub use migrate::{Around, MigrateError, Migration, UsersLinked};
pub use pages::{Listing, Page, Window};
pub use search::Search;
pub use search_index::SearchIndex;
pub use sending::{Locks, Outcome, Outgoing, SendFailure};
pub use tickets::{IssuedTicket, RedeemedTicket};
pub use tls::{TlsError, check_ca_file};
pub use users::UserFilter;
pub use users_table::{UsersLink, UsersTable};

use describe::describe_pool;
use failure::{Fault, QueryFailure};
use held_rows::{CallerGone, HeldRows};
use lease::{Lease, Param, Turn};
use pages::{PAGE_BYTES, listing};
use search::Searches;
use shares::Shares;
use user_lookups::UserLookups;

use crate::config::Config;
use crate::error::Error;
use crate::model::{RawJson, UserId};
use crate::turns::{Kind, Waiting};

/// A handle on the database; clones share the pools.
#[derive(Clone)]
pub struct Store {
    /// Requests.
    pool: RenewablePool,
    /// The writer's own, so that slow reads never hold up a send.
    write_pool: RenewablePool,
    /// What the replica lives by (heartbeats, what the listener reads, probes), so that no request ever holds up these.
    vital_pool: RenewablePool,
    held_rows: Arc<HeldRows>,
    user_lookups: Arc<UserLookups>,
    /// Tickets that are used up at a time.
    redemptions: Arc<Semaphore>,
    redemptions_waiting: Arc<Waiting>,
    searches: Searches,
    shares: Shares,
    connector: Connector,
    /// The schema, quoted, with its dot: what every function's name starts with.
    prefix: String,
    /// Bound of one statement, waiting for a pooled connection included (`DB_TIMEOUT_SECONDS`).
    timeout: Duration,
    way: Way,
    /// Whose turn it is while this handle's statements run.
    turn: Option<Turn>,
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
        Ok(Self {
            pool: connector.pool(shares.requests, timeout, way)?,
            write_pool: connector.pool(shares.writer, timeout, way)?,
            vital_pool: connector.pool(VITAL_CONNECTIONS, timeout, way)?,
            held_rows: Arc::new(HeldRows::new(shares.changes, shares.changes_of_a_user)),
            user_lookups: Arc::new(UserLookups::new(shares.user_lookups)),
            redemptions: Arc::new(Semaphore::new(shares.redemptions)),
            redemptions_waiting: Arc::default(),
            searches: Searches::new(shares.searches, search_timeout),
            shares,
            connector: connector.clone(),
            prefix: format!("{}.", quoted_name(schema)),
            timeout,
            way,
            turn: None,
        })
    }

    /// Connections for reads in turns, and how many of them one user may have at a time. Where there are several, one is left to what else
    /// is asked, such as whom a typing indicator is for: a send may follow that.
    pub fn connections_of_reads(&self) -> (usize, usize) {
        let of_all = (self.shares.requests - 1).max(1);
        (of_all, self.shares.reads_of_a_user)
    }

    /// Connections over which it is read at a time what clients missed.
    pub fn connections_of_replays(&self) -> usize {
        self.shares.replays
    }

    /// A handle for what is somebody's turn. It is over when the handle is dropped and its statements have ended, those of a caller who went
    /// away included.
    pub fn in_turn(&self, turn: impl Send + Sync + 'static) -> Self {
        Self {
            turn: Some(Arc::new(turn)),
            ..self.clone()
        }
    }

    /// Connections that are open and in use, by pool.
    pub fn pool_status(&self) -> [(&'static str, Status); 3] {
        [
            ("requests", self.pool.status()),
            ("writer", self.write_pool.status()),
            ("vital", self.vital_pool.status()),
        ]
    }

    /// How many wait for a turn before they have, or wait for, a connection.
    pub fn turns_waiting(&self) -> [(Kind, usize); 4] {
        [
            (Kind::Changes, self.held_rows.waiting()),
            (Kind::Searches, self.searches.waiting()),
            (Kind::Tickets, self.redemptions_waiting.count()),
            (Kind::UserLookups, self.user_lookups.waiting()),
        ]
    }

    /// Replaces the writer's connections: one of them was silent, and those to the same server may be. New ones prove
    /// themselves by being made.
    pub fn renew_writer_connections(&self) {
        self.write_pool.renew();
    }

    /// Replaces all connections: they are at a server that is not the primary any more. A statement that runs comes to its end there.
    pub fn renew_connections(&self) {
        for pool in [&self.pool, &self.write_pool, &self.vital_pool] {
            pool.renew();
        }
    }

    /// Whether the database answers within `patience`.
    pub async fn ping(&self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        self.connect_vital(deadline).await?;
        let answer = self.run(&self.vital_pool, "select 1", &[], deadline);
        Ok(answer.await.map(drop)?)
    }

    /// Sees to it that a connection of the vital pool is free by `deadline`, which may be before one can be made. It is made all the
    /// same, for who asks next: if each gave up what it had begun, there would never be one.
    async fn connect_vital(&self, deadline: Instant) -> Result<(), QueryFailure> {
        let pool = self.vital_pool.clone();
        let timeouts = Timeouts {
            wait: Some(deadline.saturating_duration_since(Instant::now())),
            ..pool.timeouts()
        };
        let connecting = tokio::spawn(async move { pool.timeout_get(&timeouts).await.map(drop) });
        match timeout_at(deadline, connecting).await {
            Ok(Ok(Err(error))) => Err(QueryFailure::no_connection(&describe_pool(&error))),
            Ok(_) => Ok(()),
            Err(_) => Err(QueryFailure::no_connection(
                "no connection was made in time",
            )),
        }
    }

    /// Fraction of the NOTIFY queue that is in use, 0 to 1. Takes a lock that listeners need: ask sparingly.
    pub async fn notification_queue_usage(&self) -> Result<f64, Error> {
        let sql = "select pg_notification_queue_usage()";
        single(
            &self
                .run(&self.vital_pool, sql, &[], self.deadline())
                .await?,
            0,
        )
    }

    /// `select … from <schema>.<call>`, for a reading function of a request ([`Store::read_by`]).
    async fn read(
        &self,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        self.read_by(&self.pool, columns, call, params).await
    }

    /// A reading function on this pool: a connection that turns out to be dead or useless is replaced and the call repeated once.
    async fn read_by(
        &self,
        pool: &RenewablePool,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        Ok(self.try_read(pool, columns, call, params).await?)
    }

    /// What [`Store::read_by`] does, for who wants to know why it failed.
    async fn try_read(
        &self,
        pool: &RenewablePool,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, QueryFailure> {
        let (sql, deadline) = (self.select(columns, call), self.deadline());
        match self.run(pool, &sql, params, deadline).await {
            Err(failure) if failure.fault.is_of_connection() => {
                failure.renew(pool);
                log::debug!("repeating a read on a new connection: {}", failure.text);
                self.run(pool, &sql, params, deadline).await
            }
            other => other,
        }
    }

    /// `select … from <schema>.<call>`, for a function of a request that changes something ([`Store::change_by`]).
    async fn change(
        &self,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let sql = self.select(columns, call);
        Ok(self
            .change_by(&self.pool, &sql, params, self.deadline())
            .await?)
    }

    /// A change, in a user's name, of rows that somebody else may hold: `row` says which. Tried until `deadline`, and for a row that is
    /// held no more once the caller is `gone`. A statement that has begun is not given up.
    async fn change_row(
        &self,
        user: UserId,
        row: Uuid,
        call: &str,
        params: &[Param<'_>],
        deadline: Instant,
        mut gone: Gone<'_>,
    ) -> Result<Vec<Row>, Error> {
        let sql = self.select("*", call);
        let mut attempts = self.held_rows.attempts(user, row);
        loop {
            let permit = match timeout_at(deadline, attempts.next(gone.as_mut())).await {
                Ok(Ok(permit)) => permit,
                Ok(Err(CallerGone)) => return Err(Error::unavailable("the caller has gone")),
                Err(_) => return Err(attempts.given_up(self.timeout)),
            };
            let store = self.in_turn(permit);
            // Whoever has waited for nearly as long as they may is given time to be answered, or so would be all behind them.
            let deadline = deadline.max(Instant::now() + self.timeout / 4);
            let lease = tokio::select! {
                biased;
                lease = store.lease(&self.pool, deadline) => lease?,
                () = gone.as_mut() => return Err(Error::unavailable("the caller has gone")),
            };
            let result = store
                .change_on(lease, &self.pool, &sql, params, deadline)
                .await;
            drop(store);
            match result {
                Err(failure) if failure.fault == Fault::Held => attempts.failed(),
                other => return Ok(other?),
            }
        }
    }

    /// A statement that changes something, on this pool: repeated on a new connection only where it certainly has changed nothing.
    async fn change_by(
        &self,
        pool: &RenewablePool,
        sql: &str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, QueryFailure> {
        let lease = self.lease(pool, deadline).await?;
        self.change_on(lease, pool, sql, params, deadline).await
    }

    async fn change_on(
        &self,
        lease: Lease,
        pool: &RenewablePool,
        sql: &str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, QueryFailure> {
        match self.answer_on(lease, sql, params, deadline).await {
            Err(failure) if failure.fault == Fault::StatementLost => {
                failure.renew(pool);
                log::debug!("repeating a call on a new connection: {}", failure.text);
                self.run(pool, sql, params, deadline).await
            }
            other => other,
        }
    }

    fn select(&self, columns: &str, call: &str) -> String {
        format!("select {columns} from {}{call}", self.prefix)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// One statement on a pooled connection, for which it may have to wait.
    async fn run(
        &self,
        pool: &RenewablePool,
        sql: &str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, QueryFailure> {
        let lease = self.lease(pool, deadline).await?;
        self.answer_on(lease, sql, params, deadline).await
    }

    async fn answer_on(
        &self,
        lease: Lease,
        sql: &str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, QueryFailure> {
        let answer = lease.answer(sql, params, deadline).await;
        answer.unwrap_or_else(|_| Err(QueryFailure::no_answer()))
    }

    fn lease_of(&self, client: Object) -> Lease {
        Lease::new(client, self.turn.clone(), self.connector.clone(), self.way)
    }

    async fn lease(&self, pool: &RenewablePool, deadline: Instant) -> Result<Lease, QueryFailure> {
        match timeout_at(deadline, pool.get()).await {
            Ok(Ok(client)) => Ok(self.lease_of(client)),
            Ok(Err(error)) => Err(QueryFailure::no_connection(&describe_pool(&error))),
            Err(_) => Err(QueryFailure::no_connection(describe::NONE_CAME_FREE)),
        }
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

/// JSON text of our own SQL functions.
fn raw_json(text: String) -> Result<RawJson, Error> {
    RawValue::from_string(text).map_err(|e| Error::Internal(e.into()))
}

/// What a function of a newer schema may answer, beside what this program knows: never a success.
fn unknown_status(status: &str) -> Error {
    Error::Internal(format!("unknown status {status:?}").into())
}

/// A column of the first row.
fn single<'a, T: postgres_types::FromSql<'a>>(rows: &'a [Row], column: usize) -> Result<T, Error> {
    let row = rows
        .first()
        .ok_or_else(|| Error::Internal("the database returned no row".into()))?;
    column_of(row, column)
}

fn column_of<'a, T: postgres_types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T, Error> {
    row.try_get(column).map_err(|e| Error::Internal(e.into()))
}
