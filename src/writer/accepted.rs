//! How many messages were accepted and how many failed, and by which protocol they came.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::names::names;

names! {
    /// By which protocol a message came. Other programs' rows come by neither: the database accepts them, and no replica is asked.
    Protocol {
        Http = "http",
        WebSocket = "websocket",
    }
}

names! {
    /// What an accepted message was.
    Acceptance {
        Stored = "stored",
        /// It had been stored before.
        Repeated = "repeated",
    }
}

names! {
    /// Why a message failed.
    FailureReason {
        /// No answer of the database in time.
        Unavailable = "unavailable",
        /// The database refuses it, or a defect.
        Internal = "internal",
        /// The sender's fault.
        Refused = "refused",
    }
}

/// By the protocol, and then by one of `N` names.
type Counts<const N: usize> = [[AtomicU64; N]; Protocol::ALL.len()];

/// Messages that were committed, which is when their sender is told. A repeat of one is stored no second time.
#[derive(Default)]
pub struct Accepted(Counts<{ Acceptance::ALL.len() }>);

impl Accepted {
    pub(super) fn count(&self, protocol: Protocol, repeated: bool) {
        let acceptance = match repeated {
            true => Acceptance::Repeated,
            false => Acceptance::Stored,
        };
        self.0[protocol as usize][acceptance as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> &Counts<{ Acceptance::ALL.len() }> {
        &self.0
    }
}

/// Messages that reached the writer and were not stored, or of which that is not known.
#[derive(Default)]
pub struct Failed(Counts<{ FailureReason::ALL.len() }>);

impl Failed {
    pub(super) fn count(&self, protocol: Protocol, error: &Error) {
        let reason = match error {
            Error::Unavailable { .. } => FailureReason::Unavailable,
            Error::Internal(_) => FailureReason::Internal,
            _ => FailureReason::Refused,
        };
        self.0[protocol as usize][reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn counts(&self) -> &Counts<{ FailureReason::ALL.len() }> {
        &self.0
    }
}
