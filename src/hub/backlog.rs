//! How much waits for one socket, and whether a reload among it may be held back. Counted by the hub, which puts items into the socket's
//! queue, and by its session, which takes them out. Only ever added up, so no order of its operations matters.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::item::Item;

/// Bytes of the events that wait for one socket: 256 of the longest messages, which take six times as much where JSON escapes
/// each of their bytes.
pub(super) const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// What waits for one socket.
#[derive(Default)]
pub(super) struct Backlog {
    /// Bytes of the events in its queue.
    queued: AtomicUsize,
    /// Bytes of the event that was taken from it last, until it is sent.
    in_hand: AtomicUsize,
    /// Reloads in its queue of which it is to be told at once.
    urgent: AtomicUsize,
    /// A catch-up waits until there is room in its queue.
    is_waited_for: AtomicBool,
    /// Bytes that are let go of when the socket ends, where it was given up for that.
    leaving: AtomicUsize,
}

impl Backlog {
    /// An item is to be put into the queue. Whether its bytes fit: if not, the socket is given up.
    pub fn put(&self, item: &Item) -> bool {
        let bytes = item.bytes();
        let before = self.queued.fetch_add(bytes, Ordering::Relaxed);
        self.urgent
            .fetch_add(usize::from(item.is_urgent()), Ordering::Relaxed);
        // One that is larger than the bound passes alone.
        before == 0 || before + bytes <= QUEUE_BYTES
    }

    /// An item was taken out of the queue, and is in hand until [`Backlog::sent`].
    pub fn take(&self, item: &Item) {
        let bytes = item.bytes();
        self.urgent
            .fetch_sub(usize::from(item.is_urgent()), Ordering::Relaxed);
        self.in_hand.store(bytes, Ordering::Relaxed);
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// What was in hand is sent.
    pub fn sent(&self) {
        self.in_hand.store(0, Ordering::Relaxed);
    }

    /// Bytes of the events that wait, the one that is being sent included.
    pub fn behind(&self) -> usize {
        self.queued.load(Ordering::Relaxed) + self.in_hand.load(Ordering::Relaxed)
    }

    /// Whether half of the bytes that may wait are free.
    pub fn is_half_free(&self) -> bool {
        self.queued.load(Ordering::Relaxed) <= QUEUE_BYTES / 2
    }

    /// Whether the queue, which takes `capacity` events more of `most`, is three quarters full.
    pub fn is_nearly_full(&self, capacity: usize, most: usize) -> bool {
        capacity <= most / 4 || self.queued.load(Ordering::Relaxed) >= QUEUE_BYTES / 4 * 3
    }

    /// Whether a reload is not to be held back any longer; `capacity` and `most` as above.
    pub fn hurries(&self, capacity: usize, most: usize) -> bool {
        self.urgent.load(Ordering::Relaxed) > 0
            || self.is_waited_for.load(Ordering::Relaxed)
            || self.is_nearly_full(capacity, most)
    }

    /// Whether a catch-up waits for room in the queue: it says so again for as long as it does.
    pub fn set_waited_for(&self, is_waited_for: bool) {
        self.is_waited_for.store(is_waited_for, Ordering::Relaxed);
    }

    /// The socket is given up, and lets go of so many bytes when it ends.
    pub fn leave(&self, bytes: usize) {
        self.leaving.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that a socket that was given up lets go of; 0 for another.
    pub fn leaving(&self) -> usize {
        self.leaving.load(Ordering::Relaxed)
    }
}
