//! Arguments, log, runtime, signals, exit code; everything else is in the library.

#![deny(clippy::print_stdout)] // it panics where nobody reads

mod cli;
mod signals;

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cli::{Action, Invocation, Job};
use pgchat::config::{Config, ConfigError, Loaded, LogFormat, Use};
use pgchat::model::UserId;
use pgchat::{app, auth, config, embedded, logging, metrics};

/// Why the process ends with another code than 0.
enum Failure {
    /// Exit code 2: configuration or arguments that the caller has to mend.
    Misused(String),
    /// Exit code 1: what went wrong while it ran, and may not the next time.
    Failed(String),
    /// Exit code 1, where the log has said already what went wrong.
    Logged,
}

fn main() -> ExitCode {
    metrics::process_starts();
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
        Action::Watchdog(args) => embedded::watchdog_main(args).map_err(Failure::failed),
        Action::Token { user, ttl } => print_token(config_file, user, ttl),
        Action::Run(job) => run(config_file, job),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

impl Failure {
    fn misused(error: impl ToString) -> Self {
        Self::Misused(error.to_string())
    }

    /// What is wrong with a setting, or with the file that it names: that may be mended, or be there, when it is tried again.
    fn of_files(error: ConfigError) -> Self {
        const FILES: [&str; 3] = ["JWT_PUBLIC_KEY_FILE", "JWT_JWKS_FILE", "DB_SSL_ROOT_CERT"];
        match FILES.contains(&error.variable.as_str()) {
            true => Self::failed(error),
            false => Self::misused(error),
        }
    }

    fn failed(error: impl ToString) -> Self {
        Self::Failed(error.to_string())
    }

    /// The exit code, after one line about it.
    fn report(self) -> ExitCode {
        let (code, error) = match &self {
            Self::Misused(error) => (2, error.as_str()),
            Self::Failed(error) => (1, error.as_str()),
            Self::Logged => return ExitCode::from(1),
        };
        // Not eprintln, which panics when nobody reads standard error any more.
        let _ = writeln!(std::io::stderr(), "pgchat: {}", logging::one_line(error));
        ExitCode::from(code)
    }
}

fn print_token(config_file: Option<&Path>, user: UserId, ttl: Duration) -> Result<(), Failure> {
    let Loaded {
        config, warnings, ..
    } = config::load(config_file, Use::Callers).map_err(Failure::misused)?;
    let token = auth::mint(&config.auth, user, ttl).map_err(Failure::misused)?;
    logging::init(&config).map_err(Failure::failed)?;
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
    let used = match job {
        Job::Serve => Use::Callers,
        Job::Migrate | Job::DemoData | Job::Healthcheck(_) => Use::Database,
    };
    let Loaded {
        config,
        mut warnings,
        summary,
    } = config::load(config_file, used).map_err(Failure::misused)?;
    let task = Task::of(job, &config, &mut warnings)?;
    logging::init(&config).map_err(Failure::failed)?;
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
    let ended = runtime.block_on(perform(task, config));
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

async fn perform(task: Task, config: Config) -> Result<(), app::StartError> {
    match task {
        Task::Migrate => app::migrate(config).await,
        Task::DemoData => app::demo_data(config).await,
        Task::Healthcheck(probe) => app::healthcheck(&config, probe).await,
        Task::Serve(keys) => {
            let drain = signals::drain()
                .map_err(|error| app::StartError(format!("cannot wait for signals: {error}")))?;
            app::serve(config, keys, drain).await
        }
    }
}

/// A job, and what it needs out of files that the configuration names.
enum Task {
    Serve(auth::Keys),
    Migrate,
    DemoData,
    Healthcheck(app::Probe),
}

impl Task {
    /// What is wrong with such a file is told like any other setting, before anything starts. A file that the job does not use is
    /// not looked at: a replica goes on with the keys that it has where a new file is unusable, and its health check must, too.
    fn of(job: Job, config: &Config, warnings: &mut Vec<String>) -> Result<Self, Failure> {
        if !matches!(job, Job::Healthcheck(_)) {
            app::check_ca_files(config).map_err(Failure::of_files)?;
        }
        Ok(match job {
            Job::Serve => {
                let (keys, of_keys) = auth::Keys::load(&config.auth).map_err(Failure::of_files)?;
                warnings.extend(of_keys);
                Self::Serve(keys)
            }
            Job::Migrate => Self::Migrate,
            Job::DemoData => Self::DemoData,
            Job::Healthcheck(probe) => Self::Healthcheck(probe),
        })
    }
}
