//! The sockets of this replica, and the fan-out to them. No I/O. STUB.
use std::sync::Arc;

use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use crate::error::Error;
use crate::model::*;

#[derive(Clone)]
pub struct Hub {}

/// One event on its way to sockets: the frame is serialised once and shared by all of them.
#[derive(Debug)]
pub struct Event {
    pub frame: Utf8Bytes, /* and what replay needs to tell repeats: private fields */
}

/// A socket's place in the hub; dropping it removes the socket.
pub struct Subscription {}

/// What a socket's session gets from the hub.
pub enum Delivery {
    Event(Arc<Event>),
    /// The queue was full: close with 1013. Nothing comes after it.
    Overflow,
}

impl Hub {
    /// `TooManyRequests` over the user's limit, `Unavailable` over the replica's.
    pub fn register(&self, _user: UserId) -> Result<Subscription, Error> {
        unimplemented!()
    }
}

impl Subscription {
    pub fn connection_id(&self) -> Uuid {
        unimplemented!()
    }
    /// The cursor at registration: everything below it is not in this subscription, everything above it is.
    pub fn cursor(&self) -> String {
        unimplemented!()
    }
    /// The next delivery; cancel safe. An overflow is reported at once, ahead of what still waits.
    pub async fn next(&mut self) -> Delivery {
        unimplemented!()
    }
    /// Another delivery that is already waiting (drain the queue, then flush once).
    pub fn try_next(&mut self) -> Option<Delivery> {
        unimplemented!()
    }
    /// Resolves when the queue has overflowed; for a session that is stuck in a write and does not call `next`.
    pub async fn overflowed(&self) {
        unimplemented!()
    }
}
