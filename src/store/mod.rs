//! All queries of the service: each is one call of an SQL function (`sql/migrations/`), and what comes
//! back is JSON text to relay. Knows neither the hub, nor HTTP, nor WebSocket.

mod adopt;
mod changes;
mod connect;
mod conversations;
mod live;
mod messages;
mod migrate;
pub mod roles;
mod search;
mod search_index;
mod tickets;
pub mod tls;
mod users;
mod users_table;

use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use postgres_types::{ToSql, Type};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Row, RowStream};

pub use changes::{Change, Changes, Horizon, Identity, MissedChanges, ReadBack, Snapshot};
pub use connect::{ConnectError, Connector, DbConnection};
pub use conversations::{Marked, Opened};
pub use messages::{Locks, Outcome, Outgoing, SendFailure};
pub use migrate::{Around, MigrateError, migrate};
pub use search::Search;
pub use search_index::SearchIndex;
pub use tickets::{IssuedTicket, RedeemedTicket};
pub use users::UserFilter;
pub use users_table::{UsersLink, UsersTable};

use crate::error::Error;
use crate::model::{RawJson, Seq};

/// A typed parameter: where a pooler in transaction mode may stand before the database, statements are sent unprepared
/// in one round trip.
type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// A page by position.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    pub limit: i64,
    pub offset: i64,
}

/// Which part of a conversation's history.
#[derive(Clone, Copy, Debug)]
pub enum Window {
    /// Newest first, from `offset`.
    Newest(Page),
    /// Older than `seq`, newest first.
    Before { seq: Seq, limit: i64 },
    /// Newer than `seq`, oldest first.
    After { seq: Seq, limit: i64 },
}

/// Items as PostgreSQL built them, and whether more follow.
#[derive(Debug)]
pub struct Listing {
    pub items: Vec<RawJson>,
    pub has_more: bool,
}

/// A handle on the database; clones share the pools.
#[derive(Clone)]
pub struct Store {
    /// Requests, health and heartbeats.
    pool: Pool,
    /// The writer's own, so that slow reads never hold up a send.
    write_pool: Pool,
    connector: Connector,
    /// The schema, quoted, with its dot: what every function's name starts with.
    prefix: String,
    /// Bound of one statement, waiting for a pooled connection included (`DB_TIMEOUT_SECONDS`).
    timeout: Duration,
    way: Way,
}

/// What is between the pools and PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing: a connection is a session, and each statement is prepared once in it. There are as many of them as
    /// functions that the service calls.
    Direct,
    /// Perhaps a pooler that gives each transaction another session (PgBouncer, `pool_mode = transaction`): nothing
    /// is left behind in a session.
    Pooler,
}

impl Store {
    /// Opens nothing yet: connections are made when they are needed. `pool_size` is shared between
    /// requests and the writer.
    pub fn new(
        connector: &Connector,
        schema: &str,
        pool_size: usize,
        timeout: Duration,
        way: Way,
    ) -> Result<Self, ConnectError> {
        // Two at least: a locked conversation occupies one, the others go on over the other.
        let write_size = (pool_size / 3).max(2);
        let read_size = pool_size.saturating_sub(write_size).max(1);
        Ok(Self {
            pool: connector.pool(read_size, timeout)?,
            write_pool: connector.pool(write_size, timeout)?,
            connector: connector.clone(),
            prefix: format!("\"{}\".", schema.replace('"', "\"\"")),
            timeout,
            way,
        })
    }

    /// Connections that are open and in use: (requests, writer).
    pub fn pool_status(&self) -> (deadpool_postgres::Status, deadpool_postgres::Status) {
        (self.pool.status(), self.write_pool.status())
    }

    /// Closes the writer's idle connections: one of them was silent, and those to the same server may be. New ones prove
    /// themselves by being made.
    pub fn renew_writer_connections(&self) {
        self.write_pool.retain(|_, _| false);
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.query("select 1", &[]).await.map(drop)
    }

    /// Fraction of the NOTIFY queue that is in use, 0 to 1. Takes a lock that listeners need: ask sparingly.
    pub async fn notification_queue_usage(&self) -> Result<f64, Error> {
        let rows = self
            .query("select pg_notification_queue_usage()", &[])
            .await?;
        single(&rows, 0)
    }

    /// `select … from <schema>.<call>`, for a reading function: a connection that turns out to be dead or useless is
    /// replaced and the call repeated once.
    async fn read(
        &self,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let sql = format!("select {columns} from {}{call}", self.prefix);
        match self.run(&self.pool, &sql, params).await {
            Err(failure) if failure.lost.is_some() => {
                log::debug!("repeating a read on a new connection: {}", failure.error);
                Ok(self.run(&self.pool, &sql, params).await?)
            }
            other => Ok(other?),
        }
    }

    /// The same for a function that changes something: repeated only where it certainly has changed nothing.
    async fn change(
        &self,
        columns: &str,
        call: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, Error> {
        let sql = format!("select {columns} from {}{call}", self.prefix);
        match self.run(&self.pool, &sql, params).await {
            Err(failure) if failure.lost == Some(Lost::Statement) => {
                log::debug!("repeating a call on a new connection: {}", failure.error);
                Ok(self.run(&self.pool, &sql, params).await?)
            }
            other => Ok(other?),
        }
    }

    async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        Ok(self.run(&self.pool, sql, params).await?)
    }

    /// One statement on a pooled connection, within the deadline.
    async fn run(
        &self,
        pool: &Pool,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, QueryFailure> {
        let deadline = Instant::now() + self.timeout;
        let mut lease = self.lease(pool).await?;
        match timeout_at(deadline, lease.query(sql, params)).await {
            Ok(result) => {
                lease.settle(&result);
                result.map_err(QueryFailure::of)
            }
            Err(_) => Err(QueryFailure::no_answer()),
        }
    }

    fn lease_of(&self, client: Object) -> Lease {
        Lease {
            client: Some(client),
            connector: self.connector.clone(),
            way: self.way,
        }
    }

    async fn lease(&self, pool: &Pool) -> Result<Lease, QueryFailure> {
        match timeout(self.timeout, pool.get()).await {
            Ok(Ok(client)) => Ok(self.lease_of(client)),
            Ok(Err(error)) => Err(QueryFailure::no_connection(&error.to_string())),
            Err(_) => Err(QueryFailure::no_connection(
                "no pooled connection came free in time",
            )),
        }
    }
}

/// A pooled connection that goes back only when its statement has ended. Dropped before, at a deadline
/// or because the caller went away, it is closed and the server is asked to cancel: else the statement would
/// run on, and keep its locks.
struct Lease {
    client: Option<Object>,
    connector: Connector,
    way: Way,
}

impl Lease {
    fn give_back(&mut self) {
        drop(self.client.take());
    }

    /// Gives the connection back after an answer, unless the answer says that it is of no more use.
    fn settle<T>(&mut self, answer: &Result<T, tokio_postgres::Error>) {
        if let (Some(client), Err(error)) = (&self.client, answer)
            && (client.is_closed() || lost(error).is_some())
        {
            self.client.take().map(Object::take);
        }
        self.give_back();
    }

    /// Parsed and planned once in a session, where there is one.
    async fn query(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let Some(client) = &self.client else {
            return Ok(Vec::new());
        };
        match self.way {
            Way::Pooler => client.query_typed(sql, params).await,
            Way::Direct => {
                let types: Vec<Type> = params.iter().map(|(_, kind)| kind.clone()).collect();
                let statement = client.prepare_typed_cached(sql, &types).await?;
                let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
                client.query(&statement, &values).await
            }
        }
    }

    /// Rows as they are asked for, of a statement with one text parameter.
    async fn stream(
        &self,
        sql: &str,
        param: String,
        patience: Duration,
    ) -> Result<RowStream, QueryFailure> {
        let Some(client) = &self.client else {
            return Err(QueryFailure::no_answer());
        };
        let started = client.query_typed_raw(sql, [(param, Type::TEXT)]);
        match timeout(patience, started).await {
            Ok(rows) => rows.map_err(QueryFailure::of),
            Err(_) => Err(QueryFailure::no_answer()),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            let client = Object::take(client);
            self.connector.cancel(client.cancel_token());
        }
    }
}

/// Why a statement failed, in the words of the service.
#[derive(Debug)]
pub(crate) struct QueryFailure {
    error: Error,
    /// A read can be repeated on another connection.
    lost: Option<Lost>,
    /// What the statement names is not there, or of another type (PostgreSQL manual, appendix A, class 42).
    misfit: Option<String>,
}

impl QueryFailure {
    fn no_connection(reason: &str) -> Self {
        log::warn!("database unreachable: {reason}");
        Self {
            error: Error::unavailable("the database cannot be reached"),
            lost: None,
            misfit: None,
        }
    }

    fn no_answer() -> Self {
        log::warn!("the database did not answer in time");
        Self {
            error: Error::unavailable("the database did not answer in time"),
            lost: None,
            misfit: None,
        }
    }

    fn of(error: tokio_postgres::Error) -> Self {
        let lost = lost(&error);
        if lost.is_some() || is_transient(&error) {
            log::warn!("database: {}", describe(&error));
            Self {
                error: Error::unavailable("the database is not available"),
                lost,
                misfit: None,
            }
        } else {
            let text = describe(&error);
            let misfit = error
                .code()
                .is_some_and(|code| code.code().starts_with("42"));
            Self {
                error: Error::Internal(text.clone().into()),
                lost: None,
                misfit: misfit.then_some(text),
            }
        }
    }
}

impl From<QueryFailure> for Error {
    fn from(failure: QueryFailure) -> Self {
        failure.error
    }
}

/// What of a connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// All of it; whether the statement took place is not known.
    Connection,
    /// A prepared statement, which did not take place: somebody discarded it, or a migration changed what its function
    /// returns ("cached plan must not change result type"). A new connection prepares it anew.
    Statement,
}

fn lost(error: &tokio_postgres::Error) -> Option<Lost> {
    let statement_is_lost = matches!(
        error.code(),
        Some(&SqlState::INVALID_SQL_STATEMENT_NAME | &SqlState::FEATURE_NOT_SUPPORTED)
    );
    if is_connection_lost(error) {
        Some(Lost::Connection)
    } else if statement_is_lost {
        Some(Lost::Statement)
    } else {
        None
    }
}

/// The connection is gone, or the server is about to end it (PostgreSQL manual, appendix A, classes 08 and 57P).
pub(crate) fn is_connection_lost(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        None => true,
        Some(code) => {
            code.code().starts_with("08")
                || [
                    SqlState::ADMIN_SHUTDOWN,
                    SqlState::CRASH_SHUTDOWN,
                    SqlState::CANNOT_CONNECT_NOW,
                    SqlState::IDLE_SESSION_TIMEOUT,
                    SqlState::READ_ONLY_SQL_TRANSACTION,
                ]
                .contains(code)
        }
    }
}

/// Worth another try later: out of resources, serialization, locks, cancelled statements.
pub(crate) fn is_transient(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        ["53", "40", "55", "58"].contains(&&code.code()[..2]) || *code == SqlState::QUERY_CANCELED
    })
}

/// The server's own words, with its code: tokio-postgres alone prints only "db error".
pub fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => {
            let mut text = format!("{} ({})", db.message(), db.code().code());
            if let Some(hint) = db.hint() {
                text.push_str("; ");
                text.push_str(hint);
            }
            text
        }
        None => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text.push_str(": ");
                    text.push_str(&cause_text);
                }
                source = cause.source();
            }
            text
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

/// JSON text of our own SQL functions.
fn raw_json(text: String) -> Result<RawJson, Error> {
    RawValue::from_string(text).map_err(|e| Error::Internal(e.into()))
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

/// Rows of one JSON text each, asked for with one more than `limit`.
fn listing(rows: &[Row], limit: i64) -> Result<Listing, Error> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let items = rows
        .iter()
        .take(limit)
        .map(|row| column_of(row, 0).and_then(raw_json))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Listing {
        items,
        has_more: rows.len() > limit,
    })
}
