//! How long a message takes from when it was due to the other participant's socket on another replica.

use pgchat_harness::Failure;

use super::floor::{self, Floor};
use super::pairs::{self, Setting};
use crate::load::{Pace, Via};
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::{Bench, System};

const REPLICAS: usize = 2;
/// Messages a second that every system follows, and from how many senders.
pub const EASY: (u64, usize) = (500, 64);
/// Messages a second that no peer follows.
const HARD: (u64, usize) = (5_000, 256);

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let effort = settings.effort;
    let setting = |system, (rate, senders)| Setting {
        system,
        replicas: REPLICAS,
        senders,
        via: Via::WebSocket,
        pace: Pace::Open(rate),
    };
    let mut runs = Vec::new();
    for round in 0..effort.rounds {
        for floor in Floor::chosen(effort) {
            runs.push(floor::run(bench, floor, EASY.0, effort, round).await?);
        }
        for system in settings.systems_and_without_search() {
            runs.push(pairs::run(bench, setting(system, EASY), effort, "500/s", round).await?);
        }
        if settings.systems.contains(&System::Pgchat) {
            let hard = setting(System::Pgchat, HARD);
            runs.push(pairs::run(bench, hard, effort, "5000/s", round).await?);
        }
    }
    Ok(runs)
}
