//! Bisects a batch that failed as a whole: what is at fault fails alone, or waits in the slow lane,
//! and the others are stored.
//!
//! Its messages are tried in their order, in portions: half as many after a failure, twice as many
//! after a success. So one that is at fault among many is found in few transactions. Of a portion
//! that is small and of many flows the first message of each flow is tried by itself, all of them
//! in one round trip: so where most are at fault, it matters little how far away the database is.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::answer_timeout::AnswerTimeout;
use super::{Flow, Pending, Storing, Unanswered, answer, answer_all, expire};
use crate::error::Error;
use crate::store::{AT_ONCE, Locks, Outcome, SendFailure};

/// After this time the fast lane goes on: everybody else waits meanwhile.
const BUDGET: Duration = Duration::from_millis(200);

/// What another transaction holds is left to the slow lane, which has the time to wait.
const LOCKS: Locks = Locks::Skip {
    wait: Duration::from_millis(1),
};

/// Messages of one round trip, each in a transaction of its own. Where all of them wait for a lock,
/// that is 16 ms.
const EACH: usize = AT_ONCE;

/// What is still to be stored, in order. A flow is in one of the two lanes: what follows a message
/// that comes back goes where it goes.
pub(super) struct Leftovers {
    /// In the fast lane.
    pub again: Vec<Pending>,
    pub slow: Vec<Pending>,
    /// Those of the last transaction, if it had no answer. They stand ahead of the others of their
    /// flows.
    pub unanswered: Option<Unanswered>,
    /// Each portion failed.
    pub nothing_stored: bool,
    lanes: HashMap<Flow, Lane>,
}

#[derive(Clone, Copy)]
enum Lane {
    Fast,
    Slow,
}

/// `failure` is that of the whole batch; `answer_timeout` is each try's.
///
/// Each call leaves less to the fast lane: when its time is over, what it has just seen fail moves
/// to the slow lane, which tries each flow that is at fault by itself.
pub(super) async fn bisect(
    storing: &Storing,
    batch: Vec<Pending>,
    failure: &SendFailure,
    answer_timeout: AnswerTimeout,
) -> Leftovers {
    let mut left = Leftovers {
        again: Vec::new(),
        slow: Vec::new(),
        unanswered: None,
        nothing_stored: true,
        lanes: HashMap::new(),
    };
    if is_clear(&batch, failure) {
        left.put(Lane::Slow, batch);
        return left;
    }
    if let ([_], SendFailure::Denied(denial)) = (&*batch, failure) {
        left.judge(storing, batch, [Err(SendFailure::Denied(denial.clone()))]);
        return left;
    }
    let end = Instant::now() + BUDGET;
    let mut size = smaller(batch.len());
    let mut untried = VecDeque::from(batch);
    loop {
        if Instant::now() >= end {
            left.put(Lane::Fast, untried);
            return left;
        }
        let mut portion = left.next_portion(&mut untried, size);
        if portion.is_empty() {
            return left;
        }
        match storing.send(&mut portion, LOCKS, answer_timeout).await {
            Ok(outcomes) => {
                left.nothing_stored = false;
                left.put(Lane::Fast, answer_all(portion, outcomes));
                size *= 2;
            }
            Err(failure @ (SendFailure::Unanswered(_) | SendFailure::Silent(_))) => {
                return left.without_answer(portion, failure, untried);
            }
            Err(failure) if portion.len() == 1 => {
                put_back(&mut untried, left.judge(storing, portion, [Err(failure)]));
            }
            Err(failure) if is_clear(&portion, &failure) || Instant::now() >= end => {
                left.put(Lane::Slow, portion);
            }
            Err(_) if is_small_and_of_many_flows(&portion) => {
                let (mut firsts, others) = first_of_each_flow(portion);
                match storing.send_each(&mut firsts, LOCKS, answer_timeout).await {
                    Ok(results) => {
                        put_back(&mut untried, others);
                        put_back(&mut untried, left.judge(storing, firsts, results));
                    }
                    Err(failure) => {
                        put_back(&mut untried, others);
                        return left.without_answer(firsts, failure, untried);
                    }
                }
            }
            Err(_) => {
                size = smaller(portion.len());
                put_back(&mut untried, portion);
            }
        }
    }
}

fn smaller(size: usize) -> usize {
    (size / 2).max(1)
}

/// Whether all of it waits for the same locks.
fn is_clear(portion: &[Pending], failure: &SendFailure) -> bool {
    matches!(failure, SendFailure::Locked(_))
        && portion
            .array_windows()
            .all(|[one, next]| one.flow() == next.flow())
}

/// Few enough for one round trip, which judges half of them at least: more than that would not be
/// tried after a halving, either.
fn is_small_and_of_many_flows(portion: &[Pending]) -> bool {
    let flows: HashSet<Flow> = portion.iter().map(Pending::flow).collect();
    portion.len() <= EACH && 2 * flows.len() >= portion.len()
}

/// The first message of each flow, and the others, which wait for what becomes of it.
fn first_of_each_flow(portion: Vec<Pending>) -> (Vec<Pending>, Vec<Pending>) {
    let mut seen = HashSet::new();
    portion
        .into_iter()
        .partition(|pending| seen.insert(pending.flow()))
}

/// To the front, in their order.
fn put_back(untried: &mut VecDeque<Pending>, messages: Vec<Pending>) {
    for pending in messages.into_iter().rev() {
        untried.push_front(pending);
    }
}

impl Leftovers {
    fn put(&mut self, lane: Lane, messages: impl IntoIterator<Item = Pending>) {
        for pending in messages {
            match self.lanes.entry(pending.flow()).or_insert(lane) {
                Lane::Fast => self.again.push(pending),
                Lane::Slow => self.slow.push(pending),
            }
        }
    }

    /// Messages that were tried each by itself: what is refused is answered. What is to be tried
    /// once more comes back.
    fn judge(
        &mut self,
        storing: &Storing,
        portion: Vec<Pending>,
        results: impl IntoIterator<Item = Result<Outcome, SendFailure>>,
    ) -> Vec<Pending> {
        let mut once_more = Vec::new();
        for (mut pending, result) in portion.into_iter().zip(results) {
            match result {
                Ok(outcome) => {
                    self.nothing_stored = false;
                    self.put(Lane::Fast, answer(pending, outcome));
                }
                Err(SendFailure::Suspect(_)) if !pending.suspect => {
                    storing.retries();
                    pending.suspect = true;
                    once_more.push(pending);
                }
                Err(SendFailure::Denied(denial)) => {
                    log::debug!("the host refuses a message: {denial}");
                    (pending.reply)(Err(Error::Forbidden(denial)));
                }
                Err(SendFailure::Refused(reason) | SendFailure::Suspect(reason)) => {
                    let why = format!("the database refuses a message: {reason}");
                    (pending.reply)(Err(Error::Internal(why.into())));
                }
                Err(SendFailure::Unanswered(_) | SendFailure::Silent(_)) => {
                    storing.retries();
                    self.put(Lane::Fast, [pending]);
                }
                Err(SendFailure::Locked(_)) => self.put(Lane::Slow, [pending]),
                Err(SendFailure::Collided(_) | SendFailure::Exhausted(_)) => {
                    storing.retries();
                    self.put(Lane::Slow, [pending]);
                }
            }
        }
        once_more
    }

    /// Over another connection it goes on.
    fn without_answer(
        mut self,
        messages: Vec<Pending>,
        failure: SendFailure,
        untried: impl IntoIterator<Item = Pending>,
    ) -> Self {
        self.unanswered = Some(Unanswered { messages, failure });
        self.put(Lane::Fast, untried);
        self
    }

    /// The next `size` messages whose time is not over and whose flow may go on.
    fn next_portion(&mut self, untried: &mut VecDeque<Pending>, size: usize) -> Vec<Pending> {
        let now = Instant::now();
        let mut portion = Vec::new();
        while portion.len() < size
            && let Some(pending) = untried.pop_front()
        {
            if pending.deadline <= now {
                expire(pending, "the message could not be stored in time");
            } else if let Some(lane) = self.lanes.get(&pending.flow()) {
                self.put(*lane, [pending]);
            } else {
                portion.push(pending);
            }
        }
        portion
    }
}
