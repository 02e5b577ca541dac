//! A replica dies, and all of its clients come to the others at once, each with its cursor, while messages for them
//! were sent and others go on talking.

use std::rc::Rc;
use std::time::{Duration, Instant};

use pgchat_harness::Failure;
use tokio::time::sleep;

use super::pairs::{CONTENT, SETTLE};
use super::tell;
use crate::cpu::{self, Meter};
use crate::load::{Client, LaneSpec, Load, Pace, Plan, Via};
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::{Bench, Database, Deployment, System};

const REPLICAS: usize = 3;
/// The one that dies.
const VICTIM: usize = 0;
const CLIENTS: usize = 10_000;
/// Pairs of other users, whose sockets are on the replicas that stay.
const OTHERS: usize = 64;
const RATE: u64 = 500;
/// Users: the others, then the one who writes to all that reconnect, then these.
const BROKER: usize = 2 * OTHERS;
const FIRST_CLIENT: usize = BROKER + 1;
/// How long the others talk before, and after all are back.
const CALM: Duration = Duration::from_secs(5);

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let clients = if settings.effort.quick {
        1_000
    } else {
        CLIENTS
    };
    let mut runs = Vec::new();
    for round in 0..settings.effort.rounds {
        runs.push(once(bench, clients, round).await?);
    }
    Ok(runs)
}

async fn once(bench: &Bench, clients: usize, round: usize) -> Result<Run, Failure> {
    let database = bench
        .database(System::Pgchat, FIRST_CLIENT + clients)
        .await?;
    let mut deployment = bench
        .start(System::Pgchat, &database.name, REPLICAS)
        .await?;
    let mut load = connect(&database, &deployment, clients).await?;
    let returning: Vec<Rc<Client>> = load.board.clients[FIRST_CLIENT..].to_vec();
    load.board.paced.set(OTHERS);
    // The first frame has one already; from here on the newest counts.
    load.board.track_cursors.set(true);
    write_to_all_clients(&load);
    load.settle_quietly(SETTLE).await?;

    let mut run = Run::new("pgchat", &format!("{clients} clients"), round);
    talk(&load, &mut run, "others_before").await?;
    die_and_come_back(bench, &mut deployment, &mut load, &returning, &mut run).await?;
    talk(&load, &mut run, "others_after").await?;

    load.settle(SETTLE).await;
    let resyncs: u32 = returning.iter().map(|client| client.resyncs.get()).sum();
    {
        let board = load.close().await;
        let tally = board.tally.borrow();
        run.set("sent", tally.sent as f64);
        run.set("repeats", tally.repeats as f64);
        run.set_faults(&tally.faults);
        run.complaints = tally.complaints.clone();
    }
    run.set("resyncs", f64::from(resyncs));
    if resyncs > 0 {
        run.faults.insert("resyncs".to_owned(), u64::from(resyncs));
    }
    tell(
        &run,
        &[
            "all_live_after_s",
            "others_before_p99_ms",
            "others_meanwhile_p99_ms",
            "others_after_p99_ms",
            "load_generator_s",
            "replicas_s",
            "postgres_s",
        ],
    );
    drop(deployment);
    bench.drop_database(database).await?;
    Ok(run)
}

/// The others' sockets are on the replicas that stay, and so is the broker's; the clients' are on the one that dies.
async fn connect(
    database: &Database,
    deployment: &Deployment,
    clients: usize,
) -> Result<Load, Failure> {
    let of_clients = (0..clients).map(|n| FIRST_CLIENT + n);
    let pairs: Vec<(usize, usize)> = (0..OTHERS)
        .map(|n| (2 * n, 2 * n + 1))
        .chain(of_clients.clone().map(|client| (BROKER, client)))
        .collect();
    let conversations = database.conversations(&pairs).await?;
    let lanes = LaneSpec::of_pairs(&pairs, conversations);
    let sockets = (0..=BROKER)
        .map(|user| (user, 1 + user % 2))
        .chain(of_clients.map(|client| (client, VICTIM)))
        .collect();
    Load::connect(Plan {
        dialect: System::Pgchat.dialect(),
        replicas: deployment.addrs(),
        users: database.users.clone(),
        lanes,
        sockets,
        via: Via::WebSocket,
        size: CONTENT,
    })
    .await
}

/// A message of the broker's for each client.
fn write_to_all_clients(load: &Load) {
    let board = &load.board;
    for lane in OTHERS..board.lanes.len() {
        board.send(lane, board.now());
    }
}

/// The others alone, for a time.
async fn talk(load: &Load, run: &mut Run, name: &str) -> Result<(), Failure> {
    window_from_now(load);
    load.send_during(Pace::Open(RATE), sleep(CALM)).await?;
    record(load, run, name);
    Ok(())
}

/// kill -9, and the clients are told by their connections' end. Each has a message that it does not know of. The others talk until all
/// are back.
async fn die_and_come_back(
    bench: &Bench,
    deployment: &mut Deployment,
    load: &mut Load,
    returning: &[Rc<Client>],
    run: &mut Run,
) -> Result<(), Failure> {
    for client in returning {
        client.leaving.set(true);
    }
    window_from_now(load);
    let died = Instant::now();
    drop(deployment.replicas.remove(VICTIM));
    let admin = bench.connect("postgres").await?;
    let meter = Meter::new(deployment.parts(), Some(bench.cluster.pid().await))?;
    let from = meter.read()?;
    write_to_all_clients(load);
    for (n, client) in returning.iter().enumerate() {
        client.replica.set(1 + n % 2);
        client.resumed.set(true);
    }
    let back = async {
        while returning.iter().any(|client| client.live.get()) {
            sleep(Duration::from_millis(1)).await;
        }
        let opened = load.reopen(returning).await;
        (opened, died.elapsed())
    };
    let (tasks, live_after) = load.send_during(Pace::Open(RATE), back).await?;
    let usage = meter.between(&from, &meter.read()?, &cpu::kinds(&admin).await?);
    for (name, prefix) in [
        ("load_generator_s", "load generator"),
        ("replicas_s", "replica"),
        ("postgres_s", "postgres"),
    ] {
        run.set(name, usage.of(prefix));
    }
    run.cpu = usage.parts;
    for client in returning {
        client.leaving.set(false);
    }
    load.adopt(tasks?);
    record(load, run, "others_meanwhile");
    run.set("all_live_after_s", live_after.as_secs_f64());
    Ok(())
}

fn window_from_now(load: &Load) {
    load.board.reset_latencies();
    load.board.window.set((load.board.now(), u64::MAX));
}

fn record(load: &Load, run: &mut Run, name: &str) {
    run.set_latencies(name, &load.board.tally.borrow().end_to_end);
}
