//! How both lanes send messages to the database, and what is counted of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::answer_timeout::AnswerTimeout;
use super::{Pending, Stats};
use crate::store::{Locks, Outcome, Outgoing, SendFailure, Store};

/// How long the database may take to say that it is there. Nothing is stored meanwhile.
const PING_PATIENCE: Duration = Duration::from_millis(500);

/// What both lanes store by, and count.
#[derive(Clone)]
pub(super) struct Storing {
    pub store: Store,
    pub stats: Arc<Stats>,
    /// From a message's arrival to its deadline.
    pub timeout: Duration,
}

impl Storing {
    /// Sends what waits in one transaction, for no longer than `answer_timeout` has for it.
    pub fn send<'a>(
        &'a self,
        batch: &'a mut [Pending],
        locks: Locks,
        answer_timeout: AnswerTimeout,
    ) -> impl Future<Output = Result<Vec<Outcome>, SendFailure>> + Send + use<'a> {
        let now = Instant::now();
        self.count(batch, now);
        let again = batch.iter().any(|pending| pending.sent);
        let (outgoing, bound) = take_off(batch, now, answer_timeout);
        async move {
            self.store
                .send_messages(&outgoing, again, locks, bound)
                .await
        }
    }

    /// Sends each message in a transaction of its own, all of them in one round trip: they may be stored already.
    pub fn send_each<'a>(
        &'a self,
        batch: &'a mut [Pending],
        locks: Locks,
        answer_timeout: AnswerTimeout,
    ) -> impl Future<Output = Result<Vec<Result<Outcome, SendFailure>>, SendFailure>> + Send + use<'a>
    {
        let now = Instant::now();
        batch.chunks(1).for_each(|one| self.count(one, now));
        let (outgoing, bound) = take_off(batch, now, answer_timeout);
        async move { self.store.send_each(&outgoing, locks, bound).await }
    }

    /// Whether the database answers over another connection: then what had no answer takes long there, or only its own connection
    /// is dead.
    pub async fn database_answers(&self) -> bool {
        self.store.ping(PING_PATIENCE).await.is_ok()
    }

    fn count(&self, batch: &[Pending], now: Instant) {
        let stats = &self.stats;
        stats.batches.fetch_add(1, Ordering::Relaxed);
        let size = batch.len();
        stats.messages.fetch_add(size as u64, Ordering::Relaxed);
        stats.batch_sizes.observe(size as f64);
        for pending in batch.iter().filter(|pending| !pending.sent) {
            let queued_at = pending.deadline - self.timeout;
            stats.waits.observe((now - queued_at).as_secs_f64());
        }
    }

    /// Some of the last transaction is sent again, though no lock was in its way.
    pub fn retries(&self) {
        self.stats.retries.fetch_add(1, Ordering::Relaxed);
    }
}

/// What goes to the database, and how long its answer is waited for. Not the batch itself: its replies may not be shared between threads.
fn take_off(
    batch: &mut [Pending],
    now: Instant,
    answer_timeout: AnswerTimeout,
) -> (Vec<&Outgoing>, Duration) {
    let first_late = batch.iter().map(|pending| pending.deadline).min();
    let left = first_late.unwrap_or(now).saturating_duration_since(now);
    let outgoing = batch.iter_mut().map(|pending| {
        pending.sent = true;
        &pending.outgoing
    });
    (outgoing.collect(), answer_timeout.bound(left))
}
