//! What a client missed: the reading side of `?cursor=`.
//!
//! Order of a session's start: register with the hub (live events then wait in its queue), resume,
//! send the frames, go live, skipping what was sent already.

mod fair_semaphore;

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::config::Config;
use crate::error::Error;
use crate::frame::{self, Cursor};
use crate::hub::{Event, Hub, Subject};
use crate::limits::{Holder, MemoryBudget, Reservation};
use crate::model::UserId;
use crate::store::{Change, Horizon, Incarnation, MissedChanges, MissedRead, Snapshot, Store};

pub use fair_semaphore::Permit;

use fair_semaphore::FairSemaphore;

/// Reads what clients missed.
#[derive(Clone)]
pub struct Replay {
    store: Store,
    hub: Hub,
    limits: ReplayLimits,
    semaphore: FairSemaphore,
    /// For what was read and is not sent yet. Apart from the permits: a client that takes what it missed slowly keeps no other from reading.
    budget: MemoryBudget,
}

/// Bounds of one replay; beyond them the client reloads.
#[derive(Clone, Copy, Debug)]
pub struct ReplayLimits {
    /// `REPLAY_EVENTS`.
    pub events: usize,
    /// `REPLAY_BYTES`, of the events' data.
    pub bytes: usize,
    /// `REPLAY_PARALLEL`, of all users, one client of each: after a replica's death many come back at once, and each read
    /// competes with the writer for PostgreSQL's time. As many times `bytes` may wait to be sent.
    pub parallel: usize,
    /// `DB_TIMEOUT_SECONDS`, for one's permit.
    pub patience: Duration,
}

impl From<&Config> for ReplayLimits {
    fn from(config: &Config) -> Self {
        Self {
            events: config.limits.replay_events,
            bytes: config.limits.replay_bytes,
            parallel: config.limits.replay_parallel,
            patience: config.timeouts.database,
        }
    }
}

/// How a client with a cursor goes on.
pub enum Resume {
    Missed(Missed),
    /// The client must reload over HTTP, then go on with `cursor`.
    ResyncRequired {
        reason: &'static str,
        cursor: String,
    },
}

/// The frames to send before anything live, and the memory of what they held.
pub struct Missed {
    pub unsent: Unsent,
    rows: HashMap<Subject, i64>,
    /// What had ended when it was read: no read mark or reload of it is told behind what came of it since. Not after a crash, which
    /// gives numbers out again.
    snapshot: Snapshot,
    incarnation: Option<Incarnation>,
    /// The client's own horizon: it has seen everything below, perhaps on another replica, while this one's
    /// listener was behind and will deliver it yet.
    seen_below: Horizon,
    over: bool,
}

/// What waits for the client to take it, and holds its part of the memory budget meanwhile.
#[derive(Default)]
pub struct Unsent {
    pub frames: Vec<Utf8Bytes>,
    _reservation: Reservation,
}

/// What to do with a live event after a replay.
#[derive(Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Not sent yet.
    New,
    /// The socket has seen an earlier state of the row: send it as an update.
    Later,
    /// The socket has it.
    Sent,
}

impl Replay {
    pub fn new(store: Store, hub: Hub, limits: ReplayLimits) -> Self {
        Self {
            store,
            hub,
            limits,
            semaphore: FairSemaphore::new(limits.parallel),
            budget: MemoryBudget::new(limits.bytes.saturating_mul(limits.parallel)),
        }
    }

    /// Waits until it is the turn of `user` to be read for; to drop this is to give the place up. Until `ahead` has come about the user
    /// stands in nobody else's way. `Unavailable` when it takes too long, or too many others wait.
    pub async fn acquire(
        &self,
        user: UserId,
        ahead: impl Future<Output = ()>,
    ) -> Result<Permit, Error> {
        match timeout(self.limits.patience, self.semaphore.acquire(user, ahead)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Error::unavailable("too many wait for what they missed")),
        }
    }

    /// Reads everything since `cursor` of the user whose turn it is. Call it after the socket is registered with the hub.
    ///
    /// `Unavailable` when the database is.
    pub async fn resume(&self, permit: Permit, cursor: &str) -> Result<Resume, Error> {
        let user = permit.user();
        let Some(position) = self.hub.position() else {
            return Err(Error::unavailable("the service is starting"));
        };
        let incarnation = self.hub.incarnation();
        let resync = |reason| {
            Ok(Resume::ResyncRequired {
                reason,
                cursor: position.encode(),
            })
        };
        let Some(asked) = Cursor::decode(cursor) else {
            return resync("the cursor is not one of ours");
        };
        let limit = i64::try_from(self.limits.events).unwrap_or(i64::MAX - 1) + 1;
        let bytes = i64::try_from(self.limits.bytes).unwrap_or(i64::MAX);
        let read = self.store.missed(user, asked.horizon, limit, bytes).await?;
        let MissedRead::Changes(read) = read else {
            // With the same cursor it would take as long the next time, and each time after that.
            return resync("what happened since the cursor takes too long to read");
        };
        // The database's own word: right after a failover the listener does not know it yet.
        if read.identity != position.identity {
            return Err(Error::unavailable(
                "the service is moving to another database server",
            ));
        }
        if asked.identity != position.identity {
            return resync("the cursor belongs to another database");
        }
        if asked.horizon.0 > read.snapshot.end() {
            return resync("the cursor is from the future");
        }
        if read.purged {
            return resync(
                "since the cursor a conversation was deleted, or messages were removed for their age",
            );
        }
        let MissedChanges {
            changes,
            snapshot,
            too_large,
            ..
        } = read;
        if changes.len() > self.limits.events || too_large {
            return resync("too much has happened since the cursor");
        }
        let size = changes.iter().map(|change| change.data.len()).sum();
        let Some(reservation) = self.budget.reserve(Holder::User(user), size) else {
            return resync("too much that was missed waits for its clients to take it");
        };
        // The hub's horizon was flushed and is below that snapshot; what it is above was sent.
        let reached = Cursor {
            identity: position.identity,
            horizon: position.horizon.max(asked.horizon),
        };
        let mut missed = Missed::new(changes, &asked, &reached, snapshot, reservation);
        missed.incarnation = incarnation;
        Ok(Resume::Missed(missed))
    }
}

impl Missed {
    /// All frames but the last carry the cursor that was asked for: the order is by conversation, so only
    /// the end of it is a new position.
    fn new(
        changes: Vec<Change>,
        asked: &Cursor,
        reached: &Cursor,
        snapshot: Snapshot,
        reservation: Reservation,
    ) -> Self {
        let seen_below = asked.horizon;
        let (asked, reached) = (asked.encode(), reached.encode());
        let now = chrono::Utc::now().timestamp();
        let last = changes.len().saturating_sub(1);
        let mut missed = Self {
            unsent: Unsent {
                frames: Vec::with_capacity(changes.len()),
                _reservation: reservation,
            },
            rows: HashMap::new(),
            snapshot,
            incarnation: None,
            seen_below,
            over: false,
        };
        // One after the other is let go, so that the data is not there twice.
        for (place, change) in changes.into_iter().enumerate() {
            let cursor = if place == last { &reached } else { &asked };
            missed.unsent.frames.push(frame::durable(
                &change.event_type,
                &change.data,
                change.user,
                now,
                cursor,
            ));
            let subject = Subject::of(
                &change.event_type,
                change.subject,
                change.conversation,
                change.xid,
            );
            if !matches!(subject, Subject::Read { .. }) {
                missed.rows.insert(subject, change.version);
            }
        }
        missed
    }

    /// As after the replay of this one row, which can be repeated until the horizon has passed `end`.
    #[cfg(test)]
    pub fn of_row(row: uuid::Uuid, version: i64, end: u64) -> Self {
        Self {
            unsent: Unsent::default(),
            rows: HashMap::from([(Subject::Row(row), version)]),
            snapshot: Snapshot::until(end),
            incarnation: None,
            seen_below: Horizon::default(),
            over: false,
        }
    }

    /// Whether the client has a live event already, from the replay or from before its cursor; `incarnation`: the listener's, which is
    /// asked for read marks and reloads only.
    pub fn repeat(
        &mut self,
        event: &Event,
        incarnation: impl FnOnce() -> Option<Incarnation>,
    ) -> Repeat {
        if self.is_over_at(event.horizon) {
            self.over = true;
            return Repeat::New;
        }
        if event.xid < self.seen_below.0 {
            return Repeat::Sent;
        }
        match event.subject {
            subject @ (Subject::Row(_) | Subject::Conversation { .. }) => {
                match self.rows.get(&subject) {
                    // It was changed since, and the client has seen it before its cursor.
                    None if event.was_inserted_below(self.seen_below) => Repeat::Later,
                    None => Repeat::New,
                    Some(sent) if *sent >= event.version => Repeat::Sent,
                    Some(_) => Repeat::Later,
                }
            }
            Subject::Read { xid, .. } | Subject::Reload { xid, .. } => {
                let has_ended = self.snapshot.includes(xid) && incarnation() == self.incarnation;
                match has_ended {
                    true => Repeat::Sent,
                    false => Repeat::New,
                }
            }
        }
    }

    /// Whether nothing can repeat any more: then this is no longer needed.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The same, for a socket that has taken all that the hub had for it when its horizon was this.
    pub fn is_over_at(&self, horizon: Horizon) -> bool {
        horizon > Horizon(self.snapshot.end())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::hub::AsUpdate;
    use crate::store::Identity;

    #[test]
    fn what_a_client_saw_before_its_cursor_comes_as_an_update_where_the_listener_is_behind() {
        let at = |horizon| Cursor {
            identity: Identity("a".into()),
            horizon: Horizon(horizon),
        };
        let mut missed = Missed::new(
            Vec::new(),
            &at(100),
            &at(110),
            Snapshot::until(130),
            Reservation::default(),
        );
        let mut repeat = |created, xid| {
            let event = Event {
                subject: Subject::Row(Uuid::nil()),
                version: 2,
                xid,
                horizon: Horizon::default(),
                frame: "chat_message".into(),
                made_at: None,
                as_update: Some(AsUpdate {
                    frame: "message_updated".into(),
                    created,
                }),
            };
            missed.repeat(&event, || None)
        };
        assert_eq!(repeat(Some(99), 120), Repeat::Later);
        assert_eq!(repeat(Some(100), 120), Repeat::New);
        assert_eq!(repeat(None, 120), Repeat::New);
        assert_eq!(repeat(Some(90), 99), Repeat::Sent);
    }

    #[test]
    fn what_was_replayed_is_told_from_what_is_new_until_an_event_says_that_no_repeat_can_come() {
        let row = Uuid::from_u128(1);
        let mut missed = Missed::of_row(row, 2, 130);
        let mut repeat = |version, horizon| {
            let event = Event {
                subject: Subject::Row(row),
                version,
                xid: 120,
                horizon: Horizon(horizon),
                frame: "message_updated".into(),
                made_at: None,
                as_update: None,
            };
            let repeat = missed.repeat(&event, || None);
            (repeat, missed.is_over())
        };
        assert_eq!(repeat(2, 130), (Repeat::Sent, false));
        assert_eq!(repeat(3, 130), (Repeat::Later, false));
        assert_eq!(repeat(2, 131), (Repeat::New, true));
    }

    /// Whatever a mark covers: what was read may be unread again, and be read once more.
    #[test]
    fn a_read_mark_or_a_reload_is_repeated_by_any_transaction_that_the_replay_has_seen_the_end_of()
    {
        let id = Uuid::nil();
        let mark = |xid| Subject::Read {
            conversation: id,
            reader: id,
            xid,
        };
        let reload = |xid| Subject::Reload { user: id, xid };
        let at = Cursor {
            identity: Identity("a".into()),
            horizon: Horizon(90),
        };
        let snapshot = Snapshot::parse("100:130:100,110").expect("a snapshot");
        let mut missed = Missed::new(Vec::new(), &at, &at, snapshot, Reservation::default());
        let here = Some(Incarnation(Uuid::from_u128(1)));
        missed.incarnation = here;
        let mut repeat = |xid, incarnation| {
            let [one, other] = [mark(xid), reload(xid)].map(|subject| {
                let event = Event {
                    subject,
                    version: 5,
                    xid,
                    horizon: Horizon::default(),
                    frame: "{}".into(),
                    made_at: None,
                    as_update: None,
                };
                missed.repeat(&event, || incarnation)
            });
            assert_eq!(one, other);
            one
        };
        assert_eq!(repeat(105, here), Repeat::Sent);
        assert_eq!(repeat(110, here), Repeat::New);
        assert_eq!(repeat(130, here), Repeat::New);
        // A crash may have given the number to something else.
        let there = Some(Incarnation(Uuid::from_u128(2)));
        assert_eq!(repeat(105, there), Repeat::New);
    }
}
