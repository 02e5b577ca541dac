//! Messages: storing them, in batches or one by one.

use std::time::Duration;

use postgres_types::Type;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::describe::{describe, describe_pool};
use super::failure::{Fault, refusal};
use super::lease::{Lease, Param};
use super::messages::dropped;
use super::{Store, column_of, raw_json, unknown_status};
use crate::error::{Denial, Error, Resource};
use crate::model::{ConversationId, NewMessage, RawJson, UserId};

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
    /// Held conversations come back as `Busy`; other rows (a sender's, where the host has a foreign key for it) are waited for.
    Skip { wait: Duration },
    /// All are waited for.
    Wait(Duration),
}

impl Locks {
    /// Whether a conversation that somebody holds is waited for, and not left out.
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

/// Why a whole batch failed. But for `Unanswered` and `Silent`, nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum SendFailure {
    /// The connection broke or no answer came: stored or not, sending the same ids again is safe.
    #[error("{0}")]
    Unanswered(String),
    /// It was sent, and no answer came in time: as `Unanswered`, but something in the batch may take that long, and not only the
    /// connection or the server.
    #[error("{0}")]
    Silent(String),
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
    /// A trigger of the host's refuses something in the batch on purpose, which its sender is to be told.
    #[error("{0}")]
    Denied(Denial),
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
        let mut lease = self.lease_to_write(deadline).await?;
        let query = async {
            match batch {
                [one] if !again => self.query_one(&mut lease, one, locks).await,
                _ => {
                    let call = Call::of(batch, again, locks);
                    lease.query(&self.send(), &call.params()).await
                }
            }
        };
        let Ok(answer) = timeout_at(deadline, query).await else {
            lease.abandon();
            return Err(silent());
        };
        lease.settle(answer.as_ref().err());
        self.outcomes(batch, answer)
    }

    /// Stores each message in a transaction of its own, in one round trip for each [`AT_ONCE`](super::AT_ONCE) and all of them within
    /// `timeout`; what came of them comes in the order of the batch. Any of it may be stored already.
    pub async fn send_each(
        &self,
        batch: &[&Outgoing],
        locks: Locks,
        timeout: Duration,
    ) -> Result<Vec<Result<Outcome, SendFailure>>, SendFailure> {
        let deadline = Instant::now() + timeout;
        let mut lease = self.lease_to_write(deadline).await?;
        let parts: Vec<_> = batch.chunks(1).collect();
        let calls: Vec<_> = parts.iter().map(|one| Call::of(one, true, locks)).collect();
        let params: Vec<_> = calls.iter().map(|call| call.params().to_vec()).collect();
        let asked = timeout_at(deadline, lease.query_each(&self.send(), &params)).await;
        let Ok(answers) = asked else {
            lease.abandon();
            return Err(silent());
        };
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) => {
                lease.settle([&error]);
                return Err(self.send_failure(&error));
            }
        };
        lease.settle(answers.iter().filter_map(|answer| answer.as_ref().err()));
        let outcomes = parts.iter().zip(answers).map(|(one, answer)| {
            let mut outcomes = self.outcomes(one, answer)?;
            outcomes.pop().ok_or_else(silent)
        });
        Ok(outcomes.collect())
    }

    async fn lease_to_write(&self, deadline: Instant) -> Result<Lease, SendFailure> {
        match timeout_at(deadline, self.shared.write_pool.get()).await {
            Ok(Ok(client)) => Ok(self.lease_of(client)),
            Ok(Err(error)) => Err(SendFailure::Unanswered(describe_pool(&error))),
            Err(_) => Err(SendFailure::Unanswered("no connection in time".to_owned())),
        }
    }

    /// What one transaction answered about `batch`.
    fn outcomes(
        &self,
        batch: &[&Outgoing],
        answer: Result<Vec<Row>, tokio_postgres::Error>,
    ) -> Result<Vec<Outcome>, SendFailure> {
        let rows = answer.map_err(|error| self.send_failure(&error))?;
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
        match Fault::of(error) {
            Fault::NoConnection | Fault::ConnectionLost | Fault::NoAnswer => {
                SendFailure::Unanswered(text)
            }
            Fault::StatementLost => {
                self.shared.write_pool.renew_sessions();
                SendFailure::Suspect(text)
            }
            Fault::Held => SendFailure::Locked(text),
            Fault::Collided => SendFailure::Collided(text),
            Fault::TooSlow | Fault::SearchGivenUp | Fault::Exhausted => {
                SendFailure::Exhausted(text)
            }
            Fault::Denied => SendFailure::Denied(refusal(error)),
            Fault::Refused if is_suspect(error) => SendFailure::Suspect(text),
            Fault::OtherAnswer | Fault::Refused => SendFailure::Refused(text),
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
            self.shared.prefix
        );
        let message = &outgoing.message;
        let (skip_locked, wait_ms) = locks.parameters();
        let params: [Param<'_>; 8] = [
            (&outgoing.id, Type::UUID),
            (&message.conversation, Type::UUID),
            (&message.sender, Type::UUID),
            (&message.content, Type::TEXT),
            (&message.message_type.name(), Type::TEXT),
            (&message.client_message_id, Type::TEXT),
            (&skip_locked, Type::BOOL),
            (&wait_ms, Type::INT4),
        ];
        lease.query(&sql, &params).await
    }

    /// Stores a batch; its parameters are those of a [`Call`].
    fn send(&self) -> String {
        format!(
            "select status, message from {}chat_send_messages($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            self.shared.prefix
        )
    }
}

/// A batch as the function in SQL takes it.
struct Call<'a> {
    ids: Vec<Uuid>,
    conversations: Vec<ConversationId>,
    senders: Vec<UserId>,
    contents: Vec<&'a str>,
    types: Vec<&'a str>,
    client_ids: Vec<Option<&'a str>>,
    skip_locked: bool,
    wait_ms: i32,
    again: bool,
}

impl<'a> Call<'a> {
    fn of(batch: &[&'a Outgoing], again: bool, locks: Locks) -> Self {
        let messages = || batch.iter().map(|outgoing| &outgoing.message);
        let (skip_locked, wait_ms) = locks.parameters();
        Self {
            ids: batch.iter().map(|outgoing| outgoing.id).collect(),
            conversations: messages().map(|m| m.conversation).collect(),
            senders: messages().map(|m| m.sender).collect(),
            contents: messages().map(|m| m.content.as_str()).collect(),
            types: messages().map(|m| m.message_type.name()).collect(),
            client_ids: messages().map(|m| m.client_message_id.as_deref()).collect(),
            skip_locked,
            wait_ms,
            again,
        }
    }

    fn params(&self) -> [Param<'_>; 9] {
        [
            (&self.ids, Type::UUID_ARRAY),
            (&self.conversations, Type::UUID_ARRAY),
            (&self.senders, Type::UUID_ARRAY),
            (&self.contents, Type::TEXT_ARRAY),
            (&self.types, Type::TEXT_ARRAY),
            (&self.client_ids, Type::TEXT_ARRAY),
            (&self.skip_locked, Type::BOOL),
            (&self.wait_ms, Type::INT4),
            (&self.again, Type::BOOL),
        ]
    }
}

/// Refused, and a repeat may mend it.
fn is_suspect(error: &tokio_postgres::Error) -> bool {
    let mended = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::TRIGGERED_DATA_CHANGE_VIOLATION,
    ];
    error.code().is_some_and(|code| mended.contains(code))
}

fn silent() -> SendFailure {
    SendFailure::Silent("no answer in time".to_owned())
}

fn outcome(outgoing: &Outgoing, row: &Row) -> Result<Outcome, Error> {
    let status: &str = column_of(row, 0)?;
    let message = || column_of::<String>(row, 1).and_then(raw_json);
    Ok(match status {
        "stored" => Outcome::Stored(message()?),
        "repeated" => Outcome::Repeated(message()?),
        "busy" => Outcome::Busy,
        "dropped" => Outcome::Refused(dropped("a message")),
        "conflict" => Outcome::Refused(Error::ClientMessageIdReused),
        "no_conversation" => Outcome::Refused(Error::not_found(
            Resource::Conversation,
            outgoing.message.conversation,
        )),
        "no_sender" => Outcome::Refused(Error::not_found(Resource::User, outgoing.message.sender)),
        "not_a_participant" => Outcome::Refused(Error::Forbidden(Denial::NotAParticipant)),
        other => return Err(unknown_status(other)),
    })
}
