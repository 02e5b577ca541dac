use std::time::Duration;

use tokio_postgres::config::Host;

use super::*;

/// What `config.env` with this text gives, in an environment that sets nothing.
fn from_file(text: &str) -> Result<Loaded, ConfigError> {
    let file = File {
        name: "config.env",
        text,
    };
    from_sources(Some(file), |_| None)
}

fn config(vars: &[(&str, &str)]) -> Config {
    Config::from_vars(vars).unwrap_or_else(|error| panic!("{vars:?}: {error}"))
}

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
fn without_variables_the_defaults_of_the_documentation_hold() {
    let config = config(&[]);
    let DatabaseSource::Embedded { data_dir, bin_dir } = &config.database else {
        panic!("{:?}", config.database);
    };
    assert!(data_dir.is_absolute() && data_dir.ends_with("pgchat/postgres"));
    assert_eq!(*bin_dir, None);
    assert_eq!(config.server_addr.to_string(), "127.0.0.1:8081");
    assert_eq!(config.schema, "public");
    assert_eq!(config.pool_size, 8);
    assert_eq!(config.users_table, "users");
    assert_eq!(config.users_columns, None);
    assert_eq!(config.service_name, "pgchat");
    assert!(config.worker_threads >= 1);
    let threads = self::config(&[("WORKER_THREADS", "3")]).worker_threads;
    assert_eq!(threads, 3);
    assert_eq!(config.log_level, log::LevelFilter::Info);
    assert_eq!(config.log_format, LogFormat::Pretty);
    assert_eq!(config.auth.mode, AuthMode::Trusted);
    assert!(config.allowed_origins.is_empty());
    assert!(config.web_page);
    // The embedded database: pages of this machine may try it out.
    assert!(config.lists_origin("http://localhost:5173"));
    assert!(!config.lists_origin("https://app.example.com"));
    let own = self::config(&[("DB_HOST", "db")]);
    assert!(!own.lists_origin("http://localhost:5173"));
    let listed = self::config(&[("ALLOWED_ORIGINS", "https://app.example.com")]);
    assert!(!listed.lists_origin("http://localhost:5173"));
    let limits = &config.limits;
    assert_eq!(
        (limits.message_bytes, limits.body_bytes),
        (65_536, 1_048_576)
    );
    assert_eq!(
        (limits.connections, limits.connections_per_user),
        (100_000, 20)
    );
    assert_eq!((limits.rate_per_second, limits.rate_burst), (50, 200));
    assert_eq!((limits.writer_queue, limits.writer_batch), (10_000, 500));
    assert_eq!((limits.socket_queue, limits.replay_events), (256, 1000));
    assert_eq!(
        (limits.replay_bytes, limits.replay_parallel),
        (8_388_608, 8)
    );
    assert_eq!(
        (limits.watched_users, limits.refused_handshakes),
        (500, 200)
    );
    assert_eq!(limits.catch_up_changes, 100_000);
    assert_eq!((limits.header_bytes, limits.headers), (16_384, 100));
    assert_eq!((limits.query_bytes, limits.http_connections), (256, 1000));
    let times = &config.timeouts;
    assert_eq!(
        [
            times.heartbeat,
            times.listener_heartbeat,
            times.shutdown_grace,
            times.shutdown_delay,
            times.header,
            times.body,
            times.write,
            times.database,
            times.database_start,
            times.typing,
            times.typing_interval,
            times.presence_grace,
            times.users_table_check,
            times.idle,
            times.stall,
            config.auth.jwt_keys_check,
            config.auth.user_check,
            config.auth.token_warning,
        ]
        .map(|time| time.as_secs()),
        [
            25, 3, 30, 0, 10, 20, 10, 10, 30, 6, 2, 5, 3, 75, 20, 5, 30, 60
        ]
    );
}

#[test]
fn the_table_is_consistent() {
    let mut names = std::collections::BTreeSet::new();
    for setting in settings::all() {
        assert!(names.insert(setting.name), "{} twice", setting.name);
        assert!(setting.help.ends_with('.'), "{}", setting.name);
        // A default must pass as a given value.
        config(&[(setting.name, setting.default)]);
    }
}

#[test]
fn help_shows_every_setting_within_80_columns() {
    let help = help();
    for setting in settings::all() {
        let heading = format!("\n  {}", setting.name);
        assert!(help.contains(&heading), "{}", setting.name);
    }
    for line in help.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

/// The file that the project ships.
const SHIPPED: &str = include_str!("../../config.env");

#[test]
fn config_env_mentions_every_setting_with_its_default() {
    for setting in settings::all() {
        let line = format!("#{}={}", setting.name, setting.default);
        assert!(
            SHIPPED.lines().any(|shipped| shipped == line),
            "config.env has no line {line}"
        );
    }
}

#[test]
fn config_env_as_shipped_starts_on_the_embedded_database() {
    let loaded = from_file(SHIPPED).expect("config.env is valid");
    assert!(matches!(
        loaded.config.database,
        DatabaseSource::Embedded { .. }
    ));
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn config_env_with_every_default_switched_on_means_the_same() {
    let on: String = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.contains('=') && !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let on = from_file(&on).expect("the defaults are valid");
    let off = from_file("").expect("nothing is valid");
    assert_eq!(format!("{on:?}"), format!("{off:?}"));
}

#[test]
fn the_environment_wins_over_the_file_and_nothing_counts_as_not_set() {
    let file = File {
        name: "config.env",
        text: "SERVER_PORT=1\nSERVICE_NAME=file\nLOG_LEVEL=\nDB_HOST=db",
    };
    let loaded = from_sources(Some(file), |name| match name {
        "SERVER_PORT" => Some("2".into()),
        "DB_HOST" => Some("".into()),
        _ => None,
    });
    let config = loaded.expect("valid").config;
    assert_eq!(config.server_addr.port(), 2);
    assert_eq!(config.service_name, "file");
    assert_eq!(config.log_level, log::LevelFilter::Info);
    assert!(matches!(config.database, DatabaseSource::Embedded { .. }));
}

#[test]
fn odd_but_valid_files_give_warnings() {
    let cases = [
        (
            "\nDB_HOTS=x",
            "config.env, line 2: DB_HOTS is not a setting",
        ),
        ("server_port=1", "server_port is not a setting"),
        (
            "LOG_LEVEL=info\nLOG_LEVEL=warn",
            "line 2: LOG_LEVEL is set again, after config.env, line 1",
        ),
        ("DB_PASSWORD=hunter2", "no effect: DB_PASSWORD"),
        (
            "AUTH_MODE=trusted\nJWT_SECRET=hunter2",
            "no effect: JWT_SECRET",
        ),
    ];
    for (text, part) in cases {
        let warnings = from_file(text).expect("valid").warnings;
        assert_eq!(warnings.len(), 1, "{text}: {warnings:?}");
        assert!(warnings[0].contains(part), "{text}: {warnings:?}");
        assert!(!warnings[0].contains("hunter2"));
    }
}

#[test]
fn database_variables_take_lists() {
    let database = external(&[
        ("DB_HOST", "a, 10.0.0.2,[::1],/run/postgresql"),
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

#[test]
fn either_zero_turns_the_rate_limit_off() {
    for name in ["RATE_LIMIT_PER_SECOND", "RATE_LIMIT_BURST"] {
        let limits = config(&[(name, "0")]).limits;
        assert_eq!((limits.rate_per_second, limits.rate_burst), (0, 0));
    }
}

#[test]
fn addresses_to_listen_on_are_ip_addresses_or_localhost() {
    for (host, addr) in [
        ("0.0.0.0", "0.0.0.0:8081"),
        ("::", "[::]:8081"),
        ("[::1]", "[::1]:8081"),
        ("LocalHost", "127.0.0.1:8081"),
    ] {
        let config = config(&[("SERVER_HOST", host)]);
        assert_eq!(config.server_addr.to_string(), addr);
    }
}

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
        (&[("MAX_MESSAGE_BYTES", "1048576")], "MAX_BODY_BYTES", "at least MAX_MESSAGE_BYTES + 1024, that is 1049600"),
        (&[("TYPING_SECONDS", "3")], "TYPING_INTERVAL_SECONDS", "at most half of TYPING_SECONDS, that is 1, not 2"),
        (&[("HEARTBEAT_SECONDS", "1.5")], "HEARTBEAT_SECONDS", "a whole number of seconds from 1 to 3600"),
        (&[("SHUTDOWN_DELAY_SECONDS", "30")], "SHUTDOWN_DELAY_SECONDS", "less than SHUTDOWN_GRACE_SECONDS, that is 30, not 30"),
        (&[("SHUTDOWN_GRACE_SECONDS", "99999")], "SHUTDOWN_GRACE_SECONDS", "seconds from 0 to 3600"),
        (&[("DB_HOST", "a,,b")], "DB_HOST", "without empty items"),
        (&[("DB_HOST", "a b")], "DB_HOST", "without empty items or spaces"),
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
fn errors_in_the_file_tell_the_line() {
    let line = |text| {
        from_file(text)
            .map(|_| ())
            .expect_err("refused")
            .to_string()
    };
    assert_eq!(
        line("\nSERVER_PORT=x"),
        "SERVER_PORT: must be a whole number from 0 to 65535, not \"x\" (in config.env, line 2)"
    );
    assert_eq!(
        line("DB_PASSWORD='hunter2"),
        "config.env, line 1: the closing quote ' is missing"
    );
}

#[test]
fn a_file_that_is_named_must_exist_and_hold_text() {
    let missing = load(Some(Path::new("/nonexistent/my.env"))).expect_err("refused");
    assert!(
        missing
            .to_string()
            .starts_with("/nonexistent/my.env: cannot be read")
    );
    let directory = load(Some(Path::new("/"))).expect_err("refused");
    assert!(directory.to_string().starts_with("/: cannot be read"));
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

#[test]
fn a_key_switches_the_mode_and_the_address_to_listen_on() {
    let all = "0.0.0.0:8081";
    for (vars, mode, address) in [
        (&[][..], AuthMode::Trusted, "127.0.0.1:8081"),
        (&[("JWT_SECRET", "hunter2")], AuthMode::Jwt, all),
        (&[("JWT_PUBLIC_KEY_FILE", "/k")], AuthMode::Jwt, all),
        (&[("JWT_JWKS_FILE", "/k")], AuthMode::Jwt, all),
        (&[("SERVICE_TOKENS", "hunter2")], AuthMode::Jwt, all),
        (
            &[("AUTH_MODE", "jwt"), ("JWT_SECRET", "hunter2")],
            AuthMode::Jwt,
            all,
        ),
        (
            &[("AUTH_MODE", "trusted"), ("JWT_SECRET", "hunter2")],
            AuthMode::Trusted,
            "127.0.0.1:8081",
        ),
        (
            &[("JWT_SECRET", "hunter2"), ("SERVER_HOST", "127.0.0.2")],
            AuthMode::Jwt,
            "127.0.0.2:8081",
        ),
    ] {
        let config = config(vars);
        assert_eq!(config.auth.mode, mode, "{vars:?}");
        assert_eq!(config.server_addr.to_string(), address, "{vars:?}");
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
        weak[1].starts_with("SERVICE_TOKENS: shorter than 32 bytes"),
        "{weak:?}"
    );
    assert!(!weak.concat().contains("hunter2"), "{weak:?}");
}
