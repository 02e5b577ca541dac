//! Runs real replicas of pgchat on a private PostgreSQL, lets clients chat through a load balancer, hurts
//! all of it at random, and checks from outside that the service keeps its promises: what was acknowledged
//! is stored and seen by both participants, nothing comes twice on one socket, and each conversation
//! arrives in the order of its `seq`.
//!
//! In reading order: [`start`] brings it up, [`client`], [`session`] and [`sender`] are the users,
//! [`faults`] hurt, [`checker`] judges, [`finish`] brings it to an end.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod api;
mod checker;
mod client;
mod content;
mod faults;
mod finish;
mod model;
mod proxy;
mod replicas;
mod report;
mod sender;
mod session;
mod settings;
mod start;
mod typing;
mod wire;
mod world;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pgchat_harness::cluster::RunDir;
use pgchat_harness::with_causes;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::settings::Settings;
use crate::start::Run;
use crate::world::World;

pub use pgchat_harness::Failure;

/// Exit codes: 0 kept, 1 broken, 2 bad arguments or no verdict, 130 interrupted.
fn main() -> ExitCode {
    let settings = Settings::from_args();
    match judge(settings) {
        Ok(Outcome::Kept) => ExitCode::SUCCESS,
        Ok(Outcome::Broken) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("no verdict: {}", with_causes(&*error));
            ExitCode::from(2)
        }
    }
}

enum Outcome {
    Kept,
    Broken,
    Interrupted,
}

fn judge(settings: Settings) -> Result<Outcome, Failure> {
    // Each client is three sockets in this process: its own, and the proxy's two.
    pgchat_harness::raise_open_files()?;
    let keep_logs = settings.keep_logs;
    // Dropped after the runtime, and with it after everything that writes to it, in any case.
    let mut dir = RunDir::make(&std::env::temp_dir(), "pgchat-soak")?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = run(settings, &dir) => outcome,
            interrupted = interruption() => interrupted.map(|()| Outcome::Interrupted),
        }
    });
    drop(runtime);
    if matches!(outcome, Ok(Outcome::Kept | Outcome::Interrupted)) && !keep_logs {
        dir.discard_logs();
    }
    outcome
}

async fn interruption() -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    println!("interrupted: ending what was started");
    Ok(())
}

async fn run(settings: Settings, dir: &RunDir) -> Result<Outcome, Failure> {
    println!("seed {}", settings.seed);
    let Run {
        world,
        mut background,
        network,
    } = start::start(settings, dir).await?;
    let mut senders = JoinSet::new();
    for client in 0..world.settings.clients {
        senders.spawn(sender::run(world.clone(), client));
    }
    let mut faults = JoinSet::new();
    faults.spawn(faults::run(world.clone()));

    tokio::select! {
        never = show_progress(&world) => never,
        () = sleep(world.settings.duration) => {}
        ended = background.join_next() => return Err(early(ended)),
        ended = senders.join_next() => return Err(early(ended.map(|ended| ended.map(drop)))),
        ended = faults.join_next() => return Err(early(ended.map(|ended| ended.map(drop)))),
    }
    println!("[{:>9}] calm: no more faults", now(&world));
    world.stages.calm.cancel();
    world.stages.quiet.cancel();
    finish::settle(&world, &mut senders).await?;
    finish::erase_heads(&world).await?;
    println!("[{:>9}] some clients leave", now(&world));
    finish::moment(&world).await;
    println!("[{:>9}] clients end", now(&world));
    world.stages.stop.cancel();
    let tally = finish::tally(&world, &mut faults).await?;
    while let Some(ended) = background.join_next().await {
        ended?;
    }
    let rows = finish::verdict(&world).await?;
    if world.settings.is_thorough() {
        let done = tally.faults.values().map(|entry| entry.done).sum();
        let now = world.clock.now();
        world.checker().all_was_done(done, now);
    }
    finish::drain_all(&world).await;
    network.cancel();
    let good = report::print(&world, &tally, rows);
    if let Some(path) = &world.settings.report {
        let text = serde_json::to_string_pretty(&report::json(&world, &tally, rows))?;
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(if good { Outcome::Kept } else { Outcome::Broken })
}

/// A line every ten seconds.
async fn show_progress(world: &Arc<World>) -> ! {
    loop {
        sleep(Duration::from_secs(10)).await;
        let (acknowledged, frames, unfinished) = {
            let checker = world.checker();
            (
                checker.counts.acknowledged,
                checker.counts.frames,
                checker.unfinished(),
            )
        };
        println!(
            "[{:>9}] {acknowledged} acknowledged, {frames} frames, {unfinished} under way, {} clients online, \
             connections by replica {:?}",
            now(world),
            world.online.load(Ordering::Relaxed),
            world.edge.open()
        );
    }
}

fn now(world: &World) -> String {
    model::seconds(world.clock.now())
}

/// A task that should have gone on: it has panicked, or there is a mistake in the soak itself.
fn early(ended: Option<Result<(), tokio::task::JoinError>>) -> Failure {
    match ended {
        Some(Err(error)) => error.into(),
        _ => "a task of the soak ended early".into(),
    }
}
