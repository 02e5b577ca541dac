//! Every setting of the service. Read once at the start; nothing else asks the environment.
//!
//! [`load`] takes the variables from `config.env` and the environment; [`settings`] is the one table of
//! names, defaults and allowed values that all of it is driven by.

mod auth;
mod bounds;
mod choices;
mod database;
mod error;
mod file;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod names;
mod origins;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod typos;
mod url;
mod values;

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub use auth::AuthConfig;
pub use bounds::{Limits, Rate, Timeouts};
pub use choices::{AuthMode, LogFormat, SslMode};
pub use database::{SHARED_DATA_HOME, data_home};
pub use error::{ConfigError, ConfigErrorKind};
pub use origins::AllowedOrigins;
pub use secret::Secret;
use values::{File, Values, shown};

/// Read from the working directory when neither `--config` nor [`FILE_VARIABLE`] names another.
const DEFAULT_FILE: &str = "config.env";

/// Names the file like `--config`, for all commands of a container, its health check among them. No setting: it cannot stand in the file.
const FILE_VARIABLE: &str = "PGCHAT_CONFIG";

/// Whether the settings have to name the keys that jwt mode checks tokens by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKeys {
    /// To check callers, or to make a token that passes the check: the keys must be there, and fit the other settings of tokens.
    Required,
    /// To work on the database, or to ask the service how it is: nobody calls, and the keys are often given to the service alone.
    Optional,
}

/// What the service runs with. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Config {
    pub database: DatabaseSource,
    /// Where the listener connects, when the rest goes through a pooler (`LISTEN_DATABASE_URL`).
    pub listen_database: Option<DatabaseConfig>,
    /// Schema of the chat tables (`DB_SCHEMA`).
    pub schema: String,
    /// `DB_POOL_SIZE`, 8.
    pub pool_size: usize,
    /// `USERS_TABLE`, spelled as in SQL: `users`, `crm.people`, `"User"`.
    pub users_table: String,
    /// `USERS_COLUMNS`: fields of a user, and the table's columns; those that it does not name are detected.
    pub users_columns: Vec<(String, String)>,
    /// `USER_DIRECTORY`, all: whether users may list users. Always in trusted mode, where the gateway decides.
    pub lists_users_to_users: bool,
    /// `SERVER_HOST` and `SERVER_PORT`, 127.0.0.1:8081; in jwt mode 0.0.0.0:8081.
    pub server_addr: SocketAddr,
    /// `SERVICE_NAME`, shown by `/health`.
    pub service_name: String,
    /// `WORKER_THREADS`; where it is 0, half of the cores, rounded up.
    pub worker_threads: usize,
    /// `LOG_LEVEL`, info.
    pub log_level: log::LevelFilter,
    pub log_format: LogFormat,
    /// `RUST_LOG`: refines `log_level`.
    pub log_filter: Option<String>,
    pub auth: AuthConfig,
    /// `SEARCH_LANGUAGE`, simple: a text search configuration; `None`: no search.
    pub search_language: Option<String>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// For CORS and the WebSocket handshake (`ALLOWED_ORIGINS`).
    pub allowed_origins: AllowedOrigins,
    /// `WEB_PAGE`, on: the chat page at `/`.
    pub web_page: bool,
}

/// The database of the operator, or one of our own.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum DatabaseSource {
    External(DatabaseConfig),
    Embedded {
        data_dir: PathBuf,
        bin_dir: Option<PathBuf>,
    },
}

/// One database to connect to, possibly on several hosts (the first that accepts writes is taken).
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Hosts, ports, user, password, database name; `target_session_attrs` and `ssl_mode` are set by store.
    pub postgres: tokio_postgres::Config,
    pub ssl_mode: SslMode,
    pub ssl_root_cert: Option<PathBuf>,
}

/// A configuration, and what is odd about it but no error; for the log, once there is one.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<String>,
    /// What was set to something else than its default, as one line without secrets; empty: nothing.
    pub summary: String,
}

/// Reads `file`, or else the one that [`FILE_VARIABLE`] names, or else `config.env` in the working directory if there is one; environment
/// variables win.
pub fn load(file: Option<&Path>, token_keys: TokenKeys) -> Result<Loaded, ConfigError> {
    // Empty counts as not set, as it does for every setting.
    let by_variable = std::env::var_os(FILE_VARIABLE).filter(|name| !name.is_empty());
    let named = file.or(by_variable.as_deref().map(Path::new));
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    let name = path.display().to_string();
    let text = match std::fs::read(path) {
        Ok(bytes) => Some(
            String::from_utf8(bytes)
                .map_err(|_| ConfigError::of_setting(&name, "must be UTF-8"))?,
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => None,
        Err(error) => {
            let problem = format!("cannot be read: {error}");
            return Err(ConfigError::of_setting(name, problem));
        }
    };
    let file = text.as_deref().map(|text| File { name: &name, text });
    let mut loaded = from_sources(file, |name| std::env::var_os(name), token_keys)?;
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    loaded.warnings.extend(typos::in_environment(names));
    Ok(loaded)
}

/// Every variable with its default and meaning, for `--help`.
pub fn help() -> String {
    settings::help()
}

fn from_sources(
    file: Option<File<'_>>,
    environment: impl Fn(&str) -> Option<OsString>,
    token_keys: TokenKeys,
) -> Result<Loaded, ConfigError> {
    let (values, mut warnings) = Values::collect(file, environment)?;
    let (auth, auth_warnings) = auth::read(&values, token_keys)?;
    let (database, listen_database, database_warnings) = database::read(&values)?;
    warnings.extend(auth_warnings);
    warnings.extend(database_warnings);
    let embedded = matches!(database, DatabaseSource::Embedded { .. });
    let config = Config {
        database,
        listen_database,
        schema: schema(&values)?,
        pool_size: values.number(&settings::DB_POOL_SIZE)?,
        users_table: users_table(&values)?,
        users_columns: users_columns(&values)?,
        lists_users_to_users: values
            .choice(&settings::USER_DIRECTORY, |word| Some(word == "all"))?
            || auth.mode == AuthMode::Trusted,
        server_addr: server_addr(&values)?,
        service_name: values.line(&settings::SERVICE_NAME)?,
        worker_threads: worker_threads(&values)?,
        log_level: log_level(&values)?,
        log_format: values.choice(&settings::LOG_FORMAT, LogFormat::named)?,
        log_filter: log_filter(&values)?,
        auth,
        search_language: search_language(&values)?,
        limits: bounds::limits(&values)?,
        timeouts: bounds::timeouts(&values)?,
        allowed_origins: allowed_origins(&values, embedded)?,
        web_page: values.choice(&settings::WEB_PAGE, |word| Some(word == "on"))?,
    };
    let host = default_host(config.auth.mode);
    let mode = auth::default_mode(&values).name();
    let summary = values.summary(|setting| match setting.name {
        "SERVER_HOST" => host,
        "AUTH_MODE" => mode,
        _ => setting.default,
    });
    Ok(Loaded {
        config,
        warnings,
        summary,
    })
}

impl Config {
    /// A configuration from these variables alone: `[("DB_HOST", "localhost")]`.
    #[cfg(any(test, fuzzing))]
    pub fn from_vars(vars: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let lookup = |name: &str| {
            let (_, value) = vars.iter().rev().find(|(var, _)| *var == name)?;
            Some(OsString::from(value))
        };
        from_sources(None, lookup, TokenKeys::Required).map(|loaded| loaded.config)
    }
}

fn schema(values: &Values) -> Result<String, ConfigError> {
    let setting = &settings::DB_SCHEMA;
    let name = values.text(setting);
    if !names::is_schema(name) {
        let rule = names::schema_rule();
        return Err(values.fault(setting, format!("{rule}; not {}", shown(name))));
    }
    Ok(name.to_owned())
}

fn users_table(values: &Values) -> Result<String, ConfigError> {
    let setting = &settings::USERS_TABLE;
    let table = values.text(setting);
    if !names::is_table(table) {
        return Err(values.fault(
            setting,
            format!(
                "must be table or schema.table as SQL spells it, other than plain names in double quotes, not {}",
                shown(table)
            ),
        ));
    }
    Ok(table.to_owned())
}

fn users_columns(values: &Values) -> Result<Vec<(String, String)>, ConfigError> {
    let setting = &settings::USERS_COLUMNS;
    match values.optional(setting) {
        Some(columns) => names::columns(&columns).map_err(|fault| values.fault(setting, fault)),
        None => Ok(Vec::new()),
    }
}

fn default_host(mode: AuthMode) -> &'static str {
    match mode {
        AuthMode::Trusted => settings::SERVER_HOST.default,
        // Callers are checked: it need not hide.
        AuthMode::Jwt => "0.0.0.0",
    }
}

fn server_addr(values: &Values) -> Result<SocketAddr, ConfigError> {
    let setting = &settings::SERVER_HOST;
    let default = default_host(auth::mode(values)?);
    let host = values.given(setting).unwrap_or(default).trim();
    let ip = if host.eq_ignore_ascii_case("localhost") {
        Ok(IpAddr::V4(Ipv4Addr::LOCALHOST))
    } else {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        bare.unwrap_or(host).parse()
    };
    let ip = ip.map_err(|_| {
        values.fault(
            setting,
            format!(
                "must be localhost or an IP address to listen on, such as 127.0.0.1, 0.0.0.0 or ::, not {}",
                shown(host)
            ),
        )
    })?;
    Ok(SocketAddr::new(ip, values.number(&settings::SERVER_PORT)?))
}

/// Whether the database has it, is seen when it is reached.
fn search_language(values: &Values) -> Result<Option<String>, ConfigError> {
    let setting = &settings::SEARCH_LANGUAGE;
    let language = values.text(setting).trim().to_lowercase();
    if language == "off" {
        return Ok(None);
    }
    if !names::is_search_language(&language) {
        let rule = names::search_language_rule();
        return Err(values.fault(setting, format!("{rule}; not {}", shown(&language))));
    }
    Ok(Some(language))
}

/// As many as are set, or half of the cores that this process may use. More threads than there is room for cost more
/// than they bring: each wakes the others to share its work.
fn worker_threads(values: &Values) -> Result<usize, ConfigError> {
    Ok(match values.number(&settings::WORKER_THREADS)? {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
        threads => threads,
    })
}

fn log_level(values: &Values) -> Result<log::LevelFilter, ConfigError> {
    values.choice(&settings::LOG_LEVEL, |word| word.parse().ok())
}

/// What env_logger would pass over, it would tell past the log.
fn log_filter(values: &Values) -> Result<Option<String>, ConfigError> {
    let setting = &settings::RUST_LOG;
    let filter = values.optional(setting);
    let is_level = |word: &str| word.is_empty() || word.parse::<log::LevelFilter>().is_ok();
    let is_module = |word: &str| {
        word.chars()
            .all(|c| c.is_alphanumeric() || "_-:".contains(c))
    };
    let is_directive = |text: &str| match text.trim().split_once('=') {
        Some((module, level)) => is_module(module.trim()) && is_level(level.trim()),
        None => is_module(text.trim()),
    };
    // Behind a "/" there may be a pattern.
    let text = filter.as_deref().unwrap_or_default();
    let (directives, pattern) = text.split_once('/').unwrap_or((text, ""));
    if !directives.split(',').all(is_directive) || pattern.contains('/') {
        return Err(values.fault(
            setting,
            format!(
                "must be levels or module=level, comma-separated, such as pgchat::listener=debug,hyper=info, not {}",
                shown(text)
            ),
        ));
    }
    Ok(filter)
}

fn allowed_origins(values: &Values, embedded: bool) -> Result<AllowedOrigins, ConfigError> {
    let setting = &settings::ALLOWED_ORIGINS;
    let Some(text) = values.given(setting) else {
        return Ok(AllowedOrigins::SameOrigin {
            local_pages: embedded,
        });
    };
    AllowedOrigins::parse(text).ok_or_else(|| {
        values.fault(
            setting,
            format!(
                "must be * alone, or origins such as https://app.example.com or http://localhost:3000, \
                 comma-separated and without a path, not {}",
                shown(text)
            ),
        )
    })
}
