//! What is true only while somebody is connected: nothing here is stored, and nothing waits for a flush.

use postgres_types::Type;
use uuid::Uuid;

use super::{Store, column_of};
use crate::error::Error;
use crate::live::Telling;
use crate::model::{ConversationId, UserId};

impl Store {
    /// The two users of a conversation; `None` when there is no such conversation.
    pub async fn participants(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<[UserId; 2]>, Error> {
        let call = "chat_participants($1)";
        let rows = self
            .read("*", call, &[(&conversation.0, Type::UUID)])
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some([
            UserId(column_of(row, 0)?),
            UserId(column_of(row, 1)?),
        ]))
    }

    /// Tells all replicas who types and who has stopped: one transaction, in as few notifications as hold it.
    pub async fn notify_typing(&self, replica: Uuid, tellings: &[Telling]) -> Result<(), Error> {
        let ids = |id: fn(&Telling) -> Uuid| tellings.iter().map(id).collect::<Vec<_>>();
        let conversations = ids(|telling| telling.conversation.0);
        let typists = ids(|telling| telling.pair.typist.0);
        let recipients = ids(|telling| telling.pair.to.0);
        let states: Vec<bool> = tellings.iter().map(|telling| telling.is_typing).collect();
        let params = [
            (&replica as _, Type::UUID),
            (&conversations as _, Type::UUID_ARRAY),
            (&typists as _, Type::UUID_ARRAY),
            (&recipients as _, Type::UUID_ARRAY),
            (&states as _, Type::BOOL_ARRAY),
        ];
        self.change("*", "chat_notify_typing($1, $2, $3, $4, $5)", &params)
            .await
            .map(drop)
    }
}
