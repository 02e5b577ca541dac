//! Faults of processes, networks and clients.

use std::collections::BTreeSet;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{Kind, Outcome, Plan, database, rows};
use crate::checker::{Kind as Broken, Violation};
use crate::client::Order;
use crate::proxy::{Link, Mode};
use crate::world::World;

/// Rows written while a client is away: some times more than the replicas replay.
const ROWS_WHILE_AWAY: (usize, usize) = (50, 350);

pub async fn perform(world: &World, plan: Plan) -> Outcome {
    match plan.kind {
        Kind::KillReplica | Kind::DrainReplica | Kind::StopReplica => replica(world, plan).await,
        Kind::CutConnections | Kind::DelayConnections | Kind::MuteConnections => {
            connections(world, plan).await
        }
        Kind::CutDatabase | Kind::MuteDatabase => network(world, plan).await,
        Kind::StallReader => stall(world, plan).await,
        _ => absent(world, plan).await,
    }
}

async fn replica(world: &World, plan: Plan) -> Outcome {
    let number = plan.target(world.replicas.len());
    let Some(mut taken) = world.replicas[number].take() else {
        return Outcome::Skipped(format!("replica {number} is under another fault"));
    };
    let Ok(_place) = world.replicas_at_once.try_acquire() else {
        return Outcome::Skipped("all other replicas are under faults".to_owned());
    };
    let time = plan.time(0, 6_000);
    let text = match plan.kind {
        Kind::StopReplica => {
            taken.signal(Signal::SIGSTOP);
            world.pause(time).await;
            taken.signal(Signal::SIGCONT);
            return Outcome::Done(format!("replica {number} stopped for {time:?}"));
        }
        Kind::KillReplica => {
            taken.kill().await;
            format!("replica {number} killed")
        }
        _ => match taken.drain().await {
            Ok(took) => format!("replica {number} drained in {took:?}"),
            Err(text) => {
                let now = world.clock.now();
                let text = format!("replica {number}: {text}");
                world
                    .checker()
                    .violate(Violation::new(Broken::ReplicaFailed, now, text.clone()));
                text
            }
        },
    };
    world.pause(time).await;
    match taken.start() {
        Ok(()) => Outcome::Done(format!("{text}, down for {time:?}")),
        Err(error) => Outcome::Done(format!("{text}, and not started again: {error}")),
    }
}

/// Between clients and replicas.
async fn connections(world: &World, plan: Plan) -> Outcome {
    let mut links = world.edge.links();
    let mut rng = StdRng::seed_from_u64(plan.seed);
    let count = plan.count(1, 40).min(links.len());
    for place in 0..count {
        let other = rng.random_range(place..links.len());
        links.swap(place, other);
    }
    links.truncate(count);
    let time = plan.time(500, 12_000);
    match plan.kind {
        Kind::CutConnections => {
            for link in &links {
                link.set(Mode::Cut);
            }
            Outcome::Done(format!("{count} sockets reset"))
        }
        Kind::DelayConnections => {
            let delay = Duration::from_millis(rng.random_range(20..800));
            for link in &links {
                link.set(Mode::Delay(delay));
            }
            world.pause(time).await;
            for link in &links {
                link.set(Mode::Pass);
            }
            Outcome::Done(format!("{count} sockets delayed by {delay:?} for {time:?}"))
        }
        _ => {
            mute(world, &links, time, plan.coin).await;
            Outcome::Done(format!(
                "{count} sockets silent for {time:?}, {}",
                end(plan)
            ))
        }
    }
}

/// Between one replica and PostgreSQL: its listener, some of its pool, or everything, also what is new.
async fn network(world: &World, plan: Plan) -> Outcome {
    let number = plan.target(world.networks.len());
    let network = &world.networks[number];
    let time = plan.time(500, 15_000);
    let all = plan.size < 0.2;
    let mut links = network.links();
    let mut what = "everything".to_owned();
    if !all {
        let wanted = if plan.size < 0.6 {
            database::LISTENER
        } else {
            database::POOL
        };
        match ports_of(world, wanted).await {
            Ok(ports) => links.retain(|link| ports.contains(&link.to_port)),
            Err(error) => return Outcome::Skipped(format!("PostgreSQL: {error}")),
        }
        what = format!("{wanted}, {} connections", links.len());
    }
    if links.is_empty() {
        return Outcome::Skipped(format!("replica {number} has no such connection"));
    }
    if plan.kind == Kind::CutDatabase {
        for link in &links {
            link.set(Mode::Cut);
        }
        return Outcome::Done(format!("replica {number}: {what} reset"));
    }
    if all {
        network.begin_with(Mode::Mute);
    }
    mute(world, &links, time, plan.coin).await;
    if all {
        network.begin_with(Mode::Pass);
        // Those that were opened meanwhile.
        for link in network.links() {
            link.set(Mode::Pass);
        }
    }
    let text = format!(
        "replica {number}: {what} silent for {time:?}, {}",
        end(plan)
    );
    Outcome::Done(text)
}

/// Silent for a time; then they go on where they were, late, or are reset.
async fn mute(world: &World, links: &[std::sync::Arc<Link>], time: Duration, go_on: bool) {
    for link in links {
        link.set(Mode::Mute);
    }
    world.pause(time).await;
    for link in links {
        link.set(if go_on { Mode::Pass } else { Mode::Cut });
    }
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
async fn stall(world: &World, plan: Plan) -> Outcome {
    let client = plan.target(world.clients.len());
    let time = plan.time(1_000, 14_000);
    if world.clients[client]
        .orders
        .try_send(Order::Stall(time))
        .is_err()
    {
        return Outcome::Skipped(format!("client {client} has its orders"));
    }
    let mut text = format!("client {client} does not read for {time:?}");
    if plan.coin {
        let rows = write_to(world, client, plan).await;
        text = format!("{text}; {rows}");
    }
    world.pause(time).await;
    Outcome::Done(text)
}

/// A client that is away while much is written to it, and changed.
async fn absent(world: &World, plan: Plan) -> Outcome {
    let client = plan.target(world.clients.len());
    let time = plan.time(500, 10_000);
    if world.clients[client]
        .orders
        .try_send(Order::Leave(time))
        .is_err()
    {
        return Outcome::Skipped(format!("client {client} has its orders"));
    }
    rewrite(world, client, plan).await;
    let rows = write_to(world, client, plan).await;
    rewrite(world, client, plan).await;
    world.pause(time).await;
    Outcome::Done(format!("client {client} away for {time:?}; {rows}"))
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
            let done = rows::insert(world, &mut session, &places, Duration::ZERO, false).await;
            format!("{count} rows {done}")
        }
        Err(error) => format!("no rows: {error}"),
    }
}
