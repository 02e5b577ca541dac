//! One line for each thing that was set out to be reached.

use std::fmt::Write as _;

use super::super::figures::{Results, shown};
use super::WITHOUT_SEARCH;

/// What was set out to be reached.
#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Goal {
    fn sign(self) -> (&'static str, f64) {
        match self {
            Self::AtLeast(bound) => ("≥", bound),
            Self::AtMost(bound) => ("≤", bound),
            Self::Below(bound) => ("<", bound),
        }
    }

    fn is_reached_by(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
            Self::Below(bound) => value < bound,
        }
    }
}

/// The table's rows.
struct Goals<'a>(&'a mut String);

impl Goals<'_> {
    fn line(&mut self, what: &str, goal: Goal, unit: &str, measured: Option<f64>) {
        self.line_with(what, goal, unit, measured.map(|value| (value, None)));
    }

    /// With what pgchat without its search index reaches beside it, which does not count.
    fn line_with(
        &mut self,
        what: &str,
        goal: Goal,
        unit: &str,
        measured: Option<(f64, Option<f64>)>,
    ) {
        let (sign, bound) = goal.sign();
        let (measured, reached) = match measured {
            Some((value, bare)) => {
                let bare = bare.map(|bare| format!("; {} without search", shown(bare)));
                let text = format!("{} {unit}{}", shown(value), bare.unwrap_or_default());
                (
                    text,
                    if goal.is_reached_by(value) {
                        "yes"
                    } else {
                        "**no**"
                    },
                )
            }
            None => ("not run".to_owned(), "—"),
        };
        let _ = writeln!(
            self.0,
            "| {what} | {sign} {bound} {unit} | {measured} | {reached} |"
        );
    }
}

pub fn summary(results: &Results, text: &mut String) {
    text.push_str(
        "## What was reached\n\nA ratio is the median of each round's own ratio, not the quotient of the medians below.\n\n\
         | what | wanted | measured | reached |\n| --- | --- | --- | --- |\n",
    );
    let mut goals = Goals(text);
    // The peers have no search to keep an index for.
    let compared = |scenario, variant, other, figure| {
        let ratio = |system| results.ratio(scenario, (system, variant), (other, variant), figure);
        Some((ratio("pgchat")?, ratio(WITHOUT_SEARCH)))
    };
    let rate = |scenario, peer| compared(scenario, "ws", peer, "per_second");
    goals.line_with(
        "messages/s acknowledged and delivered, against Go with NOTIFY",
        Goal::AtLeast(8.0),
        "times",
        rate("throughput", "gin"),
    );
    goals.line_with(
        "the same against socket.io",
        Goal::AtLeast(8.0),
        "times",
        rate("throughput", "socketio"),
    );
    goals.line_with(
        "with a commit of 2 ms, against Go with NOTIFY",
        Goal::AtLeast(20.0),
        "times",
        rate("slow-commit", "gin"),
    );
    goals.line_with(
        "p50 end to end at 500/s, against the floor",
        Goal::AtMost(1.5),
        "times",
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
    goals.line(
        "p99 end to end at 500/s, against the better peer",
        Goal::AtMost(1.0),
        "times",
        better,
    );
    goals.line(
        "p99 at 5,000/s offered",
        Goal::Below(50.0),
        "ms",
        results.median("latency", "pgchat", "5000/s", "end_to_end_p99_ms"),
    );
    for sockets in ["2000 sockets", "18000 sockets"] {
        goals.line(
            &format!("resident memory of an idle socket, {sockets}"),
            Goal::AtMost(8.0),
            "KiB",
            results.median("memory", "pgchat", sockets, "kib_per_socket"),
        );
    }
    for (_, variant) in results.lines("reconnect") {
        let of = |figure: &str| results.median("reconnect", "pgchat", &variant, figure);
        goals.line(
            &format!("{variant} back after a replica's death"),
            Goal::AtMost(10.0),
            "s",
            of("all_live_after_s"),
        );
        goals.line(
            "the others' p99 meanwhile",
            Goal::Below(250.0),
            "ms",
            of("others_meanwhile_p99_ms"),
        );
    }
    let stored = results.lines("stored");
    if let (Some((_, first)), Some((_, last))) = (stored.first(), stored.last()) {
        let cost = |variant: &str| {
            let parts = ["postgres", "replica"];
            let of = |part| results.cost("stored", "pgchat", variant, part);
            parts.into_iter().map(of).sum::<Option<f64>>()
        };
        goals.line(
            &format!("cost of a message with {last}, against none"),
            Goal::AtMost(1.2),
            "times",
            cost(last)
                .zip(cost(first))
                .map(|(last, first)| last / first),
        );
    }
    goals.line(
        "start to ready on an existing database (p50)",
        Goal::Below(300.0),
        "ms",
        results.median("start", "pgchat", "existing database", "ready_p50_ms"),
    );
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_reached_is_said_to_be_so() {
        let mut text = String::new();
        let mut goals = Goals(&mut text);
        goals.line("at least", Goal::AtLeast(8.0), "times", Some(6.44));
        goals.line_with(
            "at most",
            Goal::AtMost(1.5),
            "times",
            Some((1.5, Some(1.9))),
        );
        goals.line("below", Goal::Below(50.0), "ms", Some(50.0));
        goals.line("nothing", Goal::Below(50.0), "ms", None);
        assert_eq!(
            text,
            "| at least | ≥ 8 times | 6.44 times | **no** |\n\
             | at most | ≤ 1.5 times | 1.50 times; 1.90 without search | yes |\n\
             | below | < 50 ms | 50.0 ms | **no** |\n\
             | nothing | < 50 ms | not run | — |\n"
        );
    }
}
