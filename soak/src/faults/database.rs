//! Faults that are done in PostgreSQL, or to it.

use super::{Plan, Skipped};
use crate::world::World;

/// As the service names its sessions.
pub const LISTENER: &str = "pgchat listener";
pub const POOL: &str = "pgchat pool";

pub async fn restart(world: &World) -> Result<String, Skipped> {
    match world.cluster.restart_immediately().await {
        Ok(()) => Ok("restarted in immediate mode".to_owned()),
        Err(error) => Err(Skipped(error.to_string())),
    }
}

pub async fn terminate_listeners(world: &World, plan: Plan) -> Result<String, Skipped> {
    terminate(world, LISTENER, plan.count(1, 3)).await
}

pub async fn terminate_pools(world: &World, plan: Plan) -> Result<String, Skipped> {
    terminate(world, POOL, plan.count(1, 12)).await
}

async fn terminate(world: &World, application: &str, count: usize) -> Result<String, Skipped> {
    let client = world.cluster.connect().await?;
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
        return Err(Skipped(format!("no session {application:?}")));
    }
    let pids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
    Ok(format!("{application} backends {pids:?}"))
}

/// Another program holds a conversation: nobody else's messages may wait for it.
pub async fn lock_conversation(world: &World, plan: Plan) -> Result<String, Skipped> {
    let client = world.cluster.connect().await?;
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
    Ok(format!("conversation {ix} for {time:?}, then {end}"))
}

/// A write transaction that stays open holds back what the service can know to be complete.
pub async fn open_transaction(world: &World, plan: Plan) -> Result<String, Skipped> {
    let client = world.cluster.connect().await?;
    let time = plan.time(1_000, 15_000);
    client
        .batch_execute("begin; select pg_current_xact_id()")
        .await?;
    world.pause(time).await;
    client.batch_execute("rollback").await?;
    Ok(format!("open for {time:?}"))
}

/// A trigger of the host's fails some of the messages, with an error that may pass. It stops by itself, whatever happens to this
/// session.
pub async fn host_refuses(world: &World, plan: Plan) -> Result<String, Skipped> {
    let client = world.cluster.connect().await?;
    let time = plan.time(500, 5_000);
    let share = 0.02 + 0.3 * plan.size;
    client
        .execute(
            "update host_mood set refuses = $1, until = clock_timestamp() + make_interval(secs => $2)",
            &[&share, &time.as_secs_f64()],
        )
        .await?;
    world.pause(time).await;
    Ok(format!("{share:.2} of the messages for {time:?}"))
}
