//! Who waits while marks are being made, and who of them is in the next transaction. No I/O.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use crate::error::Error;
use crate::model::{ConversationId, Seq, UserId};
use crate::store::admission::Head;
use crate::sync::{acquire_owned, lock};

/// Marks of one transaction. Of 100 messages each at most (`chat_mark_read_many`), so these are no more than a mark alone has at a time.
pub(super) const GROUP: usize = 100;

/// Those who wait for the next transactions; beyond it they are refused.
const MAX_WAITING: usize = 100 * GROUP;

/// How long marks wait for those before them. Most commits take less; where one does not, as with a slow trigger, the next are made beside it,
/// as far as changes have connections.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// What marking as read did.
#[derive(Clone, Copy, Debug)]
pub struct Marked {
    /// Messages that were unread before.
    pub marked_count: i64,
    /// The reader has read everything up to here; 0: nothing.
    pub read_seq: Seq,
}

/// How marks come to be made together.
#[derive(Clone, Copy, Debug)]
pub struct MarksFigures {
    /// Marks that wait for those before them.
    pub waiting: usize,
    /// Transactions for those who waited, and the marks in them.
    pub batches: u64,
    pub batched: u64,
}

/// What somebody wants marked.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub conversation: ConversationId,
    pub reader: UserId,
    /// None: all of it.
    pub up_to: Option<Seq>,
}

/// What somebody who waits is told.
#[derive(Debug)]
pub enum Answer {
    Made(Result<Marked, Error>),
    /// It is to be done alone.
    Alone,
    /// Its time has passed. A process that stood still finds that at the same moment as its turn.
    TooLate,
}

impl Answer {
    /// Whether anything was marked.
    pub fn has_marked(&self) -> bool {
        matches!(self, Self::Made(Ok(marked)) if marked.marked_count > 0)
    }
}

/// Somebody who wants it.
pub struct Waiter {
    id: u64,
    pub mark: Mark,
    /// The reader's turn, for as long as it is waited for and made.
    pub head: Head,
    /// From then on it is not begun: perhaps its caller has gone, and has not been seen to.
    deadline: Instant,
    reply: oneshot::Sender<Answer>,
}

impl Waiter {
    /// Whether anybody waits for the answer.
    pub fn is_there(&self) -> bool {
        !self.reply.is_closed()
    }

    pub fn answer(self, answer: Answer) {
        // Whoever has gone away meanwhile needs none.
        let _ = self.reply.send(answer);
    }
}

/// Whoever waits for that answer. Whoever drops it has left, unless their mark is being made: who waits holds a place in the reader's own line,
/// too.
pub struct InLine {
    line: Arc<MarksLine>,
    id: u64,
    pub answer: oneshot::Receiver<Answer>,
}

impl InLine {
    /// Whether it still waited, and does no more.
    pub fn leave(&self) -> bool {
        self.line.leave(self.id)
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.leave();
    }
}

/// How a mark was admitted.
pub enum Admitted {
    /// No other is being made, and none waits.
    First(Lead),
    /// With a task that is to make groups, where there was none.
    InLine(InLine, Option<Gathering>),
}

/// The line of read marks.
pub struct MarksLine {
    /// Those whose marks are being made hold it, for [`PATIENCE`] at most, and the next wait for it.
    lead: Arc<Semaphore>,
    state: Mutex<State>,
    batches: AtomicU64,
    batched: AtomicU64,
}

struct State {
    waiting: VecDeque<Waiter>,
    last_id: u64,
    /// A task makes groups of those who wait, until nobody does.
    is_gathering: bool,
    /// How many groups, and marks alone that were first, are being made, however long that takes.
    under_way: usize,
    /// Marks of the next transaction: fewer where so many took too long.
    most: usize,
}

impl MarksLine {
    pub fn new() -> Self {
        Self {
            lead: Arc::new(Semaphore::new(1)),
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                last_id: 0,
                is_gathering: false,
                under_way: 0,
                most: GROUP,
            }),
            batches: AtomicU64::new(0),
            batched: AtomicU64::new(0),
        }
    }

    pub fn figures(&self) -> MarksFigures {
        MarksFigures {
            waiting: self.state().waiting.len(),
            batches: self.batches.load(Ordering::Relaxed),
            batched: self.batched.load(Ordering::Relaxed),
        }
    }

    /// A place for a mark of a reader whose turn it is.
    pub fn admit(
        self: &Arc<Self>,
        mark: Mark,
        head: &Head,
        deadline: Instant,
    ) -> Result<Admitted, Error> {
        let mut state = self.state();
        let is_alone = !state.is_gathering && state.under_way == 0;
        if is_alone && let Ok(permit) = Arc::clone(&self.lead).try_acquire_owned() {
            return Ok(Admitted::First(self.lead_by(&mut state, Some(permit))));
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(Error::unavailable(
                "too many requests are waiting for the database",
            ));
        }
        let (reply, answer) = oneshot::channel();
        state.last_id += 1;
        let id = state.last_id;
        state.waiting.push_back(Waiter {
            id,
            mark,
            head: head.clone(),
            deadline,
            reply,
        });
        let gathering = (!state.is_gathering).then(|| Gathering {
            line: Arc::clone(self),
            has_ended: false,
        });
        state.is_gathering = true;
        let line = Arc::clone(self);
        Ok(Admitted::InLine(InLine { line, id, answer }, gathering))
    }

    fn leave(&self, id: u64) -> bool {
        let mut state = self.state();
        // Whoever is left over keeps their place: they are in the order of their ids.
        let place = state.waiting.binary_search_by_key(&id, |waiter| waiter.id);
        let left = place.ok().and_then(|place| state.waiting.remove(place));
        drop(state);
        left.is_some()
    }

    /// So many marks took too long: the next transactions have fewer, and a single one is in nobody's way. Of how many may be in one, a single
    /// one says nothing.
    pub fn was_too_slow(&self, size: usize) {
        if size < 2 {
            return;
        }
        let mut state = self.state();
        state.most = state.most.min(size / 2).max(1);
    }

    /// So many did not: if these were all that there may be, the next transaction has more.
    pub fn went_well(&self, size: usize) {
        let mut state = self.state();
        if size >= state.most {
            state.most = (state.most * 2).min(GROUP);
        }
    }

    /// For a mark that is made alone though others may be under way: nobody waits for it, and those who come meanwhile are made together.
    pub fn beside_others(self: &Arc<Self>) -> Lead {
        self.lead_by(&mut self.state(), None)
    }

    fn lead_by(self: &Arc<Self>, state: &mut State, permit: Option<OwnedSemaphorePermit>) -> Lead {
        state.under_way += 1;
        Lead {
            permit,
            line: Arc::clone(self),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in between can panic half-way.
        lock(&self.state)
    }
}

/// The part of the task that makes groups. Should it end before, another one may take its place.
pub struct Gathering {
    line: Arc<MarksLine>,
    has_ended: bool,
}

impl Gathering {
    /// When those before have been made, or have taken long.
    pub async fn lead(&self) -> OwnedSemaphorePermit {
        acquire_owned(Arc::clone(&self.line.lead)).await
    }

    /// Those who are next. `None`: nobody waits, and the task has ended.
    pub fn next_group(&mut self, permit: OwnedSemaphorePermit) -> Option<(Vec<Waiter>, Lead)> {
        let line = &self.line;
        let mut state = line.state();
        refuse_the_late(&mut state.waiting);
        if !state.waiting.is_empty() {
            let most = state.most;
            let group = take_group(&mut state.waiting, most);
            line.batches.fetch_add(1, Ordering::Relaxed);
            line.batched
                .fetch_add(group.len() as u64, Ordering::Relaxed);
            return Some((group, line.lead_by(&mut state, Some(permit))));
        }
        // Under the same lock: who comes from now on sees that nobody gathers.
        state.is_gathering = false;
        self.has_ended = true;
        None
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        if !self.has_ended {
            self.line.state().is_gathering = false;
        }
    }
}

/// Whoever's time has passed is told so.
fn refuse_the_late(waiting: &mut VecDeque<Waiter>) {
    let now = Instant::now();
    let late: VecDeque<Waiter>;
    (late, *waiting) = waiting.drain(..).partition(|it| it.deadline <= now);
    for waiter in late {
        waiter.answer(Answer::TooLate);
    }
}

/// Those who have waited longest; of one reader in one conversation one, since they are made in their order. Who is left over keeps their place.
fn take_group(waiting: &mut VecDeque<Waiter>, most: usize) -> Vec<Waiter> {
    let mut group: Vec<Waiter> = Vec::new();
    let mut taken = HashSet::new();
    let mut left = VecDeque::new();
    for waiter in waiting.drain(..) {
        let Mark {
            conversation,
            reader,
            ..
        } = waiter.mark;
        if group.len() < most && taken.insert((conversation, reader)) {
            group.push(waiter);
        } else {
            left.push_back(waiter);
        }
    }
    *waiting = left;
    group
}

/// Of those whose marks are being made.
pub struct Lead {
    permit: Option<OwnedSemaphorePermit>,
    line: Arc<MarksLine>,
}

impl Lead {
    /// Does this while others' marks wait for it: for [`PATIENCE`] at most.
    pub async fn before_others<T>(mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        if let Ok(done) = timeout(PATIENCE, work.as_mut()).await {
            return done;
        }
        self.permit = None;
        work.await
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.line.state().under_way -= 1;
    }
}

#[cfg(test)]
mod tests;
