//! Locks on tables that others use: waited for in short tries, so that nobody waits behind a migration for long.

use std::time::Duration;

use postgres_types::Type;
use tokio::time::{Instant, sleep};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::store::describe;

/// How long a statement waits for a lock: everybody else who wants the table waits behind it. Less than PostgreSQL's
/// `deadlock_timeout` (1 s), so that it is the migration that gives up, of two transactions that wait for each other.
pub(super) const LOCK_WAIT: &str = "500ms";

/// Between two tries for a lock that was not given: transactions that waited behind get their turn.
const LOCK_PAUSE: Duration = Duration::from_secs(1);

/// How long locks are tried for altogether, for one step.
const LOCK_PATIENCE: Duration = Duration::from_mins(5);

/// How long locks are tried for when a service starts, for one step that it can do without. Everybody else may be waiting for that service.
const LOCK_PATIENCE_OF_A_START: Duration = Duration::from_secs(3);

/// A `lock_timeout`, from `pg_settings s`: within it PostgreSQL ends an autovacuum that a session waits for.
macro_rules! beyond_deadlock_timeout {
    () => {
        "s.setting::integer + 500 || 'ms'"
    };
}

/// Ends an autovacuum of pgchat's own tables. PostgreSQL does that for a session that has waited for `deadlock_timeout`, which is longer than
/// [`LOCK_WAIT`]; so the autovacuum is waited for in a lock mode that holds up no reader and no writer.
const END_AUTOVACUUM: &str = concat!(
    "
do $$
declare
  held record;
begin
  perform set_config('lock_timeout', ",
    beyond_deadlock_timeout!(),
    ", true) from pg_settings s where s.name = 'deadlock_timeout';
  for held in
    select c.oid::regclass as name, min(l.pid) as process
      from pg_locks l
      join pg_class c on c.oid = l.relation
     where l.database = (select oid from pg_database where datname = current_database())
       and l.mode = 'ShareUpdateExclusiveLock' and l.granted
       and c.relnamespace = current_schema()::regnamespace and c.relkind = 'r' and pg_has_role(c.relowner, 'usage')
       and (c.relname in ('conversations', 'messages') or starts_with(c.relname::text, 'chat_'))
     group by c.oid
  loop
    begin
      execute format('lock table %s in share update exclusive mode', held.name);
    exception when lock_not_available or deadlock_detected then
      raise warning 'process % holds table %: a vacuum or another command of maintenance, which must end first',
        held.process, held.name;
    end;
  end loop;
end
$$"
);

/// How long to wait for the users table, `$1`, while a session holds it that is in nobody's way but a migration's, as autovacuum is. The
/// migration may not lock that table, only refer to it, and meanwhile all writers of it wait. No row if the chat has been in use, since a
/// transaction that writes to the chat and to the users could then be caught in a deadlock.
const LONG_WAIT: &str = concat!(
    "
select set_config('lock_timeout', ",
    beyond_deadlock_timeout!(),
    ", false)
  from pg_settings s
 where s.name = 'deadlock_timeout' and pg_relation_size('conversations') = 0
   and exists (select from pg_locks l
                where l.database = (select oid from pg_database where datname = current_database())
                  and l.relation = chat_users_table($1) and l.mode = 'ShareUpdateExclusiveLock' and l.granted)"
);

/// What the schema is applied for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To have all of it.
    Migrate,
    /// To serve. What a service can do without is tried for a moment only; a warning tells of it.
    Serve,
}

/// Runs a statement that needs a lock.
pub(super) async fn patiently(client: &Client, sql: &str) -> Result<(), Error> {
    LockRetries::default().run(client, sql).await
}

/// Whether a lock was not given, and the same may succeed later.
pub(super) fn is_locked(error: &Error) -> bool {
    let lock = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    error.code().is_some_and(|code| lock.contains(code))
}

/// For what a session runs from now on.
pub(super) async fn wait_briefly(client: &Client) -> Result<(), Error> {
    let set = format!("set lock_timeout = '{LOCK_WAIT}'");
    client.batch_execute(&set).await
}

/// Has what the session runs from now on wait for a lock until PostgreSQL has ended an autovacuum that holds it: for a mode for which no
/// reader or writer waits.
pub(super) async fn wait_for_autovacuum(client: &Client) -> Result<(), Error> {
    let set = concat!(
        "select set_config('lock_timeout', ",
        beyond_deadlock_timeout!(),
        ", false) from pg_settings s where s.name = 'deadlock_timeout'"
    );
    client.batch_execute(set).await
}

/// Has what the session runs from now on wait for a lock without an end: for what takes its time and has no reader or writer wait behind it.
pub(super) async fn wait_for_long(client: &Client) -> Result<(), Error> {
    client.batch_execute("set lock_timeout = 0").await
}

/// Tries for a lock.
pub(super) struct LockRetries {
    until: Instant,
    waited_long: bool,
}

impl Default for LockRetries {
    fn default() -> Self {
        Self::within(LOCK_PATIENCE)
    }
}

impl LockRetries {
    pub fn within(patience: Duration) -> Self {
        Self {
            until: Instant::now() + patience,
            waited_long: false,
        }
    }

    /// Of what a service can do without.
    pub fn of(purpose: Purpose) -> Self {
        Self::within(match purpose {
            Purpose::Migrate => LOCK_PATIENCE,
            Purpose::Serve => LOCK_PATIENCE_OF_A_START,
        })
    }

    /// Runs a statement that needs a lock.
    pub async fn run(&mut self, client: &Client, sql: &str) -> Result<(), Error> {
        loop {
            match client.batch_execute(sql).await {
                Err(error) if self.again_after(client, &error).await => {}
                ended => return ended,
            }
        }
    }

    /// Whether to try again, after a pause: only where it is a lock that was not given.
    pub async fn again_after(&mut self, client: &Client, error: &Error) -> bool {
        if !is_locked(error) || Instant::now() > self.until {
            return false;
        }
        log::warn!("another transaction holds the tables; trying again (see pg_stat_activity)");
        sleep(LOCK_PAUSE).await;
        // Where this fails, so does the next try, and says why.
        if let Err(error) = client.batch_execute(END_AUTOVACUUM).await {
            log::debug!("migration: {}", describe(&error));
        }
        true
    }

    /// Before another try of what needs the host's users table, too. Only once for long: what is still there then is no
    /// autovacuum that could be ended.
    pub async fn wait_for_users(&mut self, client: &Client, table: &str) -> Result<(), Error> {
        if self.waited_long {
            return wait_briefly(client).await;
        }
        let table = [(&table as _, Type::TEXT)];
        let set = client.query_typed(LONG_WAIT, &table).await?;
        self.waited_long = !set.is_empty();
        Ok(())
    }
}
