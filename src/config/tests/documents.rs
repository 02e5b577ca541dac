//! The defaults, and the texts that tell of them: `--help` and `config.env`.

use std::num::{NonZeroU32, NonZeroUsize};

use super::*;
use crate::config::settings::{Kind, Setting};

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
    assert_eq!(config.users_columns, []);
    assert_eq!(config.service_name, "pgchat");
    assert!(config.worker_threads >= 1);
    let threads = self::config(&[("WORKER_THREADS", "3")]).worker_threads;
    assert_eq!(threads, 3);
    assert_eq!(config.log_level, log::LevelFilter::Info);
    assert_eq!(config.log_format, LogFormat::Pretty);
    assert_eq!(config.auth.mode, AuthMode::Trusted);
    assert_eq!(config.auth.jwt_user_claim, "sub");
    assert_eq!(config.search_language.as_deref(), Some("simple"));
    assert!(config.web_page);
    assert!(config.lists_users_to_users);
    // The embedded database: pages of this machine may try it out.
    let same_origin = |local_pages| AllowedOrigins::SameOrigin { local_pages };
    assert_eq!(config.allowed_origins, same_origin(true));
    let own = self::config(&[("DB_HOST", "db")]);
    assert_eq!(own.allowed_origins, same_origin(false));
    let listed = self::config(&[("ALLOWED_ORIGINS", "https://app.example.com")]);
    let app = vec!["https://app.example.com".to_owned()];
    assert_eq!(listed.allowed_origins, AllowedOrigins::Listed(app));
    let limits = &config.limits;
    assert_eq!(
        (limits.message_bytes, limits.body_bytes),
        (65_536, 1_048_576)
    );
    assert_eq!(
        (limits.connections, limits.connections_per_user),
        (NonZeroUsize::new(100_000), NonZeroUsize::new(20))
    );
    assert_eq!(limits.reads_per_user, NonZeroUsize::new(64));
    let rate = limits.rate.expect("a limit");
    assert_eq!((rate.per_second.get(), rate.burst.get()), (50, 200));
    assert_eq!((limits.writer_queue, limits.writer_batch), (10_000, 500));
    assert_eq!((limits.socket_queue, limits.replay_events), (256, 1000));
    assert_eq!(limits.queued_events_bytes, 128 * 1024 * 1024);
    assert_eq!(
        (limits.replay_bytes, limits.replay_parallel),
        (8_388_608, 8)
    );
    assert_eq!(
        (limits.watched_users, limits.refused_handshakes),
        (500, NonZeroU32::new(200))
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
            times.search,
            times.typing,
            times.presence_grace,
            times.users_table_check,
            times.idle,
            times.stall,
            config.auth.user_check,
            config.auth.token_warning,
            config.auth.ticket_ttl,
            config.auth.jwt_leeway,
        ]
        .map(|time| time.as_secs()),
        [
            25, 3, 30, 0, 10, 20, 10, 10, 30, 3, 6, 5, 3, 75, 20, 10, 60, 30, 0
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

/// A legal value of each setting that is not its default, and what it needs beside it.
fn set_to_another_value(setting: &Setting) -> Vec<(&'static str, String)> {
    let value = match (setting.name, &setting.kind) {
        // Half of the cores may be the number next to its default.
        ("WORKER_THREADS", _) => "77".to_owned(),
        // The default is the other one, where a key is set.
        ("AUTH_MODE", _) => "trusted".to_owned(),
        ("DATABASE_URL" | "LISTEN_DATABASE_URL", _) => "postgres://another/db".to_owned(),
        ("DB_PORT", _) => "5433".to_owned(),
        ("USERS_COLUMNS", _) => "id=key".to_owned(),
        ("SERVER_HOST", _) => "127.0.0.2".to_owned(),
        ("ALLOWED_ORIGINS", _) => "https://another.example".to_owned(),
        (_, Kind::Number(_, most) | Kind::Seconds(_, most)) => {
            let default: u64 = setting.default.parse().expect("a number");
            let other = if default < *most {
                default + 1
            } else {
                default - 1
            };
            other.to_string()
        }
        (_, Kind::Choice(words)) => {
            let other = words.iter().find(|word| **word != setting.default);
            (*other.expect("two words")).to_owned()
        }
        (_, Kind::Text | Kind::Secret) => "another".to_owned(),
    };
    let mut vars = vec![(setting.name, value)];
    let mut beside = |name, value: &str| vars.push((name, value.to_owned()));
    match setting.name {
        "DATABASE_URL" | "EMBEDDED_DATA_DIR" | "PG_BIN_DIR" => {}
        "DB_SSL_ROOT_CERT" => {
            beside("DB_HOST", "db");
            beside("DB_SSL_MODE", "verify-full");
        }
        "DB_HOST" => beside("DB_NAME", "db"),
        _ => beside("DB_HOST", "db"),
    }
    if setting.name != "JWT_SECRET" {
        beside("JWT_SECRET", "a secret of these tests, of 32 bytes or more");
    }
    vars
}

#[test]
fn every_setting_changes_what_the_service_runs_with() {
    for setting in settings::all() {
        let vars = set_to_another_value(setting);
        let vars: Vec<_> = vars.iter().map(|(name, value)| (*name, &**value)).collect();
        let [set, without] = [&vars[..], &vars[1..]].map(|vars| format!("{:?}", config(vars)));
        assert_ne!(set, without, "{} has no effect", setting.name);
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
