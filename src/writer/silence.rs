//! Messages whose transaction had no answer, and when that tells something of them.

use std::collections::HashSet;

use super::{Flow, Pending, Storing};
use crate::store::SendFailure;

/// Messages whose transaction had no answer, in order, to be sent again.
pub(super) struct Unanswered {
    pub messages: Vec<Pending>,
    pub failure: SendFailure,
}

impl Unanswered {
    /// A [`Silence`] if there was time for an answer and the database gives one over another
    /// connection. Otherwise only the connection or the server may be at fault.
    pub async fn silence(&mut self, storing: &Storing) -> Option<Silence> {
        storing.retries();
        let is_silence =
            matches!(self.failure, SendFailure::Silent(_)) && storing.database_answers().await;
        is_silence.then(|| Silence::of(&mut self.messages))
    }
}

/// A transaction that had no answer, though the database answers others: something in it may take
/// long.
pub(super) struct Silence {
    pub flows: HashSet<Flow>,
    /// How many.
    pub messages: usize,
}

impl Silence {
    /// Marks them.
    pub fn of(messages: &mut [Pending]) -> Self {
        for pending in &mut *messages {
            pending.had_no_answer = true;
        }
        Self {
            flows: messages.iter().map(Pending::flow).collect(),
            messages: messages.len(),
        }
    }
}
