//! Messages: reading, editing, deleting.

use postgres_types::Type;

use super::lease::Param;
use super::{
    Gone, Listing, PAGE_BYTES, Page, Store, Window, listing, raw_json, single, unknown_status,
};
use crate::error::{Denial, Error, Resource};
use crate::model::{ConversationId, MessageId, RawJson, Reader, UserId};

impl Store {
    /// A part of a conversation's history. `NotFound` when there is no such conversation or user; `Forbidden` when the
    /// reader is not a participant.
    pub async fn messages(
        &self,
        conversation: ConversationId,
        reader: Reader,
        window: Window,
    ) -> Result<Listing, Error> {
        let (call, first, second, limit) = match window {
            Window::Newest(Page { limit, offset }) => (
                "chat_list_messages($1, $2, $3, $4)",
                limit + 1,
                offset,
                limit,
            ),
            Window::Before { seq, limit } => (
                "chat_list_messages_before($1, $2, $3, $4)",
                seq.0,
                limit + 1,
                limit,
            ),
            Window::After { seq, limit } => (
                "chat_list_messages_after($1, $2, $3, $4)",
                seq.0,
                limit + 1,
                limit,
            ),
        };
        let mut params: Vec<Param<'_>> = vec![
            (&conversation, Type::UUID),
            (&first, Type::INT8),
            (&second, Type::INT8),
            (&PAGE_BYTES, Type::INT8),
        ];
        let rows = match &reader {
            Reader::Anyone => self.read(call, &params).await?,
            // PostgreSQL asks the condition first, and once: nothing of the history is read for somebody else.
            Reader::Participant(user) => {
                params.push((user, Type::UUID));
                let call = format!(
                    "{call} where {}chat_is_participant($1, $5)",
                    self.shared.prefix
                );
                self.read(&call, &params).await?
            }
        };
        if rows.is_empty() {
            match reader {
                Reader::Anyone => self.require_conversation(conversation).await?,
                Reader::Participant(user) => self.require_participant(conversation, user).await?,
            }
        }
        listing(&rows, limit)
    }

    async fn require_conversation(&self, conversation: ConversationId) -> Result<(), Error> {
        let known = self
            .read(
                "chat_conversation_exists($1)",
                &[(&conversation, Type::UUID)],
            )
            .await?;
        match single(&known, 0)? {
            true => Ok(()),
            false => Err(Error::not_found(Resource::Conversation, conversation)),
        }
    }

    /// `Forbidden` when the user is not a participant; `NotFound` when there is no such conversation or user.
    async fn require_participant(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<(), Error> {
        let params = [(&conversation as _, Type::UUID), (&user as _, Type::UUID)];
        let rows = self.read("chat_is_participant($1, $2)", &params).await?;
        match single(&rows, 0)? {
            true => Ok(()),
            // Says which of it is the case, to whom that may be told.
            false => self.conversation(conversation, user).await.map(drop),
        }
    }

    /// One message. `NotFound` when there is no such message or user, `MessageDeleted` when it is deleted; `Forbidden` when the reader is
    /// not a participant of its conversation.
    pub async fn message(&self, message: MessageId, reader: Reader) -> Result<RawJson, Error> {
        let user = match reader {
            Reader::Anyone => None,
            Reader::Participant(user) => Some(user),
        };
        let params = [(&message as _, Type::UUID), (&user as _, Type::UUID)];
        let rows = self.read("chat_get_message($1, $2)", &params).await?;
        let status: String = single(&rows, 0)?;
        verdict(&status, message, user)?;
        raw_json(single(&rows, 1)?)
    }

    /// Replaces a message's content; the sender only. Returns the Message. While somebody holds the message it is tried again, unless
    /// the caller is `gone`: they may have edited it once more since, elsewhere.
    pub async fn edit_message(
        &self,
        message: MessageId,
        editor: UserId,
        content: &str,
        gone: Gone<'_>,
    ) -> Result<RawJson, Error> {
        let params = [
            (&message as _, Type::UUID),
            (&editor as _, Type::UUID),
            (&content as _, Type::TEXT),
        ];
        let edit = self.select_telling("*", "chat_edit_message($1, $2, $3)", &params);
        let rows = self.change_row(editor, message.0, edit, gone).await?;
        let status: String = single(&rows, 0)?;
        verdict(&status, message, Some(editor))?;
        raw_json(single(&rows, 1)?)
    }

    /// Deletes a message softly; the sender only. A second time is fine.
    pub async fn delete_message(&self, message: MessageId, deleter: UserId) -> Result<(), Error> {
        let params = [(&message as _, Type::UUID), (&deleter as _, Type::UUID)];
        let deletion = self.select_telling("*", "chat_delete_message($1, $2)", &params);
        // Deleted is deleted, whenever.
        let never = Gone::never();
        let rows = self.change_row(deleter, message.0, deletion, never).await?;
        let status: String = single(&rows, 0)?;
        verdict(&status, message, Some(deleter))
    }
}

/// A trigger's function has returned null.
pub(super) fn dropped(what: &str) -> Error {
    Error::Internal(format!("a trigger of the host's has dropped {what}").into())
}

/// What a function answers about who reads or changes a message, as an error.
fn verdict(status: &str, message: MessageId, user: Option<UserId>) -> Result<(), Error> {
    match (status, user) {
        ("ok", _) => Ok(()),
        ("no_message", _) => Err(Error::not_found(Resource::Message, message)),
        ("deleted", _) => Err(Error::MessageDeleted(message)),
        ("dropped", _) => Err(dropped("a change of a message")),
        ("no_user", Some(user)) => Err(Error::not_found(Resource::User, user)),
        ("not_the_sender", _) => Err(Error::Forbidden(Denial::NotTheSender)),
        ("not_a_participant", _) => Err(Error::Forbidden(Denial::NotAParticipant)),
        (other, _) => Err(unknown_status(other)),
    }
}
