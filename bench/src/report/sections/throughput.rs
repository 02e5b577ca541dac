//! What a closed loop of senders reaches, and what the SQL alone could.

use std::fmt::Write as _;

use super::super::chart::Bars;
use super::super::figures::{Results, shown};
use super::{Report, counted, name};

pub fn throughput(results: &Results, directory: &str, report: &mut Report) {
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
                 A service that commits each message by itself then has a ceiling that no processor lifts; one that commits in batches does not.\n\n",
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
pub fn ceiling(results: &Results, text: &mut String) {
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
            "| {} | {} | {} |",
            counted(variant),
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
