//! The most that the SQL of pgchat can do: `chat_send_messages` with full batches, on one or two connections, one
//! connection that listens and drains, and one that merges the search index's pending list as replicas do. No service, no sockets.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use pgchat_harness::Failure;
use tokio_postgres::{AsyncMessage, NoTls};
use uuid::Uuid;

use super::pairs::CONTENT;
use super::tell;
use crate::cpu::{self, Meter};
use crate::load::Stamp;
use crate::record::Run;
use crate::settings::{Effort, Settings};
use crate::systems::{Bench, Database, System};

/// Messages of a call: `WRITER_BATCH` as it is by default.
const BATCH: usize = 500;
const CONVERSATIONS: usize = 256;

/// Between two merges of the search index's pending list: as often as replicas do it under such a load.
const MERGES: Duration = Duration::from_millis(100);

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for round in 0..settings.effort.rounds {
        for connections in [1, 2] {
            runs.push(once(bench, settings.effort, connections, round).await?);
        }
    }
    Ok(runs)
}

async fn once(
    bench: &Bench,
    effort: Effort,
    connections: usize,
    round: usize,
) -> Result<Run, Failure> {
    let database = bench.database(System::Pgchat, 2 * CONVERSATIONS).await?;
    // Makes the schema.
    drop(bench.start(System::Pgchat, &database.name, 1).await?);
    let pairs: Vec<(usize, usize)> = (0..CONVERSATIONS).map(|n| (2 * n, 2 * n + 1)).collect();
    let conversations = database.conversations(&pairs).await?;
    let admin = bench.connect("postgres").await?;
    admin.batch_execute("checkpoint").await?;

    let (listener, mut connection) = bench.cluster.config(&database.name).connect(NoTls).await?;
    let notifications = Rc::new(Cell::new(0_u64));
    let heard = notifications.clone();
    let draining = tokio::task::spawn_local(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(_) = message {
                heard.set(heard.get() + 1);
            }
        }
    });
    listener.batch_execute("listen chat_events").await?;
    let tidier = bench.connect(&database.name).await?;
    let tidying = tokio::task::spawn_local(async move {
        let call = "select chat_search_tidy('simple')";
        while tidier.batch_execute(call).await.is_ok() {
            tokio::time::sleep(MERGES).await;
        }
    });

    let meter = Meter::new(Vec::new(), Some(bench.cluster.pid().await))?;
    let began = Instant::now();
    let from = began + effort.warm_up;
    let to = from + effort.measured;
    let stored = Cell::new(0_u64);
    let writers = (0..connections).map(|number| {
        let own: Vec<(Uuid, Uuid)> = conversations
            .iter()
            .zip(&pairs)
            .skip(number)
            .step_by(connections)
            .map(|(conversation, pair)| (*conversation, database.users[pair.0]))
            .collect();
        write(bench, &database, own, from, to, &stored)
    });
    let reading = async {
        tokio::time::sleep_until(from.into()).await;
        let first = meter.read()?;
        tokio::time::sleep_until(to.into()).await;
        Ok::<_, Failure>((first, meter.read()?))
    };
    let (_, (first, last)) = tokio::try_join!(try_join_all(writers), reading)?;
    let kinds = cpu::kinds(&admin).await?;
    let mut run = Run::new("ceiling", &format!("{connections} connections"), round);
    run.set("completed", stored.get() as f64);
    run.set_usage(&meter.between(&first, &last, &kinds));
    run.set("notifications", notifications.get() as f64);
    tell(&run, &["per_second", "postgres_us_per_message"]);
    draining.abort();
    tidying.abort();
    drop(listener);
    bench.drop_database(database).await?;
    Ok(run)
}

/// Calls with full batches until the end; counts those of the window.
async fn write(
    bench: &Bench,
    database: &Database,
    lanes: Vec<(Uuid, Uuid)>,
    from: Instant,
    to: Instant,
    stored: &Cell<u64>,
) -> Result<(), Failure> {
    let client = bench.connect(&database.name).await?;
    let call = client
        .prepare(
            "select count(*) from chat_send_messages($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], \
             $6::text[], true, 1000) where status = 'stored'",
        )
        .await?;
    let batch: Vec<(Uuid, Uuid)> = lanes.iter().copied().cycle().take(BATCH).collect();
    let conversations: Vec<Uuid> = batch.iter().map(|lane| lane.0).collect();
    let senders: Vec<Uuid> = batch.iter().map(|lane| lane.1).collect();
    let types = vec!["text"; BATCH];
    let mut next = 0_u64;
    while Instant::now() < to {
        let ids: Vec<Uuid> = (0..BATCH).map(|_| Uuid::now_v7()).collect();
        let client_ids: Vec<String> = (next..).take(BATCH).map(|n| n.to_string()).collect();
        let contents = contents(next);
        next += BATCH as u64;
        let row = client
            .query_one(
                &call,
                &[
                    &ids,
                    &conversations,
                    &senders,
                    &contents,
                    &types,
                    &client_ids,
                ],
            )
            .await?;
        let count = u64::try_from(row.get::<_, i64>(0))?;
        if count != BATCH as u64 {
            return Err(format!("{count} of {BATCH} messages were stored").into());
        }
        let now = Instant::now();
        if now >= from && now < to {
            stored.set(stored.get() + count);
        }
    }
    Ok(())
}

/// Texts like those of the other scenarios: the search index takes a good part of what they cost.
fn contents(first: u64) -> Vec<String> {
    (first..)
        .take(BATCH)
        .map(|number| {
            let stamp = Stamp {
                lane: 0,
                number: u32::try_from(number).unwrap_or(u32::MAX),
                intended: number,
            };
            let mut text = Vec::with_capacity(CONTENT);
            stamp.write(CONTENT, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
        .collect()
}
