//! The names on the wire: frames from the client, and the frames about the connection itself.
//!
//! The frames of durable events are not made here: they are serialised once, before the fan-out.
//! No I/O: text in, text out.

mod frames;
mod requests;

pub use frames::{Connected, Done, Frames};
pub use requests::{Refused, Request, parse};

use crate::config::Secret;
use crate::model::{ConversationId, MessageId, Seq, UserId};

/// Subprotocol that is echoed to a client which offers it.
pub const SUBPROTOCOL: &str = "pgchat.v1";

/// What the client calls its request, echoed in the answer.
pub type RequestId = Option<String>;

#[derive(Debug, PartialEq)]
pub enum Command {
    SendMessage {
        conversation: ConversationId,
        content: String,
        message_type: Option<String>,
        client_message_id: Option<String>,
    },
    EditMessage {
        message: MessageId,
        content: String,
    },
    DeleteMessage {
        message: MessageId,
    },
    MarkRead {
        conversation: ConversationId,
        up_to: Option<Seq>,
    },
    Typing {
        conversation: ConversationId,
        is_typing: bool,
    },
    WatchPresence {
        users: Vec<UserId>,
    },
    Authenticate {
        token: Secret,
    },
    Ping,
}

impl Command {
    /// The `type` of its frame.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SendMessage { .. } => "send_message",
            Self::EditMessage { .. } => "edit_message",
            Self::DeleteMessage { .. } => "delete_message",
            Self::MarkRead { .. } => "mark_read",
            Self::Authenticate { .. } => "authenticate",
            Self::Typing { .. } => "typing",
            Self::WatchPresence { .. } => "watch_presence",
            Self::Ping => "ping",
        }
    }
}

#[cfg(test)]
mod tests;
