//! What waits in the slow lane, and whose turn it is. No I/O; time is passed in.

mod turn;
mod waiting_flow;

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::failure_pause::failure_pause;
use super::{Flow, Pending, Silence, expire, waiting_budget};
use crate::limits::{Holder, MemoryBudget};
use crate::store::Locks;

use turn::Kind;
pub(super) use turn::{Done, Patience, Turn, TurnOf};
use waiting_flow::WaitingFlow;

/// How long the turn of a flow by itself waits for a lock, where it is the only one; where more
/// flows wait, they share this time. One that is free again goes through at once.
const SHORT_WAIT: Duration = Duration::from_millis(20);

/// What PostgreSQL can measure.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// How long a flow that had several turns in vain waits, in the server's queue for the lock, so
/// that a conversation that others are always at gets its messages.
const LONG_WAIT: Duration = Duration::from_millis(250);

/// Turns in vain before a flow may wait for so long.
const LONG_WAIT_AFTER: u32 = 3;

/// From the end of one long wait to the next one, so that most of the time is for those who go
/// through at once.
const BETWEEN_LONG_WAITS: Duration = Duration::from_millis(750);

/// Between two turns of one flow: times its turns in vain, up to the maximum.
const PAUSE: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_millis(250);

/// From a turn of a message that takes long to the next such turn, if others wait: as long as the
/// turn took, which is this where it had no answer. So half of the time is for the others, however
/// many messages take long.
const SILENT_PAUSE: Duration = Duration::from_secs(4);

/// Content of one turn: eight of the longest messages. They take long for what they are, and not
/// longer than a try is waited for that is to tell what takes long; and each locks its conversation
/// until the end of the turn.
const MAX_TURN_BYTES: usize = 512 * 1024;

/// What the sender of a late message is told.
const LATE: &str = "the message could not be stored in time";

/// Late messages are answered so often, all together: there may be thousands of flows to look
/// through.
const SWEEP: Duration = Duration::from_millis(50);

/// The messages of the slow lane, by flow.
pub(super) struct FlowScheduler {
    flows: HashMap<Flow, WaitingFlow>,
    /// Messages that wait, those on their way included.
    messages: usize,
    /// Most messages.
    capacity: usize,
    /// Apart from that of the others, so that they keep nobody else's out.
    budget: MemoryBudget,
    /// Not before this moment.
    next_long_wait: Option<Instant>,
    /// No message that takes long is tried before this moment, if others wait.
    next_patient: Option<Instant>,
    /// No turn before this moment.
    rest: Option<Instant>,
    /// Turns in a row for which the database was not there.
    unreached: u32,
    /// When late messages are answered next; `None` while nothing waits.
    next_sweep: Option<Instant>,
}

impl FlowScheduler {
    pub fn new(capacity: usize) -> Self {
        Self {
            flows: HashMap::new(),
            messages: 0,
            capacity,
            budget: waiting_budget(),
            next_long_wait: None,
            next_patient: None,
            rest: None,
            unreached: 0,
            next_sweep: None,
        }
    }

    /// Whether a message of this flow waits or is on its way.
    pub fn contains(&self, flow: Flow) -> bool {
        self.flows.contains_key(&flow)
    }

    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Messages, those on their way included.
    pub fn len(&self) -> usize {
        self.messages
    }

    /// Whether this message may wait, and so many others with it.
    pub fn has_room(&self, pending: &Pending, others: usize) -> bool {
        let holder = Holder::User(pending.outgoing.message.sender);
        self.messages + others < self.capacity
            && self.budget.reserve(holder, pending.bytes()).is_some()
    }

    /// Behind what waits of its flow. Comes back where as many wait as may, or as many bytes.
    pub fn push(&mut self, mut pending: Pending, now: Instant) -> Option<Pending> {
        if pending.deadline <= now {
            expire(pending, LATE);
            return None;
        }
        if self.messages >= self.capacity {
            return Some(pending);
        }
        let holder = Holder::User(pending.outgoing.message.sender);
        let Some(reservation) = self.budget.reserve(holder, pending.bytes()) else {
            return Some(pending);
        };
        pending._reservation = reservation;
        self.messages += 1;
        self.next_sweep.get_or_insert(now + SWEEP);
        let waiting = self
            .flows
            .entry(pending.flow())
            .or_insert_with(|| WaitingFlow::new(now));
        waiting.queue.push_back(pending);
        None
    }

    /// Of what waits here.
    pub fn had_no_answer(&mut self, Silence { flows, messages }: &Silence) {
        for flow in flows {
            if let Some(waiting) = self.flows.get_mut(flow) {
                waiting.had_no_answer(flows.len(), *messages);
            }
        }
    }

    /// When there is something to do: a turn, unless one is being had, or late messages to answer.
    pub fn next_event(&self, having_turn: bool) -> Option<Instant> {
        let turn = match having_turn {
            true => None,
            false => self.rest.or_else(|| self.first_due()),
        };
        [turn, self.next_sweep].into_iter().flatten().min()
    }

    fn first_due(&self) -> Option<Instant> {
        let patient = self.patient_not_before();
        let due = self.flows.values().map(|waiting| waiting.due(patient));
        due.min()
    }

    /// When a message that takes long may be tried next, if not now.
    fn patient_not_before(&self) -> Option<Instant> {
        let others_wait = || self.flows.values().any(|waiting| !waiting.takes_long());
        self.next_patient.filter(|_| others_wait())
    }

    /// Answers those whose time is over.
    pub fn expire(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|at| now < at) {
            return;
        }
        let mut answered = 0;
        self.flows.retain(|_, waiting| {
            let late = waiting.take_late(now);
            answered += late.len();
            late.into_iter().for_each(|pending| expire(pending, LATE));
            waiting.away > 0 || !waiting.queue.is_empty()
        });
        self.messages -= answered;
        self.next_sweep = (!self.flows.is_empty()).then(|| now + SWEEP);
    }

    /// Whose turn it is, if anybody's: no more than `batch` messages.
    pub fn take_turn(&mut self, now: Instant, batch: usize) -> Option<Turn> {
        if self.rest.is_some_and(|until| now < until) {
            return None;
        }
        self.rest = None;
        let patient = self.patient_not_before();
        let mut due: Vec<(Instant, Flow)> = self
            .flows
            .iter()
            .filter(|(_, waiting)| waiting.away == 0)
            .map(|(flow, waiting)| (waiting.due(patient), *flow))
            .filter(|(at, _)| *at <= now)
            .collect();
        due.sort_unstable_by_key(|(at, _)| *at);
        let first = due.first()?.1;
        if let Some(flow) = self.long_wait(&due, now) {
            return Some(self.turn_of(flow, Kind::LongWait, LONG_WAIT, batch));
        }
        let together = self.together(due, batch);
        let many = u32::try_from(self.flows.len()).unwrap_or(u32::MAX);
        let wait = (SHORT_WAIT / many).max(LEAST_WAIT);
        match together.as_slice() {
            _ if !together.contains(&first) => Some(self.turn_of(first, Kind::Wait, wait, batch)),
            [only] => Some(self.turn_of(*only, Kind::Wait, wait, batch)),
            _ => Some(self.look(&together, batch)),
        }
    }

    /// Those that may be tried together.
    fn together(&self, due: Vec<(Instant, Flow)>, batch: usize) -> Vec<Flow> {
        let (mut together, mut most) = (Vec::new(), batch);
        for (_, flow) in due {
            if let Some(waiting) = self.flows.get(&flow)
                && !waiting.is_alone()
                && together.len() < most.min(waiting.together)
            {
                most = most.min(waiting.together);
                together.push(flow);
            }
        }
        together
    }

    /// The flow that may wait for long, if one may now: the one that had most turns in vain.
    fn long_wait(&self, due: &[(Instant, Flow)], now: Instant) -> Option<Flow> {
        if self.next_long_wait.is_some_and(|at| now < at) {
            return None;
        }
        due.iter()
            .filter_map(|(_, flow)| self.flows.get(flow).map(|waiting| (waiting, *flow)))
            // A lock is not what they wait for.
            .filter(|(waiting, _)| !waiting.had_no_answer_by_itself())
            .map(|(waiting, flow)| (waiting.turns_since_long_wait, flow))
            .filter(|(turns, _)| *turns >= LONG_WAIT_AFTER)
            .max_by_key(|(turns, _)| *turns)
            .map(|(_, flow)| flow)
    }

    /// One flow's messages, which wait for its locks.
    fn turn_of(&mut self, flow: Flow, kind: Kind, wait: Duration, batch: usize) -> Turn {
        let (mut messages, mut patience) = (Vec::new(), Patience::Usual);
        let others_wait = self.flows.len() > 1;
        if let Some(waiting) = self.flows.get_mut(&flow) {
            let mut bytes = 0;
            patience = match waiting.patience() {
                // However long it goes on: they have no turn meanwhile.
                Patience::After(_) if others_wait => Patience::After(1),
                patience => patience,
            };
            let most = waiting.most_at_a_time(batch);
            while messages.len() < most
                && bytes < MAX_TURN_BYTES
                && let Some(pending) = waiting.queue.pop_front()
            {
                bytes += pending.bytes();
                messages.push(pending);
            }
            waiting.away = messages.len();
        }
        Turn {
            messages,
            locks: Locks::Wait(wait),
            of: TurnOf {
                flows: vec![flow],
                kind,
                patience,
            },
        }
    }

    /// The first message of each flow: those that are free again go through, however many are not.
    /// Those that are known to be free share what is left of the batch: with one at a time a busy
    /// flow would never get out of the lane.
    fn look(&mut self, flows: &[Flow], batch: usize) -> Turn {
        let (mut messages, mut of, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut patience = Patience::Usual;
        let mut left = batch.saturating_sub(flows.len());
        let waiting = flows.iter().filter_map(|flow| self.flows.get(flow));
        let mut free = waiting.filter(|waiting| waiting.is_known_free()).count();
        for flow in flows {
            let Some(waiting) = self.flows.get_mut(flow) else {
                continue;
            };
            let mut most = 1;
            if waiting.is_known_free() {
                most = waiting.most_in_a_look(1 + left.div_ceil(free));
                free -= 1;
            }
            while waiting.away < most
                && bytes < MAX_TURN_BYTES
                && let Some(pending) = waiting.queue.pop_front()
            {
                waiting.away += 1;
                bytes += pending.bytes();
                messages.push(pending);
            }
            left = left.saturating_sub(waiting.away.saturating_sub(1));
            if waiting.away > 0 {
                of.push(*flow);
                if waiting.patience() == Patience::Brief {
                    patience = Patience::Brief;
                }
            }
        }
        Turn {
            messages,
            locks: Locks::Skip { wait: LEAST_WAIT },
            of: TurnOf {
                flows: of,
                kind: Kind::Look,
                patience,
            },
        }
    }

    /// A turn is over.
    pub fn give_back(&mut self, done: Done, now: Instant) {
        let is_unreached = done.is_unreached();
        let TurnOf {
            flows,
            kind,
            patience,
        } = done.of;
        if kind == Kind::LongWait {
            self.next_long_wait = Some(now + BETWEEN_LONG_WAITS);
        }
        if matches!(patience, Patience::After(_)) {
            let unanswered = done.silence.as_ref().map(|_| SILENT_PAUSE);
            self.next_patient = done.took.or(unanswered).map(|took| now + took);
        }
        let (mut free_again, mut goes_on, mut all_in_vain) = (false, false, true);
        let mut left: HashMap<Flow, usize> = HashMap::new();
        for pending in done.again.into_iter().rev() {
            let flow = pending.flow();
            *left.entry(flow).or_default() += 1;
            if let Some(waiting) = self.flows.get_mut(&flow) {
                waiting.queue.push_front(pending);
            }
        }
        for flow in flows {
            let Some(waiting) = self.flows.get_mut(&flow) else {
                continue;
            };
            let left = left.get(&flow).copied().unwrap_or_default();
            let away = std::mem::take(&mut waiting.away);
            let answered = away - left;
            self.messages -= answered;
            all_in_vain &= answered == 0;
            if answered > 0 {
                free_again |= waiting.alone;
                goes_on |= waiting.had_no_answer_by_itself() && !done.took_long;
            }
            if waiting.queue.is_empty() {
                self.flows.remove(&flow);
            } else if answered == 0 {
                waiting.is_free = false;
                waiting.alone |= done.at_fault.contains(&flow);
                waiting.turns += 1;
                waiting.turns_since_long_wait = match kind {
                    Kind::LongWait => 0,
                    Kind::Look | Kind::Wait => waiting.turns_since_long_wait + 1,
                };
                waiting.due = now + (PAUSE * waiting.turns).min(MAX_PAUSE);
            } else {
                waiting.answered(answered, done.took_long, now);
            }
        }
        if let Some(took) = done.took
            && kind == Kind::Look
            && all_in_vain
        {
            // Of thousands of flows some are always due: half of the time is enough for asking in
            // vain.
            self.rest = Some(now + took);
        }
        if is_unreached {
            // Each of the other flows would meet that, too, one after the other.
            self.rest = Some(now + failure_pause(self.unreached));
            self.unreached += 1;
        } else {
            self.unreached = 0;
        }
        if free_again || goes_on {
            self.try_together_again(goes_on, now);
        }
        if let Some(silence) = &done.silence {
            self.had_no_answer(silence);
        }
    }

    /// What kept one that had to be tried alone may have kept the others: one look tells, and takes
    /// out again what is at fault. But what takes long does so whatever becomes of those that fail,
    /// and of what is ahead of others that take long; unless one that had no answer by itself has a
    /// quick one (`goes_on`): then it was the database that took long.
    fn try_together_again(&mut self, goes_on: bool, now: Instant) {
        for waiting in self.flows.values_mut() {
            waiting.alone = false;
            if goes_on {
                waiting.is_not_known_to_take_long(now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
