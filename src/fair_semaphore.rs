//! A semaphore that is fair among its holders: users who change or mark something, are read for, search, or ask for pages. A few requests of each holder at a time stand
//! in the common line, and the holder's other requests wait behind them: a holder with twenty, again and again, takes no more of the common
//! line than those few.
//!
//! A request whose future is dropped while it waits has given up its place, in both lines.

use std::future::ready;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::keyed_lines::{Key, KeyedLines, Place};
use crate::model::UserId;
use crate::sync::acquire_owned;
use crate::turns::Waiting;

/// Clones share the lines. First come, first served, in each of them. `K` is who holds permits.
#[derive(Clone)]
pub struct FairSemaphore<K: Key = UserId>(Arc<Lines<K>>);

struct Lines<K: Key> {
    common: Arc<Semaphore>,
    waiting: Waiting,
    /// The lines of the holders with a request that waits or has its turn. Those at the head of one stand in the common line, or have its permit.
    own: KeyedLines<K>,
}

/// A holder's turn, until this is dropped. In this order: what the others wait for comes first.
pub struct Permit<K: Key = UserId> {
    _common: OwnedSemaphorePermit,
    head: Head<K>,
}

impl Permit {
    pub fn user(&self) -> UserId {
        self.head.0.place.key()
    }
}

/// A place at the head of a holder's own line, where there are `each` of them, until all clones are dropped. The holder's others wait
/// behind it.
#[derive(Clone)]
pub struct Head<K: Key = UserId>(Arc<AtHead<K>>);

struct AtHead<K: Key> {
    _first: OwnedSemaphorePermit,
    place: Place<K>,
    lines: Arc<Lines<K>>,
}

impl<K: Key> Head<K> {
    /// Waits in the common line.
    pub async fn permit(self) -> Permit<K> {
        let lines = Arc::clone(&self.0.lines);
        let _waits = lines.waiting.one();
        Permit {
            _common: lines.common().await,
            head: self,
        }
    }
}

impl<K: Key> FairSemaphore<K> {
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

    /// Waits for a permit of this holder's. `ahead` is awaited before the request joins the common line; the holder's other requests wait
    /// behind it, other holders do not. So it is awaited for `each` of a holder's requests at a time.
    pub async fn acquire(&self, holder: K, ahead: impl Future<Output = ()>) -> Permit<K> {
        self.0.acquire(self.0.own.place(holder), ahead).await
    }

    /// Waits in this holder's own line only: for whoever goes on with [`Head::permit`], or has a permit of the common line together with
    /// others.
    pub async fn head(&self, holder: K) -> Head<K> {
        let place = self.0.own.place(holder);
        let _waits = self.0.waiting.one();
        self.0.head(place).await
    }

    /// Waits in the common line for several, each of whom is at the head of their own.
    pub async fn common(&self) -> OwnedSemaphorePermit {
        let _waits = self.0.waiting.one();
        self.0.common().await
    }

    /// Waits for a permit of this holder's, unless as many as `most` of theirs have one or wait already: then there is none.
    pub async fn acquire_within(&self, holder: K, most: usize) -> Option<Permit<K>> {
        let place = self.0.own.place_within(holder, most)?;
        Some(self.0.acquire(place, ready(())).await)
    }
}

impl<K: Key> Lines<K> {
    async fn acquire(
        self: &Arc<Self>,
        place: Place<K>,
        ahead: impl Future<Output = ()>,
    ) -> Permit<K> {
        let _waits = self.waiting.one();
        let head = self.head(place).await;
        ahead.await;
        Permit {
            _common: self.common().await,
            head,
        }
    }

    async fn head(self: &Arc<Self>, place: Place<K>) -> Head<K> {
        Head(Arc::new(AtHead {
            _first: place.head().await,
            place,
            lines: Arc::clone(self),
        }))
    }

    async fn common(&self) -> OwnedSemaphorePermit {
        acquire_owned(Arc::clone(&self.common)).await
    }
}

#[cfg(test)]
mod tests;
