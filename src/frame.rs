//! Frames for clients, and the names of their types and of commands.

mod types;

use std::fmt::Write;

use serde::Serialize;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::model::{UnixSeconds, UserId};

pub use types::{CommandType, EventType, FrameType};

/// A frame for clients: serialised once, shared by every socket that gets it. It looks like
/// `{"type", "data", "userId", "timestamp"}`, with a `cursor` behind that where the client is to go on from there.
#[derive(Clone, Debug)]
pub struct Frame {
    kind: Option<FrameType>,
    text: Utf8Bytes,
}

impl Frame {
    /// With `data` that PostgreSQL built: it is JSON, and relayed as it is. A durable event has a cursor, unless one stands for all of an
    /// answer; how something is at the moment has none.
    pub fn relayed(
        event_type: EventType<'_>,
        data: &str,
        user: UserId,
        timestamp: UnixSeconds,
        cursor: Option<&str>,
    ) -> Self {
        let name = event_type.name();
        let room = data.len() + cursor.map_or(0, str::len) + name.len() + 112;
        let mut begun = begun(name, room);
        begun.push_str(data);
        Self {
            kind: event_type.kind(),
            text: ended(begun, user, timestamp, cursor),
        }
    }

    /// With `data` of this program's own making, which is serialised here.
    pub fn serialized(
        kind: FrameType,
        data: &impl Serialize,
        user: UserId,
        timestamp: UnixSeconds,
        cursor: Option<&str>,
    ) -> Self {
        let mut bytes = begun(kind.name(), ROOM).into_bytes();
        // Strings, numbers and JSON that was JSON before: serialising them has no way to fail, and makes UTF-8.
        let _ = serde_json::to_writer(&mut bytes, data);
        let begun = String::from_utf8(bytes).unwrap_or_default();
        Self {
            kind: Some(kind),
            text: ended(begun, user, timestamp, cursor),
        }
    }

    /// `None`: PostgreSQL named a type that this version does not know.
    pub fn kind(&self) -> Option<FrameType> {
        self.kind
    }

    /// The JSON that is sent.
    pub fn as_str(&self) -> &str {
        self.text.as_str()
    }

    pub fn into_text(self) -> Utf8Bytes {
        self.text
    }
}

/// Any text, for tests that look at nothing else.
#[cfg(test)]
impl From<&str> for Frame {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

#[cfg(test)]
impl From<String> for Frame {
    fn from(text: String) -> Self {
        Self {
            kind: None,
            text: text.into(),
        }
    }
}

/// Bytes that a frame whose data is serialised here has at first: enough for most.
const ROOM: usize = 256;

/// As far as the data.
fn begun(name: &str, room: usize) -> String {
    let mut frame = String::with_capacity(room);
    frame.push_str(r#"{"type":""#);
    frame.push_str(name);
    frame.push_str(r#"","data":"#);
    frame
}

/// What comes behind the data.
fn ended(
    mut frame: String,
    user: UserId,
    timestamp: UnixSeconds,
    cursor: Option<&str>,
) -> Utf8Bytes {
    frame.push_str(r#","userId":""#);
    frame.push_str(
        user.0
            .hyphenated()
            .encode_lower(&mut uuid::Uuid::encode_buffer()),
    );
    frame.push_str(r#"","timestamp":"#);
    // Writing to a string has no way to fail.
    let _ = write!(frame, "{timestamp}");
    if let Some(cursor) = cursor {
        frame.push_str(r#","cursor":""#);
        frame.push_str(cursor);
        frame.push('"');
    }
    frame.push('}');
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserId = UserId(uuid::Uuid::from_u128(0xab));

    #[test]
    fn a_durable_frame_is_json_with_every_field() {
        let frame = Frame::relayed(
            FrameType::ChatMessage.into(),
            r#"{"a":"\"x"}"#,
            UserId(uuid::Uuid::nil()),
            UnixSeconds(5),
            Some("1.a.b"),
        );
        assert_eq!(frame.kind(), Some(FrameType::ChatMessage));
        let value: serde_json::Value = serde_json::from_str(frame.as_str()).expect("valid JSON");
        assert_eq!(value["data"]["a"], "\"x");
        assert_eq!(value["userId"], "00000000-0000-0000-0000-000000000000");
        assert_eq!(value["timestamp"], 5);
        assert_eq!(value["cursor"], "1.a.b");
    }

    /// A newer schema may have some.
    #[test]
    fn an_event_of_a_type_that_is_not_known_is_relayed_under_its_name() {
        let frame = Frame::relayed(
            EventType::named("chat_massage"),
            "{}",
            USER,
            UnixSeconds(5),
            Some("1.a.b"),
        );
        assert_eq!(frame.kind(), None);
        assert!(
            frame
                .as_str()
                .starts_with(r#"{"type":"chat_massage","data":{},"#)
        );
    }

    #[test]
    fn however_a_frame_is_made_it_looks_the_same() {
        let data = serde_json::json!({"of": "é\"", "number": 7});
        let text = data.to_string();
        let (kind, at) = (FrameType::ResyncRequired, UnixSeconds(-5));
        for cursor in [Some("1.a.b"), None] {
            let relayed = Frame::relayed(kind.into(), &text, USER, at, cursor);
            let serialized = Frame::serialized(kind, &data, USER, at, cursor);
            assert_eq!(relayed.as_str(), serialized.as_str());
            assert_eq!(relayed.kind(), serialized.kind());
        }
    }
}
