//! Faults that are done in PostgreSQL, or to it.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::{Client, Error};
use uuid::Uuid;

use super::{Kind, Outcome, Plan};
use crate::content;
use crate::model::*;
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
        _ => return write_rows(world, client, plan).await,
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

/// Plain SQL rows as another program would write them: one statement, sometimes held open before its end.
async fn write_rows(world: &World, mut client: Client, plan: Plan) -> Outcome {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let count = plan.count(1, 120);
    let pause = if plan.coin {
        plan.time(100, 3_000)
    } else {
        Duration::ZERO
    };
    let ix = plan.target(world.conversations.len());
    let rollback = plan.kind == Kind::SqlRollback;
    // Rows of several conversations in one statement can deadlock with others; that is the other
    // program's business, so most go into one.
    let spread = if rng.random_bool(0.2) { 4 } else { 1 };
    let places: Vec<(usize, usize)> = (0..count)
        .map(|_| {
            let conversation = (ix + rng.random_range(0..spread)) % world.conversations.len();
            (conversation, rng.random_range(0..2))
        })
        .collect();
    let done = insert(world, &mut client, &places, pause, rollback).await;
    let text = format!("{count} rows from conversation {ix} on, open for {pause:?}, {done}");
    Outcome::Done(text)
}

/// Inserts a row for each (conversation, member) in one statement; what became of it.
pub async fn insert(
    world: &World,
    client: &mut Client,
    places: &[(usize, usize)],
    pause: Duration,
    rollback: bool,
) -> String {
    let mut keys = Vec::new();
    let (mut conversations, mut senders, mut contents) = (Vec::new(), Vec::new(), Vec::new());
    {
        let mut checker = world.checker();
        let now = world.clock.now();
        for (conversation, member) in places {
            let known = &world.conversations[*conversation];
            let sender = known.members[*member];
            let ix = ConversationIx::try_from(*conversation).unwrap_or(0);
            let key = checker.register(sender, ix, Via::Sql, now);
            keys.push(key);
            conversations.push(known.id);
            senders.push(world.users[usize::from(sender)]);
        }
    }
    for key in &keys {
        contents.push(content::make(world.settings.seed, *key));
    }
    let mut inserted: Vec<MessageView> = Vec::new();
    let work = async {
        let transaction = client.transaction().await?;
        let rows = transaction
            .query(
                "insert into messages (conversation_id, sender_id, content)
                 select * from unnest($1::uuid[], $2::uuid[], $3::text[])
                 returning id, conversation_id, sender_id, content, seq::bigint, client_message_id",
                &[&conversations, &senders, &contents],
            )
            .await?;
        for row in rows {
            inserted.push(MessageView {
                id: row.get::<_, Uuid>(0),
                conversation_id: row.get(1),
                sender_id: row.get(2),
                content: row.get(3),
                seq: row.get(4),
                client_message_id: row.get(5),
                is_read: false,
                deleted_at: None,
            });
        }
        world.pause(pause).await;
        Ok::<_, Error>(transaction)
    };
    let ended = match work.await {
        Ok(transaction) if rollback => match transaction.rollback().await {
            Ok(()) => End::RolledBack("rolled back".to_owned()),
            // Without its commit it can't be there.
            Err(error) => End::RolledBack(error.to_string()),
        },
        Ok(transaction) => match transaction.commit().await {
            Ok(()) => End::Committed,
            Err(error) if error.as_db_error().is_some() => End::RolledBack(error.to_string()),
            Err(error) => End::Unknown(error.to_string()),
        },
        Err(error) => End::RolledBack(error.to_string()),
    };
    let now = world.clock.now();
    let mut checker = world.checker();
    match ended {
        End::Committed => {
            for view in &inserted {
                if let Some(key) = content::key_of(&view.content) {
                    checker.acknowledged(key, view, Via::Sql, 0, "commit", now);
                }
            }
            "committed".to_owned()
        }
        End::RolledBack(note) => {
            for key in keys {
                checker.rolled_back(key, &note, now);
            }
            format!("not committed: {note}")
        }
        End::Unknown(note) => {
            for key in keys {
                checker.unknown(key, &note, now);
            }
            format!("commit without an answer: {note}")
        }
    }
}

enum End {
    Committed,
    RolledBack(String),
    Unknown(String),
}
