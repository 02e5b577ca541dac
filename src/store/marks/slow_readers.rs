//! Whose marks take long by themselves, as with a slow trigger of the host's: the next ones are made alone, so that no others wait for them
//! again. No I/O.
//!
//! Slow is what takes several times as long as others' transactions took of late. Where the database is slow all of them take long, and nobody
//! is slow. Of a group that was slow nobody knows by whom: each of them is suspect, until something of theirs is marked and that is not slow.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::line::{GROUP, PATIENCE};
use crate::model::UserId;
use crate::sync::lock;

/// Less is never slow.
const LEAST: Duration = PATIENCE.saturating_mul(10);

/// Nor is what takes less than so many times as long as the fastest of the last [`RECENT`] transactions.
const TIMES: u32 = 4;
const RECENT: usize = 4;

/// How long somebody is remembered, after the last mark of theirs that was slow.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many are remembered: as many as may have been in a group. Others are not, until the time of one of these is over.
const MAX_REMEMBERED: usize = GROUP;

/// Of those who are suspect only, how many make their mark alone at a time. The others stand in line, so that one slow group does not have the
/// next ones wait behind a hundred marks that are made one by one.
const TRIALS: usize = 4;

/// What is known of whom.
pub struct SlowReaders {
    state: Mutex<State>,
    trials: Arc<Semaphore>,
}

#[derive(Default)]
struct State {
    remembered: HashMap<UserId, Memory>,
    /// What the last transactions took, but those of the slow.
    recent: VecDeque<Duration>,
}

#[derive(Clone, Copy)]
struct Memory {
    since: Instant,
    /// By themselves; otherwise together with others.
    is_slow: bool,
}

/// Somebody's mark is to be made alone: to be held as long as that takes.
pub struct Apart {
    _trial: Option<OwnedSemaphorePermit>,
}

/// Measures what is made for one reader, from when there is a connection for it until this is dropped: by the connection, once the statement
/// has ended, though its caller went away.
pub struct Stopwatch {
    readers: Arc<SlowReaders>,
    reader: UserId,
    began: Instant,
}

impl SlowReaders {
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            trials: Arc::new(Semaphore::new(TRIALS)),
        }
    }

    /// Whether this reader's mark is to be made alone.
    pub fn apart(&self, reader: UserId) -> Option<Apart> {
        let mut state = self.state();
        let memory = *state.remembered.get(&reader)?;
        if memory.is_over() {
            state.remembered.remove(&reader);
            return None;
        }
        if memory.is_slow {
            return Some(Apart { _trial: None });
        }
        let trial = Arc::clone(&self.trials).try_acquire_owned().ok()?;
        Some(Apart {
            _trial: Some(trial),
        })
    }

    /// A transaction for this reader alone begins.
    pub fn begin(self: &Arc<Self>, reader: UserId) -> Stopwatch {
        Stopwatch {
            readers: Arc::clone(self),
            reader,
            began: Instant::now(),
        }
    }

    /// A transaction for all of these has ended, and taken so long. Returns whether it was slow.
    pub fn took(&self, readers: impl ExactSizeIterator<Item = UserId>, took: Duration) -> bool {
        let mut state = self.state();
        let was_slow = state.is_slow(took);
        let is_alone = readers.len() == 1;
        let mut is_of_the_slow = false;
        for reader in readers {
            let was_remembered = state.remembered.get(&reader).copied();
            is_of_the_slow |= was_remembered.is_some_and(|memory| memory.is_slow);
            if was_slow {
                state.remember(reader, is_alone);
            }
        }
        // They say nothing of how long others take.
        if !is_of_the_slow {
            state.recent.push_back(took);
            if state.recent.len() > RECENT {
                state.recent.pop_front();
            }
        }
        was_slow
    }

    /// Something of this reader's was marked in a transaction that was not slow, or was so by themselves: they are no longer suspect of what
    /// another may have done. A mark of nothing would say nothing, and whoever is slow is so for as long as they are remembered: not each of
    /// their marks takes long.
    pub fn clear(&self, reader: UserId) {
        let mut state = self.state();
        if state.remembered.get(&reader).is_some_and(|it| !it.is_slow) {
            state.remembered.remove(&reader);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn is_slow(&self, took: Duration) -> bool {
        let usual = self.recent.iter().min().copied().unwrap_or_default();
        took > LEAST.max(usual * TIMES)
    }

    /// Whoever is known to be slow stays so, whatever they are suspected of. Who is suspect only makes room for who is slow.
    fn remember(&mut self, reader: UserId, is_slow: bool) {
        let known = self.remembered.get(&reader);
        let is_slow = is_slow || known.is_some_and(|memory| memory.is_slow);
        if known.is_none() && self.remembered.len() >= MAX_REMEMBERED {
            self.remembered
                .retain(|_, memory| !memory.is_over() && (memory.is_slow || !is_slow));
            if self.remembered.len() >= MAX_REMEMBERED {
                return;
            }
        }
        let since = Instant::now();
        self.remembered.insert(reader, Memory { since, is_slow });
    }
}

impl Memory {
    fn is_over(&self) -> bool {
        self.since.elapsed() >= REMEMBERED
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.readers.took([self.reader].into_iter(), took);
    }
}

#[cfg(test)]
mod tests;
