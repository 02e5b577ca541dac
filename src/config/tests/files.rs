//! The file and the environment.

use super::*;

#[test]
fn the_environment_wins_over_the_file_and_nothing_counts_as_not_set() {
    let file = File {
        name: "config.env",
        text: "SERVER_PORT=1\nSERVICE_NAME=file\nLOG_LEVEL=\nDB_HOST=db",
    };
    let environment = |name: &str| match name {
        "SERVER_PORT" => Some("2".into()),
        "DB_HOST" => Some("".into()),
        _ => None,
    };
    let loaded = from_sources(Some(file), environment, TokenKeys::Required);
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
        ("server_port=1", "is SERVER_PORT meant?"),
        ("LISTEN=1", "\"pgchat --help\" lists them"),
        ("PORT=1", "is SERVER_PORT meant?"),
        ("DB_USERNAME=shop", "is DB_USER meant?"),
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
fn another_programs_name_in_the_environment_is_told_where_nothing_else_says_it() {
    let warnings = |vars: &[(&str, &str)]| {
        let lookup = |name: &str| {
            let var = vars.iter().find(|(given, _)| *given == name)?;
            Some(OsString::from(var.1))
        };
        from_sources(None, lookup, TokenKeys::Required)
            .expect("valid")
            .warnings
    };
    let (host, other) = (("DB_HOST", "db"), ("DB_USERNAME", "hunter2"));
    assert_eq!(
        warnings(&[host, other]),
        [
            "DB_USERNAME (in the environment) is not a setting of pgchat and has no effect; is DB_USER meant?"
        ]
    );
    assert_eq!(warnings(&[("PORT", "80")]).len(), 1);
    for fine in [
        &[host, other, ("DB_USER", "shop")][..],
        &[other, ("DATABASE_URL", "postgres://db/shop")],
        &[host, ("DB_USERNAME", "")],
        &[host, ("DB_URL", "postgres://db/shop")],
    ] {
        assert_eq!(warnings(fine), [""; 0], "{fine:?}");
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
    let missing =
        load(Some(Path::new("/nonexistent/my.env")), TokenKeys::Required).expect_err("refused");
    assert!(
        missing
            .to_string()
            .starts_with("/nonexistent/my.env: cannot be read")
    );
    let directory = load(Some(Path::new("/")), TokenKeys::Required).expect_err("refused");
    assert!(directory.to_string().starts_with("/: cannot be read"));
}
