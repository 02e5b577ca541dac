//! A turn in the slow lane, and what comes of it.

use std::collections::HashSet;
use std::time::Duration;

use crate::store::Locks;
use crate::writer::{Flow, Pending, Silence};

/// How long the answer to a turn is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::writer) enum Patience {
    Usual,
    /// It is to tell what has no answer.
    Brief,
    /// It had none, by itself, so many times.
    After(u32),
}

/// Messages that are tried in one transaction.
pub(in crate::writer) struct Turn {
    pub messages: Vec<Pending>,
    pub locks: Locks,
    pub(super) of: TurnOf,
}

/// What came of a turn.
pub(in crate::writer) struct Done {
    /// Still to be stored, in order.
    pub again: Vec<Pending>,
    /// Flows at fault for the failure of their transaction.
    pub at_fault: HashSet<Flow>,
    /// How long its first transaction took; `None`: that had no answer, or the last of more that
    /// tell what is at fault.
    pub took: Option<Duration>,
    /// That is longer than others take.
    pub took_long: bool,
    /// The transaction that had no answer.
    pub silence: Option<Silence>,
    pub of: TurnOf,
}

impl Done {
    /// There was no answer, and not for what was sent: the connection broke, none was to be had, or
    /// the database did not answer over another one either.
    pub(super) fn is_unreached(&self) -> bool {
        self.took.is_none() && self.silence.is_none()
    }
}

/// The turn that [`Done`] is about.
pub(in crate::writer) struct TurnOf {
    pub(super) flows: Vec<Flow>,
    pub(super) kind: Kind,
    pub patience: Patience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// At the first message of each of several flows, and at more of one that is known to be free.
    Look,
    Wait,
    LongWait,
}

impl Turn {
    pub fn is_of_one_flow(&self) -> bool {
        self.of.flows.len() == 1
    }

    pub fn into_parts(self) -> (Vec<Pending>, Locks, TurnOf) {
        (self.messages, self.locks, self.of)
    }
}
