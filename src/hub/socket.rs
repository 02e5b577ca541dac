//! A socket as the hub knows it: where its events are put.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::Mailbox;
use super::subscription::Item;
use crate::model::ConnectionId;

/// Bytes of the events that wait for one socket: 256 of the longest messages, which take six times as much where JSON escapes
/// each of their bytes.
pub(super) const QUEUE_BYTES: usize = 16 * 1024 * 1024;

pub(super) struct Socket {
    pub connection: ConnectionId,
    pub queue: mpsc::Sender<Item>,
    pub mailbox: Arc<Mailbox>,
}

impl Socket {
    /// `false` when its queue is full.
    pub fn offer(&self, item: Item) -> bool {
        let queued = &self.mailbox.queued;
        let bytes = item.bytes();
        // One that is larger than the bound passes alone.
        let before = queued.fetch_add(bytes, Ordering::Relaxed);
        let is_urgent = item.is_urgent();
        self.mailbox
            .urgent
            .fetch_add(usize::from(is_urgent), Ordering::Relaxed);
        let fits = before == 0 || before + bytes <= QUEUE_BYTES;
        let sent = fits
            && !matches!(
                self.queue.try_send(item),
                Err(mpsc::error::TrySendError::Full(_))
            );
        let (capacity, most) = (self.queue.capacity(), self.queue.max_capacity());
        if is_urgent || self.mailbox.is_nearly_full(capacity, most) {
            self.mailbox.look_again();
        }
        sent
    }

    /// Bytes of the events that wait for it, the one that it is being sent included.
    pub fn behind(&self) -> usize {
        let Mailbox {
            queued, in_hand, ..
        } = &*self.mailbox;
        queued.load(Ordering::Relaxed) + in_hand.load(Ordering::Relaxed)
    }

    /// Whether its queue has room for more than `half` of the events that it holds, and for half of their bytes. If not, it is waited for:
    /// a reload that is held back there is told now.
    pub fn has_room(&self, half: usize) -> bool {
        let queued = self.mailbox.queued.load(Ordering::Relaxed);
        let has_room = self.queue.capacity() > half && queued <= QUEUE_BYTES / 2;
        if !has_room {
            self.mailbox.is_waited_for.store(true, Ordering::Relaxed);
            self.mailbox.look_again();
        }
        has_room
    }
}
