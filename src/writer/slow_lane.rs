//! Messages that have to wait, apart from all others: somebody else holds for long what they need, or the database cannot
//! store them now while it stores others.
//!
//! One turn at a time, since each occupies a connection of the writer's pool, which the quick lane needs too. Whose turn it is, [`Held`]
//! says.

use std::collections::HashSet;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::TaskTracker;

use super::apart::take_apart;
use super::held::{Done, Held, Turn};
use super::{Flow, Pending, WriterLimits, answer_all, send};
use crate::store::{SendFailure, Store};

pub(super) struct SlowLane {
    store: Store,
    limits: WriterLimits,
    tasks: TaskTracker,
    held: Held,
    having_turn: bool,
    done: mpsc::Sender<Done>,
    turns_done: mpsc::Receiver<Done>,
}

impl SlowLane {
    pub fn new(store: Store, limits: WriterLimits, tasks: TaskTracker) -> Self {
        let (done, turns_done) = mpsc::channel(1);
        Self {
            store,
            limits,
            tasks,
            held: Held::new(limits.queue),
            having_turn: false,
            done,
            turns_done,
        }
    }

    /// Whether a message of this flow would have to wait behind others here.
    pub fn holds(&self, flow: Flow) -> bool {
        self.held.contains(flow)
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Messages, those on their way included.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Behind what waits of its flow. Comes back where too many wait.
    pub fn push(&mut self, pending: Pending) -> Option<Pending> {
        self.held.push(pending, Instant::now())
    }

    /// Resolves when [`SlowLane::go_on`] has something to do. What it has heard of by then is not lost where it is dropped before.
    pub async fn something_due(&mut self) {
        let next = self.held.next_event(self.having_turn);
        let time = async {
            match next {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(done) = self.turns_done.recv() => self.end_turn(done),
            () = time => {}
        }
    }

    /// Answers what is late, and begins the next turn if the former is over.
    pub fn go_on(&mut self) {
        if let Ok(done) = self.turns_done.try_recv() {
            self.end_turn(done);
        }
        let now = Instant::now();
        self.held.expire(now);
        if self.having_turn {
            return;
        }
        let Some(turn) = self.held.take_turn(now, self.limits.batch) else {
            return;
        };
        self.having_turn = true;
        let (store, limits, done) = (self.store.clone(), self.limits, self.done.clone());
        self.tasks.spawn(async move {
            // The writer's loop lives until the lane is empty.
            let _ = done.send(have_turn(&store, turn, limits).await).await;
        });
    }

    fn end_turn(&mut self, done: Done) {
        self.having_turn = false;
        self.held.give_back(done, Instant::now());
    }
}

/// One transaction; more of them where it fails as a whole, to tell what is at fault.
async fn have_turn(store: &Store, turn: Turn, limits: WriterLimits) -> Done {
    let is_of_one_flow = turn.is_of_one_flow();
    let (mut batch, locks, of) = turn.into_parts();
    let mut at_fault = HashSet::new();
    let again = match send(store, &mut batch, locks, limits.timeout).await {
        Ok(outcomes) => answer_all(batch, outcomes),
        Err(SendFailure::Unanswered(reason)) => {
            log::warn!("messages in the slow lane had no answer: {reason}");
            batch
        }
        Err(SendFailure::Locked(_)) if is_of_one_flow => batch,
        Err(SendFailure::Collided(_) | SendFailure::Exhausted(_)) if batch.len() == 1 => batch,
        Err(failure) => {
            let left = take_apart(store, batch, &failure, limits.timeout).await;
            at_fault.extend(left.slow.iter().map(Pending::flow));
            // Each flow is in one of the two.
            left.again.into_iter().chain(left.slow).collect()
        }
    };
    Done {
        again,
        at_fault,
        of,
    }
}
