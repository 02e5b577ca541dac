//! Turns, which are waited for before a connection is: each kind of what comes in floods or takes long has a number of them at a time
//! ([`Shares`](super::shares::Shares)). How many wait is a figure, and a turn that does not come in time is told in the log, since the pool of
//! connections knows of neither.

mod fair_semaphore;
mod keyed_lines;

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

pub use fair_semaphore::{FairSemaphore, Head, Permit};
pub use keyed_lines::{KeyedLines, Place};

use super::{Shared, Store};
use crate::error::Error;
use crate::limits::Holder;
use crate::logging::Repeats;

/// The turns of one kind.
pub struct Turns {
    /// What they are for, as the figures and the log name it.
    kind: &'static str,
    /// What somebody is told whose turn does not come in time.
    refusal: &'static str,
    /// How long a turn is waited for. What it is for has a deadline of its own: otherwise whoever has waited for nearly all of it would have no
    /// time left to be answered, and nor would all behind them.
    patience: Duration,
    line: FairSemaphore,
}

impl Turns {
    /// `parallel` at a time, `each` of one holder.
    pub fn new(
        kind: &'static str,
        refusal: &'static str,
        patience: Duration,
        (parallel, each): (usize, usize),
    ) -> Self {
        Self {
            kind,
            refusal,
            patience,
            line: FairSemaphore::new(parallel, each),
        }
    }

    /// Where to wait, for whoever sees themselves to how long.
    pub fn line(&self) -> &FairSemaphore {
        &self.line
    }

    /// One of this holder's. `Unavailable`, as of all of these, where it does not come in time.
    pub async fn of(&self, holder: Holder) -> Result<Permit, Error> {
        self.of_after(holder, std::future::ready(())).await
    }

    /// One of this holder's. `ahead` is awaited at the head of their own line: for each of theirs that may be there, and in nobody else's way.
    pub async fn of_after(
        &self,
        holder: Holder,
        ahead: impl Future<Output = ()>,
    ) -> Result<Permit, Error> {
        let turn = async {
            let head = self.line.head(holder).await;
            ahead.await;
            head.permit().await
        };
        self.in_time(turn).await
    }

    /// One of this holder's, unless as many as `most` of theirs are under way or wait: then there is none.
    pub async fn of_within(&self, holder: Holder, most: usize) -> Result<Option<Permit>, Error> {
        let turn = async {
            let head = self.line.head_within(holder, most).await?;
            Some(head.permit().await)
        };
        self.in_time(turn).await
    }

    /// One that is nobody's in particular.
    pub async fn of_anybody(&self) -> Result<OwnedSemaphorePermit, Error> {
        self.in_time(self.line.common()).await
    }

    async fn in_time<T>(&self, turn: impl Future<Output = T>) -> Result<T, Error> {
        let turn = timeout(self.patience, turn).await;
        turn.map_err(|_| self.refused())
    }

    /// Why something was not done whose turn did not come in time. The log is told, too.
    pub fn refused(&self) -> Error {
        static LINES: Repeats = Repeats::new(module_path!());
        LINES.warn(format_args!(
            "{}: a turn did not come within {} s, since those before it take too long",
            self.kind,
            self.patience.as_secs()
        ));
        Error::unavailable(self.refusal)
    }

    /// How many wait, and for what.
    pub fn waiting(&self) -> (&'static str, usize) {
        (self.kind, self.line.waiting())
    }
}

impl Store {
    /// Of reads over HTTP. What has its turn is read by a handle of its own ([`Store::in_turn`]).
    pub fn reads(&self) -> &Turns {
        &self.shared.reads
    }

    /// Of lists of users, of which a holder has one at a time.
    pub fn directory(&self) -> &Turns {
        &self.shared.directory
    }

    /// Of users to be read for, who were away: for one of each at a time.
    pub fn replays(&self) -> &Turns {
        &self.shared.replays
    }

    /// How many wait for a turn before they have, or wait for, a connection.
    pub fn turns_waiting(&self) -> [(&'static str, usize); 7] {
        let Shared {
            held_rows,
            searches,
            tickets,
            user_lookups,
            reads,
            directory,
            replays,
            ..
        } = &*self.shared;
        [
            held_rows.waiting(),
            searches.waiting(),
            tickets.waiting(),
            ("user_lookups", user_lookups.waiting()),
            reads.waiting(),
            directory.waiting(),
            replays.waiting(),
        ]
    }
}

#[cfg(test)]
mod tests;
