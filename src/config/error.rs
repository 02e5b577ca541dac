//! What is wrong with the configuration.

/// What is wrong with which setting, and what is allowed; one line without secrets.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    pub kind: ConfigErrorKind,
    pub variable: String,
    pub problem: String,
}

/// What has to be mended: whether a repeat with the same settings may go well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigErrorKind {
    /// The setting, or the file of settings: exit code 2.
    Setting,
    /// A file that the setting names, which cannot be read, or holds what is of no use: exit code 1.
    File,
}

impl ConfigError {
    pub fn of_setting(variable: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            kind: ConfigErrorKind::Setting,
            variable: variable.into(),
            problem: problem.into(),
        }
    }

    /// `variable` names the file.
    pub fn of_file(variable: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            kind: ConfigErrorKind::File,
            variable: variable.into(),
            problem: problem.into(),
        }
    }
}
