//! The worst that one user can ask for: a message to a user with many sockets, and one to many users at once.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use pgchat_harness::Failure;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::pairs::{self, CONTENT, SETTLE};
use super::tell;
use crate::load::{LaneSpec, Load, Pace, Plan, Via};
use crate::record::Run;
use crate::settings::Settings;
use crate::systems::{Bench, Database, Deployment, System};

const REPLICAS: usize = 2;
/// As many as a user may have by default (`MAX_CONNECTIONS_PER_USER`).
const SOCKETS: usize = 20;
const RATE: u64 = 100;
const RECIPIENTS: usize = 1_000;
const BURSTS: usize = 10;

pub async fn run(bench: &Bench, settings: &Settings) -> Result<Vec<Run>, Failure> {
    let mut runs = Vec::new();
    for scene in [Scene::ManySockets, Scene::ManyUsers] {
        let database = bench.database(System::Pgchat, RECIPIENTS + 1).await?;
        let deployment = bench
            .start(System::Pgchat, &database.name, REPLICAS)
            .await?;
        let pairs: Vec<(usize, usize)> = (1..=RECIPIENTS).map(|recipient| (0, recipient)).collect();
        let stage = Stage {
            bench,
            conversations: database.conversations(&pairs).await?,
            database: &database,
            deployment: &deployment,
        };
        runs.push(match scene {
            Scene::ManySockets => stage.many_sockets(settings).await?,
            Scene::ManyUsers => stage.many_users().await?,
        });
        drop(deployment);
        bench.drop_database(database).await?;
    }
    Ok(runs)
}

enum Scene {
    ManySockets,
    ManyUsers,
}

struct Stage<'a> {
    bench: &'a Bench,
    database: &'a Database,
    deployment: &'a Deployment,
    conversations: Vec<Uuid>,
}

impl Stage<'_> {
    async fn load(&self, recipients: usize, sockets: Vec<(usize, usize)>) -> Result<Load, Failure> {
        let lanes = self.conversations[..recipients]
            .iter()
            .enumerate()
            .map(|(n, conversation)| LaneSpec {
                conversation: *conversation,
                sender: 0,
                recipient: n + 1,
            })
            .collect();
        Load::connect(Plan {
            dialect: System::Pgchat.dialect(),
            replicas: self.deployment.addrs(),
            users: self.database.users.clone(),
            lanes,
            sockets,
            via: Via::WebSocket,
            size: CONTENT,
        })
        .await
    }

    /// One conversation, whose other participant has many sockets.
    async fn many_sockets(&self, settings: &Settings) -> Result<Run, Failure> {
        let mut sockets = vec![(0, 0)];
        sockets.extend((0..SOCKETS).map(|n| (1, n % REPLICAS)));
        let load = self.load(1, sockets).await?;
        let mut run = Run::new("pgchat", "one user with 20 sockets", 0);
        pairs::measure(
            self.bench,
            self.deployment,
            &load,
            Pace::Open(RATE),
            settings.effort,
            &mut run,
        )
        .await?;
        load.settle(SETTLE).await;
        run.set_tally(&load.close().await.tally.borrow());
        tell(
            &run,
            &["per_second", "end_to_end_p50_ms", "end_to_end_p99_ms"],
        );
        Ok(run)
    }

    /// One sender, who writes to all of them in one moment, again and again.
    async fn many_users(&self) -> Result<Run, Failure> {
        let mut sockets = vec![(0, 0)];
        sockets.extend((1..=RECIPIENTS).map(|user| (user, user % REPLICAS)));
        let load = self.load(RECIPIENTS, sockets).await?;
        let mut all = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 3)?;
        for _ in 0..BURSTS {
            let began = Instant::now();
            let due = load.board.now();
            for lane in 0..RECIPIENTS {
                load.board.send(lane, due);
            }
            let arrived = async {
                while load.board.under_way() > 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            // What has not come by then is counted as lost below.
            let _ = timeout(SETTLE, arrived).await;
            all.saturating_record(u64::try_from(began.elapsed().as_nanos())?);
        }
        load.settle(SETTLE).await;
        let mut run = Run::new("pgchat", "1000 users at once", 0);
        run.set_tally(&load.close().await.tally.borrow());
        run.set_latencies("until_all_have_it", &all);
        tell(
            &run,
            &[
                "end_to_end_p50_ms",
                "end_to_end_p99_ms",
                "until_all_have_it_p50_ms",
            ],
        );
        Ok(run)
    }
}
