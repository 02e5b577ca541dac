//! How the systems are spoken to. pgchat and the Go peer have the same frames; socket.io packs the same
//! objects into its own (engine.io and socket.io protocols, version 4 and 5). No I/O.

use memchr::memmem;

use super::content::{self, LaneIx, Stamp, of_request_id};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Plain,
    SocketIo,
}

/// What a frame from the server is to the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The socket is live.
    Connected,
    Message {
        stamp: Stamp,
        seq: u64,
    },
    Accepted(LaneIx, u32),
    Refused(LaneIx, u32),
    /// socket.io: the transport is open, the client says who it is.
    Open,
    /// socket.io's own heartbeat.
    Ping,
    /// The cursor was of no use.
    Resync,
    Other,
}

impl Dialect {
    pub fn path(self, user: &str, cursor: Option<&str>) -> String {
        match (self, cursor) {
            (Self::SocketIo, _) => "/socket.io/?EIO=4&transport=websocket".to_owned(),
            (Self::Plain, None) => format!("/ws?user_id={user}"),
            // A cursor is safe in a URL as it is.
            (Self::Plain, Some(cursor)) => format!("/ws?user_id={user}&cursor={cursor}"),
        }
    }

    /// socket.io's greeting, once the transport is open.
    pub fn greeting(user: &str) -> String {
        format!(r#"40{{"userId":"{user}"}}"#)
    }

    pub fn send_message(self, conversation: &str, stamp: Stamp, size: usize, out: &mut Vec<u8>) {
        let id = content::request_id(stamp.lane, stamp.number);
        match self {
            Self::Plain => {
                out.extend_from_slice(br#"{"type":"send_message","requestId":""#);
                content::decimal(id, out);
                out.extend_from_slice(br#"","data":"#);
                message(conversation, None, stamp, size, out);
                out.push(b'}');
            }
            Self::SocketIo => {
                out.extend_from_slice(b"42");
                content::decimal(id, out);
                out.extend_from_slice(br#"["send_message","#);
                message(conversation, None, stamp, size, out);
                out.push(b']');
            }
        }
    }

    pub fn read(self, text: &[u8]) -> Incoming {
        match self {
            Self::Plain => plain(text),
            Self::SocketIo => socket_io(text),
        }
    }
}

/// The body of `send_message`, and with its sender that of a POST.
pub fn message(
    conversation: &str,
    sender: Option<&str>,
    stamp: Stamp,
    size: usize,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(br#"{"conversationId":""#);
    out.extend_from_slice(conversation.as_bytes());
    if let Some(sender) = sender {
        out.extend_from_slice(br#"","senderId":""#);
        out.extend_from_slice(sender.as_bytes());
    }
    out.extend_from_slice(br#"","content":""#);
    stamp.write(size, out);
    out.extend_from_slice(br#"","clientMessageId":""#);
    content::decimal(content::request_id(stamp.lane, stamp.number), out);
    // Another load on the same database counts from 0 again, but is due at other moments.
    out.push(b'.');
    content::decimal(stamp.intended, out);
    out.extend_from_slice(br#""}"#);
}

fn plain(text: &[u8]) -> Incoming {
    let Some(rest) = text.strip_prefix(br#"{"type":""#) else {
        return Incoming::Other;
    };
    if rest.starts_with(b"chat_message\"") {
        return delivered(rest);
    }
    let request = || content::member(rest, br#""requestId":"#).and_then(of_request_id);
    if rest.starts_with(b"ack\"") {
        request().map_or(Incoming::Other, |(lane, number)| {
            Incoming::Accepted(lane, number)
        })
    } else if rest.starts_with(b"error\"") {
        request().map_or(Incoming::Other, |(lane, number)| {
            Incoming::Refused(lane, number)
        })
    } else if rest.starts_with(b"connected\"") {
        Incoming::Connected
    } else if rest.starts_with(b"resync_required\"") {
        Incoming::Resync
    } else {
        Incoming::Other
    }
}

fn socket_io(text: &[u8]) -> Incoming {
    match text {
        [b'0', ..] => Incoming::Open,
        [b'2'] => Incoming::Ping,
        [b'4', b'0', ..] => Incoming::Connected,
        [b'4', b'2', rest @ ..] if rest.starts_with(br#"["chat_message""#) => delivered(rest),
        [b'4', b'3', rest @ ..] => {
            let mut rest = rest;
            let Some((lane, number)) = content::digits(&mut rest).and_then(of_request_id) else {
                return Incoming::Other;
            };
            if rest.starts_with(br#"[{"message""#) {
                Incoming::Accepted(lane, number)
            } else {
                Incoming::Refused(lane, number)
            }
        }
        _ => Incoming::Other,
    }
}

fn delivered(frame: &[u8]) -> Incoming {
    match (Stamp::find(frame), content::member(frame, br#""seq":"#)) {
        (Some(stamp), Some(seq)) => Incoming::Message { stamp, seq },
        _ => Incoming::Other,
    }
}

/// The last cursor in a frame.
pub fn cursor(text: &[u8]) -> Option<&str> {
    const MEMBER: &[u8] = br#""cursor":""#;
    let rest = &text[memmem::rfind(text, MEMBER)? + MEMBER.len()..];
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(&rest[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        lane: 3,
        number: 4,
        intended: 5,
    };

    #[test]
    fn frames_of_pgchat_are_understood() {
        let dialect = Dialect::Plain;
        let read = |text: &str| dialect.read(text.as_bytes());
        assert_eq!(
            read(
                r#"{"type":"chat_message","data":{"content":"b.3.4.5.the","seq":9},"userId":"u"}"#
            ),
            Incoming::Message {
                stamp: STAMP,
                seq: 9
            }
        );
        assert_eq!(
            read(r#"{"type":"ack","data":{"requestId":"12884901892","message":{}}}"#),
            Incoming::Accepted(3, 4)
        );
        assert_eq!(
            read(r#"{"type":"error","data":{"requestId":"12884901892","code":"x"}}"#),
            Incoming::Refused(3, 4)
        );
        assert_eq!(
            read(r#"{"type":"connected","data":{}}"#),
            Incoming::Connected
        );
        assert_eq!(read(r#"{"type":"messages_read"}"#), Incoming::Other);
        assert_eq!(read(""), Incoming::Other);
    }

    #[test]
    fn packets_of_socket_io_are_understood() {
        let read = |text: &str| Dialect::SocketIo.read(text.as_bytes());
        assert_eq!(read(r#"0{"sid":"x"}"#), Incoming::Open);
        assert_eq!(read(r#"40{"sid":"x"}"#), Incoming::Connected);
        assert_eq!(read("2"), Incoming::Ping);
        assert_eq!(
            read(
                r#"42["chat_message",{"type":"chat_message","data":{"content":"b.3.4.5.","seq":9}}]"#
            ),
            Incoming::Message {
                stamp: STAMP,
                seq: 9
            }
        );
        assert_eq!(
            read(r#"4312884901892[{"message":{}}]"#),
            Incoming::Accepted(3, 4)
        );
        assert_eq!(
            read(r#"4312884901892[{"error":{}}]"#),
            Incoming::Refused(3, 4)
        );
    }

    #[test]
    fn what_is_sent_is_json() {
        let mut frame = Vec::new();
        Dialect::Plain.send_message("c", STAMP, 40, &mut frame);
        let value: serde_json::Value = serde_json::from_slice(&frame).unwrap();
        assert_eq!(value["requestId"], "12884901892");
        assert_eq!(value["data"]["content"].as_str().unwrap().len(), 40);
        let mut packet = Vec::new();
        Dialect::SocketIo.send_message("c", STAMP, 40, &mut packet);
        let at = packet.iter().position(|byte| *byte == b'[').unwrap();
        serde_json::from_slice::<serde_json::Value>(&packet[at..]).unwrap();
    }

    #[test]
    fn the_last_cursor_counts() {
        let frame = br#"{"data":{"cursor":"1.a.1"},"cursor":"1.a.2"}"#;
        assert_eq!(cursor(frame), Some("1.a.2"));
        assert_eq!(cursor(b"{}"), None);
    }
}
