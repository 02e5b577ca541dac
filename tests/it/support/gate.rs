//! Calls of a function that take as long as a test wants.

use tokio::task::JoinSet;
use tokio_postgres::Client;

use super::{ALICE, BORIS, Database, Replica, Reply, SERVICE, eventually};

/// What some calls of a function of the service's wait for, until the test opens it.
pub struct Gate {
    holder: Client,
}

/// A function of the service's.
pub struct Function {
    pub name: &'static str,
    /// Of its arguments.
    pub types: &'static str,
    pub returns: &'static str,
    /// In PL/pgSQL, how it calls itself by the name `{name}_at_once`.
    pub call: &'static str,
}

impl Gate {
    /// Shut, for calls of whose arguments `condition` holds (`$1`, `$2`, …).
    pub async fn before(database: &Database, function: Function, condition: &str) -> Self {
        let Function {
            name,
            types,
            returns,
            call,
        } = function;
        database
            .execute(&format!(
                "alter function {name}({types}) rename to {name}_at_once;
                 create function {name}({types}) returns {returns} language plpgsql security definer
                 set search_path from current as $$
                 begin
                   if {condition} then
                     perform pg_advisory_xact_lock_shared(1);
                   end if;
                   {call};
                 end $$;
                 grant execute on function {name}({types}) to {SERVICE}"
            ))
            .await;
        let holder = database.sql().await;
        let lock = "select pg_advisory_lock(1)";
        holder.batch_execute(lock).await.expect("the lock");
        Self { holder }
    }

    pub async fn open(&self) {
        let unlock = "select pg_advisory_unlock(1)";
        self.holder.batch_execute(unlock).await.expect("its end");
    }
}

/// A replica with six connections for requests, for which a function takes as long as the test wants where its first argument is
/// Alice or Boris; where it is somebody else, it does not.
pub struct Held {
    pub database: Database,
    pub replica: Replica,
    pub gate: Gate,
}

impl Held {
    pub async fn set(function: Function, more: &[(&str, &str)]) -> Self {
        let database = Database::fresh().await;
        let condition = format!("$1 in ('{ALICE}', '{BORIS}')");
        let gate = Gate::before(&database, function, &condition).await;
        let patient = [("DB_POOL_SIZE", "8"), ("DB_TIMEOUT_SECONDS", "60")];
        let replica = Replica::start(&database, &[&patient[..], more].concat()).await;
        Self {
            database,
            replica,
            gate,
        }
    }

    /// So many requests, each on a connection of its own; all have come.
    pub async fn come<R>(&self, asked: &mut JoinSet<Reply>, count: usize, request: impl Fn() -> R)
    where
        R: Future<Output = Reply> + Send + 'static,
    {
        let before = self.replica.open_files();
        for _ in 0..count {
            asked.spawn(request());
        }
        eventually("all have come", || async {
            (self.replica.open_files() >= before + count).then_some(())
        })
        .await;
    }
}
