//! The lines of the report: each scenario is one raw result with its runs.

mod broadcast;
mod ceiling;
pub mod floor;
mod latency;
mod memory;
mod pairs;
mod reconnect;
mod replicas;
mod start;
mod stored;
mod throughput;

use pgchat_harness::Failure;

use crate::record::Run;
use crate::settings::Settings;
use crate::systems::Bench;

/// What is set besides PostgreSQL's defaults (fsync and synchronous_commit stay on). Checkpoints are those
/// of the defaults, and one is made before each run, so that all begin alike.
pub const POSTGRES_SETTINGS: [&str; 1] = ["max_connections=400"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    Throughput,
    SlowCommit,
    Ceiling,
    Latency,
    Memory,
    Broadcast,
    Reconnect,
    Stored,
    Replicas,
    Start,
}

impl Scenario {
    pub const ALL: [Self; 10] = [
        Self::Throughput,
        Self::SlowCommit,
        Self::Ceiling,
        Self::Latency,
        Self::Memory,
        Self::Broadcast,
        Self::Reconnect,
        Self::Stored,
        Self::Replicas,
        Self::Start,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::SlowCommit => "slow-commit",
            Self::Ceiling => "ceiling",
            Self::Latency => "latency",
            Self::Memory => "memory",
            Self::Broadcast => "broadcast",
            Self::Reconnect => "reconnect",
            Self::Stored => "stored",
            Self::Replicas => "replicas",
            Self::Start => "start",
        }
    }

    pub fn about(self) -> &'static str {
        match self {
            Self::Throughput => "2 replicas, 256 senders in a closed loop, over WebSocket and HTTP",
            Self::SlowCommit => "the same over WebSocket, where a commit takes 2 ms",
            Self::Ceiling => "chat_send_messages called directly with full batches, no service",
            Self::Latency => {
                "end to end at 500 messages a second, the floor beside it, and at 5,000"
            }
            Self::Memory => "what an idle socket keeps resident, with 2,000 and 18,000 of them",
            Self::Broadcast => {
                "one user with 20 sockets; one sender who writes to 1,000 users at once"
            }
            Self::Reconnect => {
                "10,000 clients come back with their cursors after a replica was killed"
            }
            Self::Stored => "the cost of a message with 0, 1 and 5 million messages stored",
            Self::Replicas => {
                "1, 2, 4 and 8 replicas at 1,000 messages a second: what each part pays"
            }
            Self::Start => "from a replica's start until it is ready, on an existing database",
        }
    }

    pub async fn run(self, bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
        match self {
            Self::Throughput => throughput::plain(bench, settings).await,
            Self::SlowCommit => throughput::slow_commit(bench, settings).await,
            Self::Ceiling => ceiling::run(bench, settings).await,
            Self::Latency => latency::run(bench, settings).await,
            Self::Memory => memory::run(bench, settings).await,
            Self::Broadcast => broadcast::run(bench, settings).await,
            Self::Reconnect => reconnect::run(bench, settings).await,
            Self::Stored => stored::run(bench, settings).await,
            Self::Replicas => replicas::run(bench, settings).await,
            Self::Start => start::run(bench, settings).await,
        }
    }
}

/// A line for whoever watches.
fn tell(run: &Run, figures: &[&str]) {
    let figures: Vec<String> = figures
        .iter()
        .filter_map(|name| Some(format!("{name} {:.2}", run.figures.get(*name)?)))
        .collect();
    println!(
        "  {} {} round {}: {}",
        run.system,
        run.variant,
        run.round,
        figures.join(", ")
    );
}
