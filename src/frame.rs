//! Durable events as frames: serialised once, shared by every socket that gets them.

use std::fmt::Write;

use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::model::UserId;
use crate::store::{Horizon, Identity};

/// Where a client is: the database's identity and a horizon. Opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub identity: Identity,
    pub horizon: Horizon,
}

/// Changes when the meaning of a cursor changes; older ones are then answered with `resync_required`.
const CURSOR_VERSION: &str = "1";

/// Longest cursor that is looked at, in bytes.
const MAX_CURSOR_BYTES: usize = 128;

impl Cursor {
    /// `1.<identity>.<horizon>`, safe in a URL and in JSON.
    pub fn encode(&self) -> String {
        format!("{CURSOR_VERSION}.{}.{:x}", self.identity, self.horizon.0)
    }

    /// `None` for anything that [`Cursor::encode`] did not make.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_BYTES {
            return None;
        }
        let mut parts = text.split('.');
        let (version, identity, horizon) = (parts.next()?, parts.next()?, parts.next()?);
        let known_form = version == CURSOR_VERSION
            && parts.next().is_none()
            && !identity.is_empty()
            && identity.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
            && horizon.bytes().all(|b| b.is_ascii_hexdigit());
        if !known_form {
            return None;
        }
        let horizon = u64::from_str_radix(horizon, 16).ok()?;
        let cursor = Self {
            identity: Identity(identity.into()),
            horizon: Horizon(horizon),
        };
        // A position is written in one way.
        (cursor.encode() == text).then_some(cursor)
    }
}

/// The frame of a durable event; `data` is JSON that PostgreSQL built, `timestamp` in Unix seconds.
pub fn durable(
    event_type: &str,
    data: &str,
    user: UserId,
    timestamp: i64,
    cursor: &str,
) -> Utf8Bytes {
    text(event_type, data, user, timestamp, Some(cursor))
}

/// The frame of what is so at the moment: no cursor goes with it.
pub fn momentary(event_type: &str, data: &str, user: UserId, timestamp: i64) -> Utf8Bytes {
    text(event_type, data, user, timestamp, None)
}

fn text(
    event_type: &str,
    data: &str,
    user: UserId,
    timestamp: i64,
    cursor: Option<&str>,
) -> Utf8Bytes {
    let room = data.len() + cursor.map_or(0, str::len) + event_type.len() + 112;
    let mut frame = String::with_capacity(room);
    frame.push_str(r#"{"type":""#);
    frame.push_str(event_type);
    frame.push_str(r#"","data":"#);
    frame.push_str(data);
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cursor_survives_its_encoding() {
        let cursor = Cursor {
            identity: Identity("6b04-4000-1".into()),
            horizon: Horizon(u64::MAX),
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
    }

    #[test]
    fn garbage_is_no_cursor() {
        for text in [
            "",
            ".",
            "1..",
            "1.a.",
            "1.a.g",
            "2.a.1",
            "1.a.1.1",
            "1.a b.1",
            "1.a.+1",
            "1.a.ffffffffffffffffff",
            // What the fuzzer found: other ways to write a position.
            "1.a.0f",
            "1.a.F",
        ] {
            assert_eq!(Cursor::decode(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_decoding_panic(text in ".*") {
            let _ = Cursor::decode(&text);
        }

        #[test]
        fn what_decodes_is_what_is_encoded(text in "1\\.[0-9a-f-]{1,40}\\.(0|[1-9a-f][0-9a-f]{0,15})") {
            let cursor = Cursor::decode(&text);
            prop_assert_eq!(cursor.map(|cursor| cursor.encode()), Some(text));
        }

        #[test]
        fn nothing_else_decodes(text in "[12]\\.[0-9a-fA-F.+-]{0,20}\\.[0-9a-fA-F+]{0,18}") {
            if let Some(cursor) = Cursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }

    #[test]
    fn a_durable_frame_is_json_with_every_field() {
        let frame = durable(
            "chat_message",
            r#"{"a":"\"x"}"#,
            UserId(uuid::Uuid::nil()),
            5,
            "1.a.b",
        );
        let value: serde_json::Value = serde_json::from_str(frame.as_str()).expect("valid JSON");
        assert_eq!(value["data"]["a"], "\"x");
        assert_eq!(value["userId"], "00000000-0000-0000-0000-000000000000");
        assert_eq!(value["timestamp"], 5);
        assert_eq!(value["cursor"], "1.a.b");
    }
}
