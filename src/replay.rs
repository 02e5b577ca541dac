//! What a client missed: the reading side of `?cursor=`. STUB.
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::error::Error;
use crate::hub::Event;
use crate::model::*;

#[derive(Clone)]
pub struct Replay {}

pub enum Resume {
    Missed(Missed),
    /// The client must reload over HTTP, then go on with `cursor`.
    ResyncRequired {
        reason: String,
        cursor: String,
    },
}

/// The frames to send before anything live. Call order of a session: `Hub::register`, send `connected`,
/// `Replay::resume`, send `frames`, then go live, skipping each live event for which `already_sent` is true.
pub struct Missed {
    pub frames: Vec<Utf8Bytes>,
}

impl Missed {
    /// Whether this live event was among the replayed ones. Forgets by itself what can't come any more.
    pub fn already_sent(&mut self, _event: &Event) -> bool {
        unimplemented!()
    }
}

impl Replay {
    pub async fn resume(&self, _user: UserId, _cursor: &str) -> Result<Resume, Error> {
        unimplemented!()
    }
}
