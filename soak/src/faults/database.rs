//! Faults that are done in PostgreSQL, or to it.

use tokio_postgres::{Client, Error};

use super::{Kind, Outcome, Plan, rows};
use crate::world::World;

/// As the service names its sessions.
pub const LISTENER: &str = "pgchat listener";
pub const POOL: &str = "pgchat pool";

pub async fn perform(world: &World, plan: Plan) -> Outcome {
    if plan.kind == Kind::RestartPostgres {
        return restart(world).await;
    }
    let client = match world.cluster.connect().await {
        Ok(client) => client,
        Err(error) => return Outcome::Skipped(format!("PostgreSQL: {error}")),
    };
    let done = match plan.kind {
        Kind::TerminateListener => terminate(&client, LISTENER, plan.count(1, 3)).await,
        Kind::TerminatePool => terminate(&client, POOL, plan.count(1, 12)).await,
        Kind::LockConversation => lock_conversation(world, &client, plan).await,
        Kind::OpenTransaction => open_transaction(world, &client, plan).await,
        Kind::HostRefuses => host_refuses(world, &client, plan).await,
        _ => return rows::perform(world, client, plan).await,
    };
    done.unwrap_or_else(|error| Outcome::Skipped(format!("PostgreSQL: {error}")))
}

async fn restart(world: &World) -> Outcome {
    match world.cluster.restart_immediately().await {
        Ok(()) => Outcome::Done("restarted in immediate mode".to_owned()),
        Err(error) => Outcome::Skipped(error.to_string()),
    }
}

async fn terminate(client: &Client, application: &str, count: usize) -> Result<Outcome, Error> {
    let rows = client
        .query(
            "select pid, client_port, pg_terminate_backend(pid)
               from (select pid, client_port
                       from pg_stat_activity
                      where application_name = $1
                      order by random()
                      limit $2) as chosen",
            &[&application, &i64::try_from(count).unwrap_or(1)],
        )
        .await?;
    if rows.is_empty() {
        return Ok(Outcome::Skipped(format!("no session {application:?}")));
    }
    let pids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    Ok(Outcome::Done(format!("{application} backends {pids:?}")))
}

/// Another program holds a conversation: nobody else's messages may wait for it.
async fn lock_conversation(world: &World, client: &Client, plan: Plan) -> Result<Outcome, Error> {
    let ix = plan.target(world.conversations.len());
    let time = plan.time(500, 8_000);
    client.batch_execute("begin").await?;
    client
        .execute(
            "select 1 from conversations where id = $1 for update",
            &[&world.conversations[ix].id],
        )
        .await?;
    world.pause(time).await;
    let end = if plan.coin { "commit" } else { "rollback" };
    client.batch_execute(end).await?;
    let text = format!("conversation {ix} for {time:?}, then {end}");
    Ok(Outcome::Done(text))
}

/// A write transaction that stays open holds back what the service can know to be complete.
async fn open_transaction(world: &World, client: &Client, plan: Plan) -> Result<Outcome, Error> {
    let time = plan.time(1_000, 15_000);
    client
        .batch_execute("begin; select pg_current_xact_id()")
        .await?;
    world.pause(time).await;
    client.batch_execute("rollback").await?;
    Ok(Outcome::Done(format!("open for {time:?}")))
}

/// A trigger of the host's fails some of the messages, with an error that may pass. It stops by itself, whatever happens to this
/// session.
async fn host_refuses(world: &World, client: &Client, plan: Plan) -> Result<Outcome, Error> {
    let time = plan.time(500, 5_000);
    let share = 0.02 + 0.3 * plan.size;
    client
        .execute(
            "update host_mood set refuses = $1, until = clock_timestamp() + make_interval(secs => $2)",
            &[&share, &time.as_secs_f64()],
        )
        .await?;
    world.pause(time).await;
    Ok(Outcome::Done(format!(
        "{share:.2} of the messages for {time:?}"
    )))
}
