//! A socket's end of its queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::{Event, Hub};
use crate::frame::Cursor;
use crate::model::UserId;

/// What a socket's session gets from the hub.
#[derive(Debug)]
pub enum Delivery {
    Event(Arc<Event>),
    /// The client must reload over HTTP, then go on with this cursor.
    Resync {
        reason: &'static str,
        cursor: Arc<str>,
    },
    /// The queue was full: close with 1013. Nothing comes after it.
    Overflow,
    /// The user may not be connected any more: close with 4403. Nothing comes after it.
    Dismissed,
}

/// What waits in a socket's queue.
pub(super) enum Item {
    Event(Arc<Event>),
    Resync {
        reason: &'static str,
        cursor: Arc<str>,
    },
}

/// Raised once, when a socket is given up: its queue is full, or its user may not be connected any more.
#[derive(Default)]
pub(super) struct EndFlag {
    raised: AtomicBool,
    /// Set before it is raised.
    dismissed: AtomicBool,
    notify: Notify,
}

impl EndFlag {
    pub fn raise_overflow(&self) {
        self.raised.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    pub fn raise_dismissed(&self) {
        self.dismissed.store(true, Ordering::Release);
        self.raise_overflow();
    }

    /// What the raised flag says.
    fn delivery(&self) -> Delivery {
        match self.dismissed.load(Ordering::Acquire) {
            true => Delivery::Dismissed,
            false => Delivery::Overflow,
        }
    }

    async fn raised(&self) {
        loop {
            let raised = self.notify.notified();
            if self.raised.load(Ordering::Acquire) {
                return;
            }
            raised.await;
        }
    }
}

/// A socket's place in the hub; dropping it removes the socket.
pub struct Subscription {
    pub(super) hub: Hub,
    pub(super) user: UserId,
    pub(super) connection: Uuid,
    pub(super) cursor: Cursor,
    pub(super) receiver: mpsc::Receiver<Item>,
    pub(super) flag: Arc<EndFlag>,
}

impl Subscription {
    pub fn connection_id(&self) -> Uuid {
        self.connection
    }

    /// The cursor at registration: nothing below it comes any more, everything above it does.
    pub fn cursor(&self) -> String {
        self.cursor.encode()
    }

    /// The next delivery; cancel safe. The end is reported ahead of what still waits.
    pub async fn next(&mut self) -> Delivery {
        tokio::select! {
            biased;
            () = self.flag.raised() => self.flag.delivery(),
            item = self.receiver.recv() => item.map_or(Delivery::Overflow, Delivery::from),
        }
    }

    /// Another delivery that is already waiting.
    pub fn try_next(&mut self) -> Option<Delivery> {
        if self.flag.raised.load(Ordering::Acquire) {
            return Some(self.flag.delivery());
        }
        self.receiver.try_recv().ok().map(Delivery::from)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Resolves when the socket is given up, to why; for a session that waits for something else.
    pub async fn given_up(&self) -> Delivery {
        self.flag.raised().await;
        self.flag.delivery()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.remove(self.user, self.connection);
    }
}

impl From<Item> for Delivery {
    fn from(item: Item) -> Self {
        match item {
            Item::Event(event) => Self::Event(event),
            Item::Resync { reason, cursor } => Self::Resync { reason, cursor },
        }
    }
}
