//! What is true only while somebody is connected: who types to whom ([`Typing`]), and who is there ([`Presence`]).
//!
//! The way is that of an event, through the database and every replica's listener, but nothing is stored and no commit is
//! flushed.

mod agenda;
mod presence;
mod typing;

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::hub::Hub;
use crate::model::{ConnectionId, ReplicaId, UserId};
use crate::store::Store;
use crate::until::until;

pub use presence::{Presence, PresenceTimes};
pub use typing::{Typing, TypingTimes};

/// Between two transactions that tell of typing, or of presence: what comes up meanwhile shares the next one, and with it one turn at the
/// cluster's lock of NOTIFY. No setting: less would cost turns, and more would be felt.
const GATHERING: Duration = Duration::from_millis(50);

/// A handle on what this replica knows of the moment; clones share it.
#[derive(Clone)]
pub struct Live {
    typing: Typing,
    presence: Presence,
}

impl Live {
    pub fn new(
        store: Store,
        hub: Hub,
        replica: ReplicaId,
        typing: TypingTimes,
        presence: PresenceTimes,
    ) -> Self {
        Self {
            presence: Presence::new(store.clone(), replica, presence),
            typing: Typing::new(store, hub, replica, typing),
        }
    }

    pub fn typing(&self) -> &Typing {
        &self.typing
    }

    pub fn presence(&self) -> &Presence {
        &self.presence
    }

    /// A socket has opened, active or not. It is gone when the value is dropped.
    pub fn attend(&self, user: UserId, connection: ConnectionId, is_active: bool) -> Attending {
        let mut attending = Attending {
            live: self.clone(),
            user,
            connection,
            is_active: false,
        };
        attending.set_active(is_active);
        attending
    }

    /// All loops, for as long as it is polled.
    pub async fn run(self) {
        tokio::select! {
            () = self.presence.run() => {}
            () = self.typing.run() => {}
        }
    }
}

/// A socket that is there, and is sent whatever concerns its user. That is one thing; another is whether it is active, and so
/// makes its user online. Presence counts the active ones only.
pub struct Attending {
    live: Live,
    user: UserId,
    connection: ConnectionId,
    is_active: bool,
}

impl Attending {
    /// From now on the socket makes its user online, or no longer does. Without effect where that is so already: it is counted once.
    pub fn set_active(&mut self, is_active: bool) {
        if self.is_active == is_active {
            return;
        }
        self.is_active = is_active;
        let presence = &self.live.presence;
        match is_active {
            true => presence.comes(self.user),
            false => presence.leaves(self.user),
        }
    }
}

impl Drop for Attending {
    fn drop(&mut self) {
        self.set_active(false);
        self.live.presence.unwatch(self.connection);
        self.live.typing.leaves(self.user, self.connection);
    }
}

/// Until `next`, or until somebody says that there is something earlier.
async fn wait(next: Option<Instant>, earlier: &Notify) {
    tokio::select! {
        () = until(next) => {}
        () = earlier.notified() => {}
    }
}
