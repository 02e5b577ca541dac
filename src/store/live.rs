//! What is true only while somebody is connected: nothing here is stored, and nothing waits for a flush.

use std::time::Duration;

use postgres_types::Type;
use uuid::Uuid;

use super::{Store, column_of, single};
use crate::error::Error;
use crate::model::{ConversationId, ReplicaId, UserId};

/// Who types to whom. Two users have one conversation, so this names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    pub typist: UserId,
    pub to: UserId,
}

/// Something to tell all replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telling {
    pub pair: Pair,
    pub conversation: ConversationId,
    pub is_typing: bool,
}

/// Names a roll of this replica in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roll(pub Uuid);

/// What the database is to be told of a user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RollChange {
    Comes(UserId),
    /// So long ago.
    Went(UserId, Duration),
}

impl RollChange {
    pub fn user(self) -> UserId {
        match self {
            Self::Comes(user) | Self::Went(user, _) => user,
        }
    }
}

impl Store {
    /// The two users of a conversation; `None` when there is no such conversation.
    pub async fn participants(
        &self,
        conversation: ConversationId,
    ) -> Result<Option<[UserId; 2]>, Error> {
        let call = "chat_participants($1)";
        let rows = self.read(call, &[(&conversation, Type::UUID)]).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        Ok(Some([column_of(row, 0)?, column_of(row, 1)?]))
    }

    /// Tells all replicas who types and who has stopped: one transaction, in as few notifications as hold it.
    pub async fn notify_typing(
        &self,
        replica: ReplicaId,
        tellings: &[Telling],
    ) -> Result<(), Error> {
        let (mut conversations, mut states) = (Vec::new(), Vec::new());
        let (mut typists, mut recipients) = (Vec::new(), Vec::new());
        for telling in tellings {
            conversations.push(telling.conversation);
            typists.push(telling.pair.typist);
            recipients.push(telling.pair.to);
            states.push(telling.is_typing);
        }
        let params = [
            (&replica as _, Type::UUID),
            (&conversations as _, Type::UUID_ARRAY),
            (&typists as _, Type::UUID_ARRAY),
            (&recipients as _, Type::UUID_ARRAY),
            (&states as _, Type::BOOL_ARRAY),
        ];
        self.change("chat_notify_typing($1, $2, $3, $4, $5)", &params)
            .await
            .map(drop)
    }

    /// Begins a roll of this replica's users; `None` while no session of the database holds the replica's lock.
    pub async fn open_roll(&self, replica: ReplicaId) -> Result<Option<Roll>, Error> {
        let params = [(&replica as _, Type::UUID)];
        let rows = self.change("chat_open_roll($1)", &params).await?;
        Ok(single::<Option<Uuid>>(&rows, 0)?.map(Roll))
    }

    /// Puts users on a roll and takes others off it. `false`, and nothing is done: it has ended.
    pub async fn call_roll(&self, roll: Roll, changes: &[RollChange]) -> Result<bool, Error> {
        let (mut coming, mut going, mut ages) = (Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            match change {
                RollChange::Comes(user) => coming.push(*user),
                RollChange::Went(user, ago) => {
                    going.push(*user);
                    ages.push(ago.as_secs_f64());
                }
            }
        }
        let params = [
            (&roll.0 as _, Type::UUID),
            (&coming as _, Type::UUID_ARRAY),
            (&going as _, Type::UUID_ARRAY),
            (&ages as _, Type::FLOAT8_ARRAY),
        ];
        let call = "chat_call_roll($1, $2, $3, $4)";
        single(&self.change(call, &params).await?, 0)
    }

    /// Ends the rolls of other replicas that are gone, or have been silent for `silence`. Whether `roll` goes on.
    pub async fn end_rolls(
        &self,
        replica: ReplicaId,
        roll: Roll,
        silence: Duration,
    ) -> Result<bool, Error> {
        let params = [
            (&replica as _, Type::UUID),
            (&roll.0 as _, Type::UUID),
            (&silence.as_secs_f64() as _, Type::FLOAT8),
        ];
        let call = "chat_end_rolls($1, $2, $3)";
        single(&self.change(call, &params).await?, 0)
    }

    /// Takes up to `users` users off a roll that ended at least `grace` ago; `false`: there is no such roll.
    pub async fn clear_roll(&self, grace: Duration, users: usize) -> Result<bool, Error> {
        let users = i32::try_from(users).unwrap_or(i32::MAX);
        let params = [
            (&grace.as_secs_f64() as _, Type::FLOAT8),
            (&users as _, Type::INT4),
        ];
        let call = "chat_clear_roll($1, $2)";
        single(&self.change(call, &params).await?, 0)
    }

    /// The data of the frame `presence` of each of these users, as it is now.
    pub async fn presence_of(&self, users: &[UserId]) -> Result<Vec<(UserId, String)>, Error> {
        let params = [(&users as _, Type::UUID_ARRAY)];
        let rows = self.read("chat_presence_of($1)", &params).await?;
        rows.iter()
            .map(|row| Ok((column_of(row, 0)?, column_of(row, 1)?)))
            .collect()
    }
}
