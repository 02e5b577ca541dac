//! Conversations whose row somebody else holds for long: waited for, apart from all others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Pending, answer, expire, store_singly};
use crate::model::ConversationId;
use crate::store::{Outgoing, SendFailure, Store};

/// Conversations that are waited for at the same time: each occupies a connection of the writer's pool,
/// which the quick lane needs too.
const PARALLEL: usize = 1;

/// How long one statement waits for the lock; then the others in the lane get their turn.
const LOCK_WAIT: Duration = Duration::from_millis(250);

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
    held: HashSet<ConversationId>,
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
        let (store, timeout) = (self.store.clone(), self.timeout);
        let (turns, done) = (Arc::clone(&self.turns), self.done.clone());
        self.tasks.spawn(async move {
            let again = match turns.acquire().await {
                Ok(_turn) => take_turn(&store, batch, timeout).await,
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

    pub fn release(&mut self, conversation: ConversationId) {
        self.held.remove(&conversation);
    }
}

/// One transaction that waits for the lock. Returns what is still to be stored.
async fn take_turn(store: &Store, batch: Vec<Pending>, timeout: Duration) -> Vec<Pending> {
    let now = Instant::now();
    let (batch, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|p| p.deadline > now);
    for pending in late {
        expire(pending, "the conversation is locked by another transaction");
    }
    if batch.is_empty() {
        return batch;
    }
    let outgoing: Vec<&Outgoing> = batch.iter().map(|p| &p.outgoing).collect();
    let result = store
        .send_messages(&outgoing, Some(LOCK_WAIT), timeout)
        .await;
    match result {
        Ok(outcomes) => batch
            .into_iter()
            .zip(outcomes)
            .filter_map(|(pending, outcome)| answer(pending, outcome))
            .collect(),
        Err(SendFailure::Refused(_)) => store_singly(store, batch, timeout).await,
        Err(SendFailure::Retry(_)) => batch,
        Err(SendFailure::Unanswered(reason)) => {
            log::warn!("a message of a locked conversation had no answer: {reason}");
            tokio::time::sleep(LOCK_WAIT).await;
            batch
        }
    }
}
