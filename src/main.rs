//! Arguments, log, runtime, signals, exit code; everything else is in the library.

#![deny(clippy::print_stdout)] // it panics where nobody reads

mod cli;
mod exit;
mod signals;
mod task;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Action, Invocation, Job};
use exit::Failure;
use pgchat::{Loaded, LogFormat, TokenKeys, UserId};
use task::Task;

fn main() -> ExitCode {
    pgchat::process_starts();
    let Invocation {
        action,
        config_file,
    } = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) if error.use_stderr() => {
            return Failure::Misused(cli::fault(&error)).report();
        }
        // What was asked for: help, or the version. Who has read enough of it closes the pipe.
        Err(help) => {
            return match print(&help.to_string()) {
                Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                    Failure::failed(error).report()
                }
                _ => ExitCode::SUCCESS,
            };
        }
    };
    let config_file = config_file.as_deref();
    let ended = match action {
        // Without the configuration: it has its own arguments.
        Action::Watchdog(args) => pgchat::watchdog_main(args).map_err(Failure::failed),
        Action::Token { user, ttl } => print_token(config_file, user, ttl),
        Action::Run(job) => run(config_file, job),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn print_token(config_file: Option<&Path>, user: UserId, ttl: Duration) -> Result<(), Failure> {
    let Loaded {
        config, warnings, ..
    } = pgchat::load_config(config_file, TokenKeys::Required)?;
    let token = pgchat::mint(&config.auth, user, ttl)?;
    pgchat::init_logging(&config).map_err(Failure::failed)?;
    log_warnings(&warnings);
    print(&format!("{token}\n")).map_err(Failure::failed)
}

/// To standard output, to the last byte. Not by print, which panics when nobody reads.
fn print(text: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout();
    output.write_all(text.as_bytes())?;
    output.flush()
}

fn run(config_file: Option<&Path>, job: Job) -> Result<(), Failure> {
    let token_keys = match job {
        Job::Serve => TokenKeys::Required,
        // Nobody calls.
        Job::Migrate | Job::DemoData | Job::Healthcheck(_) => TokenKeys::Optional,
    };
    let Loaded {
        config,
        mut warnings,
        summary,
    } = pgchat::load_config(config_file, token_keys)?;
    let (task, of_files) = Task::of(job, &config)?;
    warnings.extend(of_files);
    pgchat::init_logging(&config).map_err(Failure::failed)?;
    // A probe runs every few seconds; the instance that it asks about has said all this at its start.
    if !matches!(job, Job::Healthcheck(_)) {
        log_warnings(&warnings);
        log_settings(&summary);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let log_format = config.log_format;
    let ended = runtime.block_on(task.perform(config));
    // What still runs (a name lookup, say) must not hold up the end.
    runtime.shutdown_background();
    ended.map_err(|error| {
        if log_format == LogFormat::Json && log::log_enabled!(log::Level::Error) {
            log::error!("{error}");
            return Failure::Logged;
        }
        Failure::failed(error)
    })
}

fn log_warnings(warnings: &[String]) {
    for warning in warnings {
        log::warn!("{warning}");
    }
}

fn log_settings(summary: &str) {
    match summary {
        "" => log::info!("settings: all at their defaults"),
        summary => log::info!("settings: {summary}"),
    }
}
