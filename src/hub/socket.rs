//! A socket as the hub knows it: where its events are put.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Mailbox;
use super::item::Item;
use crate::model::ConnectionId;

pub(super) struct Socket {
    pub connection: ConnectionId,
    pub queue: mpsc::Sender<Item>,
    pub mailbox: Arc<Mailbox>,
}

impl Socket {
    /// `false` when its queue is full.
    pub fn offer(&self, item: Item) -> bool {
        let backlog = &self.mailbox.backlog;
        let is_urgent = item.is_urgent();
        let sent = backlog.put(&item)
            && !matches!(
                self.queue.try_send(item),
                Err(mpsc::error::TrySendError::Full(_))
            );
        let (capacity, most) = (self.queue.capacity(), self.queue.max_capacity());
        if is_urgent || backlog.is_nearly_full(capacity, most) {
            self.mailbox.look_again();
        }
        sent
    }

    /// Bytes of the events that wait for it, the one that it is being sent included.
    pub fn behind(&self) -> usize {
        self.mailbox.backlog.behind()
    }

    /// Whether its queue has room for more than `half` of the events that it holds, and for half of their bytes. If not, it is waited for:
    /// a reload that is held back there is told now.
    pub fn has_room(&self, half: usize) -> bool {
        let backlog = &self.mailbox.backlog;
        let has_room = self.queue.capacity() > half && backlog.is_half_free();
        if !has_room {
            backlog.set_waited_for(true);
            self.mailbox.look_again();
        }
        has_room
    }
}
