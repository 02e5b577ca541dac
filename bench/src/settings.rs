//! The command line.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::scenarios::Scenario;
use crate::systems::System;

pub struct Settings {
    pub scenarios: Vec<Scenario>,
    /// Make the report, after the scenarios if there are any.
    pub report: bool,
    pub results: PathBuf,
    pub report_path: PathBuf,
    pub systems: Vec<System>,
    pub pgchat: Option<PathBuf>,
    pub peers: PathBuf,
    pub pg_bin: Option<PathBuf>,
    pub dir: PathBuf,
    pub effort: Effort,
}

/// How long and how often things are measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub rounds: usize,
    pub warm_up: Duration,
    pub measured: Duration,
    /// Smaller sizes as well, where a scenario has several.
    pub quick: bool,
}

/// Scenarios of `quick`: the rows that matter most.
const QUICK: [Scenario; 3] = [Scenario::Throughput, Scenario::Latency, Scenario::Ceiling];

impl Settings {
    /// Ends the process on bad arguments.
    pub fn from_args() -> Self {
        let matches = command().get_matches();
        Self::of(&matches)
    }

    /// What was chosen, and behind pgchat the same without search; not in short runs.
    pub fn systems_and_without_search(&self) -> Vec<System> {
        let beside = |system: &System| match system {
            System::Pgchat if !self.effort.quick => {
                vec![System::Pgchat, System::PgchatWithoutSearch]
            }
            other => vec![*other],
        };
        self.systems.iter().flat_map(beside).collect()
    }

    fn of(matches: &ArgMatches) -> Self {
        let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        let quick = matches.get_flag("quick");
        let mut scenarios = Vec::new();
        let mut report = false;
        for name in matches.get_many::<String>("what").into_iter().flatten() {
            match name.as_str() {
                "all" => scenarios.extend(Scenario::ALL),
                "quick" => scenarios.extend(QUICK),
                "report" => report = true,
                name => scenarios.extend(Scenario::ALL.into_iter().find(|s| s.name() == name)),
            }
        }
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let results = path("results").unwrap_or_else(|| here.join("../docs/benchmarks"));
        let default = if quick {
            Effort {
                rounds: 1,
                warm_up: Duration::from_secs(1),
                measured: Duration::from_secs(3),
                quick,
            }
        } else {
            Effort {
                rounds: 3,
                warm_up: Duration::from_secs(2),
                measured: Duration::from_secs(8),
                quick,
            }
        };
        let seconds = |name: &str, or: Duration| {
            matches
                .get_one::<u64>(name)
                .map_or(or, |seconds| Duration::from_secs(*seconds))
        };
        Self {
            scenarios,
            report,
            report_path: path("report-path").unwrap_or_else(|| results.with_extension("md")),
            results,
            systems: System::ALL
                .into_iter()
                .filter(|system| {
                    matches
                        .get_many::<String>("systems")
                        .is_none_or(|mut names| names.any(|name| name == system.name()))
                })
                .collect(),
            pgchat: path("pgchat"),
            peers: path("peers").unwrap_or_else(|| here.join("peers")),
            pg_bin: path("pg-bin-dir"),
            dir: path("dir").unwrap_or_else(|| "/var/tmp".into()),
            effort: Effort {
                rounds: matches
                    .get_one::<u64>("rounds")
                    .and_then(|rounds| usize::try_from(*rounds).ok())
                    .unwrap_or(default.rounds),
                warm_up: seconds("warm-up", default.warm_up),
                measured: seconds("seconds", default.measured),
                quick,
            },
        }
    }
}

fn command() -> Command {
    let path = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .help(help)
    };
    let number = |name: &'static str, help: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .value_parser(value_parser!(u64).range(1..=3_600))
            .help(help)
    };
    let scenarios = Scenario::ALL
        .into_iter()
        .map(|scenario| format!("  {:<12} {}\n", scenario.name(), scenario.about()))
        .collect::<String>();
    let names = ["all", "quick", "report"]
        .into_iter()
        .chain(Scenario::ALL.map(Scenario::name));
    Command::new("pgchat-bench")
        .about("Measures pgchat beside its peers, and beside PostgreSQL's own floor and ceiling.")
        .after_help(format!(
            "What to run, one or more, in this order:\n{scenarios}  {:<12} all of them\n  {:<12} the most important \
             ones; with --quick within three minutes\n  {:<12} make the report from the raw results that are there",
            "all", "quick", "report"
        ))
        .arg(
            Arg::new("what")
                .required(true)
                .action(ArgAction::Append)
                .num_args(1..)
                .value_parser(PossibleValuesParser::new(names))
                .hide_possible_values(true)
                .help("Scenarios, all, quick, report"),
        )
        .arg(
            Arg::new("systems")
                .long("systems")
                .value_name("NAME,…")
                .value_delimiter(',')
                .value_parser(PossibleValuesParser::new(System::ALL.map(System::name)))
                .help("What to measure; all unless given"),
        )
        .arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("One short round, smaller sizes: shows that it works, and the rough figures"),
        )
        .arg(number("rounds", "Interleaved rounds, for the latency twice as many; the report takes medians (3, quick: 1)"))
        .arg(number("seconds", "Measured seconds of each run (8, quick: 3)"))
        .arg(number("warm-up", "Seconds before that (2, quick: 1)"))
        .arg(path("results", "Where raw results are kept (docs/benchmarks)"))
        .arg(path("report-path", "The report's file (beside the results, with .md)"))
        .arg(path("pgchat", "The program; built beside this one unless given"))
        .arg(path("peers", "The peers' directory, built (bench/peers)"))
        .arg(path("pg-bin-dir", "Where initdb is (PG_BIN_DIR, PATH, Debian's places)"))
        .arg(path("dir", "Where PostgreSQL's data goes for the run: on a real disk (/var/tmp)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
        let matches = command()
            .try_get_matches_from([
                "bench",
                "latency",
                "report",
                "--systems",
                "pgchat,gin",
                "--quick",
            ])
            .unwrap();
        let settings = Settings::of(&matches);
        assert_eq!(settings.scenarios, [Scenario::Latency]);
        assert!(settings.report);
        assert_eq!(settings.systems, [System::Pgchat, System::Gin]);
        assert_eq!(settings.effort.rounds, 1);
        assert_eq!(
            settings.systems_and_without_search(),
            [System::Pgchat, System::Gin]
        );

        let matches = command()
            .try_get_matches_from(["bench", "latency"])
            .unwrap();
        let [pgchat, without_search, rest @ ..] =
            &Settings::of(&matches).systems_and_without_search()[..]
        else {
            panic!("too few systems");
        };
        assert_eq!(*pgchat, System::Pgchat);
        assert_eq!(*without_search, System::PgchatWithoutSearch);
        assert_eq!(rest, [System::Gin, System::SocketIo]);
    }
}
