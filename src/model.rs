//! Ids and domain types: what every other module may know, and nothing that does I/O.

mod invisible;

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat};
use postgres_types::{FromSql, ToSql};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::names::names;
use crate::text::quoted;

pub use invisible::is_invisible;

/// JSON text that PostgreSQL built and that is relayed as it is.
pub type RawJson = Box<RawValue>;

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSql, FromSql)]
        #[serde(transparent)]
        #[postgres(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

    };
}

macro_rules! from_text {
    ($($name:ident),*) => {$(
        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

id_type!(
    /// A row of the host system's users table. Not read from text: a user whom a request names is an
    /// `auth::NamedUser`, until it is known that the caller may act for them.
    UserId
);
id_type!(
    /// A row of `conversations`.
    ConversationId
);
id_type!(
    /// A row of `messages`.
    MessageId
);

id_type!(
    /// A process of pgchat, from its start to its end.
    ReplicaId
);
id_type!(
    /// A socket, from its handshake to its end.
    ConnectionId
);

from_text!(ConversationId, MessageId);

/// One of `SERVICE_TOKENS`, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceToken(pub u32);

/// Who reads a conversation or a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Whoever knows its id.
    Anyone,
    /// This user, if they are a participant.
    Participant(UserId),
}

/// A point in time, in whole seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// The end of the year 9999, the last that RFC 3339 can write.
    const LAST: i64 = 253_402_300_799;

    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(Self::LAST)
        }))
    }

    /// A time with a fraction, as in a token, where it need not be a whole number. `None` before 1970.
    pub fn from_f64(seconds: f64) -> Option<Self> {
        // A float that is too large becomes the largest integer.
        (seconds >= 0.0).then(|| Self((seconds as i64).min(Self::LAST)))
    }

    /// RFC 3339 in UTC with `Z`, and six digits of a second as in all times on the wire (V3, `chat_json_time`): as texts they have
    /// the order of the times.
    pub fn to_rfc3339(self) -> String {
        DateTime::from_timestamp(self.0.clamp(0, Self::LAST), 0)
            .unwrap_or_default()
            .to_rfc3339_opts(SecondsFormat::Micros, true)
    }
}

/// For frames.
impl fmt::Display for UnixSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time, in whole microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |since| {
            i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
        }))
    }

    /// How long after `earlier` it is; none before that, and at most what a number holds.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.0.saturating_sub(earlier.0);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

/// A message's place in its conversation: 1, 2, 3 … in commit order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSql, FromSql,
)]
#[serde(transparent)]
#[postgres(transparent)]
pub struct Seq(pub i64);

/// Which state of its row a message is in, counted from 1. Of a conversation 0.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, ToSql, FromSql,
)]
#[serde(transparent)]
#[postgres(transparent)]
pub struct Revision(pub i64);

/// One of a replica's heartbeats, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Beat(pub i64);

names! {
    /// The kinds of content that a message can have, as stored and as on the wire.
    #[derive(Default)]
    MessageType {
        #[default]
        Text = "text",
        Image = "image",
        File = "file",
    }
}

impl FromStr for MessageType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::named(text).ok_or_else(|| {
            format!(
                "messageType must be text, image or file, not {}",
                quoted(text)
            )
        })
    }
}

/// Longest `clientMessageId`, in bytes.
pub const MAX_CLIENT_MESSAGE_ID_BYTES: usize = 64;

/// A message to be stored: only [`Content::of`] makes one.
#[derive(Clone, Debug)]
pub struct NewMessage {
    pub(crate) conversation: ConversationId,
    pub(crate) sender: UserId,
    pub(crate) content: String,
    pub(crate) message_type: MessageType,
    pub(crate) client_message_id: Option<String>,
}

/// What a message says, checked: only [`Content::checked`] makes one.
#[derive(Clone, Debug)]
pub struct Content {
    text: String,
    message_type: MessageType,
    client_message_id: Option<String>,
}

impl Content {
    /// Checks what can be checked without the database; every fault found is reported, not only the first.
    ///
    /// `max_bytes` is `MAX_MESSAGE_BYTES`. PostgreSQL's `text` holds no NUL, so U+0000 is refused here.
    pub fn checked(
        text: String,
        message_type: Option<&str>,
        client_message_id: Option<String>,
        max_bytes: usize,
    ) -> Result<Self, Vec<String>> {
        let mut faults = check_content(&text, max_bytes).err().unwrap_or_default();
        let message_type = match message_type.map(str::parse).transpose() {
            Ok(known) => known.unwrap_or_default(),
            Err(fault) => {
                faults.push(fault);
                MessageType::Text
            }
        };
        if let Some(id) = &client_message_id {
            if id.is_empty() || id.len() > MAX_CLIENT_MESSAGE_ID_BYTES {
                faults.push(format!(
                    "clientMessageId must be 1 to {MAX_CLIENT_MESSAGE_ID_BYTES} bytes, not {}",
                    id.len()
                ));
            }
            if id.contains('\0') {
                faults.push("clientMessageId must not contain U+0000".to_owned());
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            text,
            message_type,
            client_message_id,
        })
    }

    /// The message with it.
    pub fn of(self, sender: UserId, conversation: ConversationId) -> NewMessage {
        NewMessage {
            conversation,
            sender,
            content: self.text,
            message_type: self.message_type,
            client_message_id: self.client_message_id,
        }
    }
}

/// Whether it may be a message's `content`; if not, everything that is wrong with it.
pub fn check_content(content: &str, max_bytes: usize) -> Result<(), Vec<String>> {
    let mut faults = Vec::new();
    // Ends at the first character that can be seen, mostly the first one of all.
    if content.chars().all(is_invisible) {
        faults.push(
            "content must not be empty, or only white space and invisible characters".to_owned(),
        );
    }
    if content.len() > max_bytes {
        faults.push(format!(
            "content must be at most {max_bytes} bytes of UTF-8, not {}",
            content.len()
        ));
    }
    if content.contains('\0') {
        faults.push("content must not contain U+0000".to_owned());
    }
    match faults.is_empty() {
        true => Ok(()),
        false => Err(faults),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_microseconds_as_those_that_postgresql_writes() {
        let times = [0, 1_795_469_162, i64::MAX].map(|seconds| UnixSeconds(seconds).to_rfc3339());
        assert_eq!(
            times,
            [
                "1970-01-01T00:00:00.000000Z",
                "2026-11-23T21:26:02.000000Z",
                "9999-12-31T23:59:59.000000Z"
            ]
        );
    }

    #[test]
    fn a_long_wrong_type_is_quoted_short() {
        // Each of these takes seven bytes where it is quoted in JSON.
        let wrong = "\u{80}".repeat(500_000);
        let refused = Content::checked("x".to_owned(), Some(&wrong), None, 100);
        let faults = refused.unwrap_err();
        assert!(faults[0].starts_with("messageType must be text, image or file, not \""));
        assert!(faults[0].len() < 1000, "{} bytes", faults[0].len());
    }
}
