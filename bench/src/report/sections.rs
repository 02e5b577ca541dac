//! What the report says, section by section.

use std::fmt::Write as _;

use super::chart::{Bars, Lines};
use super::figures::{Results, shown};
use crate::record::Conditions;
use crate::systems::System;

/// The report's text, and its plots by file name.
pub struct Report {
    pub text: String,
    pub plots: Vec<(&'static str, String)>,
}

const NAMES: [(&str, &str); 5] = [
    ("pgchat", "pgchat"),
    (WITHOUT_SEARCH, "pgchat, `SEARCH_LANGUAGE=off`"),
    ("gin", "Go: Gin, GORM, pq.Listener"),
    ("socketio", "Node: socket.io, its PostgreSQL adapter"),
    ("floor", "floor: bare INSERT + NOTIFY"),
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
             anew. Everything (PostgreSQL, the replicas, the load generator) shares one machine, so the ratios of one run count, not \
             the figures alone. Every message is looked for on every socket that must get it: a run that loses, doubles or reorders one \
             is marked as faulty. In an open loop latency counts from when a message was *due*, on the sender's side, until the other \
             participant's socket on another replica has it.\n\n",
        ),
        plots: Vec::new(),
    };
    summary(results, &mut report.text);
    conditions(results, &mut report.text);
    throughput(results, directory, &mut report);
    ceiling(results, &mut report.text);
    latency(results, directory, &mut report);
    memory(results, directory, &mut report);
    others(results, directory, &mut report);
    faults(results, &mut report.text);
    report
}

/// One line for each thing that was set out to be reached.
fn summary(results: &Results, text: &mut String) {
    text.push_str("## What was reached\n\n| what | wanted | measured |\n| --- | --- | --- |\n");
    let mut line = |what: &str, wanted: &str, measured: Option<String>| {
        let measured = measured.unwrap_or_else(|| "not run".to_owned());
        let _ = writeln!(text, "| {what} | {wanted} | {measured} |");
    };
    let times = |value: f64| format!("{} times", shown(value));
    // The peers have no search to keep an index for.
    let compared = |scenario, variant, other, figure| {
        let ratio = |system| results.ratio(scenario, (system, variant), (other, variant), figure);
        let ours = times(ratio("pgchat")?);
        Some(match ratio(WITHOUT_SEARCH) {
            Some(bare) => format!("{ours}; {} without search", shown(bare)),
            None => ours,
        })
    };
    let rate = |scenario, peer| compared(scenario, "ws", peer, "per_second");
    line(
        "messages/s acknowledged and delivered, against Go with NOTIFY",
        "≥ 8 times",
        rate("throughput", "gin"),
    );
    line(
        "the same against socket.io",
        "≥ 8 times",
        rate("throughput", "socketio"),
    );
    line(
        "with a commit of 2 ms, against Go with NOTIFY",
        "≥ 20 times",
        rate("slow-commit", "gin"),
    );
    line(
        "p50 end to end at 500/s, against the floor",
        "≤ 1.5 times",
        compared("latency", "500/s", "floor", "end_to_end_p50_ms"),
    );
    let better = ["gin", "socketio"]
        .into_iter()
        .filter_map(|peer| {
            results.ratio(
                "latency",
                ("pgchat", "500/s"),
                (peer, "500/s"),
                "end_to_end_p99_ms",
            )
        })
        .reduce(f64::max);
    line(
        "p99 end to end at 500/s, against the better peer",
        "≤ 1 times",
        better.map(times),
    );
    let hard = results.median("latency", "pgchat", "5000/s", "end_to_end_p99_ms");
    line(
        "p99 at 5,000/s offered",
        "< 50 ms",
        hard.map(|ms| format!("{} ms", shown(ms))),
    );
    for sockets in ["2000 sockets", "18000 sockets"] {
        let kib = results.median("memory", "pgchat", sockets, "kib_per_socket");
        line(
            &format!("resident memory of an idle socket, {sockets}"),
            "≤ 8 KiB",
            kib.map(|kib| format!("{} KiB", shown(kib))),
        );
    }
    for (_, variant) in results.lines("reconnect") {
        let of = |figure: &str| results.median("reconnect", "pgchat", &variant, figure);
        line(
            &format!("{variant} back after a replica's death"),
            "≤ 10 s",
            of("all_live_after_s").map(|s| format!("{} s", shown(s))),
        );
        line(
            "the others' p99 meanwhile",
            "< 250 ms",
            of("others_meanwhile_p99_ms").map(|ms| format!("{} ms", shown(ms))),
        );
    }
    let stored = results.lines("stored");
    if let (Some((_, first)), Some((_, last))) = (stored.first(), stored.last()) {
        let cost = |variant: &str| {
            let parts = ["postgres", "replica"];
            let of = |part| results.cost("stored", "pgchat", variant, part);
            parts.into_iter().map(of).sum::<Option<f64>>()
        };
        let ratio = cost(last)
            .zip(cost(first))
            .map(|(last, first)| last / first);
        line(
            &format!("cost of a message with {last}, against none"),
            "≤ 1.2 times",
            ratio.map(times),
        );
    }
    let start = results.median("start", "pgchat", "existing database", "ready_p50_ms");
    line(
        "start to ready on an existing database",
        "< 300 ms",
        start.map(|ms| format!("{} ms (p50)", shown(ms))),
    );
    text.push('\n');
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
         interleaved rounds (A B C, A B C, …), each on a database of its own, after a warm-up and a checkpoint. The peers store and deliver the \
         same ([bench/peers/](../bench/peers/)): a transaction for each message, `seq` without gaps, a repeated `clientMessageId` stored once.\n\n",
    );
}

fn throughput(results: &Results, directory: &str, report: &mut Report) {
    for (scenario, title, file) in [
        (
            "throughput",
            "Throughput: 2 replicas, 256 senders in a closed loop",
            "throughput.svg",
        ),
        (
            "slow-commit",
            "The same where a commit takes 2 ms",
            "slow-commit.svg",
        ),
    ] {
        let lines = results.lines(scenario);
        if lines.is_empty() {
            continue;
        }
        let _ = writeln!(report.text, "## {title}\n");
        if scenario == "slow-commit" {
            report.text.push_str(
                "`commit_delay = 2000` with `commit_siblings = 0` sleeps before the flush, inside the lock of NOTIFY: as a slow or remote disk does. \
                 One commit for each message then is a ceiling that no hardware lifts; a batch for each commit is not held by it.\n\n",
            );
        }
        report.text.push_str(
            "| | by | messages/s | p50 ms | p99 ms | µs a message: load generator | replicas | PostgreSQL |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        let mut groups = Vec::new();
        for (system, variant) in &lines {
            let of = |figure: &str| {
                results
                    .median(scenario, system, variant, figure)
                    .map_or_else(|| "—".to_owned(), shown)
            };
            let _ = writeln!(
                report.text,
                "| {} | {variant} | {} | {} | {} | {} | {} | {} |",
                name(system),
                of("per_second"),
                of("end_to_end_p50_ms"),
                of("end_to_end_p99_ms"),
                of("load_generator_us_per_message"),
                of("replicas_us_per_message"),
                of("postgres_us_per_message"),
            );
            groups.push((
                format!("{system}, {variant}"),
                vec![results.median(scenario, system, variant, "per_second")],
            ));
        }
        let svg = Bars {
            title: "Messages acknowledged and delivered",
            unit: "messages/s",
            series: &["messages/s"],
            groups,
        }
        .svg();
        let _ = writeln!(report.text, "\n![{title}]({directory}/{file})\n");
        report.plots.push((file, svg));
    }
}

/// What the service reaches of what its SQL could.
fn ceiling(results: &Results, text: &mut String) {
    let lines = results.lines("ceiling");
    if lines.is_empty() {
        return;
    }
    text.push_str(
        "## The ceiling\n\n`chat_send_messages` called directly with batches of 500, no service, one connection that listens.\n\n\
         | | messages/s | PostgreSQL, µs a message |\n| --- | ---: | ---: |\n",
    );
    for (system, variant) in &lines {
        let of = |figure: &str| {
            results
                .median("ceiling", system, variant, figure)
                .map_or_else(|| "—".to_owned(), shown)
        };
        let _ = writeln!(
            text,
            "| {variant} | {} | {} |",
            of("per_second"),
            of("postgres_us_per_message")
        );
    }
    let ours = |figure| results.median("throughput", "pgchat", "ws", figure);
    let bare = results.median(
        "ceiling",
        "ceiling",
        "1 connections",
        "postgres_us_per_message",
    );
    if let (Some(rate), Some(bare), Some(generator), Some(replicas), Some(postgres)) = (
        ours("per_second"),
        bare,
        ours("load_generator_us_per_message"),
        ours("replicas_us_per_message"),
        ours("postgres_us_per_message"),
    ) {
        let total = generator + replicas + postgres;
        let _ = writeln!(
            text,
            "\nThe service's {} messages/s take {} µs of processor time each, of all cores together: {} µs the load generator, {} µs the replicas (each message \
             is read, stored, heard twice and written to two sockets and an answer), {} µs PostgreSQL, of which the bare function takes {} µs with full \
             batches. On this machine the load generator and the replicas leave PostgreSQL {:.0} % of the time, and of what fits into that at the \
             ceiling's cost the service reaches {:.0} %.\n",
            shown(rate),
            shown(total),
            shown(generator),
            shown(replicas),
            shown(postgres),
            shown(bare),
            100.0 * postgres / total,
            100.0 * bare / postgres,
        );
    }
    text.push('\n');
}

fn latency(results: &Results, directory: &str, report: &mut Report) {
    let lines = results.lines("latency");
    if lines.is_empty() {
        return;
    }
    report.text.push_str(
        "## Latency, end to end, over two replicas\n\nAn open loop: messages are due at fixed times, whatever comes back. The floor is one connection that \
         inserts and notifies and one that listens, at the same rate, with nothing in between.\n\n\
         | | offered | delivered/s | p50 ms | p90 ms | p99 ms | p99.9 ms |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut groups = Vec::new();
    for (system, variant) in &lines {
        let of = |figure: &str| {
            results
                .median("latency", system, variant, figure)
                .map_or_else(|| "—".to_owned(), shown)
        };
        let _ = writeln!(
            report.text,
            "| {} | {variant} | {} | {} | {} | {} | {} |",
            name(system),
            of("per_second"),
            of("end_to_end_p50_ms"),
            of("end_to_end_p90_ms"),
            of("end_to_end_p99_ms"),
            of("end_to_end_p999_ms"),
        );
        let value = |figure| results.median("latency", system, variant, figure);
        groups.push((
            format!("{system}, {variant}"),
            vec![value("end_to_end_p50_ms"), value("end_to_end_p99_ms")],
        ));
    }
    let svg = Bars {
        title: "Latency end to end",
        unit: "ms",
        series: &["p50", "p99"],
        groups,
    }
    .svg();
    let _ = writeln!(
        report.text,
        "\n![Latency end to end]({directory}/latency.svg)\n"
    );
    report.plots.push(("latency.svg", svg));
}

fn memory(results: &Results, directory: &str, report: &mut Report) {
    let lines = results.lines("memory");
    if lines.is_empty() {
        return;
    }
    report.text.push_str(
        "## Memory of an idle socket\n\nWhat so many sockets add to what a replica with a hundred has resident, over their number. What is set up once for all (pages of code, the pool's connections) comes with the first hundred.\n\n\
         | | sockets | KiB a socket | MiB at the start | MiB with the first 100 | MiB with all |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut groups = Vec::new();
    for (system, variant) in &lines {
        let value = |figure| results.median("memory", system, variant, figure);
        let of = |figure| value(figure).map_or_else(|| "—".to_owned(), shown);
        let _ = writeln!(
            report.text,
            "| {} | {} | {} | {} | {} | {} |",
            name(system),
            of("sockets"),
            of("kib_per_socket"),
            of("resident_alone_mib"),
            of("resident_before_mib"),
            of("resident_after_mib"),
        );
        groups.push((
            format!("{system}, {variant}"),
            vec![value("kib_per_socket")],
        ));
    }
    let svg = Bars {
        title: "Resident memory of an idle socket",
        unit: "KiB",
        series: &["KiB"],
        groups,
    }
    .svg();
    let _ = writeln!(
        report.text,
        "\n![Memory of an idle socket]({directory}/memory.svg)\n"
    );
    report.plots.push(("memory.svg", svg));
}

fn others(results: &Results, directory: &str, report: &mut Report) {
    table(
        results,
        &mut report.text,
        "broadcast",
        "Broadcast, the worst cases",
        "One message to a user with 20 sockets, 100 times a second; one sender who writes to 1,000 users in one moment, until the last of them has it.",
        &[
            ("p50 ms", "end_to_end_p50_ms"),
            ("p99 ms", "end_to_end_p99_ms"),
            ("until all have it, ms", "until_all_have_it_p50_ms"),
        ],
    );
    table(
        results,
        &mut report.text,
        "reconnect",
        "A replica is killed",
        "Three replicas; one of them is killed with `kill -9`. All of its clients come to the other two at once, each with its cursor, and each has \
         missed a message meanwhile. 64 pairs of other users talk on at 500 messages/s. The processor time is that of all cores until all are live.",
        &[
            ("all live after, s", "all_live_after_s"),
            ("seconds of a core: load generator", "load_generator_s"),
            ("replicas", "replicas_s"),
            ("PostgreSQL", "postgres_s"),
            ("others' p99 before, ms", "others_before_p99_ms"),
            ("meanwhile", "others_meanwhile_p99_ms"),
            ("after", "others_after_p99_ms"),
            ("seen again", "repeats"),
            ("resync_required", "resyncs"),
        ],
    );
    table(
        results,
        &mut report.text,
        "stored",
        "The cost of a message when many are stored",
        "1,000 messages/s over 2 replicas and 128 conversations. The conversations that are written to have 500 messages each beforehand, as all others do.",
        &[
            ("p50 ms", "end_to_end_p50_ms"),
            ("p99 ms", "end_to_end_p99_ms"),
            ("replicas, µs a message", "replicas_us_per_message"),
            ("PostgreSQL, µs a message", "postgres_us_per_message"),
        ],
    );
    table(
        results,
        &mut report.text,
        "replicas",
        "More replicas, the same load",
        "1,000 messages/s in all. A message is taken in by one replica and heard by all of them, so what the replicas pay together grows with their number by the \
         cost of hearing, and what PostgreSQL pays by the cost of telling one more listener.",
        &[
            ("p50 ms", "end_to_end_p50_ms"),
            ("p99 ms", "end_to_end_p99_ms"),
            ("all replicas, µs a message", "replicas_us_per_message"),
            ("PostgreSQL, µs a message", "postgres_us_per_message"),
        ],
    );
    let lines = results.lines("replicas");
    if !lines.is_empty() {
        let xs = lines
            .iter()
            .map(|(_, variant)| variant.replace(" replicas", ""))
            .collect();
        let of = |prefix: &str| -> Vec<Option<f64>> {
            lines
                .iter()
                .map(|(system, variant)| results.cost("replicas", system, variant, prefix))
                .collect()
        };
        let series = vec![
            ("all replicas", of("replica")),
            ("PostgreSQL: writers", of("postgres writers")),
            ("PostgreSQL: listeners", of("postgres listeners")),
        ];
        let svg = Lines {
            title: "Processor time of a message",
            unit: "µs",
            x_label: "replicas",
            xs,
            series,
        }
        .svg();
        let _ = writeln!(
            report.text,
            "![Processor time of a message by replicas]({directory}/replicas.svg)\n"
        );
        report.plots.push(("replicas.svg", svg));
        law(results, &lines, &mut report.text);
    }
    table(
        results,
        &mut report.text,
        "start",
        "Start",
        "From the start of the process until `/health/ready` answers 200, on a database that has the schema.",
        &[
            ("p50 ms", "ready_p50_ms"),
            ("p90 ms", "ready_p90_ms"),
            ("max ms", "ready_max_ms"),
        ],
    );
}

/// Fits a straight line through the cost of all parts by the number of replicas.
fn law(results: &Results, lines: &[(String, String)], text: &mut String) {
    let points: Vec<(f64, f64)> = lines
        .iter()
        .filter_map(|(system, variant)| {
            let replicas = results.median("replicas", system, variant, "replicas")?;
            let cost = results.cost("replicas", system, variant, "replica")?
                + results.cost("replicas", system, variant, "postgres")?;
            Some((replicas, cost))
        })
        .collect();
    let count = points.len() as f64;
    if points.len() < 2 {
        return;
    }
    let (mean_x, mean_y) = (
        points.iter().map(|(x, _)| x).sum::<f64>() / count,
        points.iter().map(|(_, y)| y).sum::<f64>() / count,
    );
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = points
        .iter()
        .map(|(x, y)| (x - mean_x) * (y - mean_y))
        .sum::<f64>()
        / spread;
    let _ = writeln!(
        text,
        "A straight line through these costs: {} µs a message, and {} µs more for each replica, PostgreSQL's part included.\n",
        shown(mean_y - slope * mean_x),
        shown(slope)
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
            false => variant.clone(),
        };
        let _ = writeln!(text, "| {line} | {} |", cells.join(" | "));
    }
    text.push('\n');
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
