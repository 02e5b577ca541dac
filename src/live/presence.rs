//! Who is there: this replica's part of it in the database, and what its sockets are shown.
//!
//! Three loops. One keeps the replica's roll, many users in one transaction. One ends the rolls of replicas that are gone,
//! and sees to it that its own has not been ended. One reads the presence of watched users that may have changed: a notification only names
//! the users, so the sockets are shown what the database says now, and a storm of changes takes few reads.

mod attendance;
mod watchers;

use std::cell::LazyCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::{GATHERING, wait};
use crate::config::Config;
use crate::error::Error;
use crate::frame::{Frame, FrameType};
use crate::hub::Mailbox;
use crate::model::{ConnectionId, ReplicaId, UnixSeconds, UserId};
use crate::store::Store;
use crate::sync::lock;

use attendance::Attendance;
use watchers::Watchers;

pub use watchers::Watching;

/// Users in one transaction, or one reading.
const USERS: usize = 1000;

/// After a statement that failed, or a roll that could not be begun.
const RETRY: Duration = Duration::from_secs(1);

/// Longest time between two looks for rolls that are to be ended.
const SWEEP: Duration = Duration::from_secs(2);

/// A handle on this replica's presence; clones share it.
#[derive(Clone)]
pub struct Presence {
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, Debug)]
pub struct PresenceTimes {
    /// A user who comes back within it was never gone.
    pub grace: Duration,
    /// How long a replica may be without a heartbeat before it counts as gone.
    pub silence: Duration,
}

impl From<&Config> for PresenceTimes {
    fn from(config: &Config) -> Self {
        Self {
            grace: config.timeouts.presence_grace,
            silence: config.timeouts.listener_heartbeat * 3,
        }
    }
}

struct Shared {
    store: Store,
    replica: ReplicaId,
    times: PresenceTimes,
    /// Std mutexes: held for map look-ups and puts into mailboxes only, never over an await.
    attendance: Mutex<Attendance>,
    watchers: Mutex<Watchers>,
    /// How often the listener became live; without it no roll can be begun.
    sessions: AtomicU64,
    /// There is something to do earlier than the loop of that name knows.
    tell: Notify,
    look: Notify,
    notified: AtomicU64,
    failed: AtomicU64,
    shown: AtomicU64,
}

/// What there is at present, and what was told and shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PresenceCounts {
    /// Users of this replica who are online by it: who have an active socket, or had one within the grace.
    pub here: usize,
    pub watching: Watching,
    /// Changes that the database was told of.
    pub notified: u64,
    /// Changes that it did not take.
    pub failed: u64,
    /// Frames that were shown, one for each socket.
    pub shown: u64,
}

impl Presence {
    pub fn new(store: Store, replica: ReplicaId, times: PresenceTimes) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                replica,
                times,
                attendance: Mutex::new(Attendance::new(times.grace)),
                watchers: Mutex::default(),
                sessions: AtomicU64::new(0),
                tell: Notify::new(),
                look: Notify::new(),
                notified: AtomicU64::new(0),
                failed: AtomicU64::new(0),
                shown: AtomicU64::new(0),
            }),
        }
    }

    /// A user has one active socket more here.
    pub fn comes(&self, user: UserId) {
        lock(&self.shared.attendance).comes(user, Instant::now());
        self.shared.tell.notify_one();
    }

    /// A user has one active socket less here: it has become inactive, or is gone.
    pub fn leaves(&self, user: UserId) {
        lock(&self.shared.attendance).leaves(user, Instant::now());
        self.shared.tell.notify_one();
    }

    /// A socket is gone, active or not: nobody is shown to it any more.
    pub fn unwatch(&self, connection: ConnectionId) {
        lock(&self.shared.watchers).leaves(connection);
    }

    /// A socket wants to be shown these users from now on, and no others. How they are now follows.
    pub fn watch(&self, connection: ConnectionId, mailbox: &Arc<Mailbox>, users: Vec<UserId>) {
        lock(&self.shared.watchers).watch(connection, mailbox, users);
        self.shared.look.notify_one();
    }

    /// It was heard that these users came or went.
    pub fn heard(&self, users: &[UserId]) {
        let mut watchers = lock(&self.shared.watchers);
        users.iter().for_each(|user| watchers.ask(*user));
        if watchers.is_asked() {
            self.shared.look.notify_one();
        }
    }

    /// The listener is live, perhaps after a time in which it heard nothing.
    pub fn listening(&self) {
        lock(&self.shared.watchers).ask_all();
        self.shared.look.notify_one();
        let mut attendance = lock(&self.shared.attendance);
        self.shared.sessions.fetch_add(1, Ordering::AcqRel);
        attendance.end();
        drop(attendance);
        self.shared.tell.notify_one();
    }

    /// Every socket was told to reload: it is shown again whom it watches.
    pub fn show_again(&self) {
        lock(&self.shared.watchers).show_all_again();
        self.shared.look.notify_one();
    }

    /// One socket was told to reload: it is shown again whom it watches.
    pub fn show_again_to(&self, connection: ConnectionId) {
        lock(&self.shared.watchers).show_again_to(connection);
        self.shared.look.notify_one();
    }

    /// The three loops, for as long as it is polled. The roll is left for the others to clear away, after the grace: most of its users
    /// are about to come to them.
    pub async fn run(&self) {
        tokio::select! {
            () = self.keep_roll() => {}
            () = self.look() => {}
            () = self.sweep() => {}
        }
    }

    /// Tells the database which users come and which have gone.
    async fn keep_roll(&self) {
        let shared = &*self.shared;
        loop {
            let (roll, next) = {
                let attendance = lock(&shared.attendance);
                (attendance.roll(), attendance.next())
            };
            let can_begin = shared.sessions.load(Ordering::Acquire) > 0;
            if roll.is_some() || !can_begin {
                wait(next, &shared.tell).await;
            } else if let Err(reason) = self.begin_roll().await {
                log::debug!("no roll could be begun: {}", reason.with_cause());
                sleep(RETRY).await;
                continue;
            }
            match self.tell().await {
                Ok(()) => sleep(GATHERING).await,
                Err(error) => {
                    log::debug!("presence could not be told: {}", error.with_cause());
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn begin_roll(&self) -> Result<(), Error> {
        let shared = &*self.shared;
        let session = shared.sessions.load(Ordering::Acquire);
        let roll = shared.store.open_roll(shared.replica).await?;
        let roll = roll.ok_or_else(|| Error::unavailable("the listener is not connected"))?;
        let mut attendance = lock(&shared.attendance);
        // Else it is from before the listener was lost once more, and may be forgotten already.
        if shared.sessions.load(Ordering::Acquire) == session {
            attendance.begin(roll, Instant::now());
        }
        Ok(())
    }

    async fn tell(&self) -> Result<(), Error> {
        let shared = &*self.shared;
        let taken = lock(&shared.attendance).take(Instant::now(), USERS);
        let Some((roll, changes)) = taken.filter(|(_, changes)| !changes.is_empty()) else {
            return Ok(());
        };
        let outcome = shared.store.call_roll(roll, &changes).await;
        let done = matches!(outcome, Ok(true));
        let counter = if done {
            &shared.notified
        } else {
            &shared.failed
        };
        counter.fetch_add(changes.len() as u64, Ordering::Relaxed);
        let mut attendance = lock(&shared.attendance);
        attendance.told(roll, &changes, done, Instant::now());
        if matches!(outcome, Ok(false)) {
            attendance.end_of(roll);
        }
        outcome.map(drop)
    }

    /// Ends the rolls of replicas that are gone, clears them away after the grace, and notices if its own was ended.
    async fn sweep(&self) {
        let shared = &*self.shared;
        // Well within the grace, so that a roll that was ended by mistake is begun anew before anybody is missed.
        let pause = (shared.times.grace * 2 / 5).min(SWEEP);
        loop {
            sleep(pause).await;
            if let Err(error) = self.sweep_once().await {
                log::debug!("rolls could not be swept: {}", error.with_cause());
            }
        }
    }

    async fn sweep_once(&self) -> Result<(), Error> {
        let shared = &*self.shared;
        let Some(roll) = lock(&shared.attendance).roll() else {
            return Ok(());
        };
        let (store, times) = (&shared.store, shared.times);
        if !store.end_rolls(shared.replica, roll, times.silence).await? {
            log::info!("this replica's roll was ended: it begins another");
            lock(&shared.attendance).end_of(roll);
            shared.tell.notify_one();
        }
        while store.clear_roll(times.grace, USERS).await? {
            sleep(GATHERING).await;
        }
        Ok(())
    }

    /// Reads the presence of watched users who may have changed, and shows it to the sockets that watch them.
    async fn look(&self) {
        let shared = &*self.shared;
        loop {
            if !lock(&shared.watchers).is_asked() {
                shared.look.notified().await;
            }
            let users = lock(&shared.watchers).take(USERS);
            if users.is_empty() {
                continue;
            }
            match shared.store.presence_of(&users).await {
                Ok(states) => {
                    self.show(&states).await;
                    sleep(GATHERING).await;
                }
                Err(error) => {
                    log::debug!("presence could not be read: {}", error.with_cause());
                    self.heard(&users);
                    sleep(RETRY).await;
                }
            }
        }
    }

    /// Others have their turn, and the lock, after some of the sockets that watch a user: all that are here may do so.
    async fn show(&self, states: &[(UserId, String)]) {
        let now = UnixSeconds::now();
        for (user, data) in states {
            let seen = lock(&self.shared.watchers).saw(*user, data);
            let Some(mut showing) = seen else {
                continue;
            };
            let kind = FrameType::Presence.into();
            let frame = LazyCell::new(|| Frame::relayed(kind, data, *user, now, None));
            loop {
                let shown = lock(&self.shared.watchers).show(&mut showing, || (*frame).clone());
                let count = shown.count as u64;
                self.shared.shown.fetch_add(count, Ordering::Relaxed);
                yield_now().await;
                if !shown.more {
                    break;
                }
            }
        }
    }

    pub fn counts(&self) -> PresenceCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shared = &self.shared;
        PresenceCounts {
            here: lock(&shared.attendance).len(),
            watching: lock(&shared.watchers).counts(),
            notified: read(&shared.notified),
            failed: read(&shared.failed),
            shown: read(&shared.shown),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testing;

    /// A user whom every socket watches takes as many puts as there are sockets, some at a time.
    #[tokio::test]
    async fn others_have_their_turn_between_two_users_who_are_shown() {
        const LONG: Duration = Duration::from_secs(30);
        const USERS: usize = 50;
        let hub = testing::hub(1);
        let live = testing::services(hub.clone(), LONG, LONG).live;
        let presence = live.presence();
        let socket = hub.register(UserId(Uuid::nil())).unwrap();
        let users: Vec<UserId> = (1..=USERS as u128)
            .map(|n| UserId(Uuid::from_u128(n)))
            .collect();
        presence.watch(socket.connection_id(), socket.mailbox(), users.clone());
        let states: Vec<_> = users.into_iter().map(|u| (u, "{}".to_owned())).collect();

        let turns = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&turns);
        let others = tokio::spawn(async move {
            loop {
                counting.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        presence.show(&states).await;
        others.abort();
        assert_eq!(presence.counts().shown, USERS as u64);
        assert!(turns.load(Ordering::Relaxed) >= USERS as u64);
    }
}
