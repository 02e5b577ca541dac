//! What has changed at or above a horizon, of everybody or of one user, and the rows that an event without data refers to.

use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use postgres_types::{ToSql, Type};
use tokio_postgres::{Row, RowStream};
use uuid::Uuid;

use super::failure::QueryFailure;
use super::lease::Lease;
use super::position::{identity, parse_snapshot, xid};
use super::{Statement, Store, column_of, single};
use crate::error::Error;
use crate::model::{ConversationId, MessageId, Revision, Seq, UserId};
use crate::position::{Horizon, Identity, Snapshot, Xid};

/// How long a database may take to answer that has not read in time what a client missed: as for a probe. It is asked over the connections
/// that heartbeats need.
const PING_PATIENCE: Duration = Duration::from_secs(2);

/// One event as it is read from the tables.
#[derive(Clone, Debug)]
pub struct Change {
    pub event_type: String,
    /// Its type for users who were told of the row before: an insertion becomes an update.
    pub later_type: String,
    pub user: UserId,
    pub recipients: [UserId; 2],
    /// The message; for `messages_read` the reader; for `conversation_created` the conversation; for `resync_required` the user.
    pub subject: Uuid,
    pub conversation: ConversationId,
    /// The message's revision; for `messages_read` the seq; else 0.
    pub version: i64,
    pub xid: Xid,
    /// The transaction that inserted the row, where it is a message that is still there.
    pub create_xid: Option<Xid>,
    pub data: String,
}

/// What one user missed, as far as it is of use.
#[derive(Debug)]
pub enum MissedRead {
    Changes(MissedChanges),
    /// To read it takes longer than a statement may, at a database that answers otherwise.
    TooSlow,
}

/// What one user missed.
#[derive(Debug)]
pub struct MissedChanges {
    /// The database that it was read from.
    pub identity: Identity,
    /// What had ended by then: all that came of it is in `changes`, or from before what was asked for.
    pub snapshot: Snapshot,
    /// Something that the user has not seen is not there any more, and no event tells of it: messages that `chat_purge` removed, or a
    /// conversation.
    pub purged: bool,
    /// There is more than the bytes that were asked for.
    pub too_large: bool,
    pub changes: Vec<Change>,
}

/// What an event may refer to. Other programs may give a message the id of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowId {
    Message(MessageId),
    Conversation(ConversationId),
}

/// What events without data refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack<'a> {
    Messages(&'a [MessageId]),
    Conversations(&'a [ConversationId]),
}

impl ReadBack<'_> {
    pub fn is_empty(self) -> bool {
        match self {
            Self::Messages(ids) => ids.is_empty(),
            Self::Conversations(ids) => ids.is_empty(),
        }
    }
}

/// One row that an event without data refers to, as it is now: perhaps later than the event.
#[derive(Debug)]
pub struct RowBack {
    pub id: RowId,
    /// The types of its event: for users who have not heard of the row before, and for those who have.
    pub event_type: String,
    pub later_type: String,
    /// Whose it is, now.
    pub participants: [UserId; 2],
    /// The message's; of a conversation 0.
    pub seq: Seq,
    pub revision: Revision,
    /// The transactions that made it this version, and that inserted it; none in rows of adopted tables that nobody has changed.
    pub change_xid: Option<Xid>,
    pub create_xid: Option<Xid>,
    pub data: String,
    /// The data with an earlier `updatedAt`, of a message that is unread again.
    pub earlier_data: Option<String>,
    /// The transaction of the newest change of whatever is in `data`.
    pub xid: Option<Xid>,
}

/// Changes on their way from the database.
pub struct Changes {
    lease: Lease,
    rows: Pin<Box<RowStream>>,
    snapshot: Snapshot,
    /// Bound of the wait for one row.
    timeout: Duration,
}

impl Changes {
    /// What had ended when all of them were read; nothing until there is one.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The next change; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Change>, Error> {
        match tokio::time::timeout(self.timeout, self.rows.next()).await {
            Ok(Some(Ok(row))) => {
                if let Some(text) = column_of::<Option<String>>(&row, CHANGE_WIDTH)? {
                    self.snapshot = parse_snapshot(&text)?;
                }
                change(&row).map(Some)
            }
            Ok(Some(Err(error))) => Err(QueryFailure::of(&error).into()),
            Ok(None) => {
                self.lease.give_back();
                Ok(None)
            }
            Err(_) => {
                self.lease.abandon();
                Err(QueryFailure::no_answer().into())
            }
        }
    }
}

impl Store {
    /// Whether a catch-up from `horizon` would read more than `most` rows, those aside that had ended in `before`.
    pub async fn changes_exceed(
        &self,
        horizon: Horizon,
        before: &Snapshot,
        most: i64,
    ) -> Result<bool, Error> {
        let params = [
            (&horizon.to_text() as _, Type::TEXT),
            (&before.to_text() as _, Type::TEXT),
            (&most as _, Type::INT8),
        ];
        let call = "chat_changes_exceed($1::text::xid8, $2::text::pg_snapshot, $3)";
        let statement = self.select("*", call, &params);
        let rows = self.read_on(&self.shared.vital_pool, &statement).await?;
        single(&rows, 0)
    }

    /// Whether something that a catch-up from `horizon` would have to read was removed for its age, what had ended in `before` aside.
    pub async fn changes_removed(
        &self,
        horizon: Horizon,
        before: &Snapshot,
    ) -> Result<bool, Error> {
        let params = [
            (&horizon.to_text() as _, Type::TEXT),
            (&before.to_text() as _, Type::TEXT),
        ];
        let call = "chat_changes_removed($1::text::xid8, $2::text::pg_snapshot)";
        let statement = self.select("*", call, &params);
        let rows = self.read_on(&self.shared.vital_pool, &statement).await?;
        single(&rows, 0)
    }

    /// Everything at or above `horizon`, of everybody, in an order in which it may be delivered. The rows
    /// are those of one snapshot, and are read as they are asked for: there may be many.
    pub async fn changes_since(&self, horizon: Horizon) -> Result<Changes, Error> {
        let sql = format!(
            "select {CHANGE_COLUMNS}, {SNAPSHOT} from {}chat_changes_since($1::text::xid8) with ordinality",
            self.shared.prefix
        );
        let mut lease = self.lease(&self.shared.vital_pool, self.deadline()).await?;
        let rows = lease
            .stream(&sql, horizon.to_text(), self.shared.timeout)
            .await
            .map_err(Error::from)?;
        Ok(Changes {
            lease,
            rows: Box::pin(rows),
            snapshot: Snapshot::default(),
            timeout: self.shared.timeout,
        })
    }

    /// Everything of one user at or above `horizon`, at most `limit` events and `bytes` of their data, with where that was read:
    /// one round trip, because after a replica's death thousands ask at once.
    pub async fn missed(
        &self,
        user: UserId,
        horizon: Horizon,
        limit: i64,
        bytes: i64,
    ) -> Result<MissedRead, Error> {
        let params = [
            (&user as _, Type::UUID),
            (&horizon.to_text() as _, Type::TEXT),
            (&limit as _, Type::INT8),
            (&bytes as _, Type::INT8),
        ];
        let columns = format!("{CHANGE_COLUMNS}, identity, {SNAPSHOT}, purged");
        let call = format!(
            "chat_identity() identity \
             cross join {0}chat_purged_since($1, $2::text::xid8) purged \
             left join {0}chat_missed($1, $2::text::xid8, $3, $4) with ordinality on true",
            self.shared.prefix
        );
        let statement = Statement {
            // What takes too long by that is itself too slow, and not what stood before it.
            own_time: Some(self.shared.timeout),
            ..self.select(&columns, &call, &params)
        };
        let rows = match self.read_on(&self.shared.pool, &statement).await {
            Err(failure) if failure.is_too_slow() => {
                self.ping(PING_PATIENCE).await?;
                return Ok(MissedRead::TooSlow);
            }
            other => other?,
        };
        let has = |row: &Row, column| matches!(row.try_get::<_, Option<&str>>(column), Ok(Some(_)));
        let (type_column, data_column) = (0, CHANGE_WIDTH - 1);
        Ok(MissedRead::Changes(MissedChanges {
            identity: identity(&rows, CHANGE_WIDTH)?,
            snapshot: parse_snapshot(single(&rows, CHANGE_WIDTH + 1)?)?,
            purged: single(&rows, CHANGE_WIDTH + 2)?,
            too_large: rows
                .iter()
                .any(|row| has(row, type_column) && !has(row, data_column)),
            changes: rows
                .iter()
                .filter(|row| has(row, data_column))
                .map(change)
                .collect::<Result<_, _>>()?,
        }))
    }

    /// The data of events that did not fit into a payload. Rows that are gone are left out.
    pub async fn read_back(&self, what: ReadBack<'_>) -> Result<Vec<RowBack>, Error> {
        let (call, ids): (_, &(dyn ToSql + Sync)) = match &what {
            ReadBack::Messages(ids) => ("chat_read_back($1)", ids),
            ReadBack::Conversations(ids) => ("chat_read_back_conversations($1)", ids),
        };
        let row_id = |id| match what {
            ReadBack::Messages(_) => RowId::Message(MessageId(id)),
            ReadBack::Conversations(_) => RowId::Conversation(ConversationId(id)),
        };
        let params = [(ids, Type::UUID_ARRAY)];
        let columns = "id, type, later_type, participant1_id, participant2_id, seq, revision, change_xid::text, \
             create_xid::text, data, earlier_data, xid::text";
        let statement = self.select(columns, call, &params);
        let rows = self.read_on(&self.shared.vital_pool, &statement).await?;
        rows.iter()
            .map(|row| {
                Ok(RowBack {
                    id: row_id(column_of(row, 0)?),
                    event_type: column_of(row, 1)?,
                    later_type: column_of(row, 2)?,
                    participants: [column_of(row, 3)?, column_of(row, 4)?],
                    seq: column_of(row, 5)?,
                    revision: column_of(row, 6)?,
                    change_xid: optional_xid(row, 7)?,
                    create_xid: optional_xid(row, 8)?,
                    data: column_of(row, 9)?,
                    earlier_data: column_of(row, 10)?,
                    xid: optional_xid(row, 11)?,
                })
            })
            .collect()
    }
}

const CHANGE_COLUMNS: &str = "type, later_type, user_id, participant1_id, participant2_id, subject, \
     conversation_id, revision, xid::text, create_xid::text, data";
const CHANGE_WIDTH: usize = 11;

/// The statement's own snapshot, in the first row: there may be a thousand of them, and as many transactions in it.
const SNAPSHOT: &str = "case when coalesce(ordinality, 1) = 1 then pg_current_snapshot()::text end";

fn change(row: &Row) -> Result<Change, Error> {
    Ok(Change {
        event_type: column_of(row, 0)?,
        later_type: column_of(row, 1)?,
        user: column_of(row, 2)?,
        recipients: [column_of(row, 3)?, column_of(row, 4)?],
        subject: column_of(row, 5)?,
        conversation: column_of(row, 6)?,
        version: column_of(row, 7)?,
        xid: xid(&column_of::<String>(row, 8)?)?,
        create_xid: optional_xid(row, 9)?,
        data: column_of(row, 10)?,
    })
}

fn optional_xid(row: &Row, column: usize) -> Result<Option<Xid>, Error> {
    let text: Option<String> = column_of(row, column)?;
    text.as_deref().map(xid).transpose()
}
