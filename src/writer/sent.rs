//! What a send is answered with, and what the log says of it.

use std::fmt;

use serde::Deserialize;

use super::SENT_LOG;
use crate::model::{ConversationId, MessageId, RawJson, Seq};

/// A stored message.
#[derive(Debug)]
pub struct Sent {
    /// The Message, as JSON.
    pub message: RawJson,
    /// Nothing new was stored: the answer to a repeat.
    pub repeated: bool,
}

impl Sent {
    /// Has `line` write about it at the level `debug`, under the target [`SENT_LOG`]; costs nothing below it. The message is read for that.
    pub fn log(&self, line: impl FnOnce(SentLine)) {
        if !log::log_enabled!(target: SENT_LOG, log::Level::Debug) {
            return;
        }
        match serde_json::from_str(self.message.get()) {
            Ok(stored) => line(SentLine {
                repeated: self.repeated,
                ..stored
            }),
            Err(error) => log::debug!("a stored message cannot be read: {error}"),
        }
    }
}

/// What the log says of a message that was accepted: where it is, and nothing that is in it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentLine {
    pub id: MessageId,
    pub seq: Seq,
    pub conversation_id: ConversationId,
    #[serde(skip)]
    pub repeated: bool,
}

impl fmt::Display for SentLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = match self.repeated {
            true => "sent again",
            false => "sent",
        };
        let (id, seq, conversation) = (self.id, self.seq.0, self.conversation_id);
        write!(
            f,
            "{done} message {id}, {seq} of conversation {conversation}"
        )
    }
}
