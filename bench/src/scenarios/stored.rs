//! What a message costs when many are stored already.

use pgchat_harness::Failure;

use super::pairs::{self, Setting};
use crate::load::{Pace, Via};
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::{Bench, Database, System};

const SENDERS: usize = 128;
const RATE: u64 = 1_000;
/// Messages of each conversation that is filled.
const EACH: usize = 500;

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let sizes: &[usize] = if settings.effort.quick {
        &[0, 100_000]
    } else {
        &[0, 1_000_000, 5_000_000]
    };
    let mut databases = Vec::new();
    for stored in sizes {
        let conversations = stored / EACH;
        let users = 2 * SENDERS.max(conversations);
        let database = bench.database(System::Pgchat, users).await?;
        // Makes the schema.
        drop(bench.start(System::Pgchat, &database.name, 1).await?);
        fill(&database, *stored).await?;
        databases.push((*stored, database));
    }
    let mut runs = Vec::new();
    for round in 0..settings.effort.rounds {
        for (stored, database) in &databases {
            let deployment = bench.start(System::Pgchat, &database.name, 2).await?;
            let setting = Setting {
                system: System::Pgchat,
                replicas: 2,
                senders: SENDERS,
                via: Via::WebSocket,
                pace: Pace::Open(RATE),
            };
            let variant = format!("{stored} stored");
            let effort = settings.effort;
            let mut run = pairs::on(
                bench,
                database,
                &deployment,
                setting,
                effort,
                &variant,
                round,
            )
            .await?;
            run.set("stored", *stored as f64);
            runs.push(run);
        }
    }
    for (_, database) in databases {
        bench.drop_database(database).await?;
    }
    Ok(runs)
}

/// As the service would have stored them, but without its triggers: the conversations that the run sends in
/// first, each with the same number of messages. The search index is built anew afterwards, which takes a fraction of the time.
async fn fill(database: &Database, stored: usize) -> Result<(), Failure> {
    let client = &database.client;
    if stored > 0 {
        let pairs: Vec<(usize, usize)> = (0..stored / EACH).map(|n| (2 * n, 2 * n + 1)).collect();
        database.conversations(&pairs).await?;
        let build_search_index: String = client
            .query_one("select chat_search_index_ddl('simple')", &[])
            .await?
            .get(0);
        client
            .batch_execute(&format!(
                "set synchronous_commit = off;
                 set maintenance_work_mem = '1GB';
                 drop index chat_messages_search_simple;
                 set session_replication_role = replica;
                 insert into messages (conversation_id, sender_id, reader_id, content, seq, created_at, updated_at, is_read)
                 select c.id, c.participant1_id, c.participant2_id, left(repeat('message ' || n || ' of many ', 10), {content}),
                        n, now(), now(), true
                   from conversations c, generate_series(1, {EACH}) n;
                 update conversations c
                    set last_seq = {EACH},
                        last_message_id = (select m.id from messages m where m.conversation_id = c.id and m.seq = {EACH}),
                        last_xid = pg_current_xact_id();
                 set session_replication_role = origin;",
                content = pairs::CONTENT,
            ))
            .await?;
        // Statements of their own: these stand in no transaction.
        client.batch_execute(&build_search_index).await?;
    }
    client.batch_execute("vacuum (analyze)").await?;
    client
        .batch_execute("reset synchronous_commit; reset maintenance_work_mem; checkpoint")
        .await?;
    Ok(())
}
