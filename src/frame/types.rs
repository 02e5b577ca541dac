//! The names of frames on the wire: the `type` of what is sent to clients, and of the commands that they send.

use serde::{Deserialize, Deserializer};

use crate::names::names;

names! {
    /// What the server sends. PostgreSQL names the types of durable events, and a newer schema may name others than these.
    FrameType {
        Connected = "connected",
        ChatMessage = "chat_message",
        MessageUpdated = "message_updated",
        MessageDeleted = "message_deleted",
        MessagesRead = "messages_read",
        ConversationCreated = "conversation_created",
        Typing = "typing",
        Presence = "presence",
        Ack = "ack",
        Error = "error",
        ResyncRequired = "resync_required",
        TokenExpiring = "token_expiring",
        ServerClosing = "server_closing",
    }
}

/// The type of a durable event, as PostgreSQL named it: a newer schema may name one that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventType<'a> {
    kind: Option<FrameType>,
    name: &'a str,
}

impl<'a> EventType<'a> {
    pub fn named(name: &'a str) -> Self {
        let kind = FrameType::named(name);
        Self { kind, name }
    }

    /// `None`: this version does not know it.
    pub fn kind(self) -> Option<FrameType> {
        self.kind
    }

    pub fn is(self, kind: FrameType) -> bool {
        self.kind == Some(kind)
    }

    pub fn name(self) -> &'a str {
        self.name
    }
}

impl From<FrameType> for EventType<'static> {
    fn from(kind: FrameType) -> Self {
        Self {
            kind: Some(kind),
            name: kind.name(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for EventType<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&str>::deserialize(deserializer).map(Self::named)
    }
}

names! {
    /// What a client sends.
    CommandType {
        SendMessage = "send_message",
        EditMessage = "edit_message",
        DeleteMessage = "delete_message",
        MarkRead = "mark_read",
        Typing = "typing",
        WatchPresence = "watch_presence",
        SetActive = "set_active",
        Authenticate = "authenticate",
        Ping = "ping",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_names_its_type_and_stands_at_the_place_of_its_number() {
        for (place, kind) in FrameType::ALL.into_iter().enumerate() {
            assert_eq!(FrameType::named(kind.name()), Some(kind));
            assert_eq!(kind as usize, place, "{kind:?}");
        }
        for (place, kind) in CommandType::ALL.into_iter().enumerate() {
            assert_eq!(CommandType::named(kind.name()), Some(kind));
            assert_eq!(kind as usize, place, "{kind:?}");
        }
    }

    #[test]
    fn what_is_close_to_a_name_is_none() {
        for other in ["", "sack", "acks", "ACK", " ack"] {
            assert_eq!(FrameType::named(other), None, "{other:?}");
        }
        for other in ["", "pong", "PING", "ping "] {
            assert_eq!(CommandType::named(other), None, "{other:?}");
        }
    }
}
