//! The scenarios that only the service itself takes part in.

use std::fmt::Write as _;

use super::super::chart::Lines;
use super::super::figures::{Results, shown};
use super::{Report, table};

pub fn others(results: &Results, directory: &str, report: &mut Report) {
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
