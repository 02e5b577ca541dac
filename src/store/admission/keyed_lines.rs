//! Lines, one for each key: of those who want the same, or of one holder's requests. First come, first served, in each of them.
//!
//! Whose place is dropped while they wait has given it up. A line that nobody stands in is not there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sync::{acquire_owned, lock};

/// What tells one line from another.
pub trait Key: Copy + Eq + Hash {}

impl<K: Copy + Eq + Hash> Key for K {}

/// Clones share the lines.
#[derive(Clone)]
pub struct KeyedLines<K: Key>(Arc<Lines<K>>);

struct Lines<K> {
    /// How many are at the head of one line at a time.
    heads: usize,
    /// A std mutex: held to look a line up.
    of: Mutex<HashMap<K, Line>>,
}

struct Line {
    /// Its permits are held at the head.
    heads: Arc<Semaphore>,
    /// How many stand in it, those at its head among them.
    places: usize,
}

/// A place in a line, until it is dropped.
pub struct Place<K: Key> {
    lines: KeyedLines<K>,
    key: K,
    heads: Arc<Semaphore>,
}

impl<K: Key> KeyedLines<K> {
    /// With so many at the head of each at a time.
    pub fn new(heads: usize) -> Self {
        Self(Arc::new(Lines {
            heads,
            of: Mutex::default(),
        }))
    }

    /// The last place in the line of this key.
    pub fn place(&self, key: K) -> Place<K> {
        self.place_in(&mut self.lines(), key)
    }

    /// The last place in the line of this key, unless as many as `most` stand in it already.
    pub fn place_within(&self, key: K, most: usize) -> Option<Place<K>> {
        let mut lines = self.lines();
        let places = lines.get(&key).map_or(0, |line| line.places);
        (places < most).then(|| self.place_in(&mut lines, key))
    }

    /// Whether anybody stands in the line of this key.
    pub fn contains(&self, key: K) -> bool {
        self.lines().contains_key(&key)
    }

    /// How many lines there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.lines().len()
    }

    fn place_in(&self, lines: &mut HashMap<K, Line>, key: K) -> Place<K> {
        let line = lines.entry(key).or_insert_with(|| Line {
            heads: Arc::new(Semaphore::new(self.0.heads)),
            places: 0,
        });
        line.places += 1;
        Place {
            lines: self.clone(),
            key,
            heads: Arc::clone(&line.heads),
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<K, Line>> {
        lock(&self.0.of)
    }
}

impl<K: Key> Place<K> {
    /// Waits until it is at the head of its line; there it stays until what is returned is dropped.
    pub async fn head(&self) -> OwnedSemaphorePermit {
        acquire_owned(Arc::clone(&self.heads)).await
    }
}

impl<K: Key> Drop for Place<K> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut line) = self.lines.lines().entry(self.key) {
            line.get_mut().places -= 1;
            if line.get().places == 0 {
                line.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A place whose drop has let the lock of the lines go has the semaphore for a moment more: long enough for the next to leave.
    #[test]
    fn whoever_leaves_last_leaves_nothing_behind_beside_another_who_is_leaving() {
        let lines = KeyedLines::new(1);
        let last = lines.place(1);
        let of_one_who_is_leaving = Arc::clone(&last.heads);
        drop(last);
        assert!(!lines.contains(1));
        drop(of_one_who_is_leaving);
    }
}
