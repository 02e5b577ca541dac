//! What waits of one flow in the slow lane, and what is known of how long it takes.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Patience;
use crate::writer::Pending;

/// What waits of one flow.
pub(super) struct WaitingFlow {
    /// In order.
    pub queue: VecDeque<Pending>,
    /// Taken by a turn that is not over: they stand ahead of the queue.
    pub away: usize,
    /// Not before this moment is it tried again.
    pub due: Instant,
    /// Turns in vain, since something of it was stored.
    pub turns: u32,
    /// Turns in vain since its last long wait.
    pub turns_since_long_wait: u32,
    /// It fails for another reason than its conversation's lock, and would take others with it.
    pub alone: bool,
    /// It is tried together with no more flows than this, itself included: half as many after each silence, until it has an answer. So
    /// what takes long is found among many, in few turns.
    pub together: usize,
    /// Its last turn stored something of it, and did not take long: nobody holds its conversation.
    pub is_free: bool,
    slowness: Slowness,
}

/// What silences have told of a flow's messages. Whatever it is, what becomes of other flows does not change it; see
/// [`WaitingFlow::is_not_known_to_take_long`] for the one exception.
#[derive(Clone, Copy)]
enum Slowness {
    /// Nothing: it may be tried together with others.
    Unknown,
    /// Something of it takes long, or did. It is tried apart from others, a few messages at a time, so that what takes long is found with
    /// as few silences as by halves. But each of these is followed by the try of one message: that it has an answer, mostly, shows that
    /// it is not the database that takes long ([`AnswerTimeout`](crate::writer::answer_timeout::AnswerTimeout)).
    Somewhere {
        /// The first so many had no answer together; 0: those have been found.
        among: usize,
        /// How many are tried next: one after a silence, twice as many after each answer.
        portion: usize,
    },
    /// Its first message takes long. So many times in a row it had no answer by itself; 0: so all others show, or the one before it.
    First { silences: u32 },
}

impl WaitingFlow {
    pub fn new(due: Instant) -> Self {
        Self {
            queue: VecDeque::new(),
            away: 0,
            due,
            turns: 0,
            turns_since_long_wait: 0,
            alone: false,
            together: usize::MAX,
            is_free: false,
            slowness: Slowness::Unknown,
        }
    }

    /// It would take others with it.
    pub fn is_alone(&self) -> bool {
        self.alone || !matches!(self.slowness, Slowness::Unknown)
    }

    /// Its first message is known to.
    pub fn takes_long(&self) -> bool {
        matches!(self.slowness, Slowness::First { .. })
    }

    /// Its first message, the last time that it was tried.
    pub fn had_no_answer_by_itself(&self) -> bool {
        matches!(self.slowness, Slowness::First { silences: 1.. })
    }

    /// When it is tried next, if what takes long is not tried before `patient`.
    pub fn due(&self, patient: Option<Instant>) -> Instant {
        let patient = patient.filter(|_| self.takes_long());
        patient.map_or(self.due, |patient| self.due.max(patient))
    }

    pub fn patience(&self) -> Patience {
        match self.slowness {
            Slowness::Unknown if self.together == usize::MAX => Patience::Usual,
            // If it is the one that takes long, it will have to have this time.
            Slowness::Somewhere { among: 1.., .. } if self.most_at_a_time(usize::MAX) == 1 => {
                Patience::After(1)
            }
            Slowness::Unknown | Slowness::Somewhere { .. } => Patience::Brief,
            Slowness::First { silences } => Patience::After(silences.max(1)),
        }
    }

    /// How many messages are tried by themselves, of at most `batch`.
    pub fn most_at_a_time(&self, batch: usize) -> usize {
        match self.slowness {
            Slowness::Unknown => batch,
            Slowness::Somewhere { among: 0, portion } => portion.min(batch),
            // No more than half of them, or the silence tells nothing.
            Slowness::Somewhere { among, portion } => portion.min(among / 2).clamp(1, batch),
            Slowness::First { .. } => 1,
        }
    }

    /// Nothing keeps its messages, for all that is known.
    pub fn is_known_free(&self) -> bool {
        self.is_free && self.patience() == Patience::Usual
    }

    /// How many of its messages are looked at together with those of other flows, where it is known to be free: of at most `share`. What had
    /// no answer before comes one by one, or there would be a silence for each that is ahead of what takes long.
    pub fn most_in_a_look(&self, share: usize) -> usize {
        let first = self.queue.iter().take(share);
        let quick = first.take_while(|pending| !pending.had_no_answer);
        quick.count().max(1)
    }

    /// From its front what is late. What is behind need not take long.
    pub fn take_late(&mut self, now: Instant) -> Vec<Pending> {
        let mut late = Vec::new();
        while let Some(pending) = self.queue.pop_front_if(|first| first.deadline <= now) {
            late.push(pending);
        }
        if late.is_empty() || self.away > 0 {
            return late;
        }
        match self.slowness {
            Slowness::Unknown => {}
            Slowness::Somewhere { among, .. } => self.look_closer(among.saturating_sub(late.len())),
            Slowness::First { .. } => {
                self.look_closer(0);
                self.due = self.due.min(now);
            }
        }
        late
    }

    fn look_closer(&mut self, among: usize) {
        self.slowness = Slowness::Somewhere { among, portion: 1 };
    }

    /// In a transaction with so many messages, of so many flows.
    pub fn had_no_answer(&mut self, flows: usize, messages: usize) {
        self.together = self.together.min(flows / 2).max(1);
        self.is_free = false;
        self.slowness = match (flows, messages, self.slowness) {
            (1, 1, Slowness::First { silences }) => Slowness::First {
                silences: silences.saturating_add(1),
            },
            (1, 1, _) => Slowness::First { silences: 1 },
            (1, among, _) => Slowness::Somewhere { among, portion: 1 },
            (_, _, slowness) => slowness,
        };
    }

    /// So many of its messages had an answer; more of it waits. `took_long`: longer than others take.
    pub fn answered(&mut self, messages: usize, took_long: bool, now: Instant) {
        self.turns = 0;
        self.turns_since_long_wait = 0;
        self.due = now;
        self.alone = false;
        self.together = usize::MAX;
        self.is_free = !took_long;
        self.slowness = match self.slowness {
            Slowness::Unknown => Slowness::Unknown,
            _ if took_long => Slowness::First { silences: 0 },
            Slowness::First { .. } => Slowness::Somewhere {
                among: 0,
                portion: 2,
            },
            Slowness::Somewhere { among, portion } => match among.saturating_sub(messages) {
                1 => Slowness::First { silences: 0 },
                among => Slowness::Somewhere {
                    among,
                    portion: portion.saturating_mul(2),
                },
            },
        };
    }

    /// One of another flow that had no answer by itself has a quick one now.
    pub fn is_not_known_to_take_long(&mut self, now: Instant) {
        if self.takes_long() {
            self.due = self.due.min(now);
        }
        self.together = usize::MAX;
        self.slowness = Slowness::Unknown;
    }
}
