//! A message on its way to the database, whose turn it waits for, and how it is answered.

use tokio::time::Instant;

use super::{LONG_MESSAGE, Sent};
use crate::error::Error;
use crate::limits::Reservation;
use crate::model::{ConversationId, UserId};
use crate::store::{Outcome, Outgoing};

/// Is called once, with what became of a message; must not block.
pub(super) type Reply = Box<dyn FnOnce(Result<Sent, Error>) + Send>;

/// A message on its way, with whom to tell.
pub(super) struct Pending {
    pub outgoing: Outgoing,
    pub reply: Reply,
    /// Not stored by then, it is refused.
    pub deadline: Instant,
    /// How often its conversation was busy.
    pub tries: u32,
    /// In a batch before: it may be stored.
    pub sent: bool,
    /// Alone it failed once in a way that a repeat may mend.
    pub suspect: bool,
    /// In a transaction without an answer, though the database answered others: it may be what
    /// takes long.
    pub had_no_answer: bool,
    /// Until it is answered.
    pub _reservation: Reservation,
}

impl Pending {
    /// Whose turn it waits for.
    pub fn flow(&self) -> Flow {
        let message = &self.outgoing.message;
        Flow {
            conversation: message.conversation,
            sender: message.sender,
        }
    }

    /// Bytes of its content.
    pub fn bytes(&self) -> usize {
        self.outgoing.message.content.len()
    }

    pub fn is_long(&self) -> bool {
        self.bytes() > LONG_MESSAGE
    }
}

/// What keeps its order: the messages of one sender in one conversation. Not those of a
/// conversation, to which anybody may try to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flow {
    pub conversation: ConversationId,
    pub sender: UserId,
}

/// Answers a message that has an outcome; a busy one comes back.
pub(super) fn answer(pending: Pending, outcome: Outcome) -> Option<Pending> {
    match outcome {
        Outcome::Stored(message) => (pending.reply)(Ok(Sent {
            message,
            repeated: false,
        })),
        Outcome::Repeated(message) => (pending.reply)(Ok(Sent {
            message,
            repeated: true,
        })),
        Outcome::Refused(error) => (pending.reply)(Err(error)),
        Outcome::Busy => return Some(pending),
    }
    None
}

/// Refuses a message whose time is over; it was not stored, or a retry is safe.
pub(super) fn expire(pending: Pending, why: &str) {
    (pending.reply)(Err(Error::unavailable(why)));
}

/// Answers those of a batch that have an outcome, by their places; the busy ones come back, in
/// order.
pub(super) fn answer_all(batch: Vec<Pending>, outcomes: Vec<Outcome>) -> Vec<Pending> {
    let answered = batch.into_iter().zip(outcomes);
    answered
        .filter_map(|(pending, outcome)| answer(pending, outcome))
        .collect()
}
