//! The names on the wire: frames from the client, and the frames about the connection itself.
//!
//! The frames of durable events are not made here: they are serialised once, before the fan-out.
//! No I/O: text in, text out.

mod frames;
mod requests;

pub use frames::{Done, Frames};
pub use requests::{Refused, Request, parse};

use crate::config::Secret;
use crate::frame::CommandType;
use crate::model::{ConversationId, MessageId, Seq, UserId};
use crate::schema::request_name::RequestName;

/// Subprotocol that is echoed to a client which offers it.
pub const SUBPROTOCOL: &str = "pgchat.v1";

/// What the client calls its request, echoed in the answer as it came; `None`: nothing.
pub type RequestId = Option<RequestName>;

#[derive(Debug, PartialEq)]
pub enum Command {
    SendMessage(Draft),
    Row(RowCommand),
    WatchPresence { users: Vec<UserId> },
    SetActive { is_active: bool },
    Authenticate { token: Secret },
    Ping,
}

/// A message as its client wrote it, not checked.
#[derive(Debug, PartialEq)]
pub struct Draft {
    pub conversation: ConversationId,
    pub content: String,
    pub message_type: Option<String>,
    pub client_message_id: Option<String>,
}

/// A command about one message or one conversation that is a statement of its own.
#[derive(Debug, PartialEq)]
pub enum RowCommand {
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
}

impl Command {
    /// The `type` of its frame.
    pub fn kind(&self) -> CommandType {
        match self {
            Self::SendMessage(_) => CommandType::SendMessage,
            Self::Row(RowCommand::EditMessage { .. }) => CommandType::EditMessage,
            Self::Row(RowCommand::DeleteMessage { .. }) => CommandType::DeleteMessage,
            Self::Row(RowCommand::MarkRead { .. }) => CommandType::MarkRead,
            Self::Row(RowCommand::Typing { .. }) => CommandType::Typing,
            Self::WatchPresence { .. } => CommandType::WatchPresence,
            Self::SetActive { .. } => CommandType::SetActive,
            Self::Authenticate { .. } => CommandType::Authenticate,
            Self::Ping => CommandType::Ping,
        }
    }
}

#[cfg(test)]
mod tests;
