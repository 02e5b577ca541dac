//! Databases named by a URL: `DATABASE_URL`, `LISTEN_DATABASE_URL`.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::config::Host;

use super::settings::Setting;
use super::values::Values;
use super::{ConfigError, SslMode};

const HINT: &str =
    "in user and password, \"@\", \":\", \"/\", \"?\", \"#\" and \"%\" must be percent-encoded";
const FORM: &str = "must have the form postgres://user:password@host:port/database?sslmode=…";

/// What a URL says.
pub(super) struct Url {
    pub postgres: tokio_postgres::Config,
    /// Two that tokio-postgres does not know in full: `sslmode` and `sslrootcert`.
    pub ssl_mode: Option<SslMode>,
    pub ssl_root_cert: Option<PathBuf>,
}

/// Errors never repeat a part of the URL: a password with an unescaped `@` or `?` may stand anywhere in it.
pub(super) fn parse(values: &Values, setting: &Setting) -> Result<Url, ConfigError> {
    let url = values.text(setting).trim();
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(values.fault(setting, FORM));
    }
    let (url, parameters) = split_parameters(url);
    let Parameters {
        ssl_mode,
        ssl_root_cert,
        others,
    } = Parameters::read(parameters).map_err(|problem| values.fault(setting, problem))?;
    let url = format!("{url}?{}", others.join("&"));
    let postgres: tokio_postgres::Config = url
        .parse()
        .map_err(|error| values.fault(setting, format!("{FORM}; {}; {HINT}", cause(&error))))?;
    // The rest of a password with an "@" in it would be a host, and be told wherever hosts are.
    let is_part_of_a_password = |host: &Host| matches!(host, Host::Tcp(name) if name.contains('@'));
    if postgres.get_hosts().iter().any(is_part_of_a_password) {
        return Err(values.fault(setting, format!("{FORM}; {HINT}")));
    }
    Ok(Url {
        postgres,
        ssl_mode,
        ssl_root_cert,
    })
}

/// What stands behind the `?` of a URL.
#[derive(Default)]
struct Parameters<'a> {
    ssl_mode: Option<SslMode>,
    ssl_root_cert: Option<PathBuf>,
    /// Those that tokio-postgres reads itself, as they were written.
    others: Vec<&'a str>,
}

impl<'a> Parameters<'a> {
    /// The error is what is wrong with the first that is not taken.
    fn read(text: &'a str) -> Result<Self, String> {
        let mut read = Self::default();
        for parameter in text.split('&').filter(|part| !part.is_empty()) {
            match parameter.split_once('=') {
                Some(("sslmode", value)) => {
                    let mode = SslMode::named(value).ok_or_else(|| {
                        let known = SslMode::NAMES.join(", ");
                        format!("has an unknown sslmode; it must be one of {known}")
                    })?;
                    read.ssl_mode = Some(mode);
                }
                Some(("sslrootcert", value)) => {
                    let path = percent_decode_str(value).decode_utf8_lossy();
                    read.ssl_root_cert = Some(PathBuf::from(&*path));
                }
                Some((name, _)) if TAKEN.contains(&name) || SET_BY_PGCHAT.contains(&name) => {
                    read.others.push(parameter);
                }
                Some((name, _)) => return Err(not_taken(name)),
                None => return Err(not_taken("")),
            }
        }
        Ok(read)
    }
}

/// Why a parameter of this name is not taken. The name is told only where it is a known one.
fn not_taken(name: &str) -> String {
    match FOREIGN.iter().find(|(foreign, _)| *foreign == name) {
        Some((_, instead)) => format!(
            "has the parameter {name}, which is not PostgreSQL's: leave it out; {instead} is for that"
        ),
        None => format!(
            "has an unknown parameter; known are sslmode, sslrootcert, {}; {HINT}",
            TAKEN.join(", ")
        ),
    }
}

/// What a URL may say of its connections.
const TAKEN: [&str; 10] = [
    "user",
    "password",
    "dbname",
    "host",
    "hostaddr",
    "port",
    "options",
    "load_balance_hosts",
    "channel_binding",
    "sslnegotiation",
];

/// Parameters that tokio-postgres knows too, and that pgchat sets itself for each connection, whatever the URL says (`store::Connector`).
const SET_BY_PGCHAT: [&str; 8] = [
    "application_name",
    "connect_timeout",
    "tcp_user_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "target_session_attrs",
];

/// A warning about these.
pub(super) fn without_effect(values: &Values, setting: &Setting) -> Option<String> {
    let (_, parameters) = split_parameters(values.given(setting)?);
    let names: Vec<&str> = parameters
        .split('&')
        .filter(|parameter| *parameter != "target_session_attrs=read-write") // that is what it is set to
        .filter_map(|parameter| parameter.split('=').next())
        .filter(|name| SET_BY_PGCHAT.contains(name))
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "{}: pgchat sets these itself; no effect: {}",
            setting.name,
            names.join(", ")
        )
    })
}

/// Parameters of URLs for Prisma and node-postgres, and the settings that do the same here.
const FOREIGN: [(&str, &str); 4] = [
    ("schema", "DB_SCHEMA"),
    ("connection_limit", "DB_POOL_SIZE"),
    ("pgbouncer", "LISTEN_DATABASE_URL"),
    ("ssl", "sslmode"),
];

/// Where tokio-postgres, too, sees the parameters begin: at the first `?` after the first `@`.
fn split_parameters(url: &str) -> (&str, &str) {
    let authority = url.find('@').unwrap_or(0);
    match url[authority..].find('?') {
        Some(at) => (&url[..authority + at], &url[authority + at + 1..]),
        None => (url, ""),
    }
}

/// tokio-postgres's own words, where they are known to hold nothing of the URL.
fn cause(error: &tokio_postgres::Error) -> String {
    let text = std::error::Error::source(error).map(ToString::to_string);
    text.filter(|text| text.starts_with("invalid value for option"))
        .unwrap_or_else(|| "it cannot be read".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Config, DatabaseSource};

    proptest! {
        #[test]
        fn whatever_is_wrong_with_a_url_its_password_is_not_told(
            before in "[a-z:/@?#%=&.]{0,12}", after in "[a-z0-9:/@?#%=&. ]{0,30}"
        ) {
            const PASSWORD: &str = "hunter2Yn";
            let url = format!("postgres://{before}{PASSWORD}{after}");
            if let Err(error) = Config::from_vars(&[("DATABASE_URL", &url)]) {
                prop_assert!(!error.to_string().contains(PASSWORD), "{}", error);
            }
        }
    }

    #[test]
    fn the_rest_of_a_password_is_no_host() {
        for url in [
            "postgres://u:pass@hunter2@db/app",
            "postgres://u:@@db",
            "postgres://u:p@a,b@c/app",
        ] {
            let error = Config::from_vars(&[("DATABASE_URL", url)]).unwrap_err();
            assert!(error.to_string().contains("percent-encoded"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(Config::from_vars(&[("DATABASE_URL", "postgres://u:pass%40word@db/app")]).is_ok());
    }

    #[test]
    fn percent_encoding_is_undone() {
        for (text, path) in [("/a%20b/%C3%A4", "/a b/ä"), ("/%zz", "/%zz"), ("/ä", "/ä")] {
            let url = format!("postgres://db/app?sslmode=verify-ca&sslrootcert={text}");
            let config = Config::from_vars(&[("DATABASE_URL", &url)]).unwrap();
            let DatabaseSource::External(database) = config.database else {
                panic!("a URL is given");
            };
            assert_eq!(database.ssl_root_cert, Some(PathBuf::from(path)));
        }
    }
}
