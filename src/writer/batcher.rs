//! The fast lane: makes batches of what waits, stores them one at a time, and sends what would hold
//! up the others to the slow lane.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::answer_timeout::AnswerTimeout;
use super::bisect::bisect;
use super::failure_pause::failure_pause;
use super::lock_policy::LockPolicy;
use super::slow_lane::SlowLane;
use super::waiting::Waiting;
use super::{
    Flow, MAX_BATCH_BYTES, Pending, Storing, Unanswered, WriterLimits, answer_all, expire,
};
use crate::logging::Repeats;
use crate::store::{Locks, SendFailure};
use crate::until::until;

/// Tries of a busy conversation in the fast lane.
const FAST_TRIES: u32 = 3;

/// How often a batch that a repeat may help is repeated as it is; then it is bisected.
const REPEATS: u32 = 2;

/// Wait before the next batch when nothing but busy conversations is in it.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Does `work` of the fast lane while the slow lane goes on: a database that is silent in one may
/// be so for long, and what is late in the other is to be told so.
async fn beside<T>(slow_lane: &mut SlowLane, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = slow_lane.something_due() => slow_lane.go_on(),
        }
    }
}

pub(super) struct Batcher {
    storing: Storing,
    limits: WriterLimits,
    /// What the next batches hold; busy ones come back to the front.
    waiting: Waiting,
    /// Not before this moment, after a failure.
    not_before: Option<Instant>,
    /// Batches in a row that failed in a way that a repeat may mend.
    failures: u32,
    lock_policy: LockPolicy,
    answer_timeout: AnswerTimeout,
    slow_lane: SlowLane,
}

impl Batcher {
    pub fn new(storing: Storing, limits: WriterLimits, tasks: TaskTracker) -> Self {
        Self {
            slow_lane: SlowLane::new(storing.clone(), limits, tasks),
            storing,
            limits,
            waiting: Waiting::default(),
            not_before: None,
            failures: 0,
            lock_policy: LockPolicy::default(),
            answer_timeout: AnswerTimeout::new(limits.timeout),
        }
    }

    /// Takes a message from the queue, while no batch is under way: behind the others of its flow. A long one for which the slow lane
    /// has no room delays the others, but is not refused, nor are those ahead of it.
    pub fn admit(&mut self, pending: Pending) {
        let flow = pending.flow();
        if self.slow_lane.holds(flow) {
            self.hold(pending);
        } else if pending.is_long() && self.slow_lane.has_room(&pending, self.waiting.len()) {
            for ahead in self.waiting.take_out(|waiting| waiting.flow() == flow) {
                self.hold(ahead);
            }
            self.hold(pending);
        } else {
            self.waiting.push(pending);
        }
    }

    /// To the slow lane; refused where too many wait there.
    fn hold(&mut self, pending: Pending) {
        if self.slow_lane.is_empty() {
            self.slow_lane
                .answer_timeout
                .learn_anew(self.answer_timeout);
        }
        if let Some(pending) = self.slow_lane.push(pending) {
            self.storing.stats.refused.fetch_add(1, Ordering::Relaxed);
            expire(
                pending,
                "too many messages wait for what another program holds, or for messages that take long",
            );
        }
    }

    /// No more is taken from the queue: there is enough for one transaction. What is behind waits
    /// in the queue, whose bound is seen by callers.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= self.limits.batch || self.waiting.bytes() >= MAX_BATCH_BYTES
    }

    /// Whether a batch can be stored now.
    pub fn has_work(&self) -> bool {
        !self.waiting.is_empty() && self.not_before.is_none_or(|at| at <= Instant::now())
    }

    /// Whether nothing waits, in either lane.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.slow_lane.is_empty()
    }

    /// Begins in the slow lane what can begin.
    pub fn go_on(&mut self) {
        self.slow_lane.go_on();
    }

    /// Resolves when a pause is over or the slow lane can go on.
    pub async fn something_due(&mut self) {
        let pause = self.not_before.filter(|_| !self.waiting.is_empty());
        tokio::select! {
            () = until(pause) => {}
            () = self.slow_lane.something_due() => {}
        }
    }

    /// Stores what waits, as much as one transaction takes.
    pub async fn store_batch(&mut self) {
        self.not_before = None;
        let mut batch = self.waiting.take_batch(self.limits.batch);
        if batch.is_empty() {
            return;
        }
        let started = Instant::now();
        let locks = self.lock_policy.locks(started);
        let sending = self.storing.send(&mut batch, locks, self.answer_timeout);
        let sent = match beside(&mut self.slow_lane, sending).await {
            Err(failure @ (SendFailure::Unanswered(_) | SendFailure::Silent(_))) => {
                let messages = batch;
                return self.send_again(Unanswered { messages, failure }).await;
            }
            answered => answered,
        };
        self.answer_timeout.answered(started.elapsed());
        match sent {
            Ok(outcomes) => {
                self.failures = 0;
                let now = Instant::now();
                self.lock_policy.stored(now, locks, now - started);
                let busy = answer_all(batch, outcomes);
                if !busy.is_empty() {
                    self.lock_policy.found_busy(now, locks);
                }
                self.put_back_busy(busy);
            }
            Err(SendFailure::Locked(reason)) if locks.waits_for_conversations() => {
                log::debug!("a batch goes on without what is locked: {reason}");
                self.lock_policy.waited_in_vain(Instant::now(), locks);
                self.put_back(batch, Duration::ZERO);
            }
            Err(failure) => self.repeat_or_bisect(batch, failure, locks).await,
        }
    }

    /// A batch without an answer, over another connection: in the slow lane where it may be
    /// something in the batch that takes long, so that only what came with it waits for it any
    /// longer.
    async fn send_again(&mut self, mut batch: Unanswered) {
        static LINES: Repeats = Repeats::new(module_path!());
        let failure = &batch.failure;
        LINES.warn(format_args!(
            "a batch had no answer and is sent again: {failure}"
        ));
        // What else is idle may be as silent.
        self.storing.store.renew_writer_connections();
        self.answer_timeout.unanswered();
        let go_on = Instant::now() + failure_pause(self.answer_timeout.unanswered_in_a_row());
        let silence = batch.silence(&self.storing);
        if let Some(silence) = beside(&mut self.slow_lane, silence).await {
            self.divert_to_slow_lane(batch.messages);
            self.slow_lane.had_no_answer(&silence, self.answer_timeout);
        } else {
            let pause = go_on.saturating_duration_since(Instant::now());
            self.put_back(batch.messages, pause);
        }
    }

    /// A batch of which nothing was stored, because of something in it or of the database's state.
    async fn repeat_or_bisect(&mut self, batch: Vec<Pending>, failure: SendFailure, locks: Locks) {
        static LINES: Repeats = Repeats::new(module_path!());
        let pause = match &failure {
            SendFailure::Exhausted(reason) => {
                LINES.warn(format_args!("the database cannot store a batch: {reason}"));
                failure_pause(self.failures)
            }
            _ => BUSY_PAUSE,
        };
        if matches!(failure, SendFailure::Locked(_)) {
            self.lock_policy.waited_in_vain(Instant::now(), locks);
        }
        let repeated = failure.may_pass() && self.failures < REPEATS;
        self.failures += u32::from(failure.may_pass());
        if repeated {
            log::debug!("a batch is repeated: {failure}");
            self.storing.retries();
            self.put_back(batch, pause);
        } else {
            log::debug!("a batch is bisected: {failure}");
            let bisecting = bisect(&self.storing, batch, &failure, self.answer_timeout);
            let left = beside(&mut self.slow_lane, bisecting).await;
            self.put_back(left.again, BUSY_PAUSE);
            self.divert_to_slow_lane(left.slow);
            if left.nothing_stored && pause > BUSY_PAUSE {
                // It is the database's own trouble, most probably, and the next batch would meet
                // it, too.
                self.not_before = Some(Instant::now() + pause);
            }
            if let Some(unanswered) = left.unanswered {
                self.send_again(unanswered).await;
            }
        }
    }

    /// Those of busy conversations: to the front of the next batch, or after some tries to the slow
    /// lane.
    fn put_back_busy(&mut self, busy: Vec<Pending>) {
        let (mut again, mut slow) = (Vec::new(), Vec::new());
        let mut given_up: HashSet<Flow> = HashSet::new();
        for mut pending in busy {
            pending.tries += 1;
            let flow = pending.flow();
            // Those behind a message that goes follow it.
            if pending.tries >= FAST_TRIES || given_up.contains(&flow) {
                given_up.insert(flow);
                slow.push(pending);
            } else {
                again.push(pending);
            }
        }
        // The next batch waits in line for another replica's; for anybody else a moment is left.
        let pause = match self
            .lock_policy
            .locks(Instant::now())
            .waits_for_conversations()
        {
            true => Duration::ZERO,
            false => BUSY_PAUSE,
        };
        self.put_back(again, pause);
        self.divert_to_slow_lane(slow);
    }

    /// In order, and what waits in the same flows behind them.
    fn divert_to_slow_lane(&mut self, locked: Vec<Pending>) {
        if locked.is_empty() {
            return;
        }
        for pending in locked {
            let flow = pending.flow();
            let was_held = self.slow_lane.holds(flow);
            self.hold(pending);
            if !was_held && self.slow_lane.holds(flow) {
                self.storing.stats.slow.fetch_add(1, Ordering::Relaxed);
            }
        }
        let follow = |pending: &Pending| self.slow_lane.holds(pending.flow());
        for pending in self.waiting.take_out(follow) {
            self.hold(pending);
        }
    }

    /// To the front, in their order. The next batch waits for `pause` where nothing else is to be
    /// stored, and after a failure in any case.
    fn put_back(&mut self, again: Vec<Pending>, pause: Duration) {
        if again.is_empty() {
            return;
        }
        if !pause.is_zero() && (self.waiting.is_empty() || pause > BUSY_PAUSE) {
            self.not_before = Some(Instant::now() + pause);
        }
        self.waiting.put_back(again);
    }
}

#[cfg(test)]
mod tests;
