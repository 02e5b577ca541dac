//! Group commit: puts all sends that wait into one transaction.
//!
//! NOTIFY takes a lock on the whole cluster at commit and holds it over the flush, so one commit a message
//! is a hard ceiling. Here one batch is in flight and the next one collects meanwhile, without a timer:
//! alone, a message pays no delay; under load the batch grows by itself.
//!
//! A conversation whose row somebody else holds comes back as busy and goes to the front of the next
//! batch, which waits for it for a moment: mostly it is another replica's batch that holds it ([`lock_policy`]). After a
//! few tries it moves to the slow lane ([`slow_lane`]), which waits for the lock, so that
//! another program's open transaction delays nobody else. Messages of one sender in one conversation, a [`Flow`], keep
//! their order on the way: those that follow a busy one wait behind it, and a flow in the slow lane stays there
//! until its queue is empty. Only a participant's message is ever busy, so a stranger's never stands in a participant's
//! way, nor learns by waiting that there is something to wait for.
//!
//! A batch that fails as a whole is repeated where that may help, and then bisected ([`bisect`]): what is at fault fails
//! alone, or waits in the slow lane.

mod accepted;
mod answer_timeout;
mod batcher;
mod bisect;
mod flow_scheduler;
mod lock_policy;
mod slow_lane;
mod storing;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use serde::Deserialize;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::Config;
use crate::error::Error;
use crate::limits::{Holder, MemoryBudget, Reservation};
use crate::model::{ConversationId, NewMessage, RawJson, UserId};
use crate::store::{Outcome, Outgoing, Store};

use batcher::Batcher;
use storing::Storing;

pub use accepted::{Accepted, Failed, Protocol};

/// What `RUST_LOG` calls the lines about accepted messages by, wherever they are written.
pub const SENT_LOG: &str = module_path!();

/// A stored message.
#[derive(Debug)]
pub struct Sent {
    /// The Message, as JSON.
    pub message: RawJson,
    /// Nothing new was stored: the answer to a repeat.
    pub repeated: bool,
}

impl Sent {
    /// Has `line` write about it at the level `debug`, under the target [`SENT_LOG`]; costs nothing below it. The message is read for that.
    pub fn log(&self, line: impl FnOnce(SentLine)) {
        if !log::log_enabled!(target: SENT_LOG, log::Level::Debug) {
            return;
        }
        match serde_json::from_str(self.message.get()) {
            Ok(stored) => line(SentLine {
                repeated: self.repeated,
                ..stored
            }),
            Err(error) => log::debug!("a stored message cannot be read: {error}"),
        }
    }
}

/// What the log says of a message that was accepted: where it is, and nothing that is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentLine {
    pub id: Uuid,
    pub seq: i64,
    pub conversation_id: Uuid,
    #[serde(skip)]
    pub repeated: bool,
}

impl fmt::Display for SentLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = match self.repeated {
            true => "sent again",
            false => "sent",
        };
        let (id, seq, conversation) = (self.id, self.seq, self.conversation_id);
        write!(
            f,
            "{done} message {id}, {seq} of conversation {conversation}"
        )
    }
}

type Reply = Box<dyn FnOnce(Result<Sent, Error>) + Send>;

/// A message on its way, with whom to tell.
struct Pending {
    outgoing: Outgoing,
    reply: Reply,
    deadline: Instant,
    /// How often its conversation was busy.
    tries: u32,
    /// In a batch before: it may be stored.
    sent: bool,
    /// Alone it failed once in a way that a repeat may mend.
    suspect: bool,
    /// Until it is answered.
    _reservation: Reservation,
}

impl Pending {
    fn flow(&self) -> Flow {
        let message = &self.outgoing.message;
        Flow {
            conversation: message.conversation,
            sender: message.sender,
        }
    }

    /// Of its content.
    fn bytes(&self) -> usize {
        self.outgoing.message.content.len()
    }
}

/// A batch holds at most this much content, so that one statement stays a few MB.
const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Content that waits: thirty-two of the largest batches. One sender's share, an eighth, is more than they may send at once by the
/// rate limit's defaults.
const MAX_WAITING_BYTES: usize = 32 * MAX_BATCH_BYTES;

/// Messages that are no longer are bounded well enough by their number.
const SMALL_MESSAGE: usize = 4 * 1024;

/// For messages that wait, or for those that are held.
fn waiting_budget() -> MemoryBudget {
    MemoryBudget::exempting(SMALL_MESSAGE, MAX_WAITING_BYTES)
}

/// What keeps its order: the messages of one sender in one conversation. Not those of a conversation, to which anybody
/// may try to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Flow {
    conversation: ConversationId,
    sender: UserId,
}

/// Bounds of the writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterLimits {
    /// Messages that wait (`WRITER_QUEUE`), and as many again that wait for what another program holds; beyond it they are
    /// refused with `Unavailable`.
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

/// Figures since the start of the process.
pub struct Stats {
    /// Messages of one transaction.
    pub batch_sizes: Histogram,
    /// Seconds that a message waits for its first transaction to begin.
    pub waits: Histogram,
    pub accepted: Accepted,
    pub failed: Failed,
    pub batches: AtomicU64,
    pub messages: AtomicU64,
    pub retries: AtomicU64,
    /// Flows that went to the slow lane.
    pub slow: AtomicU64,
    /// Messages that are in the slow lane now.
    pub held: AtomicU64,
    /// Messages that are not answered yet, wherever they are.
    pub unanswered: AtomicU64,
    /// Messages that were refused: as many, or as many bytes, waited or were held as may, or the replica stops.
    pub refused: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        const SIZES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];
        const WAITS: [f64; 10] = [
            0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0,
        ];
        Self {
            batch_sizes: Histogram::new(SIZES),
            waits: Histogram::new(WAITS),
            accepted: Accepted::default(),
            failed: Failed::default(),
            batches: AtomicU64::default(),
            messages: AtomicU64::default(),
            retries: AtomicU64::default(),
            slow: AtomicU64::default(),
            held: AtomicU64::default(),
            unanswered: AtomicU64::default(),
            refused: AtomicU64::default(),
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
    /// With what has to run for it, which ends when `stop` is set and everything that waited is answered; it has tasks of its own on
    /// `tasks`.
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

    /// Queues a message; never waits. `reply` is called once, from a task of the writer's or, with `Unavailable` where too much
    /// waits, from here: it must not block. For one sender's messages in one conversation it is called in the order in which they are stored.
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

    /// Messages that are not answered yet: those that wait or are held, and those that are being stored.
    pub fn unanswered(&self) -> u64 {
        self.stats.unanswered.load(Ordering::Relaxed)
    }

    /// Most messages that may wait, and most that may be held.
    pub fn capacity(&self) -> usize {
        self.queue.max_capacity()
    }

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

/// Whether and how a message is answered after a batch.
fn answer(pending: Pending, outcome: Outcome) -> Option<Pending> {
    match outcome {
        Outcome::Stored(message) => (pending.reply)(Ok(Sent {
            message,
            repeated: false,
        })),
        Outcome::Repeated(message) => (pending.reply)(Ok(Sent {
            message,
            repeated: true,
        })),
        Outcome::Refused(error) => (pending.reply)(Err(error)),
        Outcome::Busy => return Some(pending),
    }
    None
}

/// Answers those whose time is over; nothing of them was stored, or a retry is safe.
fn expire(pending: Pending, why: &str) {
    (pending.reply)(Err(Error::unavailable(why)));
}

/// Answers what has an outcome; what is busy comes back.
fn answer_all(batch: Vec<Pending>, outcomes: Vec<Outcome>) -> Vec<Pending> {
    let answered = batch.into_iter().zip(outcomes);
    answered
        .filter_map(|(pending, outcome)| answer(pending, outcome))
        .collect()
}

#[cfg(test)]
mod tests;
