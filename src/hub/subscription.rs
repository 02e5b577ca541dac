//! A socket's end of its queue.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::item::{Item, Resync};
use super::{Event, GivenUp, Hub, Mailbox};
use crate::frame::Frame;
use crate::model::{ConnectionId, UserId};
use crate::position::Cursor;

/// What a socket's session gets from the hub.
#[derive(Debug)]
pub enum Delivery {
    Event(Arc<Event>),
    Resync(Arc<Resync>),
    /// How something is now: not an event, and without a cursor.
    Ephemeral(Frame),
    /// Nothing comes after it.
    GivenUp(GivenUp),
}

/// A [`Resync`] whose time has not come. Everything behind it waits, too, so it comes earlier where that is much, or what waits for all
/// sockets together: none is to be closed as too slow for a wait of our own making. The same where the client is to be told of another one
/// at once.
pub(super) struct Held {
    resync: Arc<Resync>,
    until: Instant,
}

/// A socket's place in the hub; dropping it removes the socket, as [`Subscription::leave`] does.
pub struct Subscription {
    pub(super) hub: Hub,
    pub(super) user: UserId,
    pub(super) connection: ConnectionId,
    pub(super) cursor: Cursor,
    pub(super) receiver: mpsc::Receiver<Item>,
    pub(super) mailbox: Arc<Mailbox>,
    /// Boxed: hardly ever there.
    pub(super) held: Option<Box<Held>>,
}

impl Subscription {
    pub fn connection_id(&self) -> ConnectionId {
        self.connection
    }

    /// The cursor at registration: nothing below it comes any more. What is above it comes, or was committed already when the socket was
    /// registered, so that it is in what its client loads or has replayed.
    pub fn cursor(&self) -> String {
        self.cursor.encode()
    }

    /// Where others put what this socket is shown.
    pub fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// The next delivery; cancel safe. That the socket is given up is reported ahead of what still waits, and events come before what is
    /// only shown.
    pub async fn next(&mut self) -> Delivery {
        loop {
            if let Some(delivery) = self.try_next() {
                return delivery;
            }
            if let Some(held) = &self.held {
                // Boxed: its timer would be part of every idle session.
                Box::pin(self.hurried_or(held.until)).await;
                continue;
            }
            tokio::select! {
                biased;
                item = self.receiver.recv() => match item {
                    Some(item) => {
                        if let Some(delivery) = self.taken(item) {
                            return delivery;
                        }
                    }
                    // The hub has let go of it, and said why before.
                    None => {
                        let why = self.mailbox.why_given_up();
                        return Delivery::GivenUp(why.unwrap_or(GivenUp::TooSlow));
                    }
                },
                () = self.mailbox.news() => {}
            }
        }
    }

    /// The next delivery if one waits already; never waits itself.
    pub fn try_next(&mut self) -> Option<Delivery> {
        self.mailbox.backlog.sent();
        if let Some(why) = self.mailbox.why_given_up() {
            return Some(Delivery::GivenUp(why));
        }
        if let Some(held) = self.held.take() {
            if Instant::now() < held.until && !self.hurries() {
                self.held = Some(held);
                return None;
            }
            return Some(Delivery::Resync(held.resync));
        }
        match self.receiver.try_recv() {
            Ok(item) => self.taken(item),
            Err(_) => self.mailbox.take().map(Delivery::Ephemeral),
        }
    }

    async fn hurried_or(&self, until: Instant) {
        tokio::select! {
            () = self.mailbox.given_up_or(|| self.hurries()) => {}
            () = sleep_until(until) => {}
        }
    }

    /// Whether a reload is not to be held back any longer.
    fn hurries(&self) -> bool {
        let (capacity, most) = (self.receiver.capacity(), self.receiver.max_capacity());
        let backlog = &self.mailbox.backlog;
        // Where nothing is behind it, it keeps no memory.
        let is_in_the_way = || backlog.behind() > 0 && self.hub.shared.memory.is_nearly_full();
        backlog.hurries(capacity, most) || is_in_the_way()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty() && self.held.is_none()
    }

    /// Resolves when the socket is given up, to why; for a session that waits for something else.
    pub async fn given_up(&self) -> GivenUp {
        self.mailbox.given_up().await
    }

    /// Removes the socket from the hub: it counts no more, and nothing is kept for it.
    pub fn leave(&self) {
        self.mailbox.end();
        self.hub.remove(self.user, self.connection);
    }

    /// Nothing where its time has not come.
    fn taken(&mut self, item: Item) -> Option<Delivery> {
        self.mailbox.backlog.take(&item);
        match item {
            Item::Event(event) => Some(Delivery::Event(event)),
            Item::Resync(resync) => {
                // Whoever waits for this socket still says so again.
                self.mailbox.backlog.set_waited_for(false);
                let until = Instant::now() + resync.spread.mul_f64(rand::random());
                self.held = Some(Box::new(Held { resync, until }));
                self.try_next()
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.leave();
        let leaving = self.mailbox.backlog.leaving();
        if leaving > 0 {
            self.receiver.close();
            while self.receiver.try_recv().is_ok() {}
            self.hub.shared.memory.has_left(leaving);
        }
    }
}
