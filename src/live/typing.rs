//! Who types to whom: what this replica's users do, and what its sockets are shown of others.
//!
//! Two loops. One tells the database what this replica's users do, many users in one transaction; the other ends the indicators on the
//! sockets here that were not renewed, so that they end also if the typist's replica has died.

mod indicators;
mod participants;
mod typists;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::{GATHERING, wait};
use crate::error::{Denial, Error, Resource};
use crate::frame::{Frame, FrameType};
use crate::hub::{Hub, Mailbox, Topic};
use crate::model::{ConnectionId, ConversationId, ReplicaId, UnixSeconds, UserId};
use crate::schema;
use crate::store::{Pair, Store, Telling};
use crate::sync::lock;

use indicators::TypingIndicators;
use participants::Participants;
use typists::Typists;

pub use typists::TypingTimes;

/// How long the database may take to say whom typing is for: a send may wait for that, and the client renews its typing anyway.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(500);

/// Users in one transaction that tells of typing.
const TELLINGS: usize = 1000;

/// A handle on what this replica knows of typing; clones share it.
#[derive(Clone)]
pub struct Typing {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    hub: Hub,
    replica: ReplicaId,
    /// Std mutexes: held for map look-ups only, never over an await.
    participants: Mutex<Participants>,
    typists: Mutex<Typists>,
    indicators: Mutex<TypingIndicators>,
    /// Each wakes the loop of the same name when something is due earlier than the loop expects.
    tell: Notify,
    expire: Notify,
    notified: AtomicU64,
    failed: AtomicU64,
}

/// What there is at present, and what became of what was to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypingCounts {
    /// Conversations in which users of this replica type, or just did.
    pub here: usize,
    /// Conversations in which users of this replica are shown that the other one types.
    pub shown: usize,
    /// Changes that the database was told of.
    pub notified: u64,
    /// Changes that it did not take.
    pub failed: u64,
}

impl Typing {
    pub(super) fn new(store: Store, hub: Hub, replica: ReplicaId, times: TypingTimes) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                hub,
                replica,
                participants: Mutex::default(),
                typists: Mutex::new(Typists::new(times)),
                indicators: Mutex::new(TypingIndicators::new(times)),
                tell: Notify::new(),
                expire: Notify::new(),
                notified: AtomicU64::new(0),
                failed: AtomicU64::new(0),
            }),
        }
    }

    /// A user types on a socket, or has stopped. `NotFound` and `Forbidden` as for a message, `Unavailable` where the database does not say
    /// within [`LOOKUP_PATIENCE`] whom that is for. Of a socket that has ended meanwhile it says
    /// nothing.
    pub async fn set(
        &self,
        conversation: ConversationId,
        typist: UserId,
        connection: ConnectionId,
        mailbox: &Mailbox,
        is_typing: bool,
    ) -> Result<(), Error> {
        let shared = &*self.shared;
        let to = match self.participants(conversation).await? {
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

    async fn participants(&self, conversation: ConversationId) -> Result<[UserId; 2], Error> {
        let shared = &*self.shared;
        let known = lock(&shared.participants).get(conversation, Instant::now());
        if let Some(both) = known {
            return Ok(both);
        }
        let found = timeout(LOOKUP_PATIENCE, shared.store.participants(conversation)).await;
        let found =
            found.map_err(|_| Error::unavailable("the database took too long for typing"))??;
        let both = found.ok_or_else(|| Error::not_found(Resource::Conversation, conversation))?;
        lock(&shared.participants).put(conversation, both, Instant::now());
        Ok(both)
    }

    /// A socket is gone, and with it what was typed on it.
    pub(super) fn leaves(&self, user: UserId, connection: ConnectionId) {
        if lock(&self.shared.typists).leaves(user, connection, Instant::now()) {
            self.shared.tell.notify_one();
        }
    }

    /// A notification of the replica `from` was heard.
    pub fn heard(&self, from: ReplicaId, telling: &Telling, at: UnixSeconds) {
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
        } else {
            lock(&shared.typists).heard_elsewhere(pair, now);
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

    /// A message was heard: its sender has stopped typing it.
    pub fn wrote(&self, pair: Pair, at: UnixSeconds) {
        let shared = &*self.shared;
        if lock(&shared.typists).wrote(pair, Instant::now()) {
            shared.tell.notify_one();
        }
        self.ended(pair, at);
    }

    fn ended(&self, pair: Pair, at: UnixSeconds) {
        let ended = lock(&self.shared.indicators).ends(pair);
        if let Some(conversation) = ended {
            self.show_end(pair, conversation, at);
        }
    }

    fn show_end(&self, pair: Pair, conversation: ConversationId, at: UnixSeconds) {
        let frame = typing_frame(pair, conversation, false, at);
        let topic = Topic::Typing(pair.typist);
        self.shared
            .hub
            .show(pair.to, |mailbox| mailbox.put(topic, frame.clone()));
    }

    /// Both loops, for as long as it is polled.
    pub(super) async fn run(&self) {
        tokio::select! {
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
                self.show_end(pair, conversation, UnixSeconds::now());
            }
        }
    }

    pub fn counts(&self) -> TypingCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shared = &self.shared;
        TypingCounts {
            here: lock(&shared.typists).len(),
            shown: lock(&shared.indicators).len(),
            notified: read(&shared.notified),
            failed: read(&shared.failed),
        }
    }
}

fn typing_frame(
    pair: Pair,
    conversation: ConversationId,
    is_typing: bool,
    at: UnixSeconds,
) -> Frame {
    let data = schema::frames::Typing {
        conversation_id: conversation,
        user_id: pair.typist,
        is_typing,
    };
    Frame::serialized(FrameType::Typing, &data, pair.typist, at, None)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

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
        let typing = live.typing();
        lock(&typing.shared.participants).put(conversation, [typist, other], Instant::now());
        let socket = hub.register(typist).unwrap();
        let (connection, mailbox) = (socket.connection_id(), Arc::clone(socket.mailbox()));
        let types = || typing.set(conversation, typist, connection, &mailbox, true);
        let attending = live.attend(typist, connection, true);
        let now = || (typing.counts().here, typing.counts().shown);

        types().await.unwrap();
        assert_eq!(now(), (1, 0));
        // As a session ends.
        drop(socket);
        drop(attending);
        types().await.unwrap();
        assert_eq!(now(), (0, 0));
    }
}
