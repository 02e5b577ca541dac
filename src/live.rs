//! What is true only while somebody is connected: who types to whom, and who is there (`presence`).
//!
//! The way is that of an event, through the database and every replica's listener, but nothing is stored and no commit is
//! flushed. Two loops do the work for typing: one tells the database what this replica's users do, many users in one transaction; the
//! other ends on the sockets here what was not renewed, so that it ends also when the typist's replica has died.

mod attendance;
mod members;
mod presence;
mod typing_indicators;
mod typists;
mod watchers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::error::{Denial, Error, Resource};
use crate::frame::{Frame, FrameType};
use crate::hub::{Hub, Mailbox, Topic};
use crate::limits::UserLimiter;
use crate::model::{ConversationId, UserId};
use crate::store::{Pair, Store, Telling};
use crate::until::until;

use members::Members;
use typing_indicators::TypingIndicators;
use typists::Typists;

pub use presence::{Presence, PresenceTimes};
pub use typists::Times;

/// Between two transactions that tell of typing, or of presence: what comes up meanwhile shares the next one, and with it one turn at the
/// cluster's lock of NOTIFY. No setting: less would cost turns, and more would be felt.
const GATHERING: Duration = Duration::from_millis(50);

/// Users in one such transaction.
const TELLINGS: usize = 1000;

/// A handle on what this replica knows of the moment; clones share it.
#[derive(Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    hub: Hub,
    replica: Uuid,
    limiter: UserLimiter,
    /// Std mutexes: held for map look-ups only, never over an await.
    members: Mutex<Members>,
    typists: Mutex<Typists>,
    indicators: Mutex<TypingIndicators>,
    presence: Presence,
    /// Something is due earlier than the loop of that name knows.
    tell: Notify,
    expire: Notify,
    notified: AtomicU64,
    failed: AtomicU64,
}

impl Live {
    /// `limiter` counts the commands `typing` and `watch_presence` of each user.
    pub fn new(
        store: Store,
        hub: Hub,
        replica: Uuid,
        limiter: UserLimiter,
        times: Times,
        presence: PresenceTimes,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                presence: Presence::new(store.clone(), replica, presence),
                store,
                hub,
                replica,
                limiter,
                members: Mutex::default(),
                typists: Mutex::new(Typists::new(times)),
                indicators: Mutex::new(TypingIndicators::new(times)),
                tell: Notify::new(),
                expire: Notify::new(),
                notified: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            }),
        }
    }

    /// A client's `typing`. `NotFound` and `Forbidden` as for a message. Of a socket that has ended meanwhile it says nothing.
    pub async fn typing(
        &self,
        conversation: ConversationId,
        typist: UserId,
        connection: Uuid,
        mailbox: &Mailbox,
        is_typing: bool,
    ) -> Result<(), Error> {
        let shared = &*self.shared;
        shared.limiter.check(typist)?;
        let known = lock(&shared.members).get(conversation, Instant::now());
        let members = match known {
            Some(members) => members,
            None => {
                let found = shared.store.participants(conversation).await?;
                let members =
                    found.ok_or_else(|| Error::not_found(Resource::Conversation, conversation))?;
                lock(&shared.members).put(conversation, members, Instant::now());
                members
            }
        };
        let to = match members {
            [one, other] if one == typist => other,
            [one, other] if other == typist => one,
            _ => {
                return Err(Error::Forbidden(Denial::NotAParticipant));
            }
        };
        let pair = Pair { typist, to };
        let now = Instant::now();
        let mut typists = lock(&shared.typists);
        // Its end has been looked at here already, or will be: the mailbox ends first.
        if mailbox.has_ended() {
            return Ok(());
        }
        match is_typing {
            true => typists.types(pair, conversation, connection, now),
            false => typists.stops(pair, now),
        }
        drop(typists);
        shared.tell.notify_one();
        Ok(())
    }

    /// A client's `watch_presence`: replaces what its socket watches.
    pub fn watch(
        &self,
        user: UserId,
        connection: Uuid,
        mailbox: &Arc<Mailbox>,
        users: Vec<UserId>,
    ) -> Result<(), Error> {
        self.shared.limiter.check(user)?;
        self.shared.presence.watch(connection, mailbox, users);
        Ok(())
    }

    pub fn presence(&self) -> &Presence {
        &self.shared.presence
    }

    /// A socket has opened. It is gone when the value is dropped.
    pub fn attend(&self, user: UserId, connection: Uuid) -> Attending {
        self.shared.presence.comes(user);
        Attending {
            live: self.clone(),
            user,
            connection,
        }
    }

    /// A socket is gone, and with it what was typed on it, and its part in the user's presence.
    fn socket_left(&self, user: UserId, connection: Uuid) {
        self.shared.presence.leaves(user, connection);
        if lock(&self.shared.typists).leaves(user, connection, Instant::now()) {
            self.shared.tell.notify_one();
        }
    }

    /// A notification of the replica `from` was heard.
    pub fn heard(&self, from: Uuid, telling: &Telling, at: i64) {
        let shared = &*self.shared;
        let Telling {
            pair,
            conversation,
            is_typing,
        } = *telling;
        let now = Instant::now();
        if from == shared.replica {
            lock(&shared.typists).heard(pair, is_typing, now);
            shared.tell.notify_one();
        } else if shared.hub.has_sockets(pair.typist) {
            lock(&shared.typists).heard_elsewhere(telling, now);
            shared.tell.notify_one();
        }
        if !is_typing {
            self.ended(pair, at);
        } else if shared.hub.has_sockets(pair.to)
            && lock(&shared.indicators).begins(telling, from, now)
        {
            let frame = typing_frame(pair, conversation, true, at);
            let topic = Topic::Typing(pair.typist);
            shared
                .hub
                .show(pair.to, |mailbox| mailbox.offer(topic, frame.clone()));
            shared.expire.notify_one();
        }
    }

    /// A message was heard: who wrote it has stopped typing it.
    pub fn wrote(&self, pair: Pair, at: i64) {
        let shared = &*self.shared;
        if lock(&shared.typists).wrote(pair, Instant::now()) {
            shared.tell.notify_one();
        }
        self.ended(pair, at);
    }

    fn ended(&self, pair: Pair, at: i64) {
        let ended = lock(&self.shared.indicators).ends(pair);
        if let Some(conversation) = ended {
            self.show_end(pair, conversation, at);
        }
    }

    fn show_end(&self, pair: Pair, conversation: ConversationId, at: i64) {
        let frame = typing_frame(pair, conversation, false, at);
        let topic = Topic::Typing(pair.typist);
        self.shared
            .hub
            .show(pair.to, |mailbox| mailbox.put(topic, frame.clone()));
    }

    /// All loops, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.shared.presence.run(&stop) => {}
            () = self.tell() => {}
            () = self.expire() => {}
        }
    }

    /// Tells the database what is due.
    async fn tell(&self) {
        let shared = &*self.shared;
        loop {
            let next = lock(&shared.typists).next();
            wait(next, &shared.tell).await;
            let tellings = lock(&shared.typists).take(Instant::now(), TELLINGS);
            if tellings.is_empty() {
                continue;
            }
            let outcome = shared.store.notify_typing(shared.replica, &tellings).await;
            let count = u64::try_from(tellings.len()).unwrap_or(u64::MAX);
            let counter = match &outcome {
                Ok(()) => &shared.notified,
                Err(error) => {
                    log::debug!(
                        "{count} users' typing could not be told: {}",
                        error.with_cause()
                    );
                    &shared.failed
                }
            };
            counter.fetch_add(count, Ordering::Relaxed);
            {
                let (mut typists, now) = (lock(&shared.typists), Instant::now());
                for telling in &tellings {
                    typists.told(telling, outcome.is_ok(), now);
                }
            }
            sleep(GATHERING).await;
        }
    }

    /// Ends what was shown and not renewed.
    async fn expire(&self) {
        let shared = &*self.shared;
        loop {
            let next = lock(&shared.indicators).next();
            wait(next, &shared.expire).await;
            let expired = lock(&shared.indicators).expire(Instant::now());
            for (pair, conversation) in expired {
                self.show_end(pair, conversation, chrono::Utc::now().timestamp());
            }
        }
    }

    /// Conversations in which somebody types: (by this replica's users, shown to this replica's users).
    pub fn typing_now(&self) -> (usize, usize) {
        (
            lock(&self.shared.typists).len(),
            lock(&self.shared.indicators).len(),
        )
    }

    /// Changes of typing that the database was told of, and those that it did not take.
    pub fn told(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.shared.notified), read(&self.shared.failed))
    }
}

/// A socket that is there.
pub struct Attending {
    live: Live,
    user: UserId,
    connection: Uuid,
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.live.socket_left(self.user, self.connection);
    }
}

/// Until `next`, or until somebody says that there is something earlier.
async fn wait(next: Option<Instant>, earlier: &Notify) {
    tokio::select! {
        () = until(next) => {}
        () = earlier.notified() => {}
    }
}

fn typing_frame(pair: Pair, conversation: ConversationId, is_typing: bool, at: i64) -> Frame {
    let data = serde_json::json!({
        "conversationId": conversation,
        "userId": pair.typist,
        "isTyping": is_typing,
    });
    Frame::serialized(FrameType::Typing, &data, pair.typist, at, None)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic in between leaves at worst one pair's typing wrong, for seconds.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    /// Its command asks the database for the participants, and may do so for longer than the client is there.
    #[tokio::test]
    async fn nobody_types_on_a_socket_that_has_ended() {
        const LONG: Duration = Duration::from_secs(30);
        let hub = testing::hub(1);
        let live = testing::services(hub.clone(), LONG, LONG).live;
        let [typist, other] = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
        let conversation = ConversationId(Uuid::from_u128(3));
        lock(&live.shared.members).put(conversation, [typist, other], Instant::now());
        let socket = hub.register(typist).unwrap();
        let (connection, mailbox) = (socket.connection_id(), Arc::clone(socket.mailbox()));
        let types = || live.typing(conversation, typist, connection, &mailbox, true);
        let attending = live.attend(typist, connection);

        types().await.unwrap();
        assert_eq!(live.typing_now(), (1, 0));
        // As a session ends.
        drop(socket);
        drop(attending);
        types().await.unwrap();
        assert_eq!(live.typing_now(), (0, 0));
    }
}
