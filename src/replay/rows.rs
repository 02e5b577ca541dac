//! Which rows a replay has told of, and in which state: for as long as their events may come once more, which an open transaction of
//! anybody's may prolong by hours. So it is kept small.

use crate::hub::Subject;
use crate::model::{ConversationId, MessageId};
use crate::position::Xid;

/// Both are sorted.
#[derive(Default)]
pub struct Rows {
    /// With the revision that was sent.
    messages: Box<[(MessageId, i64)]>,
    /// With the transaction that made it.
    conversations: Box<[(ConversationId, Xid)]>,
}

impl Rows {
    /// Bytes of a row.
    pub const EACH: usize = size_of::<(MessageId, i64)>();

    /// Of these subjects, in the order in which they were sent, with their versions. Read marks and reloads are told from repeats by the
    /// replay's snapshot.
    pub fn of(sent: impl IntoIterator<Item = (Subject, i64)>) -> Self {
        let (mut messages, mut conversations) = (Vec::new(), Vec::new());
        for (subject, version) in sent {
            match subject {
                Subject::Row(id) => messages.push((id, version)),
                Subject::Conversation { id, xid } => conversations.push((id, xid)),
                Subject::Read { .. } | Subject::Reload { .. } => {}
            }
        }
        // An id may be another row's by then, which was sent behind the former.
        messages.sort_by_key(|(id, _)| id.0);
        messages.dedup_by(|behind, ahead| {
            let is_same = behind.0 == ahead.0;
            if is_same {
                ahead.1 = behind.1;
            }
            is_same
        });
        conversations.sort_unstable_by_key(|(id, xid)| (id.0, *xid));
        Self {
            messages: messages.into(),
            conversations: conversations.into(),
        }
    }

    /// The version that was sent; `None` where the replay has not told of it.
    pub fn sent(&self, subject: Subject) -> Option<i64> {
        match subject {
            Subject::Row(id) => {
                let place = self.messages.binary_search_by_key(&id.0, |(id, _)| id.0);
                place.ok().map(|place| self.messages[place].1)
            }
            Subject::Conversation { id, xid } => {
                let key = |(id, xid): &(ConversationId, Xid)| (id.0, *xid);
                let place = self.conversations.binary_search_by_key(&(id.0, xid), key);
                place.ok().map(|_| 0)
            }
            Subject::Read { .. } | Subject::Reload { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::UserId;

    fn message(number: u128) -> Subject {
        Subject::Row(MessageId(Uuid::from_u128(number)))
    }

    fn conversation(number: u128, xid: u64) -> Subject {
        Subject::Conversation {
            id: ConversationId(Uuid::from_u128(number)),
            xid: Xid(xid),
        }
    }

    #[test]
    fn of_each_row_that_was_sent_the_last_state_is_known_and_of_no_other() {
        let mark = Subject::Read {
            conversation: ConversationId(Uuid::from_u128(1)),
            reader: UserId(Uuid::from_u128(1)),
            xid: Xid(7),
        };
        let sent = [
            (conversation(2, 7), 0),
            (message(9), 4),
            (message(1), 3),
            (mark, 5),
            (message(9), 1),
            (conversation(1, 8), 0),
        ];
        let rows = Rows::of(sent);
        assert_eq!(rows.sent(message(1)), Some(3));
        assert_eq!(rows.sent(message(9)), Some(1), "the id is another row's");
        assert_eq!(rows.sent(message(2)), None);
        assert_eq!(rows.sent(conversation(2, 7)), Some(0));
        assert_eq!(rows.sent(conversation(1, 8)), Some(0));
        assert_eq!(rows.sent(conversation(1, 7)), None);
        assert_eq!(rows.sent(mark), None);
    }

    #[test]
    fn of_several_rows_that_had_one_id_the_last_is_known() {
        for count in 1..10 {
            let sent = (0..count).map(|version| (message(9), version));
            assert_eq!(Rows::of(sent).sent(message(9)), Some(count - 1));
        }
    }

    #[test]
    fn a_row_takes_twenty_four_bytes_and_nothing_beside_them() {
        let rows = Rows::of((0..1000).map(|number| (message(number), 1)));
        assert_eq!(size_of_val(&*rows.messages), 1000 * Rows::EACH);
        let rows = Rows::of((0..1000).map(|number| (conversation(number, 1), 0)));
        assert_eq!(size_of_val(&*rows.conversations), 1000 * Rows::EACH);
        assert_eq!(Rows::EACH, 24);
    }
}
