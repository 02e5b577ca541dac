//! What waits in a socket's queue.

use std::sync::Arc;
use std::time::Duration;

use super::event::Event;

/// Small: tokio's channel sets up room for 32 of them, for each idle socket.
pub(super) enum Item {
    Event(Arc<Event>),
    Resync(Arc<Resync>),
}

const _: () = assert!(size_of::<Item>() <= 16);

/// The client must reload over HTTP, then go on with this cursor.
#[derive(Debug)]
pub struct Resync {
    pub reason: &'static str,
    pub cursor: String,
    /// Where all are told so: each socket is at a random time within this, or all would load everything in one moment.
    pub(super) spread: Duration,
}

impl Item {
    /// A reload of which the socket is to be told at once.
    pub fn is_urgent(&self) -> bool {
        matches!(self, Self::Resync(resync) if resync.spread.is_zero())
    }

    /// The bytes of its frames, which other sockets' items may share.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Event(event) => event.frame_bytes(),
            Self::Resync { .. } => 0,
        }
    }
}
