//! How many messages a second are acknowledged and delivered, beside the peers.

use pgchat_harness::Failure;

use super::pairs::{self, Setting};
use crate::load::{Pace, Via};
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::Bench;

const REPLICAS: usize = 2;
const SENDERS: usize = 256;

pub async fn plain(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let ways = [(Via::WebSocket, "ws"), (Via::Http, "http")];
    interleaved(bench, settings, &ways).await
}

/// `commit_delay` sleeps before the flush, inside the lock of NOTIFY: a good imitation of a slow disk.
pub async fn slow_commit(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let admin = bench.connect("postgres").await?;
    for statement in [
        "alter system set commit_delay = 2000",
        "alter system set commit_siblings = 0",
        "select pg_reload_conf()",
    ] {
        admin.batch_execute(statement).await?;
    }
    let runs = interleaved(bench, settings, &[(Via::WebSocket, "ws")]).await;
    for statement in ["alter system reset all", "select pg_reload_conf()"] {
        admin.batch_execute(statement).await?;
    }
    runs
}

/// A B C A B C …, so that a slow spell of the machine meets all.
async fn interleaved(
    bench: &Bench,
    settings: &Settings,
    ways: &[(Via, &str)],
) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for round in 0..settings.effort.rounds {
        for (via, variant) in ways {
            let systems = match via {
                Via::WebSocket => settings.systems_and_without_search(),
                Via::Http => settings.systems.clone(),
            };
            for system in systems {
                let setting = Setting {
                    system,
                    replicas: REPLICAS,
                    senders: SENDERS,
                    via: *via,
                    pace: Pace::Closed,
                };
                runs.push(pairs::run(bench, setting, settings.effort, variant, round).await?);
            }
        }
    }
    Ok(runs)
}
