//! Conversations whose row somebody else holds for long: waited for, apart from all others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::TaskTracker;

use super::{Pending, answer_all, send, store_apart, unexpired};
use crate::model::ConversationId;
use crate::store::{Locks, SendFailure, Store};

/// Conversations that are tried at the same time: each occupies a connection of the writer's pool, which
/// the quick lane needs too.
const PARALLEL: usize = 1;

/// How long most turns wait for a lock: those that were free again go through at once, and many that are
/// held take little of each other's time.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// How long every fourth turn waits, in the server's queue for the lock, so that a conversation that others
/// are always at gets its turn.
const LONG_WAIT: Duration = Duration::from_millis(250);
const LONG_WAIT_EVERY: u32 = 4;

/// Between two turns of one conversation: times the turns so far, up to the maximum.
const PAUSE: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// What came of one conversation's turn.
pub(super) struct Done {
    pub conversation: ConversationId,
    /// Still to be stored, in order.
    pub again: Vec<Pending>,
}

pub(super) struct SlowLane {
    store: Store,
    timeout: Duration,
    tasks: TaskTracker,
    turns: Arc<Semaphore>,
    /// On their way.
    held: HashSet<ConversationId>,
    /// Turns of each conversation that is in the lane.
    turns_had: HashMap<ConversationId, u32>,
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

    /// Whether messages of this conversation are on their way.
    pub fn holds(&self, conversation: ConversationId) -> bool {
        self.held.contains(&conversation)
    }

    /// Stores messages of one conversation, when it is their turn. [`Done`] follows.
    pub fn store(&mut self, conversation: ConversationId, batch: Vec<Pending>) {
        self.held.insert(conversation);
        let had = self.turns_had.entry(conversation).or_default();
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
            let _ = done
                .send(Done {
                    conversation,
                    again,
                })
                .await;
        });
    }

    /// Its turn is over.
    pub fn release(&mut self, conversation: ConversationId) {
        self.held.remove(&conversation);
    }

    /// Nothing of it is left in the lane.
    pub fn forget(&mut self, conversation: ConversationId) {
        self.turns_had.remove(&conversation);
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
        Err(SendFailure::Refused(_)) => {
            let apart = store_apart(store, batch, timeout).await;
            apart.again.into_iter().chain(apart.locked).collect()
        }
        Err(SendFailure::Retry(_) | SendFailure::Locked(_)) => batch,
        Err(SendFailure::Unanswered(reason)) => {
            log::warn!("a message of a locked conversation had no answer: {reason}");
            batch
        }
    }
}
