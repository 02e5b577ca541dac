//! A semaphore that is fair among its holders: users who change or mark something, are read for, search, or ask for pages. A few requests of each holder at a time stand
//! in the common line, and the holder's other requests wait behind them: a holder with twenty, again and again, takes no more of the common
//! line than those few.
//!
//! A request whose future is dropped while it waits has given up its place, in both lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::keyed_lines::{KeyedLines, Place};
use crate::limits::Holder;
use crate::sync::acquire_owned;

/// Clones share the lines. First come, first served, in each of them.
#[derive(Clone)]
pub struct FairSemaphore(Arc<Lines>);

struct Lines {
    common: Arc<Semaphore>,
    waiting: Waiting,
    /// The lines of the holders with a request that waits or has its turn. Those at the head of one stand in the common line, or have its permit.
    own: KeyedLines<Holder>,
}

/// A holder's turn, until this is dropped. In this order: what the others wait for comes first.
pub struct Permit {
    _common: OwnedSemaphorePermit,
    _head: Head,
}

/// A place at the head of a holder's own line, where there are `each` of them, until all clones are dropped. The holder's others wait
/// behind it, other holders do not.
#[derive(Clone)]
pub struct Head(Arc<AtHead>);

struct AtHead {
    _first: OwnedSemaphorePermit,
    _place: Place<Holder>,
    lines: Arc<Lines>,
}

impl FairSemaphore {
    /// `parallel` have their turn at one time, `each` of one holder.
    pub fn new(parallel: usize, each: usize) -> Self {
        Self(Arc::new(Lines {
            common: Arc::new(Semaphore::new(parallel)),
            waiting: Waiting::default(),
            own: KeyedLines::new(each),
        }))
    }

    /// How many wait, in the common line and in those of their own.
    pub fn waiting(&self) -> usize {
        self.0.waiting.count()
    }

    /// Waits in this holder's own line. Whoever has its head goes on with [`Head::permit`], or has a permit of the common line together with
    /// others.
    pub async fn head(&self, holder: Holder) -> Head {
        self.0.head(self.0.own.place(holder)).await
    }

    /// As [`head`](Self::head), unless as many as `most` of this holder's have their turn or wait already: then there is none.
    pub async fn head_within(&self, holder: Holder, most: usize) -> Option<Head> {
        let place = self.0.own.place_within(holder, most)?;
        Some(self.0.head(place).await)
    }

    /// Waits in the common line for several, each of whom is at the head of their own.
    pub async fn common(&self) -> OwnedSemaphorePermit {
        self.0.common().await
    }
}

impl Head {
    /// Waits in the common line.
    pub async fn permit(self) -> Permit {
        Permit {
            _common: self.0.lines.common().await,
            _head: self,
        }
    }
}

impl Lines {
    async fn head(self: &Arc<Self>, place: Place<Holder>) -> Head {
        let _waits = self.waiting.one();
        Head(Arc::new(AtHead {
            _first: place.head().await,
            _place: place,
            lines: Arc::clone(self),
        }))
    }

    async fn common(&self) -> OwnedSemaphorePermit {
        let _waits = self.waiting.one();
        acquire_owned(Arc::clone(&self.common)).await
    }
}

/// How many wait.
#[derive(Default)]
struct Waiting(AtomicUsize);

impl Waiting {
    /// Counts somebody until what is returned is dropped.
    fn one(&self) -> Counted<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(&self.0)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Somebody who waits, until this is dropped.
#[must_use]
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
