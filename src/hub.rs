//! The sockets of this replica, and the fan-out to them. Does no I/O, and never waits for a socket.

mod backlog;
mod database;
mod event;
mod item;
mod mailbox;
mod memory;
mod socket;
mod subscription;

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::mpsc;
use uuid::Uuid;

use crate::config::Config;
use crate::error::Error;
use crate::model::{ConnectionId, UserId};
use crate::sync::lock;

pub use event::{AsUpdate, Event, Novelty, Subject};
pub use item::Resync;
pub use mailbox::{GivenUp, Mailbox, Topic};
pub use memory::Counted;
pub use subscription::{Delivery, Subscription};

use database::Database;
use item::Item;
use memory::EventMemory;
use socket::Socket;

/// When all sockets are told to reload, each has this much of the time over which that is spread: two thousand begin in a second. The
/// whole is a drain's, whose clients come back and load no less.
const RELOAD: Duration = Duration::from_micros(500);
const MAX_RELOAD_SPREAD: Duration = Duration::from_secs(5);

/// When sockets are told to reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// For what a cursor would not tell a client that comes back without having been told.
    AtOnce,
    /// Over a few seconds where there are many.
    Spread,
}

/// Bounds of the hub; `None` is no bound.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    pub connections: Option<NonZeroUsize>,
    pub connections_per_user: Option<NonZeroUsize>,
    /// Events that wait for one socket.
    pub socket_queue: usize,
    /// Bytes of the events that wait for all of them, each counted once.
    pub queued_bytes: usize,
}

impl From<&Config> for HubLimits {
    fn from(config: &Config) -> Self {
        Self {
            connections: config.limits.connections,
            connections_per_user: config.limits.connections_per_user,
            socket_queue: config.limits.socket_queue,
            queued_bytes: config.limits.queued_events_bytes,
        }
    }
}

/// A handle on the sockets of this replica; clones share them.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    limits: HubLimits,
    /// A std mutex: held for map look-ups and `try_send`s only, never over an await.
    state: Mutex<State>,
    memory: EventMemory,
    overflows: AtomicU64,
}

struct State {
    /// Of each user at least one, outside of this module's functions.
    users: HashMap<UserId, Vec<Socket>>,
    count: usize,
    database: Database,
}

impl State {
    /// Whether any of these users has a socket here.
    fn has_any(&self, users: &[UserId]) -> bool {
        users.iter().any(|user| self.users.contains_key(user))
    }

    fn sockets_of(&self, users: &[UserId]) -> impl Iterator<Item = &Socket> {
        users
            .iter()
            .filter_map(|user| self.users.get(user))
            .flatten()
    }

    fn room(&self, limits: HubLimits) -> Result<(), Error> {
        below(limits.connections, self.count).map_err(|limit| Error::ReplicaFull { limit })
    }

    fn room_for(&self, limits: HubLimits, user: UserId) -> Result<(), Error> {
        self.room(limits)?;
        let open = self.users.get(&user).map_or(0, Vec::len);
        below(limits.connections_per_user, open).map_err(|limit| Error::TooManySockets { limit })
    }

    /// Keeps the sockets of a user that `keep` wants.
    fn retain(&mut self, user: UserId, keep: impl FnMut(&Socket) -> bool) {
        let Entry::Occupied(mut entry) = self.users.entry(user) else {
            return;
        };
        let sockets = entry.get_mut();
        let before = sockets.len();
        sockets.retain(keep);
        self.count -= before - sockets.len();
        if sockets.is_empty() {
            entry.remove();
        }
    }
}

/// Whether there may be one more than `count`; the error is the limit that says no.
fn below(limit: Option<NonZeroUsize>, count: usize) -> Result<(), usize> {
    match limit {
        Some(limit) if count >= limit.get() => Err(limit.get()),
        _ => Ok(()),
    }
}

impl Hub {
    pub fn new(limits: HubLimits) -> Self {
        let state = State {
            users: HashMap::new(),
            count: 0,
            database: Database::default(),
        };
        Self {
            shared: Arc::new(Shared {
                limits,
                state: Mutex::new(state),
                memory: EventMemory::new(limits.queued_bytes),
                overflows: AtomicU64::new(0),
            }),
        }
    }

    /// Refuses where every socket would be refused now, whosever it is: `ReplicaFull`.
    pub fn require_room(&self) -> Result<(), Error> {
        self.lock().room(self.shared.limits)
    }

    /// Whether another socket of this user would be refused now, as [`Hub::register`] does: known before anybody is asked.
    pub fn require_room_for(&self, user: UserId) -> Result<(), Error> {
        self.lock().room_for(self.shared.limits, user)
    }

    /// Adds a socket; it gets every event of its user that the listener comes to from now on.
    ///
    /// `TooManySockets` over the user's limit; `ReplicaFull` over the replica's; `Unavailable` before the listener's first start.
    pub fn register(&self, user: UserId) -> Result<Subscription, Error> {
        let limits = self.shared.limits;
        let mut state = self.lock();
        let Some(position) = state.database.position.clone() else {
            return Err(Error::unavailable("the service is starting"));
        };
        state.room_for(limits, user)?;
        let connection = ConnectionId(Uuid::new_v4());
        let (queue, receiver) = mpsc::channel(limits.socket_queue);
        let mailbox = Arc::new(Mailbox::default());
        state.users.entry(user).or_default().push(Socket {
            connection,
            queue,
            mailbox: Arc::clone(&mailbox),
        });
        state.count += 1;
        Ok(Subscription {
            hub: self.clone(),
            user,
            connection,
            cursor: position,
            receiver,
            mailbox,
            held: None,
        })
    }

    /// Puts an event into the queue of every socket of its recipients. A full queue is given up, and where all queues together hold too
    /// much, the longest are.
    pub fn publish(&self, recipients: &[UserId], event: &Arc<Event>) {
        let mut state = self.lock();
        if !state.has_any(recipients) {
            return;
        }
        let bytes = event.bytes();
        if let Some(shortage) = self.shared.memory.shortage(bytes) {
            self.give_up_longest(&mut state, shortage);
        }
        event.counted.count(&self.shared.memory, bytes);
        for (place, user) in recipients.iter().enumerate() {
            if !recipients[..place].contains(user) {
                self.push(&mut state, *user, || Item::Event(Arc::clone(event)));
            }
        }
        self.hurry(&state, recipients);
    }

    /// Where memory runs short, no socket is to hold back a reload, and what is behind it: all who have something are told when that begins,
    /// and then those who get more.
    fn hurry(&self, state: &State, recipients: &[UserId]) {
        let memory = &self.shared.memory;
        let look = |socket: &Socket| socket.mailbox.look_again();
        if memory.begins_to_run_short() {
            let all = state.users.values().flatten();
            all.filter(|socket| socket.behind() > 0).for_each(look);
        } else if memory.is_nearly_full() {
            state.sockets_of(recipients).for_each(look);
        }
    }

    /// Whether any of these users has a socket here; where none has, an event is not made a frame and not read back.
    ///
    /// A socket that is registered in the next moment misses nothing by that. PostgreSQL hands out a notification when its transaction has
    /// ended for every new snapshot on that server, so what is passed over had committed, visibly, before the socket was registered. What its
    /// client has of the time before comes from readings that begin after that (a replay, or what it loads once it has `connected`), and has the
    /// row in that state or a later one. The socket's first cursor is the position at its registration: where that is not above the event, a
    /// client that comes back with it gets the event once more. What comes later of the row is later than what was loaded, or a repeat.
    pub fn concerns(&self, users: &[UserId]) -> bool {
        self.lock().has_any(users)
    }

    /// Whether a user has sockets here.
    pub fn has_sockets(&self, user: UserId) -> bool {
        self.lock().has_any(&[user])
    }

    /// Gives the mailbox of each of a user's sockets to `show`, which must not wait.
    pub fn show(&self, user: UserId, show: impl Fn(&Mailbox)) {
        if let Some(theirs) = self.lock().users.get(&user) {
            theirs.iter().for_each(|socket| show(&socket.mailbox));
        }
    }

    /// Tells every socket to reload: what happened before is not known to be complete.
    pub fn resync_all(&self, reason: &'static str, pace: Pace) {
        let mut state = self.lock();
        let Some(position) = &state.database.position else {
            return;
        };
        let resync = Arc::new(Resync {
            reason,
            cursor: position.encode(),
            spread: match pace {
                Pace::AtOnce => Duration::ZERO,
                Pace::Spread => RELOAD
                    .saturating_mul(u32::try_from(state.count).unwrap_or(u32::MAX))
                    .min(MAX_RELOAD_SPREAD),
            },
        });
        let users: Vec<UserId> = state.users.keys().copied().collect();
        for user in users {
            self.push(&mut state, user, || Item::Resync(Arc::clone(&resync)));
        }
    }

    /// Whether every recipient's sockets have room for at least half a queue more. A catch-up waits for
    /// it, so that a healthy socket is not closed by a burst of our own making.
    pub fn has_room(&self, recipients: &[UserId]) -> bool {
        let state = self.lock();
        let half = self.shared.limits.socket_queue / 2;
        state
            .sockets_of(recipients)
            .all(|socket| socket.has_room(half))
    }

    /// Gives up those sockets of the recipients that [`Hub::has_room`] still waits for.
    pub fn give_up_slow(&self, recipients: &[UserId]) {
        let mut state = self.lock();
        let half = self.shared.limits.socket_queue / 2;
        for user in recipients {
            self.give_up_but(&mut state, *user, 0, |socket| socket.has_room(half));
        }
    }

    /// Users with a socket on this replica.
    pub fn users(&self) -> Vec<UserId> {
        self.lock().users.keys().copied().collect()
    }

    /// Gives up all sockets of a user who may not be connected any more.
    pub fn dismiss(&self, user: UserId) {
        let mut state = self.lock();
        let mut freed = 0;
        for socket in state.users.remove(&user).unwrap_or_default() {
            self.let_go(&socket, &mut freed);
            socket.mailbox.give_up(GivenUp::Deactivated);
            state.count -= 1;
        }
    }

    /// Sockets of this replica.
    pub fn connections(&self) -> usize {
        self.lock().count
    }

    /// How many sockets this replica takes at most.
    pub fn capacity(&self) -> Option<NonZeroUsize> {
        self.shared.limits.connections
    }

    /// Sockets that were given up because their queue was full.
    pub fn overflows(&self) -> u64 {
        self.shared.overflows.load(Ordering::Relaxed)
    }

    fn push(&self, state: &mut State, user: UserId, item: impl Fn() -> Item) {
        // One that is gone already is removed by its session.
        self.give_up_but(state, user, 0, |socket| socket.offer(item()));
    }

    /// Keeps the sockets of a user that `keep` wants; the others are told that they were too slow. `freed`: bytes of the user's events that
    /// are known already to be let go of.
    fn give_up_but(
        &self,
        state: &mut State,
        user: UserId,
        mut freed: usize,
        keep: impl Fn(&Socket) -> bool,
    ) {
        state.retain(user, |socket| {
            let kept = keep(socket);
            if !kept {
                self.let_go(socket, &mut freed);
                socket.mailbox.give_up(GivenUp::TooSlow);
                self.shared.overflows.fetch_add(1, Ordering::Relaxed);
            }
            kept
        });
    }

    /// Counts what waits for a socket that is given up as leaving, until its session has ended. A user's sockets have the same events:
    /// what is `freed` already is not counted again.
    fn let_go(&self, socket: &Socket, freed: &mut usize) {
        let more = socket.behind().saturating_sub(*freed);
        *freed += more;
        socket.mailbox.backlog.leave(more);
        self.shared.memory.leaves(more);
    }

    /// Gives up the sockets that are furthest behind, until these have so many bytes. Sockets with an empty queue are left alone. All are looked
    /// through, which is for the rare moment.
    fn give_up_longest(&self, state: &mut State, mut bytes: usize) {
        let mut longest: Vec<(usize, UserId, ConnectionId)> = Vec::new();
        for (user, theirs) in &state.users {
            let behind = theirs.iter().map(|s| (s.behind(), s.connection));
            longest.extend(
                behind
                    .filter(|(behind, _)| *behind > 0)
                    .map(|(behind, connection)| (behind, *user, connection)),
            );
        }
        longest.sort_unstable_by_key(|(behind, user, _)| (Reverse(*behind), user.0));
        let mut users = HashSet::new();
        for (behind, user, connection) in longest {
            if bytes == 0 {
                return;
            }
            // The longest of a user's sockets comes first, and the others have the same events.
            let is_first = users.insert(user);
            let freed = if is_first { 0 } else { behind };
            self.give_up_but(state, user, freed, |socket| socket.connection != connection);
            if is_first {
                bytes = bytes.saturating_sub(behind);
            }
        }
    }

    fn remove(&self, user: UserId, connection: ConnectionId) {
        self.lock()
            .retain(user, |socket| socket.connection != connection);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }
}

#[cfg(test)]
mod tests;
