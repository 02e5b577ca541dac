//! What a run came to: for the terminal, and as JSON for what compares runs.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::faults::Tally;
use crate::world::World;

/// Violations that are printed with their whole history.
const HISTORIES: usize = 20;

/// Prints the outcome. True when nothing was wrong.
pub fn print(world: &World, tally: &Tally, rows: u64) -> bool {
    let checker = world.checker();
    let violations = checker.violations();
    let faults = world.faults();
    for violation in violations.iter().take(HISTORIES) {
        println!("\n{}", checker.history(violation, &faults));
    }
    if violations.len() > HISTORIES {
        println!("… and {} more", violations.len() - HISTORIES);
    }
    println!("{}", summary(world, &checker, tally, rows));
    let good = checker.totals().is_empty();
    if good {
        println!("verdict: nothing lost, nothing twice, nothing out of order");
    } else {
        println!("verdict: VIOLATED");
        for (kind, count) in checker.totals() {
            println!("  {kind:?}: {count}");
        }
    }
    good
}

fn summary(world: &World, checker: &crate::checker::Checker, tally: &Tally, rows: u64) -> String {
    let counts = &checker.counts;
    let mut out = format!(
        "\nseed {}, {} clients, {} replicas, {:?} of faults\n\
         messages: {} sent, {} acknowledged, {rows} rows in the table\n\
         frames: {} chat_message, {} of them replayed; {} messages by reloads\n\
         {} typing, {} presence; {} searches answered\n\
         sockets: {} opened, {} resumed, {} resync_required\n",
        world.settings.seed,
        world.settings.clients,
        world.settings.replicas,
        world.settings.duration,
        checker.messages(),
        counts.acknowledged,
        counts.frames,
        counts.replayed,
        counts.reloaded,
        counts.typing,
        counts.presence,
        counts.searched,
        checker.sockets(),
        counts.resumed,
        counts.resyncs
    );
    // Writing to a String does not fail.
    let _ = writeln!(
        out,
        "latency from the first attempt, faults included: acknowledged {}, seen by the other {}",
        times(&checker.latencies.acknowledged),
        times(&checker.latencies.seen)
    );
    let _ = writeln!(
        out,
        "faults, and the time from the end of each until all that was sent before is acknowledged and seen:"
    );
    for (fault, entry) in &tally.faults {
        let _ = writeln!(
            out,
            "  {:20} {:4} done, {:3} skipped, recovery {}",
            fault.name(),
            entry.done,
            entry.skipped,
            times(&entry.recovery)
        );
    }
    let _ = writeln!(out, "what clients met:");
    for (what, count) in world.counters().iter() {
        let _ = writeln!(out, "  {count:7} {what}");
    }
    out
}

/// The report as JSON. Times are in microseconds.
pub fn json(world: &World, tally: &Tally, rows: u64) -> Value {
    let checker = world.checker();
    let faults = world.faults();
    let counts = &checker.counts;
    let violations: Vec<Value> = checker
        .violations()
        .iter()
        .map(|violation| {
            json!({
                "kind": format!("{:?}", violation.kind),
                "text": violation.to_string(),
                "history": checker.history(violation, &faults),
            })
        })
        .collect();
    let totals: serde_json::Map<String, Value> = checker
        .totals()
        .iter()
        .map(|(kind, count)| (format!("{kind:?}"), json!(count)))
        .collect();
    let by_fault: serde_json::Map<String, Value> = tally
        .faults
        .iter()
        .map(|(fault, entry)| {
            let entry = json!({
                "done": entry.done,
                "skipped": entry.skipped,
                "recovery": histogram(&entry.recovery),
            });
            (fault.name().to_owned(), entry)
        })
        .collect();
    json!({
        "passed": totals.is_empty(),
        "seed": world.settings.seed,
        "clients": world.settings.clients,
        "replicas": world.settings.replicas,
        "durationSeconds": world.settings.duration.as_secs_f64(),
        "messages": {
            "sent": checker.messages(),
            "acknowledged": counts.acknowledged,
            "rows": rows,
        },
        "frames": {
            "received": counts.frames,
            "replayed": counts.replayed,
            "reloaded": counts.reloaded,
            "typing": counts.typing,
            "presence": counts.presence,
        },
        "searched": counts.searched,
        "sockets": {
            "opened": checker.sockets(),
            "resumed": counts.resumed,
            "resyncs": counts.resyncs,
        },
        "latency": {
            "acknowledged": histogram(&checker.latencies.acknowledged),
            "seen": histogram(&checker.latencies.seen),
        },
        "faults": by_fault,
        "counters": *world.counters(),
        "violationTotals": totals,
        "violations": violations,
    })
}

fn histogram(values: &Histogram<u64>) -> Value {
    json!({
        "count": values.len(),
        "p50": values.value_at_quantile(0.5),
        "p99": values.value_at_quantile(0.99),
        "max": values.max(),
    })
}

fn times(values: &Histogram<u64>) -> String {
    if values.is_empty() {
        return "—".to_owned();
    }
    let millis = |micros: u64| micros as f64 / 1_000.0;
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
        millis(values.value_at_quantile(0.5)),
        millis(values.value_at_quantile(0.99)),
        millis(values.max())
    )
}
