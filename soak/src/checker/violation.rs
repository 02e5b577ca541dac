//! What can be wrong.

use std::fmt;

use crate::model::{At, ClientIx, ConnectionNo, ConversationIx, Key};

/// The promises that the checker holds the service to, each by the way in which it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Acknowledged, but not in the table.
    Lost,
    /// In the table, but a participant who was caught up never got it on a socket or by a reload.
    Unseen,
    /// A socket that had resumed or was live passed over messages that its client had not seen.
    Skipped,
    /// A message that nobody sent, or that was rolled back.
    FromNobody,
    /// A message that reached somebody who does not take part in its conversation.
    Misdelivered,
    /// The same message in two `chat_message` frames of one socket.
    Twice,
    /// A lower `seq` after a higher one in a conversation of one socket.
    OutOfOrder,
    /// `seq` in the table is not 1, 2, 3 …
    SeqGap,
    /// One `clientMessageId` is in two rows, or was acknowledged as two messages.
    StoredTwice,
    /// Content, sender, conversation, `seq` or id differ from what was sent or acknowledged.
    Altered,
    /// An unread count differs from the table.
    UnreadWrong,
    /// An acknowledged `mark_read` is not in the table.
    ReadLost,
    /// A message is read that nobody marked.
    ReadFromNobody,
    /// An acknowledged `mark_read` of which a participant's sockets were never told.
    ReadUnseen,
    /// An acknowledged edit or deletion that the table, or its own answer, does not show.
    ChangeLost,
    /// A change that the table has, and a participant was never shown.
    ChangeUnseen,
    /// An older state of a message after a newer one on one socket: what was deleted shows its content again.
    Revived,
    /// A search that found what was deleted, or did not find what was there.
    SearchWrong,
    /// Typing shown to somebody whom it does not concern, or of somebody who never typed there.
    TypingStray,
    /// Somebody went on typing, and the other was not shown it.
    TypingUnseen,
    /// Typing that is still shown when nobody types any more.
    TypingStuck,
    /// Presence of somebody whom the socket does not watch.
    PresenceStray,
    /// The last that a watcher was shown of a user, or what the service says of them, is not the truth at the end.
    PresenceWrong,
    /// Two requests on one socket of which the later one follows the other, acknowledged in the other order.
    AckOrder,
    /// `lastSeq` or `lastMessageId` of a conversation differs from the table.
    HeadWrong,
    /// A valid request got an answer that no valid request may get.
    Refused,
    /// Still without an acknowledgement when everything was calm again.
    NeverAnswered,
    /// Long after the last fault not everybody was connected and had everything, and nothing went on.
    NotSettled,
    /// Something that a run is for never happened in it, so that it has shown nothing of that.
    NothingDone,
    /// A replica ended by itself, or a drain failed.
    ReplicaFailed,
}

/// One broken promise, with what is needed to find its history.
#[derive(Clone, Debug)]
pub struct Violation {
    pub kind: Kind,
    pub at: At,
    pub key: Option<Key>,
    /// A place in a conversation, when the message there is not known yet.
    pub place: Option<(ConversationIx, u32)>,
    pub client: Option<ClientIx>,
    pub connection: Option<ConnectionNo>,
    pub text: String,
}

impl Violation {
    pub fn new(kind: Kind, at: At, text: impl Into<String>) -> Self {
        Self {
            kind,
            at,
            key: None,
            place: None,
            client: None,
            connection: None,
            text: text.into(),
        }
    }

    pub fn key(mut self, key: Key) -> Self {
        self.key = Some(key);
        self
    }

    pub fn place(mut self, conversation: ConversationIx, seq: u32) -> Self {
        self.place = Some((conversation, seq));
        self
    }

    pub fn client(mut self, client: ClientIx) -> Self {
        self.client = Some(client);
        self
    }

    pub fn connection(mut self, connection: Option<ConnectionNo>) -> Self {
        self.connection = connection;
        self
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.text)?;
        if let Some(key) = self.key {
            write!(f, ", message #{key}")?;
        }
        if let Some((conversation, seq)) = self.place {
            write!(f, ", conversation {conversation} seq {seq}")?;
        }
        if let Some(client) = self.client {
            write!(f, ", client {client}")?;
        }
        if let Some(connection) = self.connection {
            write!(f, ", connection {connection}")?;
        }
        Ok(())
    }
}
