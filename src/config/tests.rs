mod database;
mod documents;
mod errors;
mod files;
mod service;

use super::*;

/// The file that the project ships.
const SHIPPED: &str = include_str!("../../config.env");

/// What `config.env` with this text gives, in an environment that sets nothing.
fn from_file(text: &str) -> Result<Loaded, ConfigError> {
    let file = File {
        name: "config.env",
        text,
    };
    from_sources(Some(file), |_| None, TokenKeys::Required)
}

fn config(vars: &[(&str, &str)]) -> Config {
    Config::from_vars(vars).unwrap_or_else(|error| panic!("{vars:?}: {error}"))
}
