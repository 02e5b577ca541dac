//! Faults of processes, networks and clients.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use pgchat_harness::with_causes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::SemaphorePermit;

use super::rows::Hold;
use super::{Plan, Skipped, database, rows};
use crate::checker::{Kind, Violation};
use crate::client::Order;
use crate::proxy::{Link, Mode, Proxy};
use crate::replicas::Lease;
use crate::world::World;

/// Rows written while a client is away: some times more than the replicas replay.
const ROWS_WHILE_AWAY: (usize, usize) = (50, 350);

/// A replica that is taken for a fault, while another is left in peace.
struct Victim<'a> {
    number: usize,
    replica: Lease<'a>,
    _place: SemaphorePermit<'a>,
}

impl<'a> Victim<'a> {
    fn take(world: &'a World, plan: Plan) -> Result<Self, Skipped> {
        let number = plan.target(world.replicas.len());
        let Some(replica) = world.replicas[number].take() else {
            return Err(Skipped(format!("replica {number} is under another fault")));
        };
        let Ok(place) = world.replicas_at_once.try_acquire() else {
            let why = "all other replicas are under faults";
            return Err(Skipped(why.to_owned()));
        };
        Ok(Self {
            number,
            replica,
            _place: place,
        })
    }

    /// Starts it again after a time. `end` says how it came to its end.
    async fn start_after(mut self, world: &World, plan: Plan, end: String) -> String {
        let time = down_time(plan);
        world.pause(time).await;
        match self.replica.start() {
            Ok(()) => format!("{end}, down for {time:?}"),
            Err(error) => format!("{end}, and not started again: {error}"),
        }
    }
}

fn down_time(plan: Plan) -> Duration {
    plan.time(0, 6_000)
}

pub async fn stop_replica(world: &World, plan: Plan) -> Result<String, Skipped> {
    let mut victim = Victim::take(world, plan)?;
    let time = down_time(plan);
    victim.replica.signal(Signal::SIGSTOP);
    world.pause(time).await;
    victim.replica.signal(Signal::SIGCONT);
    Ok(format!("replica {} stopped for {time:?}", victim.number))
}

pub async fn kill_replica(world: &World, plan: Plan) -> Result<String, Skipped> {
    let mut victim = Victim::take(world, plan)?;
    victim.replica.kill().await;
    let end = format!("replica {} killed", victim.number);
    Ok(victim.start_after(world, plan, end).await)
}

pub async fn drain_replica(world: &World, plan: Plan) -> Result<String, Skipped> {
    let mut victim = Victim::take(world, plan)?;
    let number = victim.number;
    let end = match victim.replica.drain().await {
        Ok(took) => format!("replica {number} drained in {took:?}"),
        Err(text) => {
            let text = format!("replica {number}: {text}");
            let violation = Violation::new(Kind::ReplicaFailed, world.clock.now(), text.clone());
            world.checker().violate(violation);
            text
        }
    };
    Ok(victim.start_after(world, plan, end).await)
}

/// Some of the connections between clients and replicas, at random.
fn some_connections(world: &World, plan: Plan, rng: &mut StdRng) -> Vec<Arc<Link>> {
    let mut links = world.edge.links();
    let count = plan.count(1, 40).min(links.len());
    for place in 0..count {
        let other = rng.random_range(place..links.len());
        links.swap(place, other);
    }
    links.truncate(count);
    links
}

fn set_all(links: &[Arc<Link>], mode: Mode) {
    for link in links {
        link.set(mode);
    }
}

pub fn cut_connections(world: &World, plan: Plan) -> String {
    let links = some_connections(world, plan, &mut StdRng::seed_from_u64(plan.seed));
    set_all(&links, Mode::Cut);
    format!("{} sockets reset", links.len())
}

pub async fn delay_connections(world: &World, plan: Plan) -> String {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let links = some_connections(world, plan, &mut rng);
    let delay = Duration::from_millis(rng.random_range(20..800));
    let time = plan.time(500, 12_000);
    set_all(&links, Mode::Delay(delay));
    world.pause(time).await;
    set_all(&links, Mode::Pass);
    let count = links.len();
    format!("{count} sockets delayed by {delay:?} for {time:?}")
}

pub async fn mute_connections(world: &World, plan: Plan) -> String {
    let links = some_connections(world, plan, &mut StdRng::seed_from_u64(plan.seed));
    let time = plan.time(500, 12_000);
    mute(world, &links, time, plan.coin).await;
    let count = links.len();
    format!("{count} sockets silent for {time:?}, {}", end(plan))
}

/// Connections between one replica and PostgreSQL.
struct ToDatabase<'a> {
    number: usize,
    network: &'a Proxy,
    links: Vec<Arc<Link>>,
    what: String,
    /// What is new belongs to them as well.
    all: bool,
}

impl<'a> ToDatabase<'a> {
    /// Its listener's, its pool's, or all of them.
    async fn choose(world: &'a World, plan: Plan) -> Result<Self, Skipped> {
        let number = plan.target(world.networks.len());
        let network = &world.networks[number];
        let all = plan.size < 0.2;
        let mut links = network.links();
        let mut what = "everything".to_owned();
        if !all {
            let wanted = if plan.size < 0.6 {
                database::LISTENER
            } else {
                database::POOL
            };
            let ports = ports_of(world, wanted).await?;
            links.retain(|link| ports.contains(&link.to_port));
            what = format!("{wanted}, {} connections", links.len());
        }
        if links.is_empty() {
            let why = format!("replica {number} has no such connection");
            return Err(Skipped(why));
        }
        Ok(Self {
            number,
            network,
            links,
            what,
            all,
        })
    }
}

pub async fn cut_database(world: &World, plan: Plan) -> Result<String, Skipped> {
    let chosen = ToDatabase::choose(world, plan).await?;
    set_all(&chosen.links, Mode::Cut);
    Ok(format!("replica {}: {} reset", chosen.number, chosen.what))
}

pub async fn mute_database(world: &World, plan: Plan) -> Result<String, Skipped> {
    let chosen = ToDatabase::choose(world, plan).await?;
    let time = plan.time(500, 15_000);
    if chosen.all {
        chosen.network.begin_with(Mode::Mute);
    }
    mute(world, &chosen.links, time, plan.coin).await;
    if chosen.all {
        chosen.network.begin_with(Mode::Pass);
        // Those that were opened meanwhile.
        set_all(&chosen.network.links(), Mode::Pass);
    }
    let (number, what) = (chosen.number, chosen.what);
    Ok(format!(
        "replica {number}: {what} silent for {time:?}, {}",
        end(plan)
    ))
}

/// Silent for a time; then they go on where they were, late, or are reset.
async fn mute(world: &World, links: &[Arc<Link>], time: Duration, go_on: bool) {
    set_all(links, Mode::Mute);
    world.pause(time).await;
    set_all(links, if go_on { Mode::Pass } else { Mode::Cut });
}

fn end(plan: Plan) -> &'static str {
    if plan.coin { "then late" } else { "then reset" }
}

/// The ports under which PostgreSQL sees the sessions of this name.
async fn ports_of(
    world: &World,
    application: &str,
) -> Result<BTreeSet<u16>, tokio_postgres::Error> {
    let rows = world
        .cluster
        .connect()
        .await?
        .query(
            "select client_port from pg_stat_activity where application_name = $1",
            &[&application],
        )
        .await?;
    Ok(rows
        .iter()
        .filter_map(|row| u16::try_from(row.get::<_, i32>(0)).ok())
        .collect())
}

/// A client that does not read: it may be closed, and delays nobody.
pub async fn stall_reader(world: &World, plan: Plan) -> Result<String, Skipped> {
    let client = plan.target(world.clients.len());
    let time = plan.time(1_000, 14_000);
    order(world, client, Order::Stall(time))?;
    let mut text = format!("client {client} does not read for {time:?}");
    if plan.coin {
        let rows = write_to(world, client, plan).await;
        text = format!("{text}; {rows}");
    }
    world.pause(time).await;
    Ok(text)
}

fn order(world: &World, client: usize, order: Order) -> Result<(), Skipped> {
    let given = world.clients[client].orders.try_send(order);
    given.map_err(|_| Skipped(format!("client {client} has its orders")))
}

/// A client that is away while much is written to it, and changed.
pub async fn absent_client(world: &World, plan: Plan) -> Result<String, Skipped> {
    let client = plan.target(world.clients.len());
    let time = plan.time(500, 10_000);
    order(world, client, Order::Leave(time))?;
    rewrite(world, client, plan).await;
    let rows = write_to(world, client, plan).await;
    rewrite(world, client, plan).await;
    world.pause(time).await;
    Ok(format!("client {client} away for {time:?}; {rows}"))
}

/// Changes to what the client knows, and to what is new.
async fn rewrite(world: &World, client: usize, plan: Plan) {
    let Ok(mut session) = world.cluster.connect().await else {
        return;
    };
    for ix in &world.clients[client].conversations {
        rows::rewrite_some(world, &mut session, *ix, plan.seed ^ u64::from(*ix)).await;
    }
}

/// Many rows in the conversations of one client.
async fn write_to(world: &World, client: usize, plan: Plan) -> String {
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let count = plan.count(ROWS_WHILE_AWAY.0, ROWS_WHILE_AWAY.1);
    let conversations = &world.clients[client].conversations;
    // In the order of their numbers: several conversations are locked in one transaction.
    let mut places: Vec<(usize, usize)> = (0..count)
        .map(|_| {
            let conversation = conversations[rng.random_range(0..conversations.len())];
            (usize::from(conversation), rng.random_range(0..2))
        })
        .collect();
    places.sort_by_key(|(conversation, _)| world.conversations[*conversation].id);
    match world.cluster.connect().await {
        Ok(mut session) => {
            let done = rows::insert(world, &mut session, &places, Hold::COMMIT_AT_ONCE).await;
            format!("{count} rows {done}")
        }
        Err(error) => format!("no rows: {}", with_causes(&error)),
    }
}
