//! The sockets of this replica, and the fan-out to them. Does no I/O, and never waits for a socket.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

use crate::error::Error;
use crate::frame::Cursor;
use crate::model::UserId;
use crate::store::{Horizon, Identity};

/// What an event is about; with its version it tells a repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A message (version: its revision) or a conversation (version 0).
    Row(Uuid),
    /// Marks of one reader by one transaction (version: the seq read up to).
    Read {
        conversation: Uuid,
        reader: Uuid,
        xid: u64,
    },
}

/// One event on its way to sockets: the frame is serialised once and shared by all of them.
#[derive(Debug)]
pub struct Event {
    pub subject: Subject,
    pub version: i64,
    /// The transaction that made it.
    pub xid: u64,
    /// The horizon of its notification: every transaction below it stands ahead of it in the queue. Zero from a catch-up.
    pub horizon: Horizon,
    pub frame: Utf8Bytes,
    /// For an insertion read from the tables after a later change: the frame for a socket that saw the
    /// insertion already.
    pub frame_as_update: Option<Utf8Bytes>,
}

/// What a socket's session gets from the hub.
#[derive(Debug)]
pub enum Delivery {
    Event(Arc<Event>),
    /// The client must reload over HTTP, then go on with this cursor.
    Resync {
        reason: &'static str,
        cursor: Arc<str>,
    },
    /// The queue was full: close with 1013. Nothing comes after it.
    Overflow,
}

/// Bounds of the hub; zero means no bound for the first two.
#[derive(Clone, Copy, Debug)]
pub struct HubLimits {
    pub connections: usize,
    pub connections_per_user: usize,
    /// Events that wait for one socket.
    pub socket_queue: usize,
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
    overflows: AtomicU64,
}

struct State {
    sockets: HashMap<UserId, Vec<Socket>>,
    count: usize,
    position: Option<Cursor>,
}

struct Socket {
    connection: Uuid,
    queue: mpsc::Sender<Item>,
    flag: Arc<OverflowFlag>,
}

enum Item {
    Event(Arc<Event>),
    Resync {
        reason: &'static str,
        cursor: Arc<str>,
    },
}

/// Raised once, when a socket's queue is full.
#[derive(Default)]
struct OverflowFlag {
    raised: AtomicBool,
    notify: Notify,
}

impl Hub {
    pub fn new(limits: HubLimits) -> Self {
        let state = State {
            sockets: HashMap::new(),
            count: 0,
            position: None,
        };
        Self {
            shared: Arc::new(Shared {
                limits,
                state: Mutex::new(state),
                overflows: AtomicU64::new(0),
            }),
        }
    }

    /// Adds a socket; it gets every event of its user from now on.
    ///
    /// `TooManyRequests` over the user's limit; `Unavailable` over the replica's, or before the listener's first start.
    pub fn register(&self, user: UserId) -> Result<Subscription, Error> {
        let limits = self.shared.limits;
        let mut state = self.lock();
        let Some(position) = state.position.clone() else {
            return Err(Error::unavailable("the service is starting"));
        };
        if limits.connections > 0 && state.count >= limits.connections {
            return Err(Error::unavailable(
                "this replica has as many connections as it may",
            ));
        }
        let sockets = state.sockets.entry(user).or_default();
        if limits.connections_per_user > 0 && sockets.len() >= limits.connections_per_user {
            return Err(Error::TooManyRequests {
                message: format!(
                    "a user may have {} connections to one replica",
                    limits.connections_per_user
                ),
                retry_after: Duration::from_secs(5),
            });
        }
        let connection = Uuid::new_v4();
        let (queue, receiver) = mpsc::channel(limits.socket_queue);
        let flag = Arc::new(OverflowFlag::default());
        sockets.push(Socket {
            connection,
            queue,
            flag: Arc::clone(&flag),
        });
        state.count += 1;
        Ok(Subscription {
            hub: self.clone(),
            user,
            connection,
            cursor: position,
            receiver,
            flag,
        })
    }

    /// Puts an event into the queue of every socket of its recipients. A full queue is given up.
    pub fn publish(&self, recipients: &[UserId], event: &Arc<Event>) {
        let mut state = self.lock();
        for (place, user) in recipients.iter().enumerate() {
            if !recipients[..place].contains(user) {
                self.push(&mut state, *user, || Item::Event(Arc::clone(event)));
            }
        }
    }

    /// Tells every socket to reload: what happened before is not known to be complete.
    pub fn resync_all(&self, reason: &'static str) {
        let mut state = self.lock();
        let Some(position) = &state.position else {
            return;
        };
        let cursor: Arc<str> = position.encode().into();
        let users: Vec<UserId> = state.sockets.keys().copied().collect();
        for user in users {
            self.push(&mut state, user, || Item::Resync {
                reason,
                cursor: Arc::clone(&cursor),
            });
        }
    }

    /// Whether every recipient's sockets have room for at least half a queue more. A catch-up waits for
    /// it, so that a healthy socket is not closed by a burst of our own making.
    pub fn has_room(&self, recipients: &[UserId]) -> bool {
        let state = self.lock();
        let half = self.shared.limits.socket_queue / 2;
        recipients
            .iter()
            .filter_map(|user| state.sockets.get(user))
            .flatten()
            .all(|socket| socket.queue.capacity() > half)
    }

    /// Gives up those sockets of the recipients that [`Hub::has_room`] still waits for.
    pub fn give_up_slow(&self, recipients: &[UserId]) {
        let mut state = self.lock();
        let half = self.shared.limits.socket_queue / 2;
        for user in recipients {
            self.retain(&mut state, *user, |socket| socket.queue.capacity() > half);
        }
    }

    /// The position that everything delivered so far has reached; `None` before the first start.
    pub fn position(&self) -> Option<Cursor> {
        self.lock().position.clone()
    }

    /// Another database or timeline, or the first one.
    pub fn start_at(&self, position: Cursor) {
        self.lock().position = Some(position);
    }

    /// Moves the horizon forward; it never moves back.
    pub fn advance(&self, identity: &Identity, horizon: Horizon) -> Horizon {
        let mut state = self.lock();
        match &mut state.position {
            Some(position) if position.identity == *identity => {
                position.horizon = position.horizon.max(horizon);
                position.horizon
            }
            _ => horizon,
        }
    }

    /// Sockets of this replica.
    pub fn connections(&self) -> usize {
        self.lock().count
    }

    /// Sockets that were given up because their queue was full.
    pub fn overflows(&self) -> u64 {
        self.shared.overflows.load(Ordering::Relaxed)
    }

    fn push(&self, state: &mut State, user: UserId, item: impl Fn() -> Item) {
        // One that is gone already is removed by its session.
        self.retain(state, user, |socket| {
            !matches!(
                socket.queue.try_send(item()),
                Err(mpsc::error::TrySendError::Full(_))
            )
        });
    }

    /// Keeps the sockets of a user that `keep` wants; the others are told that they were too slow.
    fn retain(&self, state: &mut State, user: UserId, keep: impl Fn(&Socket) -> bool) {
        let Entry::Occupied(mut entry) = state.sockets.entry(user) else {
            return;
        };
        let sockets = entry.get_mut();
        let before = sockets.len();
        sockets.retain(|socket| {
            let kept = keep(socket);
            if !kept {
                socket.flag.raised.store(true, Ordering::Release);
                socket.flag.notify.notify_one();
                self.shared.overflows.fetch_add(1, Ordering::Relaxed);
            }
            kept
        });
        let gone = before - sockets.len();
        if sockets.is_empty() {
            entry.remove();
        }
        state.count -= gone;
    }

    fn remove(&self, user: UserId, connection: Uuid) {
        let mut state = self.lock();
        if let Entry::Occupied(mut entry) = state.sockets.entry(user) {
            let sockets = entry.get_mut();
            let before = sockets.len();
            sockets.retain(|socket| socket.connection != connection);
            let gone = before - sockets.len();
            if sockets.is_empty() {
                entry.remove();
            }
            state.count -= gone;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the map was held leaves it usable: each step is complete in itself.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket's place in the hub; dropping it removes the socket.
pub struct Subscription {
    hub: Hub,
    user: UserId,
    connection: Uuid,
    cursor: Cursor,
    receiver: mpsc::Receiver<Item>,
    flag: Arc<OverflowFlag>,
}

impl Subscription {
    pub fn connection_id(&self) -> Uuid {
        self.connection
    }

    /// The cursor at registration: nothing below it comes any more, everything above it does.
    pub fn cursor(&self) -> String {
        self.cursor.encode()
    }

    /// The next delivery; cancel safe. An overflow is reported ahead of what still waits.
    pub async fn next(&mut self) -> Delivery {
        tokio::select! {
            biased;
            () = overflowed(&self.flag) => Delivery::Overflow,
            item = self.receiver.recv() => item.map_or(Delivery::Overflow, Delivery::from),
        }
    }

    /// Another delivery that is already waiting.
    pub fn try_next(&mut self) -> Option<Delivery> {
        if self.flag.raised.load(Ordering::Acquire) {
            return Some(Delivery::Overflow);
        }
        self.receiver.try_recv().ok().map(Delivery::from)
    }

    /// Resolves when the queue has overflowed; for a session that waits for something else.
    pub async fn overflowed(&self) {
        overflowed(&self.flag).await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.remove(self.user, self.connection);
    }
}

impl From<Item> for Delivery {
    fn from(item: Item) -> Self {
        match item {
            Item::Event(event) => Self::Event(event),
            Item::Resync { reason, cursor } => Self::Resync { reason, cursor },
        }
    }
}

async fn overflowed(flag: &OverflowFlag) {
    loop {
        let raised = flag.notify.notified();
        if flag.raised.load(Ordering::Acquire) {
            return;
        }
        raised.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(limits: HubLimits) -> Hub {
        let hub = Hub::new(limits);
        hub.start_at(Cursor {
            identity: Identity("a".into()),
            horizon: Horizon(1),
        });
        hub
    }

    const LIMITS: HubLimits = HubLimits {
        connections: 3,
        connections_per_user: 2,
        socket_queue: 2,
    };

    fn user(n: u128) -> UserId {
        UserId(Uuid::from_u128(n))
    }

    fn event(version: i64) -> Arc<Event> {
        Arc::new(Event {
            subject: Subject::Row(Uuid::nil()),
            version,
            xid: 1,
            horizon: Horizon(1),
            frame: version.to_string().into(),
            frame_as_update: None,
        })
    }

    fn version(delivery: Option<Delivery>) -> Option<i64> {
        match delivery {
            Some(Delivery::Event(event)) => Some(event.version),
            _ => None,
        }
    }

    #[test]
    fn an_event_reaches_each_socket_of_its_recipients_once() {
        let hub = hub(LIMITS);
        let mut first = hub.register(user(1)).expect("room");
        let mut second = hub.register(user(1)).expect("room");
        let mut other = hub.register(user(2)).expect("room");
        hub.publish(&[user(1), user(1)], &event(7));
        assert_eq!(version(first.try_next()), Some(7));
        assert!(first.try_next().is_none());
        assert_eq!(version(second.try_next()), Some(7));
        assert!(other.try_next().is_none());
    }

    #[test]
    fn the_limits_hold_and_are_freed_by_dropping() {
        let hub = hub(LIMITS);
        let first = hub.register(user(1)).expect("room");
        let _second = hub.register(user(1)).expect("room");
        assert!(matches!(
            hub.register(user(1)),
            Err(Error::TooManyRequests { .. })
        ));
        let _third = hub.register(user(2)).expect("room");
        assert!(matches!(
            hub.register(user(3)),
            Err(Error::Unavailable { .. })
        ));
        drop(first);
        assert!(hub.register(user(3)).is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_is_given_up_and_delays_no_other() {
        let hub = hub(LIMITS);
        let mut slow = hub.register(user(1)).expect("room");
        let mut quick = hub.register(user(2)).expect("room");
        for v in 1..=3 {
            hub.publish(&[user(1), user(2)], &event(v));
            assert_eq!(version(quick.try_next()), Some(v));
        }
        assert!(matches!(slow.next().await, Delivery::Overflow));
        assert!(
            matches!(slow.next().await, Delivery::Overflow),
            "it stays so"
        );
        slow.overflowed().await;
        assert_eq!((hub.overflows(), hub.connections()), (1, 1));
        drop(slow);
        assert_eq!(hub.connections(), 1);
    }

    #[test]
    fn the_horizon_never_moves_back_and_belongs_to_its_database() {
        let hub = hub(LIMITS);
        let here = Identity("a".into());
        assert_eq!(hub.advance(&here, Horizon(9)), Horizon(9));
        assert_eq!(hub.advance(&here, Horizon(5)), Horizon(9));
        hub.advance(&Identity("b".into()), Horizon(99));
        assert_eq!(hub.position().map(|p| p.horizon), Some(Horizon(9)));
    }
}
