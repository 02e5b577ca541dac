//! What an idle socket keeps resident: the difference that many of them make to a replica that has some
//! already, by their number.

use std::ops::Range;
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
/// Sockets that come before the first measurement: what a program sets up once for all sockets (pages of code, connections of
/// its pool, tables) is no socket's own.
const FIRST: usize = 100;
/// Until what the handshakes needed is given back.
const QUIET: Duration = Duration::from_secs(3);

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let sizes = if settings.effort.quick {
        &SIZES[..1]
    } else {
        &SIZES[..]
    };
    let mut runs = Vec::new();
    for sockets in sizes {
        for round in 0..settings.effort.rounds {
            for system in &settings.systems {
                runs.push(once(bench, *system, *sockets, round).await?);
            }
        }
    }
    Ok(runs)
}

async fn once(bench: &Bench, system: System, sockets: usize, round: usize) -> Result<Run, Failure> {
    let database = bench.database(system, FIRST + sockets).await?;
    let deployment = bench.start(system, &database.name, 1).await?;
    let replica = &deployment.replicas[0];
    let connect = async |users: Range<usize>| {
        let load = Load::connect(Plan {
            dialect: system.dialect(),
            replicas: deployment.addrs(),
            users: database.users.clone(),
            lanes: Vec::new(),
            sockets: users.map(|user| (user, 0)).collect(),
            via: Via::WebSocket,
            size: CONTENT,
        })
        .await?;
        sleep(QUIET).await;
        Ok::<_, Failure>((load, resident(replica.process.id())?))
    };
    let alone = resident(replica.process.id())?;
    let (first, before) = connect(0..FIRST).await?;
    let (rest, after) = connect(FIRST..FIRST + sockets).await?;

    let mut run = Run::new(system.name(), &format!("{sockets} sockets"), round);
    run.set("sockets", sockets as f64);
    run.set("resident_alone_mib", mib(alone));
    run.set("resident_before_mib", mib(before));
    run.set("resident_after_mib", mib(after));
    run.set(
        "kib_per_socket",
        after.saturating_sub(before) as f64 / 1024.0 / sockets as f64,
    );
    for load in [first, rest] {
        run.set_faults(&load.close().await.tally.borrow().faults);
    }
    tell(
        &run,
        &[
            "kib_per_socket",
            "resident_alone_mib",
            "resident_before_mib",
            "resident_after_mib",
        ],
    );
    drop(deployment);
    bench.drop_database(database).await?;
    Ok(run)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1048576.0
}
