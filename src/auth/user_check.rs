//! Whether a user exists and is active, asked of the host's users table, and remembered for a while: a request
//! must not cost a query more than the one that it is about.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Denial, Error, Resource};
use crate::hub::Hub;
use crate::model::UserId;
use crate::store::Store;
use crate::sync::lock;

/// Answers that are remembered at most: some 4 MB.
const REMEMBERED: usize = 50_000;

/// Connected users whom one statement asks about.
const CHUNK: usize = 1000;

/// Which users exist and are active, as it was found of late.
pub struct UserCheck {
    store: Store,
    /// How long an answer holds (`USER_CHECK_SECONDS`).
    holds: Duration,
    /// Active or not, and when that was found. Users who do not exist are not kept: somebody who has just been
    /// created must not wait. A std mutex: held for look-ups only.
    known: Mutex<HashMap<UserId, (bool, Instant)>>,
}

impl UserCheck {
    /// `holds`: `USER_CHECK_SECONDS`.
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
                let found = self.store.is_active(user).await?;
                let active = found.ok_or_else(|| Error::not_found(Resource::User, user))?;
                self.remember(&[(user, active)]);
                active
            }
        };
        match active {
            true => Ok(()),
            false => Err(Error::Forbidden(Denial::UserDeactivated)),
        }
    }

    /// Ends the sockets of connected users who are not active any more, or do not exist. If the host's table fails to tell about a user,
    /// their sockets stay; the first such failure is the error.
    pub async fn dismiss_inactive(&self, hub: &Hub) -> Result<(), Error> {
        let mut failure = None;
        for users in hub.users().chunks(CHUNK) {
            let mut found = match self.store.active_of(users).await {
                Err(error @ Error::Internal(_)) => {
                    failure.get_or_insert(error);
                    continue;
                }
                found => found?,
            };
            let known: Vec<(UserId, bool)> = found
                .iter()
                .filter_map(|(user, active)| Some((*user, *active.as_ref().ok()?)))
                .collect();
            self.remember(&known);
            for user in users {
                match found.remove(user) {
                    Some(Ok(true)) => {}
                    Some(Err(error)) => _ = failure.get_or_insert(error),
                    inactive => {
                        if inactive.is_none() {
                            // So nothing has replaced what is remembered.
                            self.lock().remove(user);
                        }
                        log::info!("user {user} is deactivated: the sockets are closed");
                        hub.dismiss(*user);
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
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
        lock(&self.known)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::config::Config;
    use crate::testing;

    /// A memory whose database is never asked.
    fn user_check(holds: Duration) -> UserCheck {
        let config = Config::from_vars(&[("DB_HOST", "127.0.0.1")]).unwrap();
        let (store, _) = testing::store_of(&config);
        UserCheck::new(store, holds)
    }

    fn users(range: std::ops::Range<usize>) -> Vec<(UserId, bool)> {
        range
            .map(|number| (UserId(Uuid::from_u128(number as u128)), true))
            .collect()
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded_and_the_newest_stays() {
        let user_check = user_check(Duration::from_secs(3600));
        for first in (0..REMEMBERED * 2).step_by(CHUNK) {
            let found = users(first..first + CHUNK);
            user_check.remember(&found);
            assert!(user_check.lock().len() <= REMEMBERED);
            assert!(
                found
                    .iter()
                    .all(|(user, _)| user_check.remembered(*user) == Some(true))
            );
        }
    }

    #[tokio::test]
    async fn what_is_remembered_is_the_answer_and_costs_no_query() {
        let user_check = user_check(Duration::from_secs(3600));
        let [active, inactive] = [1, 2].map(|number| UserId(Uuid::from_u128(number)));
        user_check.remember(&[(active, true), (inactive, false)]);
        assert!(user_check.require_active(active).await.is_ok());
        let refused = user_check.require_active(inactive).await.unwrap_err();
        assert_eq!(refused.code().name(), "user_deactivated");
    }

    #[tokio::test]
    async fn who_was_found_active_is_not_believed_for_ever() {
        let user_check = user_check(Duration::ZERO);
        user_check.remember(&users(0..1));
        assert_eq!(user_check.remembered(UserId(Uuid::nil())), None);
    }
}
