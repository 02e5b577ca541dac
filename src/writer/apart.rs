//! Takes a batch apart that failed as a whole: what is at fault fails alone, or waits in the slow lane, and the others are stored.
//!
//! Its messages are tried in their order, in portions: half as many after a failure, twice as many after a success. So one
//! that is at fault among many is found in few transactions, and where most are, each of them takes one.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::patience::Patience;
use super::{Flow, Pending, Storing, answer_all, expire};
use crate::error::Error;
use crate::store::{Locks, SendFailure};

/// After this time the quick lane goes on: everybody else waits meanwhile.
const BUDGET: Duration = Duration::from_millis(200);

/// What another transaction holds is left to the slow lane, which has the time to wait.
const LOCKS: Locks = Locks::Skip {
    wait: Duration::from_millis(1),
};

/// What is still to be stored, in order. A flow is in one of the two lanes: what follows a message that comes back goes
/// where it goes.
pub(super) struct Leftovers {
    /// In the quick lane.
    pub again: Vec<Pending>,
    pub slow: Vec<Pending>,
    /// Each portion failed.
    pub nothing_stored: bool,
    lanes: HashMap<Flow, Lane>,
}

#[derive(Clone, Copy)]
enum Lane {
    Quick,
    Slow,
}

/// `failure` is that of the whole batch; `patience` is each try's.
///
/// Each call leaves less to the quick lane: when its time is over, what it has just seen fail moves to the slow lane, which
/// tries each flow that is at fault by itself.
pub(super) async fn take_apart(
    storing: &Storing,
    batch: Vec<Pending>,
    failure: &SendFailure,
    patience: Patience,
) -> Leftovers {
    let mut left = Leftovers {
        again: Vec::new(),
        slow: Vec::new(),
        nothing_stored: true,
        lanes: HashMap::new(),
    };
    if is_clear(&batch, failure) {
        left.put(Lane::Slow, batch);
        return left;
    }
    let end = Instant::now() + BUDGET;
    let mut size = smaller(batch.len());
    let mut untried = VecDeque::from(batch);
    loop {
        if Instant::now() >= end {
            left.put(Lane::Quick, untried);
            return left;
        }
        let mut portion = left.next_portion(&mut untried, size);
        if portion.is_empty() {
            return left;
        }
        match storing.send(&mut portion, LOCKS, patience).await {
            Ok(outcomes) => {
                left.nothing_stored = false;
                left.put(Lane::Quick, answer_all(portion, outcomes));
                size *= 2;
            }
            Err(SendFailure::Unanswered(_)) => {
                storing.retries();
                left.put(Lane::Quick, portion);
                left.put(Lane::Quick, untried);
                return left;
            }
            Err(failure) if portion.len() == 1 => {
                let alone = judge(portion, &failure);
                if !alone.is_empty() && failure.may_pass() {
                    storing.retries();
                }
                left.put(Lane::Slow, alone);
            }
            Err(failure) if is_clear(&portion, &failure) || Instant::now() >= end => {
                left.put(Lane::Slow, portion);
            }
            Err(_) => {
                size = smaller(portion.len());
                for pending in portion.into_iter().rev() {
                    untried.push_front(pending);
                }
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
        && portion.windows(2).all(|two| two[0].flow() == two[1].flow())
}

/// Answers a message that failed alone, if it is at fault; else it comes back.
fn judge(alone: Vec<Pending>, failure: &SendFailure) -> Vec<Pending> {
    match failure {
        SendFailure::Refused(reason) | SendFailure::Suspect(reason) => {
            for pending in alone {
                let why = format!("the database refuses a message: {reason}");
                (pending.reply)(Err(Error::Internal(why.into())));
            }
            Vec::new()
        }
        SendFailure::Locked(_)
        | SendFailure::Collided(_)
        | SendFailure::Exhausted(_)
        | SendFailure::Unanswered(_) => alone,
    }
}

impl Leftovers {
    fn put(&mut self, lane: Lane, messages: impl IntoIterator<Item = Pending>) {
        for pending in messages {
            match self.lanes.entry(pending.flow()).or_insert(lane) {
                Lane::Quick => self.again.push(pending),
                Lane::Slow => self.slow.push(pending),
            }
        }
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
