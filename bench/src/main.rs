//! Measures pgchat beside what a team would otherwise run, on one machine in one run, and beside the floor
//! and the ceiling that PostgreSQL itself sets. A run that loses, doubles or reorders a message is a failed
//! run, however fast it was.
//!
//! In reading order: [`settings`] says what to run, [`scenarios`] are the lines of the report, [`systems`]
//! starts what is measured, [`load`] sends and receives, [`cpu`] tells who paid, [`record`] keeps the raw
//! results, [`report`] makes `docs/benchmarks.md` of them.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod cpu;
mod load;
mod record;
mod report;
mod scenarios;
mod settings;
mod systems;

use std::env;
use std::process::ExitCode;

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use pgchat_harness::cluster::{Cluster, RunDir, Wanted};
use pgchat_harness::{Failure, program, raise_open_files, with_causes};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use crate::record::{Conditions, Record};
use crate::scenarios::floor;
use crate::settings::Settings;
use crate::systems::{Bench, Programs, System};

/// Exit codes: 0 good, 1 a run of pgchat lost, doubled, reordered or refused messages (a peer's are told in the report), 2 bad arguments or no result,
/// 130 interrupted.
fn main() -> ExitCode {
    let mut args = env::args().skip(1);
    if args.next().as_deref() == Some(floor::RELAY) {
        return relay(&args.collect::<Vec<_>>());
    }
    let settings = Settings::from_args();
    match run(&settings) {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::Faulty) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("no result: {}", with_causes(&*error));
            ExitCode::from(2)
        }
    }
}

/// Not for the command line: a process that a floor is measured with.
fn relay(args: &[String]) -> ExitCode {
    match floor::relay(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("relay: {}", with_causes(&*error));
            ExitCode::from(2)
        }
    }
}

enum Outcome {
    Good,
    Faulty,
    Interrupted,
}

fn run(settings: &Settings) -> Result<Outcome, Failure> {
    let mut outcome = Outcome::Good;
    if !settings.scenarios.is_empty() {
        outcome = measure(settings)?;
    }
    if settings.report && !matches!(outcome, Outcome::Interrupted) {
        let path = report::write(&settings.results, &settings.report_path)?;
        println!("the report is in {}", path.display());
    }
    Ok(outcome)
}

fn measure(settings: &Settings) -> Result<Outcome, Failure> {
    raise_open_files()?;
    let pgchat = program::pgchat(settings.pgchat.as_deref())?;
    if statfs(settings.dir.as_path())?.filesystem_type() == TMPFS_MAGIC {
        let dir = settings.dir.display();
        return Err(format!("{dir} is no real disk (tmpfs): name another with --dir").into());
    }
    // Dropped after the runtime, and with it after everything that writes to it, in any case.
    let mut dir = RunDir::make(&settings.dir, "pgchat-bench")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let programs = Programs {
        pgchat,
        peers: settings.peers.clone(),
    };
    let outcome = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            outcome = all(settings, programs, &dir) => outcome,
            interrupted = interruption() => interrupted.map(|()| Outcome::Interrupted),
        }
    });
    drop(runtime);
    if matches!(outcome, Ok(Outcome::Good | Outcome::Interrupted)) {
        dir.discard_logs();
    }
    outcome
}

async fn all(settings: &Settings, programs: Programs, dir: &RunDir) -> Result<Outcome, Failure> {
    let wanted = Wanted {
        bin: settings.pg_bin.clone(),
        name: "pgchat bench",
        settings: scenarios::POSTGRES_SETTINGS.map(str::to_owned).to_vec(),
    };
    let cluster = Cluster::start(dir, wanted).await?;
    let bench = Bench::new(cluster, programs, dir);
    let mut faulty = false;
    for scenario in &settings.scenarios {
        println!("{}: {}", scenario.name(), scenario.about());
        let conditions = Conditions::now(
            &bench,
            scenarios::POSTGRES_SETTINGS.map(str::to_owned).as_slice(),
            settings.effort.quick,
        )
        .await?;
        let runs = scenario.run(&bench, settings).await?;
        let record = Record {
            scenario: scenario.name().to_owned(),
            conditions,
            runs,
        };
        for run in record.runs.iter().filter(|run| !run.faults.is_empty()) {
            println!(
                "  FAULTY: {} {} round {}: {:?} {:?}",
                run.system, run.variant, run.round, run.faults, run.complaints
            );
        }
        faulty |= [System::Pgchat, System::PgchatWithoutSearch]
            .iter()
            .any(|system| record.has_faults_of(system.name()));
        record.write(&settings.results)?;
    }
    Ok(if faulty {
        Outcome::Faulty
    } else {
        Outcome::Good
    })
}

async fn interruption() -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    println!("interrupted: ending what was started");
    Ok(())
}
