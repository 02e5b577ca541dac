//! The least that a message can take through NOTIFY: one connection that inserts and notifies, one that
//! listens, nothing in between.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use pgchat_harness::Failure;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, NoTls};
use uuid::Uuid;

use super::pairs::CONTENT;
use super::tell;
use crate::load::{Alarm, Schedule};
use crate::record::Run;
use crate::settings::Effort;
use crate::systems::Bench;

/// As long as the event of such a message is with pgchat.
const PAYLOAD: usize = 850;
/// How long the last notifications may take.
const SETTLE: Duration = Duration::from_secs(10);

pub async fn run(bench: &Bench, rate: u64, effort: Effort, round: usize) -> Result<Run, Failure> {
    let database = bench.host_database(2).await?;
    database
        .client
        .batch_execute(
            "create table messages (
                 id uuid primary key,
                 conversation_id uuid not null,
                 sender_id uuid not null references users (id),
                 content text not null,
                 seq bigint not null,
                 created_at timestamptz not null default now(),
                 unique (conversation_id, seq)
             )",
        )
        .await?;
    bench
        .connect("postgres")
        .await?
        .batch_execute("checkpoint")
        .await?;

    let began = Instant::now();
    let latencies = Rc::new(RefCell::new(Histogram::<u64>::new_with_bounds(
        1_000,
        60_000_000_000,
        3,
    )?));
    let received = Rc::new(RefCell::new(0_u64));
    let from = nanos(effort.warm_up);
    let (listener, mut connection) = bench.cluster.config(&database.name).connect(NoTls).await?;
    let (heard, count) = (latencies.clone(), received.clone());
    let listening = tokio::task::spawn_local(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            let AsyncMessage::Notification(notification) = message? else {
                continue;
            };
            let now = nanos(began.elapsed());
            let intended: u64 = notification
                .payload()
                .split(' ')
                .next()
                .unwrap_or_default()
                .parse()
                .unwrap_or(0);
            *count.borrow_mut() += 1;
            if intended >= from {
                heard
                    .borrow_mut()
                    .saturating_record(now.saturating_sub(intended));
            }
        }
        Ok::<_, tokio_postgres::Error>(())
    });
    listener.batch_execute("listen floor").await?;

    let client = &database.client;
    let insert = client
        .prepare(
            "with stored as (
                 insert into messages (id, conversation_id, sender_id, content, seq) values ($1, $2, $3, $4, $5)
             )
             select pg_notify('floor', $6)",
        )
        .await?;
    let (conversation, sender) = (Uuid::now_v7(), database.users[0]);
    let content = "x".repeat(CONTENT);
    let alarm = Alarm::new()?;
    let schedule = Schedule::new(rate);
    let total = schedule.due_by(nanos(effort.warm_up + effort.measured));
    let mut under_way = FuturesUnordered::new();
    // The clock of the schedule began with the listener's, so nothing is due yet that could be late.
    let start = nanos(began.elapsed());
    let mut sent = 0;
    while sent < total || !under_way.is_empty() {
        let now = nanos(began.elapsed()) - start;
        if sent < total && schedule.due(sent) <= now {
            let mut payload = format!("{} ", start + schedule.due(sent));
            let rest = PAYLOAD - payload.len();
            write!(payload, "{:x<rest$}", "")?;
            let (insert, content) = (&insert, &content);
            let seq = i64::try_from(sent)?;
            under_way.push(async move {
                let id = Uuid::now_v7();
                client
                    .execute(
                        insert,
                        &[&id, &conversation, &sender, content, &seq, &payload],
                    )
                    .await
            });
            sent += 1;
            continue;
        }
        let wait = match sent < total {
            true => Duration::from_nanos(schedule.due(sent).saturating_sub(now).max(1)),
            false => SETTLE,
        };
        tokio::select! {
            Some(stored) = under_way.next() => { stored?; }
            slept = alarm.sleep(wait) => slept?,
        }
    }
    let all = async {
        while *received.borrow() < total {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let complete = timeout(SETTLE, all).await.is_ok();
    drop(listener);
    listening.abort();

    let mut run = Run::new("floor", &format!("{rate}/s"), round);
    run.set_latencies("end_to_end", &latencies.borrow());
    if !complete {
        run.faults
            .insert("lost".to_owned(), total - *received.borrow());
    }
    tell(&run, &["end_to_end_p50_ms", "end_to_end_p99_ms"]);
    drop(under_way);
    bench.drop_database(database).await?;
    Ok(run)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
