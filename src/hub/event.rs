//! Durable events on their way to sockets.

use std::fmt;

use uuid::Uuid;

use super::Counted;
use crate::frame::{EventType, Frame, FrameType};
use crate::model::{ConversationId, MessageId, UnixMicros, UserId};
use crate::position::{Horizon, Xid};

/// What an event is about; with its version it tells a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A message (version: its revision).
    Row(MessageId),
    /// A conversation that a transaction has made (version 0). Another program may have given the same id to a message, or give it to a
    /// conversation once more when this one is deleted.
    Conversation { id: ConversationId, xid: Xid },
    /// Marks of one reader by one transaction (version: the seq read up to).
    Read {
        conversation: ConversationId,
        reader: UserId,
        xid: Xid,
    },
    /// That a user is to reload, because of one transaction (version 0).
    Reload { user: UserId, xid: Xid },
}

impl Subject {
    /// Of an event of this type about `id` (of reading, the reader; of a reload, the user) in a conversation, made by a transaction.
    pub fn of(event_type: EventType<'_>, id: Uuid, conversation: ConversationId, xid: Xid) -> Self {
        match event_type.kind() {
            Some(FrameType::MessagesRead) => Self::Read {
                conversation,
                reader: UserId(id),
                xid,
            },
            Some(FrameType::ConversationCreated) => Self::Conversation {
                id: ConversationId(id),
                xid,
            },
            Some(FrameType::ResyncRequired) => Self::Reload {
                user: UserId(id),
                xid,
            },
            _ => Self::Row(MessageId(id)),
        }
    }
}

/// What an event is to whoever may have been told of its subject already.
#[derive(Debug, PartialEq, Eq)]
pub enum Novelty {
    /// They have not been told of it.
    New,
    /// They know an earlier state of it: this is an update to them.
    Later,
    /// They know this state, or a later one.
    Repeat,
}

/// For the log.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(id) => write!(f, "message {id}"),
            Self::Conversation { id, .. } => write!(f, "conversation {id}"),
            Self::Read {
                conversation,
                reader,
                ..
            } => write!(
                f,
                "what user {reader} has read in conversation {conversation}"
            ),
            Self::Reload { .. } => f.write_str("that the client is to reload"),
        }
    }
}

/// One event on its way to sockets: the frame is serialised once and shared by all of them.
#[derive(Debug)]
pub struct Event {
    pub subject: Subject,
    pub version: i64,
    /// The transaction that made it.
    pub xid: Xid,
    /// The horizon of its notification: every transaction below it stands ahead of it in the queue. Zero from a catch-up.
    pub horizon: Horizon,
    pub frame: Frame,
    /// When its change was made; none from a catch-up, which is late by its nature.
    pub made_at: Option<UnixMicros>,
    /// Of an insertion that was read from the tables after a later change.
    pub as_update: Option<AsUpdate>,
    /// Of the memory for what waits for sockets.
    pub counted: Counted,
}

impl Event {
    /// What it takes in memory, however many sockets share it.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.frame_bytes()
    }

    /// The bytes of its frames.
    pub(super) fn frame_bytes(&self) -> usize {
        let update = self.as_update.as_ref().map(|update| &update.frame);
        let frames = [Some(&self.frame), update].into_iter().flatten();
        frames.map(|frame| frame.as_str().len()).sum()
    }
}

/// An insertion and a later change in one, for a socket that saw the insertion already.
#[derive(Debug)]
pub struct AsUpdate {
    pub frame: Frame,
    /// The transaction of the insertion.
    pub created: Option<Xid>,
}
