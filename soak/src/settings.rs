//! What a run may be told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::faults::Fault;

pub struct Settings {
    pub duration: Duration,
    pub seed: u64,
    pub clients: u16,
    pub replicas: usize,
    /// Messages a second that all clients together send.
    pub rate: f64,
    /// Mean time between two faults.
    pub fault_every: Duration,
    pub faults: Vec<Fault>,
    /// How long nothing may go on at the end before all are connected and all is acknowledged and seen.
    pub settle: Duration,
    pub pgchat: Option<PathBuf>,
    pub pg_bin: Option<PathBuf>,
    pub report: Option<PathBuf>,
    pub keep_logs: bool,
}

impl Settings {
    /// From the command line; ends the process on `--help` and on bad arguments (exit code 2).
    pub fn from_args() -> Self {
        Self::from_matches(&command().get_matches())
    }

    /// Whether a run is long enough for all that it is for: 1,000 messages and 40 faults on average, of all kinds.
    pub fn is_thorough(&self) -> bool {
        self.faults.len() == Fault::ALL.len()
            && self.duration >= 40 * self.fault_every
            && self.duration.as_secs_f64() * self.rate >= 1_000.0
    }

    fn from_matches(matches: &ArgMatches) -> Self {
        let seconds = |name| Duration::from_secs_f64(given::<f64>(matches, name));
        let without: Vec<Fault> = all(matches, "without");
        let only: Vec<Fault> = all(matches, "only");
        let faults = Fault::ALL
            .into_iter()
            .filter(|fault| !without.contains(fault))
            .filter(|fault| only.is_empty() || only.contains(fault))
            .collect();
        Self {
            duration: seconds("duration"),
            seed: matches
                .get_one("seed")
                .copied()
                .unwrap_or_else(|| u64::from(rand::random::<u32>())),
            clients: given(matches, "clients"),
            replicas: usize::from(given::<u16>(matches, "replicas")),
            rate: given(matches, "rate"),
            fault_every: seconds("fault-every"),
            faults,
            settle: seconds("settle"),
            pgchat: matches.get_one("pgchat").cloned(),
            pg_bin: matches.get_one("pg-bin").cloned(),
            report: matches.get_one("report").cloned(),
            keep_logs: matches.get_flag("keep-logs"),
        }
    }
}

fn command() -> Command {
    let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
    Command::new("pgchat-soak")
        .about(
            "Runs real replicas of pgchat on a private PostgreSQL, hurts them, and checks that no \
             message is lost, doubled or out of order. Exit code 1 if one was.",
        )
        .after_help(format!("Faults: {}", names.join(", ")))
        .args([
            number(
                "duration",
                "SECONDS",
                "60",
                "How long faults and messages go on",
            ),
            Arg::new("seed")
                .long("seed")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("Decides the faults and what is sent; random unless given, always printed"),
            Arg::new("clients")
                .long("clients")
                .value_name("N")
                .default_value("200")
                .value_parser(value_parser!(u16).range(4..=10_000))
                .help("Users, each with one socket"),
            Arg::new("replicas")
                .long("replicas")
                .value_name("N")
                .default_value("3")
                .value_parser(value_parser!(u16).range(1..=20))
                .help("Processes of the service"),
            number(
                "rate",
                "N",
                "300",
                "Messages a second, all clients together",
            ),
            number(
                "fault-every",
                "SECONDS",
                "1.5",
                "Mean time between two faults",
            ),
            number(
                "settle",
                "SECONDS",
                "60",
                "How long the end may go on without any more clients being connected or messages seen",
            ),
            fault("without", "Leave out a kind of fault; may be repeated"),
            fault("only", "Do only this kind of fault; may be repeated"),
            path(
                "pgchat",
                "The program to judge; without it, it is built by cargo",
            ),
            path(
                "pg-bin",
                "PostgreSQL's server programs; else PG_BIN_DIR, the PATH, Debian's places",
            ),
            path("report", "Write the outcome to this file as JSON"),
            Arg::new("keep-logs")
                .long("keep-logs")
                .action(ArgAction::SetTrue)
                .help("Keep the logs of PostgreSQL and the replicas, also when all went well"),
        ])
}

fn number(
    name: &'static str,
    unit: &'static str,
    default: &'static str,
    help: &'static str,
) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name(unit)
        .default_value(default)
        .value_parser(positive)
        .help(help)
}

fn path(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

fn fault(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("FAULT")
        .action(ArgAction::Append)
        .value_delimiter(',')
        .value_parser(|text: &str| {
            Fault::named(text).ok_or_else(|| format!("there is no fault {text:?}; see --help"))
        })
        .help(help)
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1e6 => Ok(value),
        _ => Err("a number above 0 is needed".to_owned()),
    }
}

#[expect(clippy::expect_used, reason = "these arguments have defaults")]
fn given<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    matches.get_one::<T>(name).cloned().expect("has a default")
}

fn all<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<T> {
    matches
        .get_many(name)
        .map(|values| values.cloned().collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Settings, clap::Error> {
        let args = [&["pgchat-soak"], args].concat();
        Ok(Settings::from_matches(
            &command().try_get_matches_from(args)?,
        ))
    }

    #[test]
    fn each_kind_of_fault_can_be_left_out() {
        for fault in Fault::ALL {
            let settings = parse(&["--without", fault.name()]).unwrap();
            assert!(!settings.faults.contains(&fault));
            assert_eq!(settings.faults.len(), Fault::ALL.len() - 1);
            assert_eq!(parse(&["--only", fault.name()]).unwrap().faults, [fault]);
        }
        assert!(parse(&["--only", "nothing"]).is_err());
        assert!(parse(&["--duration", "0"]).is_err());
    }
}
