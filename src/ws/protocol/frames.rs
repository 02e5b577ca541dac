//! The frames about the connection itself that are sent to its client, answers to its commands among them.

use log::Level;
use serde::Serialize;

use super::{Refused, RequestId};
use crate::error::{Error, ErrorCode};
use crate::frame::{Frame, FrameType};
use crate::logging::Repeats;
use crate::model::{ConnectionId, ConversationId, RawJson, Seq, UnixSeconds, UserId};
use crate::schema::frames::{
    Ack, Connected, Failure, ResyncRequired, ServerClosing, TokenExpiring,
};

/// What a command answers when it went well.
#[derive(Debug)]
pub enum Done {
    /// The message as it is now, as PostgreSQL built it.
    Message(RawJson),
    Marked {
        conversation: ConversationId,
        marked_count: i64,
        read_seq: Seq,
    },
    Nothing,
}

/// The frames about one connection; `userId` is the connected user in all of them.
#[derive(Clone, Copy, Debug)]
pub struct Frames {
    pub user: UserId,
    pub connection: ConnectionId,
}

impl Frames {
    pub fn connected(self, data: &Connected) -> Frame {
        self.frame(FrameType::Connected, data, None)
    }

    /// The answer to a command; the cause of an internal error is logged here and never sent.
    pub fn answer(self, id: &RequestId, outcome: Result<Done, Error>) -> Frame {
        let mut ack = Ack {
            request_id: id.as_ref(),
            message: None,
            conversation_id: None,
            marked_count: None,
            read_seq: None,
        };
        match &outcome {
            Ok(Done::Nothing) => {}
            Ok(Done::Message(message)) => ack.message = Some(message),
            Ok(Done::Marked {
                conversation,
                marked_count,
                read_seq,
            }) => {
                ack.conversation_id = Some(*conversation);
                ack.marked_count = Some(*marked_count);
                ack.read_seq = Some(*read_seq);
            }
            Err(error) => {
                if let Error::Internal(_) = error {
                    self.log_failure(error);
                }
                return self.failed(id, error);
            }
        }
        self.frame(FrameType::Ack, &ack, None)
    }

    /// A database that refuses everything would fill the log: one line a second.
    fn log_failure(self, error: &Error) {
        static LINES: Repeats = Repeats::new(module_path!());
        let (Self { user, connection }, cause) = (self, error.with_cause());
        let (level, left_out) = LINES.next(Level::Error);
        log::log!(level, connectionId:% = connection, userId:% = user; "command of user {user} failed, socket {connection}: {cause}{left_out}");
    }

    pub fn refused(self, refused: &Refused) -> Frame {
        let data = Failure {
            request_id: refused.id.as_ref(),
            code: ErrorCode::ValidationFailed,
            message: &refused.message,
            retry_after_ms: None,
        };
        self.frame(FrameType::Error, &data, None)
    }

    pub fn resync_required(self, reason: &str, cursor: &str) -> Frame {
        self.frame(
            FrameType::ResyncRequired,
            &ResyncRequired { reason },
            Some(cursor),
        )
    }

    pub fn server_closing(self, reconnect_after_ms: u64) -> Frame {
        self.frame(
            FrameType::ServerClosing,
            &ServerClosing { reconnect_after_ms },
            None,
        )
    }

    /// The socket closes when this time has come, unless the client sends a new token.
    pub fn token_expiring(self, expires: UnixSeconds) -> Frame {
        let expires_at = expires.to_rfc3339();
        self.frame(
            FrameType::TokenExpiring,
            &TokenExpiring { expires_at },
            None,
        )
    }

    fn failed(self, id: &RequestId, error: &Error) -> Frame {
        let data = Failure {
            request_id: id.as_ref(),
            code: error.code(),
            message: &error.to_string(),
            retry_after_ms: error
                .retry_after()
                .map(|wait| wait.as_micros().div_ceil(1000).max(1)),
        };
        self.frame(FrameType::Error, &data, None)
    }

    fn frame(self, kind: FrameType, data: &impl Serialize, cursor: Option<&str>) -> Frame {
        Frame::serialized(kind, data, self.user, UnixSeconds::now(), cursor)
    }
}

#[cfg(test)]
mod tests;
