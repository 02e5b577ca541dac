//! How a statement runs: over a connection of a pool, until its deadline, and a second time where that is safe.

use std::time::Duration;

use deadpool_postgres::{Object, Timeouts};
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use uuid::Uuid;

use super::connect::RenewablePool;
use super::describe::{self, describe_pool};
use super::failure::{Fault, QueryFailure};
use super::held_rows::{Attempts, CallerGone, Gone};
use super::lease::{Lease, Param};
use super::{Store, Way};
use crate::error::Error;
use crate::model::UserId;

/// One statement. It may run twice.
pub(super) struct Statement<'a> {
    pub sql: String,
    pub params: &'a [Param<'a>],
    /// By when it is to be answered; the wait for a connection counts.
    pub deadline: Instant,
    /// What it may take once it has a connection. Then that counts and not `deadline`: each wait for a connection has the time of a statement.
    pub own_time: Option<Duration>,
}

impl Store {
    /// `select <columns> from <schema>.<call>`, to be answered in the time of a statement from now on.
    pub(super) fn select<'a>(
        &self,
        columns: &str,
        call: &str,
        params: &'a [Param<'a>],
    ) -> Statement<'a> {
        let sql = format!("select {columns} from {}{call}", self.shared.prefix);
        self.statement(sql, params)
    }

    /// The same of a function that changes something and tells of it: its commit waits its turn for NOTIFY's lock, however long the queue is.
    /// Behind a pooler a session has the `lock_timeout` of its role, which would end that wait; so there is none for what is left of the
    /// transaction.
    pub(super) fn select_telling<'a>(
        &self,
        columns: &str,
        call: &str,
        params: &'a [Param<'a>],
    ) -> Statement<'a> {
        match self.shared.way {
            Way::Direct => self.select(columns, call, params),
            Way::Pooler => {
                let columns =
                    format!("{columns}, pg_catalog.set_config('lock_timeout', '0', true)");
                self.select(&columns, call, params)
            }
        }
    }

    /// Any SQL, to be answered in the time of a statement from now on.
    pub(super) fn statement<'a>(
        &self,
        sql: impl Into<String>,
        params: &'a [Param<'a>],
    ) -> Statement<'a> {
        Statement {
            sql: sql.into(),
            params,
            deadline: self.deadline(),
            own_time: None,
        }
    }

    /// All columns of a function of a request that only reads ([`Store::read_on`]).
    pub(super) async fn read(&self, call: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let statement = self.select("*", call, params);
        Ok(self.read_on(&self.shared.pool, &statement).await?)
    }

    /// All columns of a function of a request that changes something ([`Store::change_on`]).
    pub(super) async fn change(&self, call: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Error> {
        let statement = self.select_telling("*", call, params);
        Ok(self.change_on(&self.shared.pool, &statement).await?)
    }

    /// A statement that only reads, on this pool: a connection that turns out to be dead or useless is replaced and the statement repeated
    /// once.
    pub(super) async fn read_on(
        &self,
        pool: &RenewablePool,
        statement: &Statement<'_>,
    ) -> Result<Vec<Row>, QueryFailure> {
        match self.run(pool, statement).await {
            Err(failure) if failure.fault.is_of_connection() => {
                self.repeat(pool, statement, &failure).await
            }
            other => other,
        }
    }

    /// A statement that changes something, on this pool: repeated on a new connection only where it certainly has changed nothing.
    pub(super) async fn change_on(
        &self,
        pool: &RenewablePool,
        statement: &Statement<'_>,
    ) -> Result<Vec<Row>, QueryFailure> {
        let lease = self.lease(pool, statement.deadline).await?;
        self.change_over(lease, pool, statement).await
    }

    /// A change, in a user's name, of rows that somebody else may hold: `row` says which. Tried until the statement's deadline, and for a
    /// row that is held no more once the caller is `gone`. A statement that has begun is not given up.
    pub(super) async fn change_row(
        &self,
        user: UserId,
        row: Uuid,
        statement: Statement<'_>,
        gone: Gone<'_>,
    ) -> Result<Vec<Row>, Error> {
        let attempts = self.shared.held_rows.attempts(user, row);
        self.change_in(attempts, statement, gone, || ()).await
    }

    /// What [`Store::change_row`] does, in these attempts. What `beside` gives at each, once there is a connection for it, is held as long as
    /// the statement runs, though its caller went away.
    pub(super) async fn change_in<T: Send + Sync + 'static>(
        &self,
        mut attempts: Attempts<'_>,
        mut statement: Statement<'_>,
        mut gone: Gone<'_>,
        beside: impl Fn() -> T,
    ) -> Result<Vec<Row>, Error> {
        let pool = &self.shared.pool;
        let deadline = statement.deadline;
        loop {
            let permit = match timeout_at(deadline, attempts.next(gone.as_mut())).await {
                Ok(permit) => permit?,
                Err(_) => return Err(attempts.given_up()),
            };
            // A process that stood still finds its turn and the end of its time at once, and not yet that the caller has gone, who may have
            // made the same change again meanwhile, and another one since.
            if Instant::now() >= deadline {
                return Err(attempts.given_up());
            }
            let store = self.in_turn(permit);
            // A change that has waited for nearly as long as it may is given time to be answered: otherwise none of those behind it would be.
            statement.deadline = deadline.max(self.deadline_of_turn());
            let mut lease = tokio::select! {
                biased;
                lease = store.lease(pool, statement.deadline) => lease?,
                () = gone.as_mut() => return Err(CallerGone.into()),
            };
            lease.hold(beside());
            let result = store.change_over(lease, pool, &statement).await;
            drop(store);
            match result {
                Err(failure) if failure.fault == Fault::Held => attempts.failed(),
                other => return Ok(other?),
            }
        }
    }

    /// A statement on this pool, once.
    pub(super) async fn run(
        &self,
        pool: &RenewablePool,
        statement: &Statement<'_>,
    ) -> Result<Vec<Row>, QueryFailure> {
        let connected_by = match statement.own_time {
            None => statement.deadline,
            Some(_) => self.deadline(),
        };
        let lease = self.lease(pool, connected_by).await?;
        answer_over(lease, statement).await
    }

    /// A statement again, on a new connection: what failed was of the one before.
    async fn repeat(
        &self,
        pool: &RenewablePool,
        statement: &Statement<'_>,
        failure: &QueryFailure,
    ) -> Result<Vec<Row>, QueryFailure> {
        if failure.fault == Fault::StatementLost {
            pool.renew_sessions();
        }
        log::debug!("repeating on a new connection: {}", failure.text);
        self.run(pool, statement).await
    }

    /// What [`Store::change_on`] does, over a connection of the pool's to begin with.
    pub(super) async fn change_over(
        &self,
        lease: Lease,
        pool: &RenewablePool,
        statement: &Statement<'_>,
    ) -> Result<Vec<Row>, QueryFailure> {
        match answer_over(lease, statement).await {
            Err(failure) if failure.fault == Fault::StatementLost => {
                self.repeat(pool, statement, &failure).await
            }
            other => other,
        }
    }

    /// When a statement that begins now is to be answered.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.shared.timeout
    }

    /// When a change whose turn comes now is to be answered at the earliest.
    pub(super) fn deadline_of_turn(&self) -> Instant {
        Instant::now() + self.shared.timeout / 4
    }

    /// A connection of this pool, for which it may have to wait.
    pub(super) async fn lease(
        &self,
        pool: &RenewablePool,
        deadline: Instant,
    ) -> Result<Lease, QueryFailure> {
        match timeout_at(deadline, pool.get()).await {
            Ok(Ok(client)) => Ok(self.lease_of(client)),
            Ok(Err(error)) => Err(QueryFailure::no_connection(&describe_pool(&error))),
            Err(_) => Err(QueryFailure::no_connection(describe::NONE_CAME_FREE)),
        }
    }

    pub(super) fn lease_of(&self, client: Object) -> Lease {
        let (turn, connector) = (self.turn.clone(), self.shared.connector.clone());
        Lease::new(client, turn, connector, self.shared.way)
    }

    /// Sees to it that a connection of the vital pool is free by `deadline`, which may be before one can be made. It is made all the
    /// same, for whatever is asked next: if each call gave up what it had begun, there would never be one.
    pub(super) async fn connect_vital(&self, deadline: Instant) -> Result<(), QueryFailure> {
        let pool = self.shared.vital_pool.clone();
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
}

/// The statement over a connection that is there now.
async fn answer_over(lease: Lease, statement: &Statement<'_>) -> Result<Vec<Row>, QueryFailure> {
    let own = statement.own_time.map(|own_time| Instant::now() + own_time);
    let deadline = own.unwrap_or(statement.deadline);
    let answer = lease.answer(&statement.sql, statement.params, deadline);
    let answer = answer.await;
    answer.unwrap_or_else(|_| Err(QueryFailure::no_answer()))
}
