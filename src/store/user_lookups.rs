//! Whether users exist and are active: callers who ask at the same moment share a query.
//!
//! As the writer does with messages: users who are asked about while queries are under way go into the next query together, without a timer.
//! A single caller waits for nobody; the thousands who come back after the loss of a replica take a few queries.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Store;
use super::failure::QueryFailure;
use crate::error::{Error, Resource};
use crate::model::UserId;
use crate::sync::lock;

/// Users whom one query asks about.
const GROUP: usize = 1000;

/// Callers who wait; more are refused.
const MAX_WAITING: usize = 100 * GROUP;

type Answer = Result<Option<bool>, Error>;

/// A caller who asks about a user.
struct Waiter {
    user: UserId,
    reply: oneshot::Sender<Answer>,
}

pub(super) struct UserLookups {
    /// Queries at a time.
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiter>,
    /// Tasks that ask, one query after the other, until nobody waits.
    asking: usize,
}

impl UserLookups {
    /// At most `most` queries at a time.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    /// How many wait until they are asked about.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Puts somebody in line; with a task that is to ask, where there is room for one more.
    fn admit(self: &Arc<Self>, waiter: Waiter) -> Result<Option<Asking>, Error> {
        let mut state = self.state();
        if state.waiting.len() >= MAX_WAITING {
            return Err(Error::unavailable(
                "too many requests are waiting for the database",
            ));
        }
        state.waiting.push_back(waiter);
        let is_free = state.asking < self.most;
        state.asking += usize::from(is_free);
        Ok(is_free.then(|| Asking(Some(Arc::clone(self)))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in between can panic half-way.
        lock(&self.state)
    }
}

/// The part of a task that asks until nobody waits. Should it end before, another one may take its place.
struct Asking(Option<Arc<UserLookups>>);

impl Asking {
    /// Those who are asked about next, without those who have gone away. `None`: nobody waits, and the task has ended.
    fn next_group(&mut self) -> Option<Vec<Waiter>> {
        let lookups = self.0.as_ref()?;
        let mut state = lookups.state();
        state.waiting.retain(|waiter| !waiter.reply.is_closed());
        let count = state.waiting.len().min(GROUP);
        if count > 0 {
            return Some(state.waiting.drain(..count).collect());
        }
        // Under the same lock: callers who come from now on see that no task asks.
        state.asking -= 1;
        drop(state);
        self.0 = None;
        None
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(lookups) = &self.0 {
            lookups.state().asking -= 1;
        }
    }
}

impl Store {
    /// Whether this user is active; `None`: there is no such user.
    pub async fn is_active(&self, user: UserId) -> Answer {
        let (reply, answer) = oneshot::channel();
        if let Some(asking) = self.shared.user_lookups.admit(Waiter { user, reply })? {
            // For all who wait, and as long as anybody does: it is nobody's turn.
            tokio::spawn(self.in_no_turn().look_up_users(asking));
        }
        match timeout(self.shared.timeout, answer).await {
            Ok(Ok(answer)) => answer,
            // The queries before this one have the same time each: what is late is the database, which the log says.
            _ => Err(QueryFailure::no_answer().into()),
        }
    }

    /// `NotFound` when there is no such user.
    pub async fn require_user(&self, id: UserId) -> Result<(), Error> {
        let found = self.is_active(id).await?;
        found
            .map(drop)
            .ok_or_else(|| Error::not_found(Resource::User, id))
    }

    async fn look_up_users(self, mut asking: Asking) {
        while let Some(group) = asking.next_group() {
            let users: Vec<_> = group.iter().map(|waiter| waiter.user).collect();
            let found = self.active_of(&users).await;
            for Waiter { user, reply } in group {
                let answer = match &found {
                    Ok(found) => found.get(&user).map(|active| active.as_ref()).transpose(),
                    Err(error) => Err(error),
                };
                // A caller who has gone away meanwhile needs no answer.
                let _ = reply.send(answer.map(Option::<&bool>::copied).map_err(copy_of));
            }
        }
    }
}

/// The error of a query, once for each caller who waited for it.
fn copy_of(error: &Error) -> Error {
    match error {
        Error::Internal(cause) => Error::Internal(cause.to_string().into()),
        other => Error::unavailable(other.to_string()),
    }
}
