//! One line for each thing that was set out to be reached.

use std::fmt::Write as _;

use super::super::figures::{Results, shown};
use super::WITHOUT_SEARCH;

pub fn summary(results: &Results, text: &mut String) {
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
