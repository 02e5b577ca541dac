//! What an open loop of senders waits.

use std::fmt::Write as _;

use super::super::chart::Bars;
use super::super::figures::{Results, shown};
use super::{Report, name};

pub fn latency(results: &Results, directory: &str, report: &mut Report) {
    let lines = results.lines("latency");
    if lines.is_empty() {
        return;
    }
    report.text.push_str(
        "## Latency, end to end, over two replicas\n\nAn open loop: messages are due at fixed times, whatever comes back. The floor is one connection that \
         inserts and notifies and one that listens, at the same rate, with nothing in between. The next two lines are steps from there \
         to pgchat, by the same two connections: a statement by hand that locks the conversation, numbers messages without gaps and \
         stores a repeated `clientMessageId` once; and pgchat's own function, with the service left out. Then the same three over two \
         processes that do nothing but relay: one takes a message in over TCP, the other hears of it and writes it to a socket, as any service \
         of two replicas must. A service can hardly be faster than the second of these and keep `seq` without gaps.\n\n\
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
