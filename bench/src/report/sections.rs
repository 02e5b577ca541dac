//! What the report says, section by section.

mod latency;
mod memory;
mod others;
mod summary;
mod throughput;

use std::fmt::Write as _;

use super::figures::{Results, shown};
use crate::record::Conditions;
use crate::systems::System;

/// The report's text, and its plots by file name.
pub struct Report {
    pub text: String,
    pub plots: Vec<(&'static str, String)>,
}

const NAMES: [(&str, &str); 10] = [
    ("pgchat", "pgchat"),
    (WITHOUT_SEARCH, "pgchat, `SEARCH_LANGUAGE=off`"),
    ("gin", "Go: Gin, GORM v1, lib/pq"),
    ("socketio", "Node: socket.io, its PostgreSQL adapter"),
    ("floor", "floor: bare INSERT + NOTIFY"),
    (
        "floor-gapless",
        "the same with `seq` without gaps, repeats stored once",
    ),
    (
        "floor-function",
        "pgchat's `chat_store_message()`, no service",
    ),
    (
        "floor-relayed",
        "the floor over two processes that only relay",
    ),
    (
        "floor-gapless-relayed",
        "`seq` without gaps, over two processes that only relay",
    ),
    (
        "floor-function-relayed",
        "`chat_store_message()` over two processes that only relay",
    ),
];

const WITHOUT_SEARCH: &str = "pgchat-without-search";

fn name(system: &str) -> &str {
    NAMES
        .iter()
        .find(|(key, _)| *key == system)
        .map_or(system, |(_, name)| name)
}

pub fn all(results: &Results, directory: &str) -> Report {
    let mut report = Report {
        text: String::from(
            "# Benchmarks\n\n\
             Made by `make bench` from the raw results in [benchmarks/](benchmarks/); `cargo run -p pgchat-bench -- report` makes it \
             anew. Everything (PostgreSQL, the replicas, the load generator) shares one machine, so compare the ratios within a run, not \
             the figures alone. Every message is looked for on every socket that must get it: a run that loses, doubles or reorders one \
             is marked as faulty. In an open loop latency counts from when a message was *due*, on the sender's side, until the other \
             participant's socket on another replica has it.\n\n\
             This page is one run. On slower processors the ratios differ, too: two later full runs missed six and five of the targets below, \
             eight times Go, the p99 at 5,000/s and the others' p99 after a replica's death among them \
             ([all runs](performance-history.md#more-runs-of-the-benchmarks)).\n\n",
        ),
        plots: Vec::new(),
    };
    summary::summary(results, &mut report.text);
    conditions(results, &mut report.text);
    throughput::throughput(results, directory, &mut report);
    throughput::ceiling(results, &mut report.text);
    latency::latency(results, directory, &mut report);
    memory::memory(results, directory, &mut report);
    others::others(results, directory, &mut report);
    faults(results, &mut report.text);
    report
}

fn conditions(results: &Results, text: &mut String) {
    text.push_str("## Conditions\n\n");
    let mut told: Vec<&Conditions> = Vec::new();
    for record in results.all() {
        let same = |known: &&Conditions| {
            (&known.commit, &known.machine, &known.postgres, known.quick)
                == (
                    &record.conditions.commit,
                    &record.conditions.machine,
                    &record.conditions.postgres,
                    record.conditions.quick,
                )
        };
        if told.iter().any(same) {
            continue;
        }
        told.push(&record.conditions);
    }
    for condition in told {
        let versions: Vec<&str> = condition.versions.values().map(String::as_str).collect();
        let of: Vec<&str> = results
            .all()
            .filter(|record| {
                record.conditions.commit == condition.commit
                    && record.conditions.quick == condition.quick
            })
            .map(|record| record.scenario.as_str())
            .collect();
        let quick = if condition.quick {
            " **Short runs, not for the record.**"
        } else {
            ""
        };
        let _ = writeln!(
            text,
            "- {}: commit `{}`, {}; {} with its defaults but for {}, its data on a disk; {}.{quick}",
            of.join(", "),
            condition.commit,
            condition.machine,
            condition.postgres,
            condition.postgres_settings.join(", "),
            versions.join(", "),
        );
    }
    text.push_str(
        "\nThe rate limits of pgchat are off, everything else is at its defaults. Messages hold 100 bytes of text. Each line is the median of the \
         interleaved rounds (A B C, A B C, …), each on a database of its own, after a warm-up and a checkpoint; for the latency of twice as many, of \
         which each begins with another line. The peers store and deliver the \
         same ([bench/peers/](../bench/peers/)): a transaction for each message, `seq` without gaps, a repeated `clientMessageId` stored once. The Go \
         service is made of what Debian 12 has, which is old: [what that costs it](../bench/peers/README.md#what-makes-the-comparison-fair).\n\n",
    );
}

fn table(
    results: &Results,
    text: &mut String,
    scenario: &str,
    title: &str,
    about: &str,
    columns: &[(&str, &str)],
) {
    let lines = results.lines(scenario);
    if lines.is_empty() {
        return;
    }
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    let _ = writeln!(text, "## {title}\n\n{about}\n\n| | {} |", heads.join(" | "));
    let _ = writeln!(text, "| --- |{}", " ---: |".repeat(columns.len()));
    let several = lines
        .iter()
        .any(|(system, _)| *system != System::Pgchat.name());
    for (system, variant) in &lines {
        let cells: Vec<String> = columns
            .iter()
            .map(|(_, figure)| {
                results
                    .median(scenario, system, variant, figure)
                    .map_or_else(|| "—".to_owned(), shown)
            })
            .collect();
        let line = match several {
            true => name(system).to_owned(),
            false => counted(variant),
        };
        let _ = writeln!(text, "| {line} | {} |", cells.join(" | "));
    }
    text.push('\n');
}

/// `8 replicas`, but `1 replica`.
fn counted(variant: &str) -> String {
    match variant.strip_prefix("1 ") {
        Some(what) => format!("1 {}", what.trim_end_matches('s')),
        None => variant.to_owned(),
    }
}

/// What went wrong in the runs, of whichever system.
fn faults(results: &Results, text: &mut String) {
    text.push_str("## Faults\n\n");
    let mut any = false;
    for record in results.all() {
        for run in record.runs.iter().filter(|run| !run.faults.is_empty()) {
            any = true;
            let faults: Vec<String> = run
                .faults
                .iter()
                .map(|(fault, count)| format!("{count} {}", fault.replace('_', " ")))
                .collect();
            let _ = writeln!(
                text,
                "- {}, {} {}, round {}: {}",
                record.scenario,
                name(&run.system),
                run.variant,
                run.round + 1,
                faults.join(", ")
            );
        }
    }
    if !any {
        text.push_str("None: no run of any system lost, doubled or reordered a message.\n");
    }
}
