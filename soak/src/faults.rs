//! What is done to the service, at random from a seed.
//!
//! Each decision draws the same amount of randomness whatever comes of it, so that one seed always gives the
//! same sequence of faults; which session or socket it hits depends on what is there at that moment.

mod database;
mod fault;
mod machines;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use pgchat_harness::with_causes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use crate::checker::{FaultRecord, Rewrite};
use crate::model::*;
use crate::world::World;

pub use self::fault::Fault;
use self::rows::Finish;
pub use self::rows::erase_newest;

/// Faults under way at once; a decision beyond it waits.
const AT_ONCE: usize = 6;
/// How often it is asked whether all has recovered from a fault.
const POLL: Duration = Duration::from_millis(20);

/// A decision. What the numbers mean is up to the fault.
#[derive(Clone, Copy, Debug)]
struct Plan {
    number: u32,
    fault: Fault,
    /// Which of those that there are: taken modulo their number.
    target: u32,
    /// How much, from 0 to 1.
    size: f64,
    /// How long, from 0 to 1.
    length: f64,
    coin: bool,
    seed: u64,
}

impl Plan {
    fn draw(number: u32, faults: &[Fault], rng: &mut StdRng) -> Self {
        Self {
            number,
            fault: faults[rng.random_range(0..faults.len())],
            target: rng.random(),
            size: rng.random(),
            length: rng.random(),
            coin: rng.random(),
            seed: rng.random(),
        }
    }

    fn target(&self, count: usize) -> usize {
        self.target as usize % count.max(1)
    }

    /// Between these, in milliseconds; long ones are rarer.
    fn time(&self, from: u64, to: u64) -> Duration {
        let share = self.length * self.length;
        Duration::from_millis(from + ((to - from) as f64 * share) as u64)
    }

    /// Between these, both included.
    fn count(&self, from: usize, to: usize) -> usize {
        (from + ((to + 1 - from) as f64 * self.size) as usize).min(to)
    }
}

/// Why a fault was not done: there was nothing to do it to, or it is under another fault.
struct Skipped(String);

impl From<tokio_postgres::Error> for Skipped {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(format!("PostgreSQL: {}", with_causes(&error)))
    }
}

/// What the faults of a run came to.
#[derive(Default)]
pub struct Tally {
    pub faults: BTreeMap<Fault, FaultTally>,
}

pub struct FaultTally {
    pub done: u64,
    pub skipped: u64,
    /// From the end of a fault until all that was sent before it is acknowledged and seen, in microseconds.
    pub recovery: Histogram<u64>,
}

impl Tally {
    fn of(&mut self, fault: Fault) -> &mut FaultTally {
        self.faults.entry(fault).or_insert_with(|| FaultTally {
            done: 0,
            skipped: 0,
            recovery: crate::checker::histogram(),
        })
    }

    /// The verdict must not depend on a fault that broke by itself: its panic ends the run.
    fn note(&mut self, done: Result<(Fault, Option<At>), JoinError>) {
        let (fault, recovery) =
            done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        let entry = self.of(fault);
        match recovery {
            Some(time) => {
                entry.done += 1;
                entry.recovery.saturating_record(time.max(1));
            }
            None => entry.skipped += 1,
        }
    }
}

/// Until the stage `calm`; then waits for the faults under way, and for the recovery from all.
pub async fn run(world: Arc<World>) -> Tally {
    let mut rng = StdRng::seed_from_u64(world.settings.seed);
    let mut tally = Tally::default();
    if world.settings.faults.is_empty() {
        world.stages.calm.cancelled().await;
        return tally;
    }
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut running: JoinSet<(Fault, Option<At>)> = JoinSet::new();
    for number in 1.. {
        let mean = world.settings.fault_every.as_secs_f64();
        let gap = Duration::from_secs_f64(mean * rng.random_range(0.2..1.8));
        let plan = Plan::draw(number, &world.settings.faults, &mut rng);
        let place = async {
            sleep(gap).await;
            places.clone().acquire_owned().await
        };
        let Some(Ok(place)) = world.stages.calm.run_until_cancelled(place).await else {
            break;
        };
        running.spawn(hurt(world.clone(), plan, place));
        while let Some(done) = running.try_join_next() {
            tally.note(done);
        }
    }
    while let Some(done) = running.join_next().await {
        tally.note(done);
    }
    tally
}

/// One fault, and the recovery from it; only the fault itself takes up its place among those under way.
async fn hurt(world: Arc<World>, plan: Plan, place: OwnedSemaphorePermit) -> (Fault, Option<At>) {
    let ended = perform(&world, plan).await;
    drop(place);
    let recovered = match ended {
        Some(ended) => Some(recovery(&world, ended).await),
        None => None,
    };
    (plan.fault, recovered)
}

/// How long it took after `ended` until all that was sent before is acknowledged and seen.
async fn recovery(world: &World, ended: At) -> At {
    while world
        .checker()
        .oldest_unfinished()
        .is_some_and(|oldest| oldest <= ended)
    {
        let waited = world.stages.stop.run_until_cancelled(sleep(POLL)).await;
        if waited.is_none() {
            break;
        }
    }
    world.clock.now() - ended
}

/// When it ended, unless it was skipped.
async fn perform(world: &World, plan: Plan) -> Option<At> {
    let name = plan.fault.name();
    let began = world.clock.now();
    println!(
        "[{:>9}] fault {} {name}: target {}, size {:.2}, length {:.2}, coin {}",
        seconds(began),
        plan.number,
        plan.target,
        plan.size,
        plan.length,
        plan.coin
    );
    world.faults().push(FaultRecord {
        number: plan.number,
        name,
        text: "under way".to_owned(),
        began,
        ended: None,
    });
    let outcome = inflict(world, plan).await;
    let ended = world.clock.now();
    let (text, done) = match outcome {
        Ok(text) => (text, true),
        Err(Skipped(why)) => (format!("skipped, {why}"), false),
    };
    println!(
        "[{:>9}] fault {} {name} over: {text}",
        seconds(ended),
        plan.number
    );
    let mut faults = world.faults();
    if done {
        if let Some(fault) = faults.iter_mut().find(|f| f.number == plan.number) {
            fault.text = text;
            fault.ended = Some(ended);
        }
    } else {
        faults.retain(|fault| fault.number != plan.number);
    }
    done.then_some(ended)
}

/// Does it, and says what was done.
async fn inflict(world: &World, plan: Plan) -> Result<String, Skipped> {
    match plan.fault {
        Fault::TerminateListener => database::terminate_listeners(world, plan).await,
        Fault::TerminatePool => database::terminate_pools(world, plan).await,
        Fault::RestartPostgres => database::restart(world).await,
        Fault::LockConversation => database::lock_conversation(world, plan).await,
        Fault::OpenTransaction => database::open_transaction(world, plan).await,
        Fault::HostRefuses => database::host_refuses(world, plan).await,
        Fault::KillReplica => machines::kill_replica(world, plan).await,
        Fault::DrainReplica => machines::drain_replica(world, plan).await,
        Fault::StopReplica => machines::stop_replica(world, plan).await,
        Fault::CutConnections => Ok(machines::cut_connections(world, plan)),
        Fault::DelayConnections => Ok(machines::delay_connections(world, plan).await),
        Fault::MuteConnections => Ok(machines::mute_connections(world, plan).await),
        Fault::CutDatabase => machines::cut_database(world, plan).await,
        Fault::MuteDatabase => machines::mute_database(world, plan).await,
        Fault::StallReader => machines::stall_reader(world, plan).await,
        Fault::AbsentClient => machines::absent_client(world, plan).await,
        Fault::SqlRows => rows::write(world, plan, Finish::Commit).await,
        Fault::SqlRollback => rows::write(world, plan, Finish::Rollback).await,
        Fault::SqlEdits => rows::rewrite(world, plan, Rewrite::Edit).await,
        Fault::SqlDeletions => rows::rewrite(world, plan, Rewrite::Delete).await,
        Fault::SqlErasures => rows::rewrite(world, plan, Rewrite::Erase).await,
        Fault::SqlReads => rows::mark_read(world, plan).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_always_decides_the_same() {
        let draw = || {
            let mut rng = StdRng::seed_from_u64(5);
            let plans: Vec<Plan> = (0..50)
                .map(|number| Plan::draw(number, &Fault::ALL, &mut rng))
                .collect();
            format!("{plans:?}")
        };
        assert_eq!(draw(), draw());
    }

    #[test]
    fn sizes_and_lengths_stay_within_their_bounds() {
        let mut rng = StdRng::seed_from_u64(5);
        for number in 0..1_000 {
            let plan = Plan::draw(number, &Fault::ALL, &mut rng);
            assert!((1..=5).contains(&plan.count(1, 5)));
            assert!(plan.time(10, 20) >= Duration::from_millis(10));
            assert!(plan.time(10, 20) <= Duration::from_millis(20));
        }
    }
}
