//! What an idle socket keeps resident: the difference that many of them make to a replica, by their number.

use std::time::Duration;

use pgchat_harness::Failure;
use tokio::time::sleep;

use super::pairs::CONTENT;
use super::tell;
use crate::cpu::resident;
use crate::load::{Load, Plan, Via};
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::{Bench, System};

/// The open files of a process end at 20,000 on many machines.
const SIZES: [usize; 2] = [2_000, 18_000];
/// Until what the handshakes needed is given back.
const QUIET: Duration = Duration::from_secs(3);

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for sockets in SIZES
        .into_iter()
        .take(if settings.effort.quick { 1 } else { 2 })
    {
        for system in &settings.systems {
            runs.push(once(bench, *system, sockets).await?);
        }
    }
    Ok(runs)
}

async fn once(bench: &Bench, system: System, sockets: usize) -> Result<Run, Failure> {
    let database = bench.database(system, sockets).await?;
    let deployment = bench.start(system, &database.name, 1).await?;
    let replica = &deployment.replicas[0];
    let before = resident(replica.process.id())?;
    let load = Load::connect(Plan {
        dialect: system.dialect(),
        replicas: deployment.addrs(),
        users: database.users.clone(),
        lanes: Vec::new(),
        sockets: (0..sockets).map(|user| (user, 0)).collect(),
        via: Via::WebSocket,
        size: CONTENT,
    })
    .await?;
    sleep(QUIET).await;
    let after = resident(replica.process.id())?;
    let board = load.close().await;

    let mut run = Run::new(system.name(), &format!("{sockets} sockets"), 0);
    run.set("sockets", sockets as f64);
    run.set("resident_before_mib", before as f64 / 1048576.0);
    run.set("resident_after_mib", after as f64 / 1048576.0);
    run.set(
        "kib_per_socket",
        after.saturating_sub(before) as f64 / 1024.0 / sockets as f64,
    );
    run.set_faults(&board.tally.borrow().faults);
    tell(
        &run,
        &[
            "kib_per_socket",
            "resident_before_mib",
            "resident_after_mib",
        ],
    );
    drop(deployment);
    bench.drop_database(database).await?;
    Ok(run)
}
