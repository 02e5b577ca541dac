//! What a client missed: the reading side of `?cursor=`, on a socket and over HTTP.
//!
//! Order of a session's start: register with the hub (live events then wait in its queue), resume,
//! send the frames, go live, skipping what was sent already. Over HTTP nothing follows live, so nothing is registered and
//! remembered: who asks again is told once more what is at or above their cursor.

mod rows;
mod since;

use crate::config::Config;
use crate::error::Error;
use crate::frame::{EventType, Frame};
use crate::hub::{Event, Hub, Novelty, Subject};
use crate::limits::{Holder, MemoryBudget, Reservation};
#[cfg(test)]
use crate::model::MessageId;
use crate::model::{UnixSeconds, UserId};
use crate::position::{Cursor, Horizon, Incarnation, Snapshot};
use crate::store::{MissedChanges, MissedRead, Store};

use rows::Rows;
use since::{Since, Told};

pub use since::CaughtUp;

/// Bytes that sockets remember of their replays, all together, while something that they were sent may come once more.
const REMEMBERED: usize = 64 * 1024 * 1024;

/// What takes no more is not counted.
const LITTLE: usize = 1024;

/// Reads what clients missed.
#[derive(Clone)]
pub struct Replay {
    store: Store,
    hub: Hub,
    limits: ReplayLimits,
    /// For what was read and is not sent yet. Apart from the turns: a client that takes what it missed slowly keeps no other from reading.
    budget: MemoryBudget,
    /// For what was sent and may come once more.
    memory: MemoryBudget,
}

/// Bounds of one replay; beyond them the client reloads.
#[derive(Clone, Copy, Debug)]
pub struct ReplayLimits {
    /// `REPLAY_EVENTS`.
    pub events: usize,
    /// `REPLAY_BYTES`, of the events' data.
    pub bytes: usize,
    /// `REPLAY_PARALLEL`: as many times `bytes` may wait to be sent.
    pub parallel: usize,
}

impl From<&Config> for ReplayLimits {
    fn from(config: &Config) -> Self {
        Self {
            events: config.limits.replay_events,
            bytes: config.limits.replay_bytes,
            parallel: config.limits.replay_parallel,
        }
    }
}

/// A user's turn to be read for, until it is dropped and what it reads has ended.
pub struct ReplayTurn {
    user: UserId,
    store: Store,
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
    rows: Rows,
    _remembered: Reservation,
    /// What had ended when it was read, and so is told with it, or not at all: no read mark or reload of it behind what came of it since, and no
    /// row that the client has seen. Not after a crash, which gives numbers out again, as it does the revisions of `rows`.
    snapshot: Snapshot,
    incarnation: Option<Incarnation>,
    /// The client's own horizon: it has seen everything below, perhaps on another replica, while this one's
    /// listener was behind and will deliver it yet.
    seen_below: Horizon,
}

/// What waits for the client to take it, and holds its part of the memory budget meanwhile.
#[derive(Default)]
pub struct Unsent {
    pub frames: Vec<Frame>,
    _reservation: Reservation,
}

impl Replay {
    pub fn new(store: Store, hub: Hub, limits: ReplayLimits) -> Self {
        Self {
            store,
            hub,
            limits,
            budget: MemoryBudget::new(limits.bytes.saturating_mul(limits.parallel)),
            memory: MemoryBudget::exempting(LITTLE, REMEMBERED),
        }
    }

    /// Waits until it is the turn of `user` to be read for; to drop this is to give the place up. Until `ahead` has come about, for one of
    /// their sockets at a time, the user stands in nobody else's way. `Unavailable` when it takes too long, or too many others wait.
    pub async fn acquire(
        &self,
        user: UserId,
        ahead: impl Future<Output = ()>,
    ) -> Result<ReplayTurn, Error> {
        let turns = self.store.replays();
        let turn = turns.of_after(Holder::User(user), ahead).await?;
        let store = self.store.in_turn(turn);
        Ok(ReplayTurn { user, store })
    }

    /// The same for a request of the user's, in the line of their sockets; none where as many as `most` of these are read for or wait.
    pub async fn acquire_within(
        &self,
        user: UserId,
        most: usize,
    ) -> Result<Option<ReplayTurn>, Error> {
        let turns = self.store.replays();
        let turn = turns.of_within(Holder::User(user), most).await?;
        let store = turn.map(|turn| self.store.in_turn(turn));
        Ok(store.map(|store| ReplayTurn { user, store }))
    }

    /// Reads everything since `cursor` of the user whose turn it is. Call it after the socket is registered with the hub.
    ///
    /// `Unavailable` when the database is.
    pub async fn resume(&self, turn: ReplayTurn, cursor: &str) -> Result<Resume, Error> {
        let since = match self.read(&turn, cursor, self.limits.bytes).await? {
            Told::Since(since) => since,
            Told::ResyncRequired { reason, cursor } => {
                return Ok(Resume::ResyncRequired { reason, cursor });
            }
        };
        let resync = |reason| {
            Ok(Resume::ResyncRequired {
                reason,
                cursor: since.reached.encode(),
            })
        };
        let user = turn.user;
        let size = since.changes.iter().map(|change| change.data.len()).sum();
        let Some(reservation) = self.budget.reserve(Holder::User(user), size) else {
            return resync("too much that was missed waits for its clients to take it");
        };
        let remembered = self.room_to_remember(user, since.changes.len(), &since.snapshot);
        let Some(remembered) = remembered else {
            return resync("too much of what was missed may come once more");
        };
        let missed = Missed::new(since, (reservation, remembered));
        Ok(Resume::Missed(missed))
    }

    /// Where somebody is who has loaded everything from now on.
    ///
    /// `Unavailable` before the listener has begun.
    pub fn position(&self) -> Result<String, Error> {
        Ok(self.database_position()?.encode())
    }

    /// Reads everything since `cursor` of the user whose turn it is, for a caller who has no socket, and is told nothing of what comes later;
    /// without one nothing, and where to go on from. No more than `most_bytes` of the events' data, also where `REPLAY_BYTES` is more. `NotFound` when there is no such user, `Unavailable` when the database is.
    pub async fn catch_up(
        &self,
        turn: ReplayTurn,
        cursor: Option<&str>,
        most_bytes: usize,
    ) -> Result<CaughtUp, Error> {
        let user = turn.user;
        turn.store.require_user(user).await?;
        let Some(cursor) = cursor else {
            return Ok(CaughtUp {
                events: Vec::new(),
                cursor: self.position()?,
            });
        };
        let bytes = self.limits.bytes.min(most_bytes);
        Ok(self.read(&turn, cursor, bytes).await?.listed(user))
    }

    fn database_position(&self) -> Result<Cursor, Error> {
        let position = self.hub.position();
        position.ok_or_else(|| Error::unavailable("the service is starting"))
    }

    /// With at most so many `bytes` of the events' data.
    async fn read(&self, turn: &ReplayTurn, cursor: &str, bytes: usize) -> Result<Told, Error> {
        // Before the reading, which so has all that had ended by then.
        let position = self.database_position()?;
        let incarnation = self.hub.incarnation();
        let resync = |reason| {
            Ok(Told::ResyncRequired {
                reason,
                cursor: position.encode(),
            })
        };
        let Some(asked) = Cursor::decode(cursor) else {
            return resync("the cursor is not one of ours");
        };
        // Of another database only its word on its identity is of use. After a failover all clients come with such cursors.
        let limit = match asked.identity == position.identity {
            true => i64::try_from(self.limits.events).unwrap_or(i64::MAX - 1) + 1,
            false => 0,
        };
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let read = turn.store.missed(turn.user, asked.horizon, limit, bytes);
        let MissedRead::Changes(read) = read.await? else {
            // With the same cursor it would take as long the next time, and each time after that.
            return resync("what happened since the cursor takes too long to read");
        };
        // The database's own word: right after a failover the listener does not know it yet.
        if read.identity != position.identity || self.hub.is_torn() {
            return Err(Error::unavailable(
                "the service is moving to another database server",
            ));
        }
        if asked.identity != position.identity {
            return resync("the cursor belongs to another database");
        }
        if asked.horizon > Horizon(read.snapshot.end()) {
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
        // The hub's horizon was flushed and is below that snapshot; what it is above was sent.
        let reached = Cursor {
            identity: position.identity,
            horizon: position.horizon.max(asked.horizon),
        };
        Ok(Told::Since(Since {
            asked,
            reached,
            changes,
            snapshot,
            incarnation,
        }))
    }

    /// For what a socket of this user remembers of so many events, and of which transactions were open. `None`: there is none left.
    fn room_to_remember(
        &self,
        user: UserId,
        events: usize,
        snapshot: &Snapshot,
    ) -> Option<Reservation> {
        let bytes = events
            .saturating_mul(Rows::EACH)
            .saturating_add(snapshot.bytes());
        // Of so little memory a budget would count whole KiB only.
        let bytes = bytes.next_multiple_of(1024);
        self.memory.reserve(Holder::User(user), bytes)
    }
}

impl Missed {
    /// All frames but the last carry the cursor that was asked for: the order is by conversation, so only
    /// the end of it is a new position.
    fn new(since: Since, (unsent, remembered): (Reservation, Reservation)) -> Self {
        let Since {
            asked,
            reached,
            changes,
            snapshot,
            incarnation,
        } = since;
        let seen_below = asked.horizon;
        let (asked, reached) = (asked.encode(), reached.encode());
        let now = UnixSeconds::now();
        let last = changes.len().saturating_sub(1);
        let mut missed = Self {
            unsent: Unsent {
                frames: Vec::with_capacity(changes.len()),
                _reservation: unsent,
            },
            rows: Rows::default(),
            _remembered: remembered,
            snapshot,
            incarnation,
            seen_below,
        };
        let mut sent = Vec::with_capacity(changes.len());
        // One after the other is let go, so that the data is not there twice.
        for (place, change) in changes.into_iter().enumerate() {
            let cursor = if place == last { &reached } else { &asked };
            let event_type = EventType::named(&change.event_type);
            missed.unsent.frames.push(Frame::relayed(
                event_type,
                &change.data,
                change.user,
                now,
                Some(cursor),
            ));
            let subject = Subject::of(event_type, change.subject, change.conversation, change.xid);
            sent.push((subject, change.version));
        }
        missed.rows = Rows::of(sent);
        missed
    }

    /// As after the replay of this one row, which can be repeated until the horizon has passed `end`.
    #[cfg(test)]
    pub fn of_row(row: MessageId, version: i64, end: u64) -> Self {
        Self {
            unsent: Unsent::default(),
            rows: Rows::of([(Subject::Row(row), version)]),
            _remembered: Reservation::default(),
            snapshot: Snapshot::until(end),
            incarnation: None,
            seen_below: Horizon::default(),
        }
    }

    /// What a live event is to the client, which has the replay and what came before its cursor, where the replay is not over at the event's
    /// horizon; `incarnation`: the listener's, which is asked for what the replay has not told of by itself.
    pub fn novelty(&self, event: &Event, incarnation: impl Fn() -> Option<Incarnation>) -> Novelty {
        if self.seen_below.covers(event.xid) {
            return Novelty::Repeat;
        }
        let has_crashed_since = || incarnation() != self.incarnation;
        let is_before_replay = |xid| self.snapshot.includes(xid) && !has_crashed_since();
        let was_there = |xid| self.seen_below.covers(xid) || is_before_replay(xid);
        let created = event.as_update.as_ref().and_then(|update| update.created);
        match event.subject {
            subject @ (Subject::Row(_) | Subject::Conversation { .. }) => {
                match self.rows.sent(subject) {
                    // A crash may have taken back what was sent, and given its revision to this.
                    Some(sent) if sent >= event.version && !has_crashed_since() => Novelty::Repeat,
                    Some(_) => Novelty::Later,
                    // Its transaction had ended when the replay read, which would have told of the row had the client not seen it.
                    None if is_before_replay(event.xid) => Novelty::Repeat,
                    // The row was inserted before the replay read or before the client's cursor, so the client knows it: this event
                    // changed it since.
                    None if created.is_some_and(was_there) => Novelty::Later,
                    None => Novelty::New,
                }
            }
            Subject::Read { xid, .. } | Subject::Reload { xid, .. } => {
                match is_before_replay(xid) {
                    true => Novelty::Repeat,
                    false => Novelty::New,
                }
            }
        }
    }

    /// Whether nothing can repeat any more for a socket that has taken all that the hub had for it when its horizon was this: then this is
    /// no longer needed.
    pub fn is_over_at(&self, horizon: Horizon) -> bool {
        horizon > Horizon(self.snapshot.end())
    }
}

#[cfg(test)]
mod tests;
