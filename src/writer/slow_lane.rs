//! Messages that have to wait, apart from all others: somebody else holds for long what they need, or the database cannot
//! store them now while it stores others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::apart::take_apart;
use super::{Flow, Pending, answer_all, send, unexpired};
use crate::store::{Locks, SendFailure, Store};

/// Flows that are tried at the same time: each occupies a connection of the writer's pool, which
/// the quick lane needs too.
const PARALLEL: usize = 1;

/// How long most turns wait for a lock: those that were free again go through at once, and many that are
/// held take little of each other's time.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// How long every fourth turn waits, in the server's queue for the lock, so that a conversation that others
/// are always at gets its messages.
const LONG_WAIT: Duration = Duration::from_millis(250);
const LONG_WAIT_EVERY: u32 = 4;

/// Between two turns of one flow: times the turns so far, up to the maximum.
const PAUSE: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// What came of one flow's turn.
pub(super) struct Done {
    pub flow: Flow,
    /// Still to be stored, in order.
    pub again: Vec<Pending>,
}

pub(super) struct SlowLane {
    store: Store,
    timeout: Duration,
    tasks: TaskTracker,
    turns: Arc<Semaphore>,
    /// On their way.
    held: HashSet<Flow>,
    /// Turns of each flow that is in the lane.
    turns_had: HashMap<Flow, u32>,
    done: mpsc::Sender<Done>,
}

impl SlowLane {
    pub fn new(
        store: Store,
        timeout: Duration,
        tasks: TaskTracker,
    ) -> (Self, mpsc::Receiver<Done>) {
        let (done, receiver) = mpsc::channel(64);
        let lane = Self {
            store,
            timeout,
            tasks,
            turns: Arc::new(Semaphore::new(PARALLEL)),
            held: HashSet::new(),
            turns_had: HashMap::new(),
            done,
        };
        (lane, receiver)
    }

    /// Whether messages of this flow are on their way.
    pub fn holds(&self, flow: Flow) -> bool {
        self.held.contains(&flow)
    }

    /// Stores messages of one flow, when it is their turn. [`Done`] follows.
    pub fn store(&mut self, flow: Flow, batch: Vec<Pending>) {
        self.held.insert(flow);
        let had = self.turns_had.entry(flow).or_default();
        let pause = (PAUSE * *had).min(MAX_PAUSE);
        *had += 1;
        let wait = match *had % LONG_WAIT_EVERY {
            0 => LONG_WAIT,
            _ => SHORT_WAIT,
        };
        let (store, timeout) = (self.store.clone(), self.timeout);
        let (turns, done) = (Arc::clone(&self.turns), self.done.clone());
        self.tasks.spawn(async move {
            tokio::time::sleep(pause).await;
            let again = match turns.acquire().await {
                Ok(_turn) => take_turn(&store, batch, wait, timeout).await,
                Err(_) => batch,
            };
            // The writer's loop lives until the lane is empty.
            let _ = done.send(Done { flow, again }).await;
        });
    }

    /// Its turn is over.
    pub fn release(&mut self, flow: Flow) {
        self.held.remove(&flow);
    }

    /// Nothing of it is left in the lane.
    pub fn forget(&mut self, flow: Flow) {
        self.turns_had.remove(&flow);
    }
}

/// One transaction that waits for the lock. Returns what is still to be stored.
async fn take_turn(
    store: &Store,
    batch: Vec<Pending>,
    wait: Duration,
    timeout: Duration,
) -> Vec<Pending> {
    let mut batch = unexpired(batch);
    if batch.is_empty() {
        return batch;
    }
    match send(store, &mut batch, Locks::Wait(wait), timeout).await {
        Ok(outcomes) => answer_all(batch, outcomes),
        Err(SendFailure::Unanswered(reason)) => {
            log::warn!("a message in the slow lane had no answer: {reason}");
            batch
        }
        Err(SendFailure::Locked(_)) => batch,
        Err(SendFailure::Collided(_) | SendFailure::Exhausted(_)) if batch.len() == 1 => batch,
        Err(failure) => {
            let left = take_apart(store, batch, &failure, timeout).await;
            // One flow is in one of the two.
            left.again.into_iter().chain(left.slow).collect()
        }
    }
}
