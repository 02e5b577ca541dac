//! The usual setting: pairs of users, each with a conversation and a sender in it, the sender's socket on
//! one replica and the other's on the next.

use std::cell::RefCell;
use std::time::Duration;

use pgchat_harness::Failure;

use super::tell;
use crate::cpu::{self, Meter};
use crate::load::{LaneSpec, Load, Pace, Plan, Via};
use crate::record::Run;
use crate::settings::Effort;
use crate::systems::{Bench, Database, Deployment, System};

/// Bytes of each message's text.
pub const CONTENT: usize = 100;
/// How long what is under way may take to arrive after the last message was sent.
pub const SETTLE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
pub struct Setting {
    pub system: System,
    pub replicas: usize,
    pub senders: usize,
    pub via: Via,
    pub pace: Pace,
}

/// One run on a database of its own.
pub async fn run(
    bench: &Bench,
    setting: Setting,
    effort: Effort,
    variant: &str,
    round: usize,
) -> Result<Run, Failure> {
    let database = bench.database(setting.system, 2 * setting.senders).await?;
    let deployment = bench
        .start(setting.system, &database.name, setting.replicas)
        .await?;
    let run = on(
        bench,
        &database,
        &deployment,
        setting,
        effort,
        variant,
        round,
    )
    .await?;
    drop(deployment);
    bench.drop_database(database).await?;
    Ok(run)
}

/// One run on what is there.
pub async fn on(
    bench: &Bench,
    database: &Database,
    deployment: &Deployment,
    setting: Setting,
    effort: Effort,
    variant: &str,
    round: usize,
) -> Result<Run, Failure> {
    let load = connect(database, deployment, setting).await?;
    let mut run = Run::new(setting.system.name(), variant, round);
    measure(bench, deployment, &load, setting.pace, effort, &mut run).await?;
    load.settle(SETTLE).await;
    let board = load.close().await;
    run.set_tally(&board.tally.borrow());
    finish(&mut run);
    tell(
        &run,
        &[
            "per_second",
            "end_to_end_p50_ms",
            "end_to_end_p99_ms",
            "load_generator_us_per_message",
            "replicas_us_per_message",
            "postgres_us_per_message",
        ],
    );
    Ok(run)
}

/// Sockets of both participants, spread over the replicas, and a conversation for each pair.
pub async fn connect(
    database: &Database,
    deployment: &Deployment,
    setting: Setting,
) -> Result<Load, Failure> {
    let pairs: Vec<(usize, usize)> = (0..setting.senders).map(|n| (2 * n, 2 * n + 1)).collect();
    let conversations = database.conversations(&pairs).await?;
    let lanes = LaneSpec::of_pairs(&pairs, conversations);
    let replicas = deployment.replicas.len();
    let sockets = pairs
        .iter()
        .enumerate()
        .flat_map(|(n, (sender, recipient))| {
            [(*sender, n % replicas), (*recipient, (n + 1) % replicas)]
        })
        .collect();
    Load::connect(Plan {
        dialect: setting.system.dialect(),
        replicas: deployment.addrs(),
        users: database.users.clone(),
        lanes,
        sockets,
        via: setting.via,
        size: CONTENT,
    })
    .await
}

/// Measures at this pace from a checkpoint on, with who paid for it.
pub async fn measure(
    bench: &Bench,
    deployment: &Deployment,
    load: &Load,
    pace: Pace,
    effort: Effort,
    run: &mut Run,
) -> Result<(), Failure> {
    let admin = bench.connect("postgres").await?;
    admin.batch_execute("checkpoint").await?;
    let meter = Meter::new(deployment.parts(), Some(bench.cluster.pid().await))?;
    let readings = RefCell::new(Vec::new());
    load.measure(pace, effort.warm_up, effort.measured, || {
        readings.borrow_mut().push(meter.read()?);
        Ok(())
    })
    .await?;
    let kinds = cpu::kinds(&admin).await?;
    if let [from, to] = readings.borrow().as_slice() {
        let usage = meter.between(from, to, &kinds);
        run.set("completed", load.board.tally.borrow().completed as f64);
        run.set_usage(&usage);
    }
    Ok(())
}

/// Faults that a figure of the run should show as well.
fn finish(run: &mut Run) {
    let completed = run.figures.get("completed").copied().unwrap_or(0.0);
    if completed == 0.0 {
        run.faults.insert("nothing_completed".to_owned(), 1);
    }
}
