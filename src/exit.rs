//! Why the process ends otherwise than well, what it says of it, and by which exit code.

use std::io::Write;
use std::process::ExitCode;

use pgchat::{ConfigError, ConfigErrorKind};

/// Why the process ends with another code than 0.
pub enum Failure {
    /// Exit code 2: configuration or arguments that the caller has to mend.
    Misused(String),
    /// Exit code 1: what went wrong while it ran, and may not the next time.
    Failed(String),
    /// Exit code 1, where the log has said already what went wrong.
    Logged,
}

impl Failure {
    pub fn failed(error: impl ToString) -> Self {
        Self::Failed(error.to_string())
    }

    /// The exit code, after one line about it.
    pub fn report(self) -> ExitCode {
        let (code, error) = match &self {
            Self::Misused(error) => (2, error.as_str()),
            Self::Failed(error) => (1, error.as_str()),
            Self::Logged => return ExitCode::from(1),
        };
        // Not eprintln, which panics when nobody reads standard error any more.
        let _ = writeln!(std::io::stderr(), "pgchat: {}", pgchat::one_line(error));
        ExitCode::from(code)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match error.kind {
            ConfigErrorKind::Setting => Self::Misused(error.to_string()),
            // It may be mended, or be there, when it is tried again.
            ConfigErrorKind::File => Self::failed(error),
        }
    }
}
