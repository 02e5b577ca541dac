//! How long a replica takes from its start until it is ready, on a database that is there already.

use hdrhistogram::Histogram;
use pgchat_harness::Failure;

use super::tell;
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::Bench;

const STARTS: usize = 20;

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for system in &settings.systems {
        let database = bench.database(*system, 2).await?;
        // Makes the schema.
        drop(bench.start(*system, &database.name, 1).await?);
        let mut times = Histogram::<u64>::new_with_bounds(1_000, 100_000_000_000, 3)?;
        let starts = if settings.effort.quick { 5 } else { STARTS };
        for number in 0..starts {
            let replica = bench.start_replica(*system, &database.name, number).await?;
            times.saturating_record(u64::try_from(replica.ready_after.as_nanos())?);
        }
        let mut run = Run::new(system.name(), "existing database", 0);
        run.set_latencies("ready", &times);
        tell(&run, &["ready_p50_ms", "ready_max_ms"]);
        runs.push(run);
        bench.drop_database(database).await?;
    }
    Ok(runs)
}
