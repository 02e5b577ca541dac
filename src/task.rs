//! What a job needs out of files that the configuration names, and how it is done.

use pgchat::{Config, ConfigError, Keys, Probe, StartError};

use crate::cli::Job;
use crate::signals;

/// A job, and what it needs out of files that the configuration names.
pub enum Task {
    Serve(Keys),
    Migrate,
    DemoData,
    Healthcheck(Probe),
}

impl Task {
    /// The second part are warnings. What is wrong with such a file is told like any other setting, before anything starts. A file that the
    /// job does not use is not looked at: a replica goes on with the keys that it has where a new file is unusable, and its health check
    /// must, too.
    pub fn of(job: Job, config: &Config) -> Result<(Self, Vec<String>), ConfigError> {
        if !matches!(job, Job::Healthcheck(_)) {
            pgchat::check_ca_files(config)?;
        }
        let task = match job {
            Job::Serve => {
                let (keys, warnings) = Keys::load(&config.auth)?;
                return Ok((Self::Serve(keys), warnings));
            }
            Job::Migrate => Self::Migrate,
            Job::DemoData => Self::DemoData,
            Job::Healthcheck(probe) => Self::Healthcheck(probe),
        };
        Ok((task, Vec::new()))
    }

    /// Needs the runtime.
    pub async fn perform(self, config: Config) -> Result<(), StartError> {
        match self {
            Self::Migrate => pgchat::migrate(config).await,
            Self::DemoData => pgchat::demo_data(config).await,
            Self::Healthcheck(probe) => pgchat::healthcheck(&config, probe).await,
            Self::Serve(keys) => {
                let drain = signals::drain()
                    .map_err(|error| StartError(format!("cannot wait for signals: {error}")))?;
                pgchat::serve(config, keys, drain).await
            }
        }
    }
}
