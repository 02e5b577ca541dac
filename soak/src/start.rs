//! Brings a run up: PostgreSQL, users, replicas, the proxies between them, conversations, clients.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use pgchat_harness::cluster::{Cluster, RunDir, Wanted, free_addr};
use pgchat_harness::{program, roles, users};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::Failure;
use crate::api::{Api, Miss};
use crate::client::Client;
use crate::model::*;
use crate::proxy::Proxy;
use crate::replicas::{self, Replica};
use crate::settings::Settings;
use crate::world::{ClientHandle, Machines, World};

/// Partners of each user: the next one, and the one this far on.
const PARTNERS: [usize; 2] = [1, 7];
/// Requests and orders that wait for a client's socket task.
const CLIENT_QUEUE: usize = 8;
/// How long all clients may take to get their first socket.
const ALL_ONLINE: Duration = Duration::from_secs(60);
/// Pause before a conversation that could not be made is tried again.
const RETRY: Duration = Duration::from_millis(200);

pub struct Run {
    pub world: Arc<World>,
    /// Clients' sockets and the replicas' supervisors: they end with the stage `stop`.
    pub background: JoinSet<()>,
    /// Ends the proxies, also when it is dropped.
    pub network: Network,
}

pub struct Network(DropGuard);

impl Network {
    pub fn cancel(self) {
        self.0.disarm().cancel();
    }
}

pub async fn start(settings: Settings, dir: &RunDir) -> Result<Run, Failure> {
    let named = settings.pgchat.clone();
    let program = tokio::task::spawn_blocking(move || program::pgchat(named.as_deref())).await??;
    let stop = CancellationToken::new();
    let network = Network(stop.clone().drop_guard());
    let machines = machines(&settings, dir, &program, &stop).await?;
    let client = machines.cluster.connect().await?;
    let users = users::make(&client, settings.clients.into()).await?;
    roles::install(&machines.cluster, "postgres", &program, &dir.path).await?;
    client.batch_execute(include_str!("host.sql")).await?;
    drop(client);
    replicas::start_all(&machines.replicas, &machines.probes).await?;
    println!("{} replicas are ready", machines.replicas.len());
    let conversations = conversations(&machines.api, &users).await?;
    println!(
        "{} users, {} conversations",
        users.len(),
        conversations.len()
    );

    let mut handles = Vec::new();
    let mut queues = Vec::new();
    for client in 0..settings.clients {
        let (requests, asked) = mpsc::channel(CLIENT_QUEUE);
        let (orders, ordered) = mpsc::channel(CLIENT_QUEUE);
        let own = (0..)
            .zip(&conversations)
            .filter(|(_, conversation)| conversation.members.contains(&client))
            .map(|(ix, _)| ix)
            .collect();
        handles.push(ClientHandle {
            requests,
            orders,
            conversations: own,
        });
        queues.push((client, asked, ordered));
    }
    let world = Arc::new(World::new(
        settings,
        machines,
        users,
        conversations,
        handles,
    ));
    let mut background = JoinSet::new();
    for (ix, requests, orders) in queues {
        background.spawn(Client::new(ix, world.clone(), requests, orders).run());
    }
    for number in 0..world.replicas.len() {
        let stop = world.stages.stop.clone();
        let supervising = replicas::supervise(world.clone(), number);
        background.spawn(async move {
            stop.run_until_cancelled(supervising).await;
        });
    }
    all_online(&world, &mut background).await?;
    Ok(Run {
        world,
        background,
        network,
    })
}

async fn machines(
    settings: &Settings,
    dir: &RunDir,
    program: &Path,
    stop: &CancellationToken,
) -> Result<Machines, Failure> {
    let wanted = Wanted {
        bin: settings.pg_bin.clone(),
        name: "pgchat soak",
        settings: vec!["max_connections=150".to_owned()],
    };
    let cluster = Cluster::start(dir, wanted).await?;
    println!("PostgreSQL is at {}", cluster.addr);
    let tasks = TaskTracker::new();
    let (mut replicas, mut networks, mut addrs) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..settings.replicas {
        let network = Proxy::start(&[cluster.addr], false, &tasks, stop)?;
        let addr = free_addr()?;
        replicas.push(Replica::new(
            number,
            addr,
            network.addr,
            program.to_owned(),
            dir.path.clone(),
            dir.logs().join(format!("replica-{number}.log")),
        ));
        networks.push(network);
        addrs.push(addr);
    }
    let edge = Proxy::start(&addrs, true, &tasks, stop)?;
    let api = Api::new(format!("http://{}", edge.addr))?;
    Ok(Machines {
        replicas,
        cluster,
        edge,
        networks,
        api,
        // A connection for each probe: a kept one would outlive its replica.
        probes: reqwest::Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .build()?,
    })
}

async fn conversations(api: &Api, users: &[Uuid]) -> Result<Vec<Conversation>, Failure> {
    let mut pairs = BTreeSet::new();
    for one in 0..users.len() {
        for distance in PARTNERS {
            let other = (one + distance) % users.len();
            if one != other {
                pairs.insert((one.min(other), one.max(other)));
            }
        }
    }
    futures_util::stream::iter(pairs)
        .map(|(one, other)| async move {
            let deadline = Instant::now() + ALL_ONLINE;
            loop {
                match api.make_conversation(users[one], users[other]).await {
                    Ok(id) => {
                        break Ok(Conversation {
                            id,
                            members: [ClientIx::try_from(one)?, ClientIx::try_from(other)?],
                        });
                    }
                    // A replica's first connections to the database may take it long.
                    Err(Miss::Retry(_)) if Instant::now() < deadline => sleep(RETRY).await,
                    Err(Miss::Retry(text) | Miss::Refused(text)) => {
                        break Err(Failure::from(format!("POST conversations: {text}")));
                    }
                }
            }
        })
        .buffered(8)
        .try_collect()
        .await
}

async fn all_online(world: &World, background: &mut JoinSet<()>) -> Result<(), Failure> {
    let deadline = Instant::now() + ALL_ONLINE;
    loop {
        let online = world.online.load(Ordering::Relaxed);
        if online == world.clients.len() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let counters = world.counters();
            return Err(format!("only {online} clients are online: {counters:?}").into());
        }
        if let Some(ended) = background.try_join_next() {
            return Err(crate::early(Some(ended)));
        }
        sleep(Duration::from_millis(20)).await;
    }
}
