//! Whether a user exists and is active, asked of the host's users table, and remembered for a while: a request
//! must not cost a query more than the one that it is about.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::hub::Hub;
use crate::model::UserId;
use crate::store::Store;

/// Answers that are remembered at most: some 4 MB.
const REMEMBERED: usize = 50_000;

/// Connected users whom one statement asks about.
const CHUNK: usize = 1000;

pub struct Standing {
    store: Store,
    /// How long an answer holds (`USER_CHECK_SECONDS`).
    holds: Duration,
    /// Active or not, and when that was found. Users who do not exist are not kept: somebody who has just been
    /// created must not wait. A std mutex: held for look-ups only.
    known: Mutex<HashMap<UserId, (bool, Instant)>>,
}

impl Standing {
    pub fn new(store: Store, holds: Duration) -> Self {
        Self {
            store,
            holds,
            known: Mutex::new(HashMap::new()),
        }
    }

    /// `NotFound` for a user who does not exist, `Forbidden` for one who is not active.
    pub async fn require_active(&self, user: UserId) -> Result<(), Error> {
        let active = match self.remembered(user) {
            Some(active) => active,
            None => {
                let found = self.store.active_of(&[user]).await?;
                let (_, active) = *found
                    .first()
                    .ok_or_else(|| Error::not_found("user", user))?;
                self.remember(&found);
                active
            }
        };
        match active {
            true => Ok(()),
            false => Err(Error::Forbidden {
                code: "user_deactivated",
                message: "this user is deactivated".to_owned(),
            }),
        }
    }

    /// Ends the sockets of those among the connected users who are not active any more, or do not exist.
    pub async fn dismiss_inactive(&self, hub: &Hub) -> Result<(), Error> {
        for users in hub.users().chunks(CHUNK) {
            let found = self.store.active_of(users).await?;
            self.remember(&found);
            let active: HashMap<UserId, bool> = found.into_iter().collect();
            for user in users {
                if active.get(user) != Some(&true) {
                    log::info!("user {user} is deactivated: the sockets are closed");
                    hub.dismiss(*user);
                }
            }
        }
        Ok(())
    }

    fn remembered(&self, user: UserId) -> Option<bool> {
        let known = self.lock();
        let (active, found) = known.get(&user)?;
        (found.elapsed() < self.holds).then_some(*active)
    }

    pub(super) fn remember(&self, found: &[(UserId, bool)]) {
        let now = Instant::now();
        let mut known = self.lock();
        if known.len() + found.len() > REMEMBERED {
            known.retain(|_, (_, found)| found.elapsed() < self.holds);
        }
        if known.len() + found.len() > REMEMBERED {
            known.clear();
        }
        known.extend(found.iter().map(|(user, active)| (*user, (*active, now))));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UserId, (bool, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
