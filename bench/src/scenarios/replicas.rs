//! What each part pays when the same load is spread over more replicas: every replica hears every notification.

use pgchat_harness::Failure;

use super::pairs::{self, Setting};
use crate::load::{Pace, Via};
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::{Bench, System};

const RATE: u64 = 1_000;
const SENDERS: usize = 128;

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for round in 0..settings.effort.rounds {
        for replicas in [1, 2, 4, 8] {
            let setting = Setting {
                system: System::Pgchat,
                replicas,
                senders: SENDERS,
                via: Via::WebSocket,
                pace: Pace::Open(RATE),
            };
            let variant = format!("{replicas} replicas");
            let mut run = pairs::run(bench, setting, settings.effort, &variant, round).await?;
            run.set("replicas", replicas as f64);
            runs.push(run);
        }
    }
    Ok(runs)
}
