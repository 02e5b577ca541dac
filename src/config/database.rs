//! Which database to connect to: `DB_*`, `DATABASE_URL`, `LISTEN_DATABASE_URL` or the embedded one.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

use nix::unistd::geteuid;
use tokio_postgres::config::Host;

use super::settings::{self, Setting};
use super::url::{self, Url};
use super::values::{Values, shown};
use super::{ConfigError, DatabaseConfig, DatabaseSource, SslMode};

/// The database, the listener's own way to it, and warnings about settings without effect.
pub(super) fn read(
    values: &Values,
) -> Result<(DatabaseSource, Option<DatabaseConfig>, Vec<String>), ConfigError> {
    let hosts = values.is_given(&settings::DB_HOST);
    let url = values.is_given(&settings::DATABASE_URL);
    let mut warnings = Vec::new();
    let source = match (hosts, url) {
        (true, true) => {
            return Err(values.fault(
                &settings::DATABASE_URL,
                "excludes DB_HOST: set only one of the two",
            ));
        }
        (true, false) => DatabaseSource::External(from_hosts(values)?),
        (false, true) => DatabaseSource::External(from_url(values, &settings::DATABASE_URL)?),
        (false, false) => {
            warnings.extend(without_host(values));
            embedded(values)?
        }
    };
    let listen = if values.is_given(&settings::LISTEN_DATABASE_URL) {
        if matches!(source, DatabaseSource::Embedded { .. }) {
            return Err(values.fault(
                &settings::LISTEN_DATABASE_URL,
                "needs DB_HOST or DATABASE_URL; the embedded database is always reached directly",
            ));
        }
        Some(from_url(values, &settings::LISTEN_DATABASE_URL)?)
    } else {
        None
    };
    if let DatabaseSource::External(database) = &source {
        check_root_cert_is_used(values, database, listen.as_ref())?;
    }
    for url in [&settings::DATABASE_URL, &settings::LISTEN_DATABASE_URL] {
        warnings.extend(url::without_effect(values, url));
    }
    Ok((source, listen, warnings))
}

fn from_hosts(values: &Values) -> Result<DatabaseConfig, ConfigError> {
    let mut postgres = tokio_postgres::Config::new();
    let hosts = list(values, &settings::DB_HOST)?;
    for host in &hosts {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if !is_host(host) {
            return Err(values.fault(
                &settings::DB_HOST,
                // Not repeated: it may be a URL with a password.
                "must be names, IP addresses or directories of Unix sockets; a port goes into DB_PORT, a URL into DATABASE_URL",
            ));
        }
        postgres.host(host);
    }
    for port in ports(values, hosts.len())? {
        postgres.port(port);
    }
    finish(values, &settings::DB_HOST, postgres, None, None)
}

fn from_url(values: &Values, setting: &Setting) -> Result<DatabaseConfig, ConfigError> {
    let Url {
        postgres,
        ssl_mode,
        ssl_root_cert,
    } = url::parse(values, setting)?;
    finish(values, setting, postgres, ssl_mode, ssl_root_cert)
}

/// Whether it is a host alone: no URL, no port, and no quotes that a reader of the file has left around it.
fn is_host(text: &str) -> bool {
    let without_zone = text.split('%').next().unwrap_or_default();
    text.starts_with('/')
        || without_zone.parse::<IpAddr>().is_ok()
        || !text.contains(['/', ':', '@', '"', '\''])
}

/// Fills in what is still missing, then checks that there is somewhere to connect to.
fn finish(
    values: &Values,
    setting: &Setting,
    mut postgres: tokio_postgres::Config,
    ssl_mode: Option<SslMode>,
    ssl_root_cert: Option<PathBuf>,
) -> Result<DatabaseConfig, ConfigError> {
    let ssl_mode = match ssl_mode {
        Some(mode) => mode,
        None => values.choice(&settings::DB_SSL_MODE, SslMode::named)?,
    };
    fill_in_account(values, &mut postgres)?;
    settle_addresses(values, setting, &mut postgres)?;
    // As in libpq, TLS settings do not concern Unix sockets.
    let unix = |host: &Host| matches!(host, Host::Unix(_));
    if !postgres.get_hosts().is_empty() && postgres.get_hosts().iter().all(unix) {
        return Ok(DatabaseConfig {
            postgres,
            ssl_mode: SslMode::Disable,
            ssl_root_cert: None,
        });
    }
    let ssl_root_cert =
        ssl_root_cert.or_else(|| values.given(&settings::DB_SSL_ROOT_CERT).map(PathBuf::from));
    if ssl_mode == SslMode::VerifyCa && ssl_root_cert.is_none() {
        return Err(values.fault(
            &settings::DB_SSL_ROOT_CERT,
            "must name the CA's PEM file when the SSL mode is verify-ca",
        ));
    }
    Ok(DatabaseConfig {
        postgres,
        ssl_mode,
        ssl_root_cert,
    })
}

/// The user, the database's name and the password, where a URL has not said them.
fn fill_in_account(
    values: &Values,
    postgres: &mut tokio_postgres::Config,
) -> Result<(), ConfigError> {
    if postgres.get_user().is_none() {
        postgres.user(values.line(&settings::DB_USER)?);
    }
    if postgres.get_dbname().is_none() {
        postgres.dbname(values.line(&settings::DB_NAME)?);
    }
    if postgres.get_password().is_none()
        && let Some(password) = values.given(&settings::DB_PASSWORD)
    {
        postgres.password(password);
    }
    Ok(())
}

/// At least one host, none of them empty, and one port for all of them or one for each.
fn settle_addresses(
    values: &Values,
    setting: &Setting,
    postgres: &mut tokio_postgres::Config,
) -> Result<(), ConfigError> {
    let hosts = postgres
        .get_hosts()
        .len()
        .max(postgres.get_hostaddrs().len());
    let empty = |host: &Host| matches!(host, Host::Tcp(name) if name.trim().is_empty());
    if hosts == 0 || postgres.get_hosts().iter().any(empty) {
        return Err(values.fault(setting, "must name a host; one of them is missing or empty"));
    }
    if postgres.get_ports().is_empty() {
        for port in ports(values, hosts)? {
            postgres.port(port);
        }
    }
    let ports = postgres.get_ports();
    if ports.contains(&0) || (ports.len() > 1 && ports.len() != hosts) {
        return Err(values.fault(
            setting,
            "must have one port from 1 to 65535 for all hosts, or one for each",
        ));
    }
    Ok(())
}

/// A CA file that nothing checks against means that somebody believes in a check that does not happen.
fn check_root_cert_is_used(
    values: &Values,
    database: &DatabaseConfig,
    listen: Option<&DatabaseConfig>,
) -> Result<(), ConfigError> {
    let verifies = |config: &DatabaseConfig| {
        matches!(config.ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull)
    };
    let unused = |config: &DatabaseConfig| config.ssl_root_cert.is_some() && !verifies(config);
    if unused(database) && !listen.is_some_and(verifies) {
        return Err(values.fault(
            &settings::DB_SSL_ROOT_CERT,
            "has no effect unless DB_SSL_MODE (or the URL's sslmode) is verify-ca or verify-full",
        ));
    }
    Ok(())
}

fn list(values: &Values, setting: &Setting) -> Result<Vec<String>, ConfigError> {
    let text = values.line(setting)?;
    let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
    if items
        .iter()
        .any(|item| item.is_empty() || item.contains(char::is_whitespace))
    {
        return Err(values.fault(
            setting,
            format!(
                "must be a comma-separated list without empty items or spaces inside them, not {}",
                shown(&text)
            ),
        ));
    }
    Ok(items)
}

fn ports(values: &Values, hosts: usize) -> Result<Vec<u16>, ConfigError> {
    let setting = &settings::DB_PORT;
    let text = values.text(setting);
    let ports: Option<Vec<u16>> = text
        .split(',')
        .map(|port| port.trim().parse().ok().filter(|port| *port != 0))
        .collect();
    let ports = ports.ok_or_else(|| {
        values.fault(
            setting,
            format!(
                "must be a port from 1 to 65535, or a comma-separated list of them, not {}",
                shown(text)
            ),
        )
    })?;
    if ports.len() != 1 && ports.len() != hosts {
        return Err(values.fault(
            setting,
            format!(
                "must be one port for all hosts, or one for each of the {hosts}, not {} ports",
                ports.len()
            ),
        ));
    }
    Ok(ports)
}

/// Somebody who sets a password but no host did not mean the embedded database.
fn without_host(values: &Values) -> Option<String> {
    let lone = [
        &settings::DB_PORT,
        &settings::DB_USER,
        &settings::DB_PASSWORD,
        &settings::DB_NAME,
        &settings::DB_SSL_MODE,
        &settings::DB_SSL_ROOT_CERT,
    ];
    let names: Vec<_> = lone
        .iter()
        .filter(|setting| values.differs(setting))
        .map(|setting| setting.name)
        .collect();
    (!names.is_empty()).then(|| {
        format!(
            "without DB_HOST and DATABASE_URL the embedded database is used; no effect: {}",
            names.join(", ")
        )
    })
}

fn embedded(values: &Values) -> Result<DatabaseSource, ConfigError> {
    let setting = &settings::EMBEDDED_DATA_DIR;
    let data_dir = match values.given(setting) {
        Some(given) => PathBuf::from(given),
        None => {
            let home = data_home().ok_or_else(|| {
                values.fault(
                    setting,
                    "must be set: its default needs XDG_DATA_HOME or HOME, and neither is an absolute path",
                )
            })?;
            home.join("postgres")
        }
    };
    let data_dir = std::path::absolute(&data_dir)
        .map_err(|error| values.fault(setting, format!("must be a directory: {error}")))?;
    Ok(DatabaseSource::Embedded {
        data_dir,
        bin_dir: values.given(&settings::PG_BIN_DIR).map(PathBuf::from),
    })
}

/// What root has instead of a data directory in its home: PostgreSQL refuses to run as root, and the account that it runs under
/// instead can't reach below `/root`.
pub const SHARED_DATA_HOME: &str = "/var/lib/pgchat";

/// Where pgchat keeps what is this user's; `None` where the environment does not tell.
pub fn data_home() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name);
    data_home_of(
        geteuid().is_root(),
        variable("XDG_DATA_HOME"),
        variable("HOME"),
    )
}

fn data_home_of(
    root: bool,
    xdg_data_home: Option<OsString>,
    home: Option<OsString>,
) -> Option<PathBuf> {
    if root {
        return Some(PathBuf::from(SHARED_DATA_HOME));
    }
    // A relative XDG_DATA_HOME is to be ignored (XDG Base Directory Specification).
    let absolute = |dir: OsString| Some(PathBuf::from(dir)).filter(|dir| dir.is_absolute());
    let data = xdg_data_home
        .and_then(absolute)
        .or_else(|| Some(home.and_then(absolute)?.join(".local/share")))?;
    Some(data.join("pgchat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_data_is_per_user_and_reachable_for_roots_substitute() {
        let dir = |root, xdg: Option<&str>, home: Option<&str>| {
            data_home_of(root, xdg.map(OsString::from), home.map(OsString::from))
        };
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(
            dir(true, Some("/x"), Some("/root")),
            path("/var/lib/pgchat")
        );
        assert_eq!(dir(false, Some("/x"), Some("/home/a")), path("/x/pgchat"));
        let in_home = path("/home/a/.local/share/pgchat");
        assert_eq!(dir(false, None, Some("/home/a")), in_home);
        assert_eq!(dir(false, Some("relative"), Some("/home/a")), in_home);
        assert_eq!(dir(false, Some(""), Some("/home/a")), in_home);
        assert_eq!(dir(false, None, Some("")), None);
        assert_eq!(dir(false, None, None), None);
    }
}
