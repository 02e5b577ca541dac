//! Turns, which are waited for before a connection is: each kind has a number of them at a time. How many wait is a figure, and a turn that
//! does not come in time is told in the log, since the pool of connections knows of neither.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use crate::error::Error;
use crate::logging::Repeats;

/// What a turn is for, as the figures and the log name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Reads,
    Searches,
    Directory,
    Replays,
    Tickets,
    UserLookups,
    Changes,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Searches => "searches",
            Self::Directory => "directory",
            Self::Replays => "replays",
            Self::Tickets => "tickets",
            Self::UserLookups => "user_lookups",
            Self::Changes => "changes",
        }
    }
}

/// Waits for a turn, this long at most: then the log is told, and the error says `refusal`.
pub async fn within<T>(
    patience: Duration,
    turn: impl Future<Output = T>,
    kind: Kind,
    refusal: &'static str,
) -> Result<T, Error> {
    timeout(patience, turn).await.map_err(|_| {
        log_refusal(kind, patience);
        Error::unavailable(refusal)
    })
}

/// Tells that somebody was refused, because their turn did not come in this time.
pub fn log_refusal(kind: Kind, patience: Duration) {
    static LINES: Repeats = Repeats::new(module_path!());
    LINES.warn(format_args!(
        "{}: a turn did not come within {} s, since those before it take too long",
        kind.name(),
        patience.as_secs()
    ));
}

/// How many wait in a line that does not know it itself.
#[derive(Debug, Default)]
pub struct Waiting(AtomicUsize);

impl Waiting {
    /// Counts somebody until what is returned is dropped.
    pub fn one(&self) -> Counted<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(&self.0)
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Somebody who waits, until this is dropped.
#[must_use]
pub struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
