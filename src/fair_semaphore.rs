//! A semaphore that is fair among its holders: users who change or mark something, are read for, search, or ask for pages. A few requests of each holder at a time stand
//! in the common line, and the holder's other requests wait behind them: a holder with twenty, again and again, takes no more of the common
//! line than those few.
//!
//! A request whose future is dropped while it waits has given up its place, in both lines.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::ready;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::model::UserId;
use crate::sync::{acquire_owned, lock};
use crate::turns::Waiting;

/// Clones share the lines. First come, first served, in each of them. `K` is who holds permits.
#[derive(Clone)]
pub struct FairSemaphore<K: Key = UserId>(Arc<Lines<K>>);

/// What tells one holder from another.
pub trait Key: Copy + Eq + Hash {}

impl<K: Copy + Eq + Hash> Key for K {}

struct Lines<K: Key> {
    common: Arc<Semaphore>,
    /// How many requests of one holder at a time stand in the common line, or have a permit of it.
    each: usize,
    waiting: Waiting,
    /// The lines of the holders with a request that waits or has its turn, and of no others.
    own: Mutex<HashMap<K, Own>>,
}

/// A holder's own line.
struct Own {
    /// Held by those that stand in the common line, or have its permit.
    first: Arc<Semaphore>,
    /// How many stand here, the first ones among them.
    places: usize,
}

/// A holder's turn, until this is dropped. In this order: what the others wait for comes first.
pub struct Permit<K: Key = UserId> {
    _common: OwnedSemaphorePermit,
    head: Head<K>,
}

impl Permit {
    pub fn user(&self) -> UserId {
        self.head.0.place.holder
    }
}

/// A place at the head of a holder's own line, where there are `each` of them, until all clones are dropped. The holder's others wait
/// behind it.
#[derive(Clone)]
pub struct Head<K: Key = UserId>(Arc<AtHead<K>>);

struct AtHead<K: Key> {
    _first: OwnedSemaphorePermit,
    place: Place<K>,
}

impl<K: Key> Head<K> {
    /// Waits in the common line.
    pub async fn permit(self) -> Permit<K> {
        let lines = Arc::clone(&self.0.place.lines);
        let _waits = lines.waiting.one();
        Permit {
            _common: lines.common().await,
            head: self,
        }
    }
}

/// A place in a holder's own line.
struct Place<K: Key> {
    lines: Arc<Lines<K>>,
    holder: K,
}

impl<K: Key> FairSemaphore<K> {
    /// `parallel` have their turn at one time, `each` of one holder.
    pub fn new(parallel: usize, each: usize) -> Self {
        Self(Arc::new(Lines {
            common: Arc::new(Semaphore::new(parallel)),
            each,
            waiting: Waiting::default(),
            own: Mutex::default(),
        }))
    }

    /// How many wait, in the common line and in those of their own.
    pub fn waiting(&self) -> usize {
        self.0.waiting.count()
    }

    /// Waits for a permit of this holder's. `ahead` is awaited before the request joins the common line; the holder's other requests wait
    /// behind it, other holders do not. So it is awaited for `each` of a holder's requests at a time.
    pub async fn acquire(&self, holder: K, ahead: impl Future<Output = ()>) -> Permit<K> {
        let (place, first) = Place::take(&self.0, holder, &mut self.0.own());
        place.acquire(first, ahead).await
    }

    /// Waits in this holder's own line only: for whoever goes on with [`Head::permit`], or has a permit of the common line together with
    /// others.
    pub async fn head(&self, holder: K) -> Head<K> {
        let (place, first) = Place::take(&self.0, holder, &mut self.0.own());
        let _waits = self.0.waiting.one();
        place.head(first).await
    }

    /// Waits in the common line for several, each of whom is at the head of their own.
    pub async fn common(&self) -> OwnedSemaphorePermit {
        let _waits = self.0.waiting.one();
        self.0.common().await
    }

    /// Waits for a permit of this holder's, unless as many as `most` of theirs have one or wait already: then there is none.
    pub async fn acquire_within(&self, holder: K, most: usize) -> Option<Permit<K>> {
        let (place, first) = Place::take_within(&self.0, holder, most)?;
        Some(place.acquire(first, ready(())).await)
    }
}

impl<K: Key> Lines<K> {
    fn own(&self) -> MutexGuard<'_, HashMap<K, Own>> {
        lock(&self.own)
    }

    async fn common(&self) -> OwnedSemaphorePermit {
        acquire_owned(Arc::clone(&self.common)).await
    }
}

impl<K: Key> Place<K> {
    fn take_within(
        lines: &Arc<Lines<K>>,
        holder: K,
        most: usize,
    ) -> Option<(Self, Arc<Semaphore>)> {
        let mut all = lines.own();
        let places = all.get(&holder).map_or(0, |own| own.places);
        (places < most).then(|| Self::take(lines, holder, &mut all))
    }

    /// `all` are the lines' own.
    fn take(lines: &Arc<Lines<K>>, holder: K, all: &mut HashMap<K, Own>) -> (Self, Arc<Semaphore>) {
        let own = all.entry(holder).or_insert_with(|| Own {
            first: Arc::new(Semaphore::new(lines.each)),
            places: 0,
        });
        own.places += 1;
        let first = Arc::clone(&own.first);
        let lines = Arc::clone(lines);
        (Self { lines, holder }, first)
    }

    async fn acquire(self, first: Arc<Semaphore>, ahead: impl Future<Output = ()>) -> Permit<K> {
        let lines = Arc::clone(&self.lines);
        let _waits = lines.waiting.one();
        let head = self.head(first).await;
        ahead.await;
        Permit {
            _common: lines.common().await,
            head,
        }
    }

    async fn head(self, first: Arc<Semaphore>) -> Head<K> {
        Head(Arc::new(AtHead {
            _first: acquire_owned(first).await,
            place: self,
        }))
    }
}

impl<K: Key> Drop for Place<K> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut own) = self.lines.own().entry(self.holder) {
            own.get_mut().places -= 1;
            if own.get().places == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests;
