//! Arguments, log, runtime, signals, exit code; everything else is in the library.

mod cli;
mod signals;

use std::io::Write;
use std::process::ExitCode;

use cli::{Action, Invocation};
use pgchat::config::{AuthMode, Config, ConfigError, DatabaseSource, Loaded, LogFormat};
use pgchat::{app, auth, config, embedded, logging, store::tls};

/// A failure while running.
const FAILED: u8 = 1;
/// Configuration or arguments that the caller has to mend.
const MISUSED: u8 = 2;

fn main() -> ExitCode {
    let Invocation {
        action,
        config_file,
    } = match cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(MISUSED));
        }
    };
    // Before the configuration: the watchdog of the embedded database has its own arguments.
    if let Action::Watchdog(args) = action {
        return ended(FAILED, embedded::watchdog_main(args));
    }
    let loaded = match config::load(config_file.as_deref()).and_then(with_tls_checked) {
        Ok(loaded) => loaded,
        Err(error) => return ended(MISUSED, Err(error)),
    };
    if let Action::Token { user, ttl } = action {
        return match auth::mint(&loaded.config.auth, user, ttl) {
            // Not println, which panics when nobody reads.
            Ok(token) => ended(FAILED, writeln!(std::io::stdout(), "{token}")),
            Err(error) => ended(MISUSED, Err(error)),
        };
    }
    let (keys, key_warnings) = match auth::Keys::load(&loaded.config.auth) {
        Ok(loaded) => loaded,
        Err(error) => return ended(MISUSED, Err(error)),
    };
    if let Err(error) = logging::init(&loaded.config) {
        return ended(FAILED, Err(error));
    }
    // A probe runs every few seconds; the instance that it asks about has said all this at its start.
    if !matches!(action, Action::Healthcheck) {
        for warning in loaded.warnings.iter().chain(&key_warnings) {
            log::warn!("{warning}");
        }
        match loaded.summary.as_str() {
            "" => log::info!("settings: all at their defaults"),
            summary => log::info!("settings: {summary}"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(loaded.config.worker_threads)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return ended(FAILED, Err(format!("cannot start: {error}"))),
    };
    let log_format = loaded.config.log_format;
    let result = runtime.block_on(run(action, loaded.config, keys));
    // What still runs (a name lookup, say) must not hold up the end.
    runtime.shutdown_background();
    match result {
        Err(error) if log_format == LogFormat::Json && log::log_enabled!(log::Level::Error) => {
            log::error!("{error}");
            ExitCode::from(FAILED)
        }
        result => ended(FAILED, result),
    }
}

async fn run(action: Action, config: Config, keys: auth::Keys) -> Result<(), app::StartError> {
    match action {
        Action::Migrate => app::migrate(config).await,
        Action::DemoData => app::demo_data(config).await,
        Action::Healthcheck => app::healthcheck(&config).await,
        Action::Serve | Action::Token { .. } | Action::Watchdog(_) => {
            let drain = signals::drain()
                .map_err(|error| app::StartError(format!("cannot wait for signals: {error}")))?;
            if config.auth.mode == AuthMode::Trusted {
                log::warn!(
                    "AUTH_MODE=trusted: every caller is believed; only an authenticating gateway may reach {}",
                    config.server_addr
                );
            }
            app::serve(config, keys, drain).await
        }
    }
}

/// CA files are configuration: what is wrong with one is told like any other setting, before anything starts.
fn with_tls_checked(loaded: Loaded) -> Result<Loaded, ConfigError> {
    let database = match &loaded.config.database {
        DatabaseSource::External(database) => Some(database),
        DatabaseSource::Embedded { .. } => None,
    };
    for database in database.into_iter().chain(&loaded.config.listen_database) {
        tls::connector(database.ssl_mode, database.ssl_root_cert.as_deref()).map_err(|error| {
            ConfigError {
                variable: "DB_SSL_ROOT_CERT".to_owned(),
                problem: error.to_string(),
            }
        })?;
    }
    Ok(loaded)
}

/// The exit code, after one line about what went wrong, if anything.
fn ended<E: ToString>(code: u8, result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not eprintln, which panics when nobody reads standard error any more.
            let error = error.to_string();
            let _ = writeln!(std::io::stderr(), "pgchat: {}", logging::one_line(&error));
            ExitCode::from(code)
        }
    }
}
