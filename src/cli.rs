//! The command line: which command, which file, and the help text.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use pgchat::{Probe, UserId, WATCHDOG_COMMAND};
use uuid::Uuid;

/// What the caller wants.
pub enum Action {
    /// With a log, and in a runtime.
    Run(Job),
    /// Print a token for this user.
    Token { user: UserId, ttl: Duration },
    /// Hidden: what a replica starts to guard the embedded database; with its own arguments.
    Watchdog(Vec<OsString>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Serve,
    Migrate,
    Healthcheck(Probe),
    DemoData,
}

pub struct Invocation {
    pub action: Action,
    /// `--config FILE`.
    pub config_file: Option<PathBuf>,
}

/// The error also stands for `--help` and `--version`.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, clap::Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    // Not by clap, which would take a "--" or --config of the watchdog's for its own.
    if args.get(1).is_some_and(|arg| arg == WATCHDOG_COMMAND) {
        return Ok(Invocation {
            action: Action::Watchdog(args[2..].to_vec()),
            config_file: None,
        });
    }
    let matches = command().try_get_matches_from(args)?;
    let config_file = matches.get_one::<PathBuf>("config").cloned();
    let action = match matches.subcommand() {
        Some(("migrate", _)) => Action::Run(Job::Migrate),
        Some(("token", given)) => token(given),
        Some(("healthcheck", given)) => Action::Run(Job::Healthcheck(probe(given))),
        Some(("demo-data", _)) => Action::Run(Job::DemoData),
        _ => Action::Run(Job::Serve),
    };
    Ok(Invocation {
        action,
        config_file,
    })
}

/// What is wrong with the arguments, in the first of clap's paragraphs; behind it come the usage and where help is.
pub fn fault(error: &clap::Error) -> String {
    let text = error.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let lines: Vec<&str> = first.lines().map(str::trim).collect();
    let fault = lines.join(" ");
    let fault = fault.strip_prefix("error: ").unwrap_or(&fault);
    format!("{fault}; see pgchat --help")
}

fn token(given: &ArgMatches) -> Action {
    // clap demands the one and has a default for the other.
    let user = given.get_one::<Uuid>("user").copied().unwrap_or_default();
    let ttl = given
        .get_one::<Duration>("ttl")
        .copied()
        .unwrap_or_default();
    Action::Token {
        user: UserId(user),
        ttl,
    }
}

fn probe(given: &ArgMatches) -> Probe {
    match given.get_flag("live") {
        true => Probe::Live,
        false => Probe::Ready,
    }
}

fn user(text: &str) -> Result<Uuid, &'static str> {
    Uuid::parse_str(text).map_err(|_| "must be a UUID")
}

/// Longest life of a token: ten years.
const MAX_TTL: Duration = Duration::from_hours(10 * 365 * 24);

/// A whole number and a unit: `90s`, `15m`, `1h`, `7d`.
fn ttl(text: &str) -> Result<Duration, String> {
    let split = text.len() - text.chars().next_back().map_or(0, char::len_utf8);
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => 0,
    };
    number
        .parse::<u64>()
        .ok()
        .filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|number| number.checked_mul(seconds))
        .map(Duration::from_secs)
        .filter(|ttl| !ttl.is_zero() && *ttl <= MAX_TTL)
        .ok_or_else(|| "must be a number and s, m, h or d, such as 15m, up to 3650d".to_owned())
}

fn command() -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .global(true)
        .value_parser(value_parser!(PathBuf))
        .help("Read FILE instead of config.env [default: the variable PGCHAT_CONFIG]");
    let user = Arg::new("user")
        .long("user")
        .value_name("UUID")
        .required(true)
        .value_parser(user)
        .help("The user whom the token names");
    let ttl = Arg::new("ttl")
        .long("ttl")
        .value_name("TIME")
        .default_value("1h")
        .value_parser(ttl)
        .help("How long it is valid: a number and s, m, h or d");
    let live = Arg::new("live")
        .long("live")
        .action(ArgAction::SetTrue)
        .help("Only that it runs: for what ends an instance that fails");
    Command::new("pgchat")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .arg(config)
        .subcommand(
            Command::new("serve").about("Apply the schema, then serve until SIGTERM [default]"),
        )
        .subcommand(Command::new("migrate").about("Apply the schema, build the search index, and stop"))
        .subcommand(
            Command::new("token")
                .about("Print a JWT signed with JWT_SECRET, for trying things out")
                .args([user, ttl]),
        )
        .subcommand(
            Command::new("healthcheck")
                .about("Exit with 0 if the local instance is ready, or with --live if it runs, else 1")
                .arg(live),
        )
        .subcommand(
            Command::new("demo-data")
                .about("Insert demo users into the users table, and conversations (the embedded database has them)"),
        )
        .after_help("Every configuration variable is explained by pgchat --help.")
        .after_long_help(format!(
            "{}\nExit codes: 0 after a clean end, 1 after a failure, a key or certificate file that cannot be used among them, 2 for bad configuration or arguments.",
            pgchat::settings_help()
        ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(args: &[&str]) -> Invocation {
        let args = ["pgchat"].iter().chain(args).map(OsString::from);
        parse(args).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_and_the_file_may_stand_anywhere() {
        let job = |args: &[&str]| match parsed(args).action {
            Action::Run(job) => job,
            _ => panic!("another command"),
        };
        assert_eq!(job(&[]), Job::Serve);
        for args in [["--config", "x", "serve"], ["serve", "--config", "x"]] {
            assert_eq!(job(&args), Job::Serve);
            assert_eq!(parsed(&args).config_file, Some("x".into()));
        }
        assert_eq!(job(&["migrate"]), Job::Migrate);
        assert_eq!(job(&["healthcheck"]), Job::Healthcheck(Probe::Ready));
        let live = Job::Healthcheck(Probe::Live);
        assert_eq!(job(&["healthcheck", "--live"]), live);
        assert_eq!(job(&["demo-data"]), Job::DemoData);
    }

    const USER: &str = "11111111-1111-4111-8111-111111111111";

    #[test]
    fn a_token_lives_for_an_hour_unless_told_otherwise() {
        for (more, seconds) in [
            (&[][..], 3600),
            (&["--ttl", "90s"], 90),
            (&["--ttl", "15m"], 900),
            (&["--ttl", "7d"], 604_800),
        ] {
            let args = [&["token", "--user", USER], more].concat();
            let Action::Token { user, ttl } = parsed(&args).action else {
                panic!("another command");
            };
            assert_eq!((user.to_string().as_str(), ttl.as_secs()), (USER, seconds));
        }
    }

    #[test]
    fn the_watchdog_gets_its_arguments_untouched() {
        let args = [WATCHDOG_COMMAND, "--config", "-h", "--", "a b", ""];
        let Action::Watchdog(passed) = parsed(&args).action else {
            panic!("another command");
        };
        assert_eq!(
            passed,
            args[1..].iter().map(OsString::from).collect::<Vec<_>>()
        );
    }

    #[test]
    fn wrong_arguments_exit_with_2_and_help_with_0() {
        let code = |args: &[&str]| {
            let args = ["pgchat"].iter().chain(args).map(OsString::from);
            parse(args).map(|_| ()).expect_err("no action").exit_code()
        };
        assert_eq!(code(&["--help"]), 0);
        assert_eq!(code(&["--version"]), 0);
        for args in [
            vec!["srve"],
            vec!["--port", "1"],
            vec!["serve", "x"],
            vec!["token"],
            vec!["token", "--user", "x"],
            vec!["token", "--user", USER, "--ttl", "0s"],
            vec!["token", "--user", USER, "--ttl", "1"],
            vec!["token", "--user", USER, "--ttl", "1ü"],
            vec!["token", "--user", USER, "--ttl", "+1h"],
            vec!["token", "--user", USER, "--ttl", "3651d"],
            vec!["token", "--user", USER, "--ttl", "99999999999999999999d"],
            vec!["--config"],
        ] {
            assert_eq!(code(&args), 2, "{args:?}");
        }
    }
}
