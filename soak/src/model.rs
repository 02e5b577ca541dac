//! The words that all rooms share: small numbers for the things of a run, and a message as seen anywhere.

use std::time::{Duration, Instant};

use serde::Deserialize;
use uuid::Uuid;

/// A message of this run, numbered in the order of the first attempts. It is known before the service
/// has given an id, and is written in the message's text.
pub type Key = u32;
/// A user of this run, who is one client.
pub type ClientIx = u16;
/// A conversation of this run.
pub type ConversationIx = u16;
/// A WebSocket of this run, over all clients; 0 is none.
pub type ConnectionNo = u32;
/// Microseconds since the start of the run.
pub type At = u64;

/// Where the time of a run is read.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn now(self) -> At {
        micros(self.0.elapsed())
    }
}

pub fn micros(duration: Duration) -> At {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Seconds with milliseconds, as all lines print a time.
pub fn seconds(at: At) -> String {
    format!("{:.3}", at as f64 / 1e6)
}

/// A conversation and who takes part.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub id: Uuid,
    pub members: [ClientIx; 2],
}

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    WebSocket,
    Http,
    Sql,
}

impl Via {
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "ws",
            Self::Http => "http",
            Self::Sql => "sql",
        }
    }
}

/// A message as a frame, an HTTP answer or a row of the table shows it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct MessageView {
    pub id: Uuid,
    pub conversation_id: Uuid,
    pub sender_id: Uuid,
    pub content: String,
    pub seq: i64,
    pub client_message_id: Option<String>,
    #[serde(default)]
    pub is_read: bool,
    #[serde(default)]
    pub deleted_at: Option<String>,
}

/// The `clientMessageId` of a message that a client sends.
pub fn client_message_id(seed: u64, key: Key) -> String {
    format!("soak-{seed}-{key}")
}
