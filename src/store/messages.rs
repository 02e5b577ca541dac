//! Messages: storing them in batches, reading, editing, deleting.

use std::time::Duration;

use postgres_types::Type;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::failure::{Lost, describe, is_collision, is_exhaustion, lost};
use super::lease::{Lease, Param};
use super::{Listing, PAGE_BYTES, Page, Store, Window, column_of, listing, raw_json, single};
use crate::error::Error;
use crate::model::{ConversationId, MessageId, NewMessage, RawJson, Reader, UserId};

/// A message with the id that it will have, whatever happens to the connection meanwhile.
#[derive(Debug)]
pub struct Outgoing {
    pub id: Uuid,
    pub message: NewMessage,
}

/// What became of one message of a batch.
#[derive(Debug)]
pub enum Outcome {
    Stored(RawJson),
    /// Stored before, under the same `clientMessageId` or the same id.
    Repeated(RawJson),
    /// Somebody else holds the conversation: try again.
    Busy,
    Refused(Error),
}

/// What to do about rows that another transaction holds. Waits are PostgreSQL's `lock_timeout`.
#[derive(Clone, Copy, Debug)]
pub enum Locks {
    /// Held conversations come back as `Busy`; other rows (a sender's, for its foreign key) are waited for.
    Skip { wait: Duration },
    /// All are waited for.
    Wait(Duration),
}

impl Locks {
    pub fn waits_for_conversations(self) -> bool {
        matches!(self, Self::Wait(_))
    }

    /// As the functions in SQL take them: whether held conversations are left out, and how many milliseconds are waited.
    fn parameters(self) -> (bool, i32) {
        let (skip_locked, wait) = match self {
            Self::Skip { wait } => (true, wait),
            Self::Wait(wait) => (false, wait),
        };
        (
            skip_locked,
            i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        )
    }
}

/// Why a whole batch failed. But for `Unanswered`, nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum SendFailure {
    /// The connection broke or no answer came: stored or not, sending the same ids again is safe.
    #[error("{0}")]
    Unanswered(String),
    /// A row that the batch needs is held by another transaction for longer than it waits.
    #[error("{0}")]
    Locked(String),
    /// Another transaction was in the way (serialization, deadlock).
    #[error("{0}")]
    Collided(String),
    /// The same `clientMessageId` came at the same moment, a conversation's `last_seq` is behind its messages, a trigger of the
    /// host's updates the conversation before the insert, or a prepared statement is gone: a repeat mends these. What a
    /// repeat does not mend is refused.
    #[error("{0}")]
    Suspect(String),
    /// The server has too little of something, or ended the statement: its own trouble, or this batch is too much.
    #[error("{0}")]
    Exhausted(String),
    /// The database refuses something in the batch.
    #[error("{0}")]
    Refused(String),
}

impl SendFailure {
    /// A repeat of the same batch may go well, after a pause where the server has too little of something.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Collided(_) | Self::Suspect(_) | Self::Exhausted(_)
        )
    }
}

impl Store {
    /// Stores a batch in one transaction and one round trip, within `timeout`; outcomes come in the order of
    /// the batch. `again`: some of it may be stored already, by a batch whose answer was lost.
    pub async fn send_messages(
        &self,
        batch: &[&Outgoing],
        again: bool,
        locks: Locks,
        timeout: Duration,
    ) -> Result<Vec<Outcome>, SendFailure> {
        let deadline = Instant::now() + timeout;
        let mut lease = match timeout_at(deadline, self.write_pool.get()).await {
            Ok(Ok(client)) => self.lease_of(client),
            Ok(Err(error)) => return Err(SendFailure::Unanswered(error.to_string())),
            Err(_) => return Err(SendFailure::Unanswered("no connection in time".to_owned())),
        };
        let query = async {
            match batch {
                [one] if !again => self.query_one(&mut lease, one, locks).await,
                _ => self.query_batch(&mut lease, batch, again, locks).await,
            }
        };
        let answer = timeout_at(deadline, query).await;
        let rows = match answer {
            Ok(answer) => {
                lease.settle(&answer);
                answer.map_err(|error| self.send_failure(&error))?
            }
            Err(_) => {
                lease.abandon();
                return Err(SendFailure::Unanswered("no answer in time".to_owned()));
            }
        };
        if rows.len() != batch.len() {
            return Err(SendFailure::Refused(format!(
                "{} results for {} messages",
                rows.len(),
                batch.len()
            )));
        }
        batch
            .iter()
            .zip(&rows)
            .map(|(outgoing, row)| {
                outcome(outgoing, row).map_err(|e| SendFailure::Refused(e.with_cause().to_string()))
            })
            .collect()
    }

    fn send_failure(&self, error: &tokio_postgres::Error) -> SendFailure {
        let text = describe(error);
        match lost(error) {
            Some(Lost::Connection) => return SendFailure::Unanswered(text),
            Some(Lost::Statement) => {
                // Most probably it is gone from the other sessions as well.
                self.renew_writer_connections();
                return SendFailure::Suspect(text);
            }
            None => {}
        }
        if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) {
            SendFailure::Locked(text)
        } else if matches!(
            error.code(),
            Some(&SqlState::UNIQUE_VIOLATION | &SqlState::TRIGGERED_DATA_CHANGE_VIOLATION)
        ) {
            SendFailure::Suspect(text)
        } else if is_collision(error) {
            SendFailure::Collided(text)
        } else if is_exhaustion(error) {
            SendFailure::Exhausted(text)
        } else {
            SendFailure::Refused(text)
        }
    }

    /// A batch of one, which is most of them where little is sent: by a function that costs a good part less.
    async fn query_one(
        &self,
        lease: &mut Lease,
        outgoing: &Outgoing,
        locks: Locks,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let sql = format!(
            "select status, message from {}chat_store_message($1, $2, $3, $4, $5, $6, $7, $8)",
            self.prefix
        );
        let message = &outgoing.message;
        let (skip_locked, wait_ms) = locks.parameters();
        let params: [Param<'_>; 8] = [
            (&outgoing.id, Type::UUID),
            (&message.conversation.0, Type::UUID),
            (&message.sender.0, Type::UUID),
            (&message.content, Type::TEXT),
            (&message.message_type.as_str(), Type::TEXT),
            (&message.client_message_id, Type::TEXT),
            (&skip_locked, Type::BOOL),
            (&wait_ms, Type::INT4),
        ];
        lease.query(&sql, &params).await
    }

    async fn query_batch(
        &self,
        lease: &mut Lease,
        batch: &[&Outgoing],
        again: bool,
        locks: Locks,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let sql = format!(
            "select status, message from {}chat_send_messages($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            self.prefix
        );
        let ids: Vec<Uuid> = batch.iter().map(|o| o.id).collect();
        let conversations: Vec<Uuid> = batch.iter().map(|o| o.message.conversation.0).collect();
        let senders: Vec<Uuid> = batch.iter().map(|o| o.message.sender.0).collect();
        let contents: Vec<&str> = batch.iter().map(|o| o.message.content.as_str()).collect();
        let types: Vec<&str> = batch
            .iter()
            .map(|o| o.message.message_type.as_str())
            .collect();
        let client_ids: Vec<Option<&str>> = batch
            .iter()
            .map(|o| o.message.client_message_id.as_deref())
            .collect();
        let (skip_locked, wait_ms) = locks.parameters();
        let params: [Param<'_>; 9] = [
            (&ids, Type::UUID_ARRAY),
            (&conversations, Type::UUID_ARRAY),
            (&senders, Type::UUID_ARRAY),
            (&contents, Type::TEXT_ARRAY),
            (&types, Type::TEXT_ARRAY),
            (&client_ids, Type::TEXT_ARRAY),
            (&skip_locked, Type::BOOL),
            (&wait_ms, Type::INT4),
            (&again, Type::BOOL),
        ];
        lease.query(&sql, &params).await
    }

    /// A part of a conversation's history. `NotFound` when there is no such conversation; `Forbidden` when the
    /// reader is not a participant, whether there is one or not.
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
            (&conversation.0, Type::UUID),
            (&first, Type::INT8),
            (&second, Type::INT8),
            (&PAGE_BYTES, Type::INT8),
        ];
        let rows = match &reader {
            Reader::Anyone => self.read("*", call, &params).await?,
            // PostgreSQL asks the condition first, and once: nothing of the history is read for somebody else.
            Reader::Participant(user) => {
                params.push((&user.0, Type::UUID));
                let call = format!("{call} where {}chat_is_participant($1, $5)", self.prefix);
                self.read("*", &call, &params).await?
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
                "*",
                "chat_conversation_exists($1)",
                &[(&conversation.0, Type::UUID)],
            )
            .await?;
        match single(&known, 0)? {
            true => Ok(()),
            false => Err(Error::not_found("conversation", conversation)),
        }
    }

    /// Replaces a message's content; the sender only. Returns the Message.
    pub async fn edit_message(
        &self,
        message: MessageId,
        editor: UserId,
        content: &str,
    ) -> Result<RawJson, Error> {
        let params = [
            (&message.0 as _, Type::UUID),
            (&editor.0 as _, Type::UUID),
            (&content as _, Type::TEXT),
        ];
        let rows = self
            .change_row(
                message.0,
                "chat_edit_message($1, $2, $3)",
                &params,
                self.deadline(),
            )
            .await?;
        let status: String = single(&rows, 0)?;
        author_verdict(&status, message, editor)?;
        raw_json(single(&rows, 1)?)
    }

    /// Deletes a message softly; the sender only. A second time is fine.
    pub async fn delete_message(&self, message: MessageId, deleter: UserId) -> Result<(), Error> {
        let params = [(&message.0 as _, Type::UUID), (&deleter.0 as _, Type::UUID)];
        let rows = self
            .change_row(
                message.0,
                "chat_delete_message($1, $2)",
                &params,
                self.deadline(),
            )
            .await?;
        let status: String = single(&rows, 0)?;
        author_verdict(&status, message, deleter)
    }
}

/// A trigger's function has returned null.
fn dropped(what: &str) -> Error {
    Error::Internal(format!("a trigger of the host's has dropped {what}").into())
}

/// The statuses of `chat_judge_author()` and `chat_why_unchanged()`, as errors.
fn author_verdict(status: &str, message: MessageId, author: UserId) -> Result<(), Error> {
    match status {
        "ok" => Ok(()),
        "no_message" => Err(Error::not_found("message", message)),
        "deleted" => Err(Error::MessageDeleted(message)),
        "dropped" => Err(dropped("a change of a message")),
        "no_user" => Err(Error::not_found("user", author)),
        "not_the_sender" => Err(Error::Forbidden {
            code: "not_the_sender",
            message: "only the sender of a message may change it".to_owned(),
        }),
        _ => Err(Error::not_a_participant()),
    }
}

fn outcome(outgoing: &Outgoing, row: &Row) -> Result<Outcome, Error> {
    let status: &str = column_of(row, 0)?;
    let message = || column_of::<String>(row, 1).and_then(raw_json);
    Ok(match status {
        "stored" => Outcome::Stored(message()?),
        "repeated" => Outcome::Repeated(message()?),
        "busy" => Outcome::Busy,
        "dropped" => Outcome::Refused(dropped("a message")),
        "conflict" => Outcome::Refused(Error::Conflict(
            "this clientMessageId stands for another message of the same sender".to_owned(),
        )),
        "no_conversation" => Outcome::Refused(Error::not_found(
            "conversation",
            outgoing.message.conversation,
        )),
        "no_sender" => Outcome::Refused(Error::not_found("user", outgoing.message.sender)),
        "not_a_participant" => Outcome::Refused(Error::not_a_participant()),
        other => return Err(Error::Internal(format!("unknown status {other:?}").into())),
    })
}
