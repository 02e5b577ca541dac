//! How much memory the events take that wait for the sockets of this replica, all of them together.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// The events that wait for sockets; clones share it. Only ever added up, so no order of its operations matters.
#[derive(Clone)]
pub(super) struct EventMemory(Arc<Shared>);

struct Shared {
    /// `QUEUED_EVENTS_BYTES`.
    limit: usize,
    /// Bytes of the events that any socket's queue, or a session that is sending them, has.
    held: AtomicUsize,
    /// Of these, what waits for sockets that are given up and have not let go of it yet; no less than that.
    leaving: AtomicUsize,
    /// It was nearly full, and has not been half empty since.
    is_short: AtomicBool,
}

impl EventMemory {
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Shared {
            limit,
            held: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            is_short: AtomicBool::new(false),
        }))
    }

    /// How many bytes have to be let go of before there is room for so many more: `None` where there is. An eighth more than that, so
    /// that the longest queues are not looked for at each event.
    pub fn shortage(&self, more: usize) -> Option<usize> {
        let limit = self.0.limit;
        let wanted = self.staying().saturating_add(more);
        (wanted > limit).then(|| (wanted - limit).saturating_add(limit / 8))
    }

    /// Whether three quarters are taken.
    pub fn is_nearly_full(&self) -> bool {
        self.staying() >= self.0.limit / 4 * 3
    }

    /// Whether it is nearly full for the first time since it was half empty.
    pub fn begins_to_run_short(&self) -> bool {
        let is_short = &self.0.is_short;
        if self.is_nearly_full() {
            return !is_short.swap(true, Ordering::Relaxed);
        }
        if is_short.load(Ordering::Relaxed) && self.staying() < self.0.limit / 2 {
            is_short.store(false, Ordering::Relaxed);
        }
        false
    }

    /// Bytes that are not about to be let go of.
    fn staying(&self) -> usize {
        let Shared { held, leaving, .. } = &*self.0;
        held.load(Ordering::Relaxed)
            .saturating_sub(leaving.load(Ordering::Relaxed))
    }

    /// A socket with so many bytes of events was given up.
    pub fn leaves(&self, bytes: usize) {
        self.0.leaving.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It has let go of them.
    pub fn has_left(&self, bytes: usize) {
        self.0.leaving.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }
}

/// What an event counts in [`EventMemory`], until it is dropped: once, for all of its sockets. Nothing until it is given to some.
#[derive(Default)]
pub struct Counted(OnceLock<Part>);

struct Part {
    memory: EventMemory,
    bytes: usize,
}

impl Counted {
    pub(super) fn count(&self, memory: &EventMemory, bytes: usize) {
        let counted = Part {
            memory: memory.clone(),
            bytes,
        };
        if self.0.set(counted).is_ok() {
            memory.0.held.fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(Part { memory, bytes }) = self.0.get() {
            memory.0.held.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.0.get().map_or(0, |part| part.bytes);
        write!(f, "{bytes} bytes counted")
    }
}
