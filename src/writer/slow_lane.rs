//! Messages that are stored apart from all others: somebody else holds for long what they need, or
//! the database cannot store them now, or takes long for them, while it stores others; or they are
//! long.
//!
//! One turn at a time, since each occupies a connection of the writer's pool, which the fast lane
//! needs too. Whose turn it is, [`FlowScheduler`] says.

use std::collections::HashSet;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::atomic::Ordering;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::answer_timeout::AnswerTimeout;
use super::bisect::bisect;
use super::flow_scheduler::{Done, FlowScheduler, Patience, Turn};
use super::{Flow, Pending, Silence, Storing, Unanswered, WriterLimits, answer_all};
use crate::logging::Repeats;
use crate::store::SendFailure;
use crate::until::until;

pub(super) struct SlowLane {
    storing: Storing,
    limits: WriterLimits,
    tasks: TaskTracker,
    scheduler: FlowScheduler,
    /// While nothing is here it may be of long ago.
    pub answer_timeout: AnswerTimeout,
    /// The turn under way.
    turn: Option<JoinHandle<Done>>,
}

impl SlowLane {
    pub fn new(storing: Storing, limits: WriterLimits, tasks: TaskTracker) -> Self {
        Self {
            storing,
            limits,
            tasks,
            scheduler: FlowScheduler::new(limits.queue),
            answer_timeout: AnswerTimeout::new(limits.timeout),
            turn: None,
        }
    }

    /// Whether a message of this flow would have to wait behind others here.
    pub fn holds(&self, flow: Flow) -> bool {
        self.scheduler.contains(flow)
    }

    pub fn is_empty(&self) -> bool {
        self.scheduler.is_empty()
    }

    /// Whether this message may wait here, and so many others with it.
    pub fn has_room(&self, pending: &Pending, others: usize) -> bool {
        self.scheduler.has_room(pending, others)
    }

    /// Behind what waits of its flow. Comes back where too many wait.
    pub fn push(&mut self, pending: Pending) -> Option<Pending> {
        self.scheduler.push(pending, Instant::now())
    }

    /// A batch of the fast lane whose messages are here now. Answers take as long there as `learnt`
    /// says.
    pub fn had_no_answer(&mut self, silence: &Silence, learnt: AnswerTimeout) {
        self.answer_timeout.learn(learnt);
        self.scheduler.had_no_answer(silence);
    }

    /// Resolves when [`SlowLane::go_on`] has something to do. What it has heard of by then is not
    /// lost where it is dropped before.
    pub async fn something_due(&mut self) {
        let next = self.scheduler.next_event(self.turn.is_some());
        let turn = async {
            match &mut self.turn {
                Some(turn) => turn.await,
                None => pending().await,
            }
        };
        tokio::select! {
            done = turn => self.end_turn(done),
            () = until(next) => {}
        }
    }

    /// Answers what is late, and begins the next turn if the former is over.
    pub fn go_on(&mut self) {
        let now = Instant::now();
        self.scheduler.expire(now);
        if self.turn.is_none()
            && let Some(turn) = self.scheduler.take_turn(now, self.limits.batch)
        {
            let (storing, answer_timeout) = (self.storing.clone(), self.answer_timeout);
            let having = async move { have_turn(&storing, turn, answer_timeout).await };
            self.turn = Some(self.tasks.spawn(having));
        }
        let held = self.scheduler.len() as u64;
        self.storing.stats.held.store(held, Ordering::Relaxed);
    }

    fn end_turn(&mut self, done: Result<Done, JoinError>) {
        self.turn = None;
        match done {
            Ok(done) => {
                let is_known_to_take_long = matches!(done.of.patience, Patience::After(_));
                match done.took {
                    Some(_) if is_known_to_take_long => self.answer_timeout.heard(),
                    Some(took) => self.answer_timeout.answered(took),
                    // It says nothing of the others.
                    None if is_known_to_take_long && done.silence.is_some() => {}
                    None => self.answer_timeout.unanswered(),
                }
                self.scheduler.give_back(done, Instant::now());
            }
            Err(ended) => {
                if let Ok(panic) = ended.try_into_panic() {
                    // As one of the fast lane would: without the writer the service ends, and is
                    // started anew. Its flows would wait for ever.
                    resume_unwind(panic);
                }
                // Otherwise the runtime has cancelled it, which ends, and the writer with it.
            }
        }
    }
}

/// One transaction; more of them where it fails as a whole, to tell what is at fault.
async fn have_turn(storing: &Storing, turn: Turn, answer_timeout: AnswerTimeout) -> Done {
    let is_of_one_flow = turn.is_of_one_flow();
    let (mut batch, locks, of) = turn.into_parts();
    let usual = answer_timeout;
    let answer_timeout = match of.patience {
        Patience::Usual => answer_timeout,
        Patience::Brief => answer_timeout.brief(),
        Patience::After(silences) => answer_timeout.after(silences),
    };
    let mut at_fault = HashSet::new();
    let mut unanswered = None;
    let started = Instant::now();
    let sent = storing.send(&mut batch, locks, answer_timeout).await;
    let mut took = Some(started.elapsed());
    let mut again = match sent {
        Ok(outcomes) => answer_all(batch, outcomes),
        Err(failure @ (SendFailure::Unanswered(_) | SendFailure::Silent(_))) => {
            let messages = batch;
            unanswered = Some(Unanswered { messages, failure });
            Vec::new()
        }
        Err(SendFailure::Locked(_)) if is_of_one_flow => batch,
        Err(SendFailure::Collided(_) | SendFailure::Exhausted(_)) if batch.len() == 1 => {
            storing.retries();
            batch
        }
        Err(failure) => {
            let left = bisect(storing, batch, &failure, answer_timeout).await;
            at_fault.extend(left.slow.iter().map(Pending::flow));
            unanswered = left.unanswered;
            // Each flow is in one of the two.
            left.again.into_iter().chain(left.slow).collect()
        }
    };
    let mut silence = None;
    if let Some(mut unanswered) = unanswered {
        took = None;
        silence = unanswered.silence(storing).await;
        log_unanswered(&unanswered, silence.is_some());
        again.splice(0..0, unanswered.messages);
    }
    Done {
        again,
        at_fault,
        took,
        took_long: took.is_some_and(|took| usual.is_long(took)),
        silence,
        of,
    }
}

/// A message by itself is the one that takes long, where the database answers others. Those behind
/// it wait for it.
fn log_unanswered(Unanswered { messages, failure }: &Unanswered, is_silence: bool) {
    static LINES: Repeats = Repeats::new(module_path!());
    match &**messages {
        [only] if is_silence => {
            let Flow {
                conversation,
                sender,
            } = only.flow();
            log::warn!(
                conversationId:% = conversation, userId:% = sender;
                "the database answers, but not to a message of user {sender} in conversation {conversation}, which waits alone: {failure}"
            );
        }
        _ => LINES.warn(format_args!(
            "messages in the slow lane had no answer: {failure}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::testing;

    /// One that has this turn.
    fn lane(turn: JoinHandle<Done>) -> SlowLane {
        let hub = testing::hub(1);
        let services = testing::services(hub, Duration::from_secs(60), Duration::from_secs(1));
        let limits = WriterLimits {
            queue: 1,
            batch: 1,
            timeout: Duration::from_secs(1),
        };
        let storing = Storing {
            store: services.store,
            stats: Arc::default(),
            timeout: limits.timeout,
        };
        let mut lane = SlowLane::new(storing, limits, TaskTracker::new());
        lane.turn = Some(turn);
        lane
    }

    #[tokio::test]
    async fn a_turn_that_panics_ends_the_writer() {
        let mut lane = lane(tokio::spawn(async { panic!("in a turn") }));
        let writer = tokio::spawn(async move { lane.something_due().await });
        let ended = tokio::time::timeout(Duration::from_secs(60), writer).await;
        let ended = ended.expect("its end").expect_err("a panic");
        assert!(ended.is_panic());
    }

    /// What is dropped is no defect: the log would tell of one at each end of the service that
    /// comes during a turn.
    #[tokio::test]
    async fn a_turn_that_the_end_of_the_runtime_cancels_is_no_panic() {
        let turn = tokio::spawn(pending());
        turn.abort();
        let mut lane = lane(turn);
        let over = tokio::time::timeout(Duration::from_secs(60), lane.something_due()).await;
        assert!(over.is_ok() && lane.turn.is_none());
    }
}
