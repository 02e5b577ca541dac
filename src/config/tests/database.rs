//! Which database: hosts, URLs, TLS, the listener's own way.

use std::time::Duration;

use tokio_postgres::config::Host;

use super::*;

fn external(vars: &[(&str, &str)]) -> DatabaseConfig {
    match config(vars).database {
        DatabaseSource::External(database) => database,
        embedded => panic!("{vars:?}: {embedded:?}"),
    }
}

fn tcp(name: &str) -> Host {
    Host::Tcp(name.to_owned())
}

#[test]
fn database_variables_take_lists() {
    let database = external(&[
        ("DB_HOST", "a, 10.0.0.2,[::1],fe80::1%eth0,/run/postgresql"),
        ("DB_PORT", "5433"),
        ("DB_USER", "chat"),
        ("DB_PASSWORD", "p$ss w#rd"),
        ("DB_NAME", "crm"),
        ("DB_SSL_MODE", "Require"),
    ]);
    let postgres = &database.postgres;
    assert_eq!(
        postgres.get_hosts(),
        [
            tcp("a"),
            tcp("10.0.0.2"),
            tcp("::1"),
            tcp("fe80::1%eth0"),
            Host::Unix("/run/postgresql".into())
        ]
    );
    assert_eq!(postgres.get_ports(), [5433]);
    assert_eq!(postgres.get_user(), Some("chat"));
    assert_eq!(postgres.get_password(), Some(b"p$ss w#rd".as_slice()));
    assert_eq!(postgres.get_dbname(), Some("crm"));
    assert_eq!(database.ssl_mode, SslMode::Require);

    let database = external(&[("DB_HOST", "a,b"), ("DB_PORT", "1,2")]);
    assert_eq!(database.postgres.get_ports(), [1, 2]);
    assert_eq!(database.postgres.get_user(), Some("postgres"));
    assert_eq!(database.postgres.get_dbname(), Some("postgres"));
    assert_eq!(database.postgres.get_password(), None);
    assert_eq!(database.ssl_mode, SslMode::Prefer);
}

#[test]
fn a_url_is_read_and_what_it_leaves_out_filled_in() {
    let url = "postgresql://al%40ice:p%24@a:1,[::1]:2/crm?sslmode=verify-full&connect_timeout=3\
               &sslrootcert=/ca%20s.pem";
    let database = external(&[("DATABASE_URL", url), ("DB_PASSWORD", "unused")]);
    let postgres = &database.postgres;
    assert_eq!(postgres.get_hosts(), [tcp("a"), tcp("::1")]);
    assert_eq!(postgres.get_ports(), [1, 2]);
    assert_eq!(postgres.get_user(), Some("al@ice"));
    assert_eq!(postgres.get_password(), Some(b"p$".as_slice()));
    assert_eq!(postgres.get_dbname(), Some("crm"));
    assert_eq!(
        postgres.get_connect_timeout(),
        Some(&Duration::from_secs(3))
    );
    assert_eq!(database.ssl_mode, SslMode::VerifyFull);
    assert_eq!(database.ssl_root_cert, Some("/ca s.pem".into()));

    let database = external(&[
        ("DATABASE_URL", "postgres://a"),
        ("DB_USER", "u"),
        ("DB_PASSWORD", "p"),
        ("DB_NAME", "d"),
        ("DB_SSL_MODE", "verify-ca"),
        ("DB_SSL_ROOT_CERT", "/ca.pem"),
    ]);
    let postgres = &database.postgres;
    assert_eq!(postgres.get_ports(), [5432]);
    assert_eq!(postgres.get_user(), Some("u"));
    assert_eq!(postgres.get_password(), Some(b"p".as_slice()));
    assert_eq!(postgres.get_dbname(), Some("d"));
    assert_eq!(database.ssl_mode, SslMode::VerifyCa);
    assert_eq!(database.ssl_root_cert, Some("/ca.pem".into()));

    for url in [
        "postgres:///d?host=/run/postgresql&target_session_attrs=read-write",
        "postgres://%2Frun%2Fpostgresql/d",
    ] {
        let postgres = external(&[("DATABASE_URL", url)]).postgres;
        assert_eq!(postgres.get_hosts(), [Host::Unix("/run/postgresql".into())]);
        assert_eq!(postgres.get_ports(), [5432], "{url}");
    }
}

#[test]
fn what_a_url_asks_for_in_vain_is_warned_of() {
    let warnings = |text: &str| from_file(text).expect("valid").warnings;
    assert_eq!(
        warnings(
            "DATABASE_URL=postgres://a/d?connect_timeout=3&options=-cgeqo%3Doff&keepalives=0\n\
             LISTEN_DATABASE_URL=postgres://a/d?target_session_attrs=any"
        ),
        [
            "DATABASE_URL: pgchat sets these itself; no effect: connect_timeout, keepalives",
            "LISTEN_DATABASE_URL: pgchat sets these itself; no effect: target_session_attrs",
        ]
    );
    let url = "DATABASE_URL=postgres://u:p@a/d?sslmode=require&target_session_attrs=read-write&options=-cgeqo%3Doff&load_balance_hosts=random";
    assert_eq!(warnings(url), [""; 0]);
}

#[test]
fn a_unix_socket_needs_no_tls() {
    let database = external(&[
        ("DB_HOST", "/run/postgresql"),
        ("DB_SSL_MODE", "verify-full"),
        ("DB_SSL_ROOT_CERT", "/ca.pem"),
    ]);
    assert_eq!(database.ssl_mode, SslMode::Disable);
    assert_eq!(database.ssl_root_cert, None);
}

#[test]
fn the_listener_may_go_another_way() {
    let config = config(&[
        ("DB_HOST", "bouncer"),
        ("DB_SSL_ROOT_CERT", "/ca.pem"),
        ("LISTEN_DATABASE_URL", "postgres://db/?sslmode=verify-full"),
    ]);
    let listen = config.listen_database.expect("set");
    assert_eq!(listen.postgres.get_hosts(), [tcp("db")]);
    assert_eq!(listen.ssl_mode, SslMode::VerifyFull);
    assert_eq!(listen.ssl_root_cert, Some("/ca.pem".into()));
}
