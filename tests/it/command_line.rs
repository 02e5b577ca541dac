//! The command line: what is wrong is said in one line, and what is printed arrives or is a failure.

use std::io::pipe;
use std::process::{Command, ExitStatus, Stdio};

use crate::auth::tokens::SECRET;
use crate::support::*;

#[tokio::test]
async fn wrong_arguments_are_named_in_one_line() {
    let database = Database::fresh().await;
    for (arguments, named) in [
        (&["dance"][..], "'dance'"),
        (&["serve", "--faster"], "'--faster'"),
        (&["migrate", "twice"], "'twice'"),
        (&["two\nlines"], "two lines"),
        (&["token"], "--user <UUID>"),
        (
            &["token", "--user", "me"],
            "'me' for '--user <UUID>': must be a UUID",
        ),
        (&["--config"], "'--config <FILE>'"),
    ] {
        let outcome = pgchat(arguments, &settings(&database, &[])).await;
        outcome.assert_failed(2, &[named, "pgchat --help"]);
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{outcome:#?}");
    }
    for arguments in [&["--help"], &["--version"]] {
        let outcome = pgchat(arguments, &settings(&database, &[])).await;
        assert_eq!(outcome.assert_ok().stderr, "");
    }
}

#[tokio::test]
async fn help_documents_every_setting() {
    let database = Database::fresh().await;
    let outcome = pgchat(&["--help"], &settings(&database, &[])).await;
    outcome.assert_ok();
    let shipped = include_str!("../../config.env").lines();
    let names: Vec<&str> = shipped
        .filter_map(|line| line.strip_prefix('#')?.split_once('='))
        .map(|(name, _)| name)
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .collect();
    assert!(names.len() > 60, "{names:?}");
    for name in names {
        let heading = outcome.stdout.lines().find(|line| {
            let rest = line
                .strip_prefix("  ")
                .and_then(|line| line.strip_prefix(name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['=', ' ']))
        });
        assert!(heading.is_some(), "{name}: {outcome:#?}");
    }
}

/// Standard error is for what a person is to read, standard output for the token: `TOKEN=$(pgchat token …)`.
#[tokio::test]
async fn pgchat_token_warns_of_settings_and_prints_the_token_alone() {
    let database = Database::fresh().await;
    let misspelled = [("JWT_SECRET", SECRET), ("JWT_ISSUR", "x")];
    let arguments = ["token", "--user", &ALICE.to_string()];
    let outcome = pgchat(&arguments, &settings(&database, &misspelled)).await;
    outcome.assert_ok();
    assert!(
        outcome.stderr.contains("is JWT_ISSUER meant?"),
        "{outcome:#?}"
    );
    let token = outcome.stdout.strip_suffix('\n').expect("a line");
    let is_part = |part: &str| !part.contains(|c: char| c.is_whitespace());
    assert_eq!(token.split('.').filter(|part| is_part(part)).count(), 3);
}

fn status_of(argument: &str, output: impl Into<Stdio>) -> ExitStatus {
    Command::new(env!("CARGO_BIN_EXE_pgchat"))
        .arg(argument)
        .stdout(output)
        .stderr(Stdio::null())
        .status()
        .expect("pgchat")
}

#[cfg(target_os = "linux")]
#[test]
fn help_that_a_full_disk_does_not_take_is_a_failure() {
    for argument in ["--help", "--version"] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let status = status_of(argument, full.expect("a full disk"));
        assert_eq!(status.code(), Some(1), "{argument}");
    }
}

/// `pgchat --help | head`
#[test]
fn help_of_which_nobody_reads_the_rest_is_no_failure() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    assert_eq!(status_of("--help", writer).code(), Some(0));
}
