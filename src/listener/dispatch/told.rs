//! What is delivered for an event: the data in its notification, the current state of the row it refers to, or a row that a catch-up
//! has read.

use crate::frame::{EventType, Frame, FrameType};
use crate::hub::{AsUpdate, Counted, Event, Subject};
use crate::listener::payload::{PayloadEvent, ReadMark};
use crate::model::{UnixSeconds, UserId};
use crate::position::{Horizon, Xid};
use crate::store::{Change, RowBack, RowId};

/// What an event tells sockets.
pub(super) struct Told<'a> {
    pub subject: Subject,
    pub version: i64,
    /// The transaction that made this version.
    pub xid: Xid,
    pub event_type: EventType<'a>,
    pub data: &'a str,
    /// Of an insertion in a later state.
    pub later: Option<Later<'a>>,
}

/// What an insertion in a later state is for sockets that saw the insertion.
pub(super) struct Later<'a> {
    pub event_type: EventType<'a>,
    /// The insertion's transaction.
    pub created: Option<Xid>,
}

impl<'a> Told<'a> {
    fn new(
        subject: Subject,
        version: i64,
        event: &PayloadEvent<'a>,
        data: &'a str,
        xid: Xid,
    ) -> Self {
        Self {
            subject,
            version,
            xid,
            event_type: event.event_type,
            data,
            later: None,
        }
    }

    pub fn of_row(id: RowId, event: &PayloadEvent<'a>, data: &'a str, xid: Xid) -> Self {
        let subject = match id {
            RowId::Message(id) => Subject::Row(id),
            RowId::Conversation(id) => Subject::Conversation { id, xid },
        };
        Self::new(subject, event.revision.0, event, data, xid)
    }

    pub fn of_mark(mark: &ReadMark, event: &PayloadEvent<'a>, data: &'a str, xid: Xid) -> Self {
        let subject = Subject::Read {
            conversation: mark.conversation_id,
            reader: mark.reader_id,
            xid,
        };
        Self::new(subject, mark.up_to_seq.0, event, data, xid)
    }

    pub fn of_reload(event: &PayloadEvent<'a>, data: &'a str, xid: Xid) -> Self {
        let subject = Subject::Reload {
            user: event.user,
            xid,
        };
        Self::new(subject, 0, event, data, xid)
    }

    /// That a user is to reload, since what this transaction changed for them cannot be read any more.
    pub fn of_lost(user: UserId, xid: Xid) -> Self {
        Self {
            subject: Subject::Reload { user, xid },
            version: 0,
            xid,
            event_type: FrameType::ResyncRequired.into(),
            data: r#"{"reason":"messages were removed for their age"}"#,
            later: None,
        }
    }

    /// A row that was fetched. If it has changed since the event, it is told as a catch-up would tell it: under its present revision and
    /// with the transaction of that revision. So it is remembered until the event of that revision has come, which is then a repeat.
    ///
    /// A message that is unread again is told under the revision before, so its own event is no repeat: the mark that it was read by may be
    /// told in between.
    pub fn of_row_now(row: &'a RowBack, event: &PayloadEvent<'a>, xid: Xid) -> Self {
        let xid = match row.id {
            RowId::Message(_) => xid,
            RowId::Conversation(_) => row.create_xid.unwrap_or(xid),
        };
        let now = Self::of_row(row.id, event, &row.data, xid);
        if row.revision == event.revision {
            return now;
        }
        let (version, data) = match &row.earlier_data {
            Some(data) => (row.revision.0 - 1, data),
            None => (row.revision.0, &row.data),
        };
        let told = Self {
            version,
            data,
            xid: row.change_xid.unwrap_or(xid),
            event_type: EventType::named(&row.event_type),
            later: later(&row.event_type, &row.later_type, row.create_xid),
            ..now
        };
        if event.event_type.is(FrameType::ChatMessage) {
            told
        } else {
            told.into_later()
        }
    }

    pub fn of_change(change: &'a Change) -> Self {
        let event_type = EventType::named(&change.event_type);
        Self {
            subject: Subject::of(event_type, change.subject, change.conversation, change.xid),
            version: change.version,
            xid: change.xid,
            event_type,
            data: &change.data,
            later: later(&change.event_type, &change.later_type, change.create_xid),
        }
    }

    /// As it is told to users who were told of the row before: an insertion is an update to them.
    pub fn into_later(self) -> Self {
        Self {
            event_type: self.later.map_or(self.event_type, |later| later.event_type),
            later: None,
            ..self
        }
    }

    /// As of a catch-up: with no horizon, and of no moment.
    pub fn into_event(self, user: UserId, at: UnixSeconds, cursor: &str) -> Event {
        let frame_of = |event_type| Frame::relayed(event_type, self.data, user, at, Some(cursor));
        Event {
            subject: self.subject,
            version: self.version,
            xid: self.xid,
            horizon: Horizon::default(),
            frame: frame_of(self.event_type),
            made_at: None,
            as_update: self.later.map(|later| AsUpdate {
                frame: frame_of(later.event_type),
                created: later.created,
            }),
            counted: Counted::default(),
        }
    }
}

/// The type for those who saw the row before, where it is another one.
fn later<'a>(event_type: &str, later_type: &'a str, created: Option<Xid>) -> Option<Later<'a>> {
    (later_type != event_type).then_some(Later {
        event_type: EventType::named(later_type),
        created,
    })
}

/// Whether an event is about this row, as it is or was. An id may be given to another row once it is free: that one may be other
/// people's, and has another seq where it is of the same two. (Unless they have a new conversation; of the former one's end both reload.)
pub(super) fn is_about(event: &PayloadEvent<'_>, row: &RowBack) -> bool {
    row.participants == event.recipients
        && event.seq.is_none_or(|seq| seq == row.seq)
        && row.revision >= event.revision
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::{MessageId, Revision, Seq};

    const ID: Uuid = Uuid::from_u128(1);

    fn event(event_type: &str, revision: i64) -> PayloadEvent<'_> {
        PayloadEvent {
            event_type: EventType::named(event_type),
            user: UserId(ID),
            recipients: [UserId(ID); 2],
            message: Some(MessageId(ID)),
            revision: Revision(revision),
            conversation: None,
            data: None,
            seq: Some(Seq(5)),
            concerns_sockets: true,
        }
    }

    fn row(event_type: &str, later_type: &str, revision: i64) -> RowBack {
        RowBack {
            id: RowId::Message(MessageId(ID)),
            event_type: event_type.to_owned(),
            later_type: later_type.to_owned(),
            participants: [UserId(ID); 2],
            seq: Seq(5),
            revision: Revision(revision),
            change_xid: Some(Xid(120)),
            create_xid: Some(Xid(100)),
            data: "{}".to_owned(),
            earlier_data: None,
            xid: Some(Xid(130)),
        }
    }

    #[test]
    fn a_row_that_was_changed_since_its_event_is_told_as_what_it_is_now() {
        let told = |event_type, revision, row: &RowBack| {
            let told = Told::of_row_now(row, &event(event_type, revision), Xid(110));
            let later = told.later.map(|later| later.event_type.name().to_owned());
            (
                told.event_type.name().to_owned(),
                later,
                told.version,
                told.xid.0,
            )
        };
        let of = |text: &str| Some(text.to_owned());
        let edited = row("chat_message", "message_updated", 3);
        let expected = ("chat_message".to_owned(), of("message_updated"), 3, 120);
        assert_eq!(told("chat_message", 1, &edited), expected);
        let expected = ("message_updated".to_owned(), None, 3, 120);
        assert_eq!(told("message_updated", 2, &edited), expected);
        let deleted = row("chat_message", "message_deleted", 3);
        let expected = ("message_deleted".to_owned(), None, 3, 120);
        assert_eq!(told("message_updated", 2, &deleted), expected);
        let expected = ("chat_message".to_owned(), of("message_deleted"), 3, 120);
        assert_eq!(told("chat_message", 1, &deleted), expected);
        let gone = row("message_deleted", "message_deleted", 3);
        let expected = ("message_deleted".to_owned(), None, 3, 120);
        assert_eq!(told("chat_message", 1, &gone), expected);
        // Nothing has come of it meanwhile: it is what the event says.
        let expected = ("chat_message".to_owned(), None, 3, 110);
        assert_eq!(told("chat_message", 3, &edited), expected);
    }

    #[test]
    fn an_event_is_about_the_row_that_it_was_published_for() {
        let row = row("chat_message", "message_updated", 3);
        assert!(is_about(&event("chat_message", 1), &row));
        assert!(is_about(&event("message_updated", 3), &row));
        assert!(!is_about(&event("message_updated", 4), &row));
        // The row was made anew, which is told by itself.
        let former = PayloadEvent {
            seq: Some(Seq(4)),
            ..event("chat_message", 1)
        };
        assert!(!is_about(&former, &row));
        let others = PayloadEvent {
            recipients: [UserId(ID), UserId(Uuid::nil())],
            ..event("chat_message", 1)
        };
        assert!(!is_about(&others, &row));
    }

    #[test]
    fn a_row_that_is_unread_again_is_told_once_more_with_its_own_event() {
        let unread_again = RowBack {
            earlier_data: Some("earlier".to_owned()),
            ..row("chat_message", "message_updated", 3)
        };
        let told = |event_type, revision| {
            let told = Told::of_row_now(&unread_again, &event(event_type, revision), Xid(110));
            (told.event_type.name(), told.version, told.data)
        };
        assert_eq!(told("chat_message", 1), ("chat_message", 2, "earlier"));
        let expected = ("message_updated", 2, "earlier");
        assert_eq!(told("message_updated", 2), expected);
        assert_eq!(told("message_updated", 3), ("message_updated", 3, "{}"));
    }
}
