//! A connection of a pool, for the time of one statement.

use std::any::Any;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Object;
use futures_util::future::join_all;
use postgres_types::{ToSql, Type};
use tokio::runtime::Handle;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{Row, RowStream, Statement};

use super::connect::{Connector, Way};
use super::failure::{Fault, QueryFailure, ends_session};

/// A typed parameter: where a pooler in transaction mode may stand before the database, statements are sent unprepared
/// in one round trip.
pub(super) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

/// Somebody's turn, whatever it is that they waited for: it is over when all clones are dropped.
pub(super) type TurnGuard = Arc<dyn Any + Send + Sync>;

/// How long the statement of a caller who went away may run on. Nearly all have ended by then, and their connection goes back;
/// closing it would make PostgreSQL start a process for another one, and a client that calls and hangs up would have it do nothing else.
const FINISH_PATIENCE: Duration = Duration::from_secs(1);

/// A timer that is found to be over so late was not looked at.
const STOOD_STILL: Duration = Duration::from_millis(100);

/// How long what came while the process stood still may take to be read.
const READ_UP: Duration = Duration::from_millis(500);

/// Statements that are on their way over one connection at a time: what they send and are answered is in memory meanwhile.
pub const AT_ONCE: usize = 16;

/// A pooled connection that goes back only when its statement has ended. When that takes too long, it is closed and the
/// server is asked to cancel: else the statement would run on, and keep its locks.
pub(super) struct Lease {
    client: Option<Object>,
    /// The statement that is being prepared, if one is. A caller who goes away meanwhile leaves it in the session, under a name
    /// that nobody knows.
    preparing: Option<(String, Vec<Type>)>,
    /// Whose turn it is meanwhile: until the statement has ended, though its caller went away.
    turn: Option<TurnGuard>,
    connector: Connector,
    way: Way,
}

impl Lease {
    pub(super) fn new(
        client: Object,
        turn: Option<TurnGuard>,
        connector: Connector,
        way: Way,
    ) -> Self {
        Self {
            client: Some(client),
            preparing: None,
            turn,
            connector,
            way,
        }
    }

    /// Holds this, too, until the statement has ended, though its caller went away.
    pub(super) fn hold(&mut self, more: impl Send + Sync + 'static) {
        let turn = self.turn.take();
        self.turn = Some(Arc::new((turn, more)));
    }

    pub(super) fn give_back(&mut self) {
        drop(self.client.take());
    }

    /// Gives the connection back after an answer, unless its errors say that it is of no more use.
    pub(super) fn settle<'a>(
        &mut self,
        errors: impl IntoIterator<Item = &'a tokio_postgres::Error>,
    ) {
        let is_lost = |error| Fault::of(error).is_of_connection() || ends_session(error);
        if let Some(client) = &self.client
            && errors
                .into_iter()
                .any(|error| client.is_closed() || is_lost(error))
        {
            self.client.take().map(Object::take);
        }
        self.give_back();
    }

    /// There was no answer by the deadline: the connection may be dead, and another takes its place.
    pub(super) fn abandon(&mut self) {
        if let Some(client) = self.client.take() {
            abandon(client, &self.connector);
        }
    }

    /// The answer of one statement, after which the connection goes back, or by `deadline` none, and it is closed. Nothing is begun once that
    /// has passed, which a process that stood still may find out here.
    pub(super) async fn answer(
        mut self,
        sql: &str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Result<Vec<Row>, QueryFailure>, Elapsed> {
        match answer_by(deadline, self.query_before(deadline, sql, params)).await {
            Ok(result) => {
                self.settle(result.as_ref().err());
                Ok(result.map_err(|error| QueryFailure::of(&error)))
            }
            Err(elapsed) => {
                self.abandon();
                Err(elapsed)
            }
        }
    }

    /// The statement, unless it could not be sent before `deadline`: then it waits for ever.
    async fn query_before(
        &mut self,
        deadline: Instant,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.prepare(sql, params).await?;
        if Instant::now() >= deadline {
            std::future::pending::<()>().await;
        }
        self.ask(statement.as_ref(), sql, params).await
    }

    /// Parsed and planned once in a session, where there is one.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let statement = self.prepare(sql, params).await?;
        self.ask(statement.as_ref(), sql, params).await
    }

    async fn ask(
        &self,
        statement: Option<&Statement>,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match &self.client {
            Some(client) => ask(client, statement, sql, params).await,
            None => Ok(Vec::new()),
        }
    }

    /// A statement with each of these parameters, one transaction after the other: in one round trip for each [`AT_ONCE`].
    pub(super) async fn query_each(
        &mut self,
        sql: &str,
        calls: &[Vec<Param<'_>>],
    ) -> Result<Vec<Result<Vec<Row>, tokio_postgres::Error>>, tokio_postgres::Error> {
        let params = calls.first().map_or(&[][..], Vec::as_slice);
        let statement = self.prepare(sql, params).await?;
        let Some(client) = &self.client else {
            return Ok(Vec::new());
        };
        let mut answers = Vec::with_capacity(calls.len());
        for some in calls.chunks(AT_ONCE) {
            let asked = some
                .iter()
                .map(|params| ask(client, statement.as_ref(), sql, params));
            answers.extend(join_all(asked).await);
        }
        Ok(answers)
    }

    /// The statement in this session; none where nothing is left behind in a session.
    async fn prepare(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Option<Statement>, tokio_postgres::Error> {
        let (Some(client), Way::Direct) = (&self.client, self.way) else {
            return Ok(None);
        };
        let types = params.iter().map(|(_, kind)| kind.clone()).collect();
        let (_, types) = self.preparing.insert((sql.to_owned(), types));
        let prepared = client.prepare_typed_cached(sql, types).await;
        self.preparing = None;
        prepared.map(Some)
    }

    /// Rows as they are asked for, of a statement with one text parameter.
    pub(super) async fn stream(
        &mut self,
        sql: &str,
        param: String,
        patience: Duration,
    ) -> Result<RowStream, QueryFailure> {
        let Some(client) = &self.client else {
            return Err(QueryFailure::no_answer());
        };
        let started = client.query_typed_raw(sql, [(param, Type::TEXT)]);
        match timeout(patience, started).await {
            Ok(rows) => rows.map_err(|error| QueryFailure::of(&error)),
            Err(_) => {
                self.abandon();
                Err(QueryFailure::no_answer())
            }
        }
    }
}

impl Drop for Lease {
    /// Of a caller who went away.
    fn drop(&mut self) {
        let Some(client) = self.client.take() else {
            return;
        };
        match Handle::try_current() {
            Ok(runtime) => {
                let finish = finish(client, self.connector.clone(), self.preparing.take());
                let turn = self.turn.take();
                runtime.spawn(async move {
                    finish.await;
                    drop(turn);
                });
            }
            Err(_) => abandon(client, &self.connector),
        }
    }
}

/// Waits for the end of what runs in the session. The connection keeps its place in the pool meanwhile, so that there are
/// never more of them, however many callers go away.
async fn finish(client: Object, connector: Connector, preparing: Option<(String, Vec<Type>)>) {
    let ended = async {
        // Once more, so that the cache knows the statement: otherwise each caller who goes away would leave another one.
        if let Some((sql, types)) = preparing {
            client.prepare_typed_cached(&sql, &types).await?;
        }
        // Answered after what was asked before.
        client.batch_execute("").await
    };
    match timeout(FINISH_PATIENCE, ended).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => drop(Object::take(client)),
        Err(_) => abandon(client, &connector),
    }
}

/// An answer that comes by `deadline`. A process that stood still (a machine that was suspended, SIGSTOP) finds that this has passed
/// before it has read what came meanwhile, and reads that first: the connection is as good as before.
async fn answer_by<T>(deadline: Instant, answer: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut answer = pin!(answer);
    match timeout_at(deadline, answer.as_mut()).await {
        Err(_) if deadline.elapsed() >= STOOD_STILL => timeout(READ_UP, answer).await,
        in_time => in_time,
    }
}

async fn ask(
    client: &Object,
    statement: Option<&Statement>,
    sql: &str,
    params: &[Param<'_>],
) -> Result<Vec<Row>, tokio_postgres::Error> {
    match statement {
        None => client.query_typed(sql, params).await,
        Some(statement) => {
            let values: Vec<_> = params.iter().map(|(value, _)| *value).collect();
            client.query(statement, &values).await
        }
    }
}

fn abandon(client: Object, connector: &Connector) {
    let client = Object::take(client);
    connector.cancel(client.cancel_token());
}
