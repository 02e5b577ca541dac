//! What errors, warnings and the summary tell, and that none of them tells a secret.

use std::os::unix::ffi::OsStringExt;

use super::*;
use crate::config::settings::Kind;

type Vars<'a> = &'a [(&'a str, &'a str)];

#[test]
fn every_error_names_the_variable_and_what_is_allowed() {
    let url = "DATABASE_URL";
    let key = "set one of JWT_SECRET, JWT_PUBLIC_KEY_FILE, JWT_JWKS_FILE, SERVICE_TOKENS";
    #[rustfmt::skip]
    let cases: &[(Vars, &str, &str)] = &[
        (&[("SERVER_PORT", "http")], "SERVER_PORT", "a whole number from 0 to 65535, not \"http\""),
        (&[("SERVER_PORT", "65536")], "SERVER_PORT", "from 0 to 65535"),
        (&[("SERVER_PORT", "-1")], "SERVER_PORT", "from 0 to 65535"),
        (&[("SERVER_PORT", "1\n2")], "SERVER_PORT", "not \"1\\n2\""),
        (&[("SERVER_HOST", "example.com")], "SERVER_HOST", "an IP address to listen on"),
        (&[("SERVICE_NAME", "a\nb")], "SERVICE_NAME", "control characters"),
        (&[("SERVICE_NAME", "a\0b")], "SERVICE_NAME", "U+0000"),
        (&[("LOG_LEVEL", "loud")], "LOG_LEVEL", "one of error, warn, info, debug, trace, not \"loud\""),
        (&[("RUST_LOG", "pgchat==debug")], "RUST_LOG", "levels or module=level"),
        (&[("RUST_LOG", "pgchat=loud")], "RUST_LOG", "not \"pgchat=loud\""),
        (&[("RUST_LOG", "pgchat debug")], "RUST_LOG", "comma-separated"),
        (&[("LOG_FORMAT", "xml")], "LOG_FORMAT", "one of pretty, json"),
        (&[("DB_POOL_SIZE", "0")], "DB_POOL_SIZE", "from 3 to 1000"),
        (&[("DB_SCHEMA", "Chat")], "DB_SCHEMA", "must start with a lower-case letter"),
        (&[("USERS_TABLE", "a.b.c")], "USERS_TABLE", "table or schema.table"),
        (&[("USERS_COLUMNS", "id")], "USERS_COLUMNS", "field=column"),
        (&[("USERS_COLUMNS", "name=x")], "USERS_COLUMNS", "fields are id, firstName"),
        (&[("USERS_COLUMNS", "id=a,id=b")], "USERS_COLUMNS", "id twice"),
        (&[("USERS_COLUMNS", "id=")], "USERS_COLUMNS", "column of 1 to 63 bytes for id"),
        (&[("ALLOWED_ORIGINS", "example.com")], "ALLOWED_ORIGINS", "* alone, or origins such as https://"),
        (&[("WEB_PAGE", "no")], "WEB_PAGE", "one of on, off, not \"no\""),
        (&[("MAX_MESSAGE_BYTES", "0")], "MAX_MESSAGE_BYTES", "from 1 to 10485760"),
        (
            &[("MAX_MESSAGE_BYTES", "1048576"), ("MAX_BODY_BYTES", "1048577")],
            "MAX_BODY_BYTES",
            "at least MAX_MESSAGE_BYTES + 1024, that is 1049600",
        ),
        (&[("TYPING_SECONDS", "1")], "TYPING_SECONDS", "from 2 to 300"),
        (&[("HEARTBEAT_SECONDS", "1.5")], "HEARTBEAT_SECONDS", "a whole number of seconds from 1 to 3600"),
        (&[("SHUTDOWN_DELAY_SECONDS", "30")], "SHUTDOWN_DELAY_SECONDS", "less than SHUTDOWN_GRACE_SECONDS, that is 30, not 30"),
        (&[("SHUTDOWN_GRACE_SECONDS", "99999")], "SHUTDOWN_GRACE_SECONDS", "seconds from 0 to 3600"),
        (&[("DB_HOST", "a,,b")], "DB_HOST", "without empty items"),
        (&[("DB_HOST", "a b")], "DB_HOST", "without empty items or spaces"),
        (&[("DB_HOST", "a,b:5432")], "DB_HOST", "a port goes into DB_PORT"),
        (&[("DB_HOST", "postgres://u:hunter2@a/db")], "DB_HOST", "a URL into DATABASE_URL"),
        (&[("DB_HOST", "\"a\"")], "DB_HOST", "names, IP addresses"),
        (&[("DB_HOST", "a"), ("DB_PORT", "x")], "DB_PORT", "a port from 1 to 65535"),
        (&[("DB_HOST", "a"), ("DB_PORT", "0")], "DB_PORT", "a port from 1 to 65535"),
        (&[("DB_HOST", "a,b,c"), ("DB_PORT", "1,2")], "DB_PORT", "one for each of the 3, not 2"),
        (&[("DB_HOST", "a"), ("DB_SSL_MODE", "yes")], "DB_SSL_MODE", "verify-full, not \"yes\""),
        (&[("DB_HOST", "a"), ("DB_SSL_MODE", "verify-ca")], "DB_SSL_ROOT_CERT", "must name the CA's PEM file"),
        (&[("DB_HOST", "a"), ("DB_SSL_ROOT_CERT", "/ca.pem")], "DB_SSL_ROOT_CERT", "no effect unless DB_SSL_MODE"),
        (&[("DB_HOST", "a"), (url, "postgres://b")], url, "excludes DB_HOST"),
        (&[(url, "mysql://u:hunter2@b")], url, "must have the form postgres://"),
        (&[(url, "host=b password=hunter2")], url, "must have the form postgres://"),
        (&[(url, "postgres://u:hunter2@/db")], url, "must name a host"),
        (&[(url, "postgres://u:hunter2@a,,b/db")], url, "must name a host"),
        (&[(url, "postgres://u:hunter2@a:x/db")], url, "invalid value for option `port`"),
        (&[(url, "postgres://u:hunter2@a:0/db")], url, "one port from 1 to 65535"),
        (&[(url, "postgres://a/db?port=1&port=2")], url, "one port from 1 to 65535"),
        (&[(url, "postgres://u:p@a?hunter2=1@a/db")], url, "unknown parameter; known are sslmode"),
        (&[(url, "postgres://u:p@ss?hunter2&x@a/db")], url, "must be percent-encoded"),
        (&[(url, "postgres://u:hunter2@a/db?schema=public")], url, "schema, which is not PostgreSQL's: leave it out; DB_SCHEMA"),
        (&[(url, "postgres://u:hunter2@a/db?sslmode=require&pgbouncer=true")], url, "LISTEN_DATABASE_URL is for that"),
        (&[(url, "postgres://u:hunter2@a?sslmode=on")], url, "unknown sslmode; it must be one of disable"),
        (&[(url, "postgres://u:hunter2@a?connect_timeout=x")], url, "invalid value for option `connect_timeout`"),
        (&[(url, "postgres://u:%ff@%ff")], url, "it cannot be read"),
        (&[("LISTEN_DATABASE_URL", "postgres://a")], "LISTEN_DATABASE_URL", "needs DB_HOST or DATABASE_URL"),
        (&[("DB_HOST", "a"), ("LISTEN_DATABASE_URL", "b")], "LISTEN_DATABASE_URL", "must have the form"),
        (&[("AUTH_MODE", "none")], "AUTH_MODE", "one of trusted, jwt"),
        (&[("AUTH_MODE", "jwt")], "AUTH_MODE", key),
        (&[("JWT_ISSUER", "hunter2")], "JWT_ISSUER", key),
        (&[("JWT_AUDIENCE", "hunter2")], "JWT_AUDIENCE", key),
        (&[("JWT_USER_CLAIM", "hunter2")], "JWT_USER_CLAIM", key),
        (&[("JWT_LEEWAY_SECONDS", "5")], "JWT_LEEWAY_SECONDS", key),
        (&[("JWT_SECRET", "x"), ("JWT_LEEWAY_SECONDS", "31")], "JWT_LEEWAY_SECONDS", "from 0 to 30"),
        (&[("SERVICE_TOKENS", " , ,")], "SERVICE_TOKENS", "at least one token"),
        (&[("SERVICE_TOKENS", "fine,hunter2-für-alle")], "SERVICE_TOKENS", "visible characters of ASCII"),
        (&[("TICKET_SECONDS", "0")], "TICKET_SECONDS", "from 1 to 300"),
        (&[("USER_CHECK_SECONDS", "31")], "USER_CHECK_SECONDS", "from 1 to 30"),
    ];
    for (vars, variable, part) in cases {
        let Err(error) = Config::from_vars(vars) else {
            panic!("{vars:?} was accepted");
        };
        let line = error.to_string();
        assert!(line.starts_with(&format!("{variable}: ")), "{line}");
        assert!(line.contains(part), "{vars:?}: {line}");
        assert!(!line.contains('\n'), "{line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn a_number_is_taken_from_its_least_to_its_most() {
    for setting in settings::all() {
        let (Kind::Number(least, most) | Kind::Seconds(least, most)) = setting.kind else {
            continue;
        };
        let taken = |text: String| {
            let environment = |name: &str| (name == setting.name).then(|| OsString::from(&text));
            let (values, _) = Values::collect(None, environment).expect("values");
            values.number::<u64>(setting).ok()
        };
        for (number, is_taken) in [
            (least, true),
            (most, true),
            (least.wrapping_sub(1), false),
            (most + 1, false),
        ] {
            let name = setting.name;
            let expected = is_taken.then_some(number);
            assert_eq!(taken(number.to_string()), expected, "{name}={number}");
            assert_eq!(taken(format!(" {number} ")), expected, "{name}={number}");
        }
    }
}

#[test]
fn a_wrong_value_is_quoted_short_and_one_that_is_no_text_is_refused() {
    let long = "9".repeat(10_000);
    let error = Config::from_vars(&[("SERVER_PORT", &long)]).unwrap_err();
    let quoted = format!("not \"{}\"… (in the environment)", &long[..60]);
    assert!(error.to_string().ends_with(&quoted), "{error}");

    let bytes = OsString::from_vec(b"hunter2\xff".to_vec());
    let environment = |name: &str| (name == "DB_PASSWORD").then(|| bytes.clone());
    let error = from_sources(None, environment, TokenKeys::Required)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "DB_PASSWORD: must be UTF-8 (in the environment)");
}

#[test]
fn no_secret_shows_in_debug_output() {
    let config = config(&[
        ("DB_HOST", "a"),
        ("DB_PASSWORD", "hunter2"),
        ("LISTEN_DATABASE_URL", "postgres://u:hunter2@a/db"),
        ("AUTH_MODE", "trusted"),
        ("JWT_SECRET", "hunter2"),
        ("SERVICE_TOKENS", "hunter2,hunter2"),
    ]);
    assert_eq!(config.auth.service_tokens.len(), 2);
    for shown in [format!("{config:?}"), format!("{config:#?}")] {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn the_summary_names_what_differs_from_the_defaults_and_no_secret() {
    let loaded = from_file(
        "DB_HOST=db\nDB_PORT=5432\nDB_PASSWORD=hunter2\nSERVICE_NAME=\"two words\"\nSERVER_PORT=9000\n",
    )
    .expect("a configuration");
    assert_eq!(
        loaded.summary,
        "DB_HOST=\"db\" (config.env, line 1), DB_PASSWORD=*** (config.env, line 3), \
         SERVER_PORT=\"9000\" (config.env, line 5), SERVICE_NAME=\"two words\" (config.env, line 4)"
    );
    assert_eq!(from_file("DB_PORT=5432").expect("defaults").summary, "");
}

/// Some defaults depend on other settings.
#[test]
fn the_summary_names_where_one_listens_and_whom_one_believes_if_that_is_not_what_goes_without_saying()
 {
    let summary = |text: &str| from_file(text).expect("valid").summary;
    let (local, key) = ("SERVER_HOST=127.0.0.1", "JWT_SECRET=hunter2");
    let (all, trusted) = ("SERVER_HOST=0.0.0.0", "AUTH_MODE=trusted");
    for (text, named, not_named) in [
        (
            format!("{key}\n{local}"),
            Some("SERVER_HOST=\"127.0.0.1\""),
            "AUTH_MODE",
        ),
        (format!("{key}\n{all}"), None, "SERVER_HOST"),
        (
            format!("{key}\n{trusted}\n{local}"),
            Some("AUTH_MODE=\"trusted\""),
            "SERVER_HOST",
        ),
        (format!("{trusted}\n{local}"), None, "SERVER_HOST"),
        (
            format!("{trusted}\n{all}"),
            Some("SERVER_HOST=\"0.0.0.0\""),
            "AUTH_MODE",
        ),
        (
            format!("{key}\nAUTH_MODE=jwt\nSERVER_HOST="),
            None,
            "AUTH_MODE",
        ),
    ] {
        let summary = summary(&text);
        assert!(
            named.is_none_or(|named| summary.contains(named)),
            "{text}: {summary}"
        );
        assert!(!summary.contains(not_named), "{text}: {summary}");
    }
}

#[test]
fn a_secret_that_could_be_found_by_trying_is_warned_of() {
    let long = "x".repeat(32);
    let warnings = |text: &str| from_file(text).expect("valid").warnings;
    assert!(warnings(&format!("JWT_SECRET={long}\nSERVICE_TOKENS={long},{long}")).is_empty());
    let weak = warnings(&format!(
        "JWT_SECRET={}\nSERVICE_TOKENS={long},hunter2",
        &long[1..]
    ));
    assert_eq!(weak.len(), 2, "{weak:?}");
    assert!(
        weak[0].starts_with("JWT_SECRET: shorter than 32 bytes"),
        "{weak:?}"
    );
    assert!(
        weak[1].starts_with("SERVICE_TOKENS, token 2: shorter than 32 bytes"),
        "{weak:?}"
    );
    assert!(!weak.concat().contains("hunter2"), "{weak:?}");
}
