//! Group commit: puts all sends that wait into one transaction.
//!
//! NOTIFY takes a lock on the whole cluster at commit and holds it over the flush, so one commit a
//! message is a hard ceiling. Here one batch is in flight and the next one collects meanwhile,
//! without a timer: alone, a message pays no delay; under load the batch grows by itself.
//!
//! A conversation whose row somebody else holds comes back as busy and goes to the front of the
//! next batch, which waits for it for a moment: mostly it is another replica's batch that holds it
//! ([`lock_policy`]). After a few tries it moves to the slow lane ([`slow_lane`]), which waits for
//! the lock, so that another program's open transaction delays nobody else. Messages of one sender
//! in one conversation, a [`Flow`], keep their order on the way: those that follow a busy one wait
//! behind it, and a flow in the slow lane stays there until its queue is empty. Only a
//! participant's message is ever busy, so a stranger's never stands in a participant's way, nor
//! learns by waiting that there is something to wait for.
//!
//! Long messages go to the slow lane at once, with what waits of their flow, so that short ones do
//! not wait for them.
//!
//! A batch that fails as a whole is repeated where that may help, and then bisected ([`bisect`]):
//! what is at fault fails alone, or waits in the slow lane.

mod accepted;
mod answer_timeout;
mod batcher;
mod bisect;
mod failure_pause;
mod flow_scheduler;
mod lock_policy;
mod pending;
mod sent;
mod silence;
mod slow_lane;
mod stats;
mod storing;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::error::Error;
use crate::limits::{Holder, MemoryBudget};
use crate::model::NewMessage;
use crate::store::{Outgoing, Store};

use batcher::Batcher;
use pending::{Flow, Pending, Reply, answer, answer_all, expire};
use silence::{Silence, Unanswered};
use storing::Storing;

pub use accepted::{Acceptance, Accepted, Failed, FailureReason, Protocol};
pub use sent::Sent;
pub use stats::Stats;

/// What `RUST_LOG` calls the lines about accepted messages by, wherever they are written.
pub const SENT_LOG: &str = module_path!();

/// A batch holds at most this much content, so that one statement stays a few MB.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Content that waits: thirty-two of the largest batches. One sender's share, an eighth, is more
/// than they may send at once by the rate limit's defaults.
const MAX_WAITING_BYTES: usize = 32 * MAX_BATCH_BYTES;

/// Messages that are no longer are bounded well enough by their number.
const SMALL_MESSAGE: usize = 4 * 1024;

/// A longer message is stored beside the others, in the slow lane. PostgreSQL takes some 0.3 ms for
/// each KiB of one (search words, TOAST, JSON), for which all others of its transaction would wait.
const LONG_MESSAGE: usize = 8 * 1024;

/// For messages that wait, or for those that are held.
fn waiting_budget() -> MemoryBudget {
    MemoryBudget::exempting(SMALL_MESSAGE, MAX_WAITING_BYTES)
}

/// Bounds of the writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterLimits {
    /// Messages that wait (`WRITER_QUEUE`), and as many again that wait for what another program
    /// holds; beyond it they are refused with `Unavailable`.
    pub queue: usize,
    /// Messages of one transaction (`WRITER_BATCH`).
    pub batch: usize,
    /// A message is stored within this time or refused (`WRITE_TIMEOUT_SECONDS`).
    pub timeout: Duration,
}

impl From<&Config> for WriterLimits {
    fn from(config: &Config) -> Self {
        Self {
            queue: config.limits.writer_queue,
            batch: config.limits.writer_batch,
            timeout: config.timeouts.write,
        }
    }
}

/// A handle on the writer; clones share it.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Pending>,
    budget: MemoryBudget,
    timeout: Duration,
    stats: Arc<Stats>,
}

impl Writer {
    /// With what has to run for it, which ends when `stop` is set and everything that waited is
    /// answered; it has tasks of its own on `tasks`.
    pub fn new(
        store: Store,
        limits: WriterLimits,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, receiver) = mpsc::channel(limits.queue);
        let stats = Arc::new(Stats::default());
        let storing = Storing {
            store,
            stats: Arc::clone(&stats),
            timeout: limits.timeout,
        };
        let batcher = Batcher::new(storing, limits, tasks);
        let writer = Self {
            queue,
            budget: waiting_budget(),
            timeout: limits.timeout,
            stats,
        };
        (writer, run(receiver, batcher, stop))
    }

    /// Queues a message; never waits. `reply` is called once, from a task of the writer's or, with
    /// `Unavailable` where too much waits, from here: it must not block. For one sender's messages
    /// in one conversation it is called in the order in which they are stored.
    pub fn submit(
        &self,
        message: NewMessage,
        protocol: Protocol,
        reply: impl FnOnce(Result<Sent, Error>) + Send + 'static,
    ) {
        const TOO_MUCH: &str = "too many messages wait to be stored";
        let refuse = |why: &str, reply: Reply| {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            reply(Err(Error::unavailable(why)));
        };
        let stats = Arc::clone(&self.stats);
        stats.unanswered.fetch_add(1, Ordering::Relaxed);
        let reply: Reply = Box::new(move |result| {
            stats.unanswered.fetch_sub(1, Ordering::Relaxed);
            match &result {
                Ok(sent) => stats.accepted.count(protocol, sent.repeated),
                Err(error) => stats.failed.count(protocol, error),
            }
            reply(result);
        });
        let holder = Holder::User(message.sender);
        let Some(reservation) = self.budget.reserve(holder, message.content.len()) else {
            return refuse(TOO_MUCH, reply);
        };
        let pending = Pending {
            outgoing: Outgoing {
                id: Uuid::now_v7(),
                message,
            },
            reply,
            deadline: Instant::now() + self.timeout,
            tries: 0,
            sent: false,
            suspect: false,
            had_no_answer: false,
            _reservation: reservation,
        };
        match self.queue.try_send(pending) {
            Ok(()) => {}
            Err(TrySendError::Full(pending)) => refuse(TOO_MUCH, pending.reply),
            Err(TrySendError::Closed(pending)) => refuse("the service is stopping", pending.reply),
        }
    }

    /// Queues a message and waits until it is committed, or refused.
    pub async fn send(&self, message: NewMessage, protocol: Protocol) -> Result<Sent, Error> {
        let (reply, answer) = oneshot::channel();
        self.submit(message, protocol, move |result| {
            // The caller may have gone away; the message is stored all the same.
            let _ = reply.send(result);
        });
        answer
            .await
            .unwrap_or_else(|_| Err(Error::unavailable("the service is stopping")))
    }

    /// Messages that wait for a batch.
    pub fn depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Messages that wait for what another program holds.
    pub fn held(&self) -> u64 {
        self.stats.held.load(Ordering::Relaxed)
    }

    /// Messages that are not answered yet: those that wait or are held, and those that are being
    /// stored.
    pub fn unanswered(&self) -> u64 {
        self.stats.unanswered.load(Ordering::Relaxed)
    }

    /// Most messages that may wait, and most that may be held.
    pub fn capacity(&self) -> usize {
        self.queue.max_capacity()
    }

    /// The writer's figures, as they are counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

/// Collects, stores, answers; one batch at a time.
async fn run(mut queue: mpsc::Receiver<Pending>, mut batcher: Batcher, stop: CancellationToken) {
    let mut stopping = false;
    loop {
        while !batcher.is_full()
            && let Ok(pending) = queue.try_recv()
        {
            batcher.admit(pending);
        }
        batcher.go_on();
        if batcher.has_work() {
            batcher.store_batch().await;
            continue;
        }
        if stopping && batcher.is_idle() && queue.is_empty() {
            return;
        }
        let drained = queue.is_closed() && queue.is_empty();
        let receiving = !drained && !batcher.is_full();
        tokio::select! {
            received = queue.recv(), if receiving => match received {
                Some(pending) => batcher.admit(pending),
                None => stopping = true,
            },
            () = batcher.something_due() => {}
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                queue.close();
            }
        }
    }
}

#[cfg(test)]
mod tests;
