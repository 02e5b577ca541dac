//! Whether a connection waits for a request, or has one: its stream and what answers it both go by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a connection stands. Even: it waits for a head. Odd: a request is being answered, or its body read. It only counts
/// up, so that a deadline of one head is never taken for that of the next.
#[derive(Clone, Default)]
pub struct Phase(Arc<AtomicU64>);

impl Phase {
    /// Returns the phase of the request that begins, for [`Phase::request_ends`]. The request before may not have ended yet.
    pub fn request_begins(&self) -> u64 {
        let begun = |phase: u64| (phase + 1) | 1;
        begun(self.0.update(Ordering::Relaxed, Ordering::Relaxed, begun))
    }

    /// Does nothing if the next request has begun meanwhile.
    pub fn request_ends(&self, request: u64) {
        let _ = self
            .0
            .compare_exchange(request, request + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether there was no request yet.
    pub fn is_first_head(&self) -> bool {
        self.now() == 0
    }

    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
