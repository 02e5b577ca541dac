//! Whether a user exists and is active, asked together for all who want to know it of somebody at that moment.
//!
//! As the writer does with messages: who comes while queries are under way is asked about with the others by the next one, without a
//! timer. Alone, nobody waits for anybody; the thousands who come back after the loss of a replica take a few queries.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Store;
use super::failure::QueryFailure;
use crate::error::{Error, Resource};
use crate::model::UserId;

/// Users whom one query asks about.
const GROUP: usize = 1000;

/// Those who wait; beyond it they are refused.
const MAX_WAITING: usize = 100 * GROUP;

type Answer = Result<Option<bool>, Error>;

/// Who wants to know something of a user.
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
    pub fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    /// Puts somebody in line; whether a task more is to ask.
    fn admit(&self, waiter: Waiter) -> Result<bool, Error> {
        let mut state = self.state();
        if state.waiting.len() >= MAX_WAITING {
            return Err(Error::unavailable("too many others wait for the database"));
        }
        state.waiting.push_back(waiter);
        let is_free = state.asking < self.most;
        state.asking += usize::from(is_free);
        Ok(is_free)
    }

    /// Those who are asked about next, without those who have gone away. Empty: nobody waits, and the task ends.
    fn next_group(&self) -> Vec<Waiter> {
        let mut state = self.state();
        state.waiting.retain(|waiter| !waiter.reply.is_closed());
        let count = state.waiting.len().min(GROUP);
        if count == 0 {
            state.asking -= 1;
        }
        state.waiting.drain(..count).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in between can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Whether this user is active; `None`: there is no such user.
    pub async fn is_active(&self, user: UserId) -> Answer {
        let (reply, answer) = oneshot::channel();
        if self.user_lookups.admit(Waiter { user, reply })? {
            tokio::spawn(self.clone().look_up_users());
        }
        match timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => answer,
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

    /// Asks for those who wait, until nobody does.
    async fn look_up_users(self) {
        loop {
            let group = self.user_lookups.next_group();
            if group.is_empty() {
                return;
            }
            self.answer(group).await;
        }
    }

    async fn answer(&self, group: Vec<Waiter>) {
        let users: Vec<_> = group.iter().map(|waiter| waiter.user).collect();
        let answers = self.are_active(&users).await;
        for (Waiter { reply, .. }, answer) in group.into_iter().zip(answers) {
            // Whoever has gone away meanwhile needs none.
            let _ = reply.send(answer);
        }
    }

    /// The same of several, in their order. A view of the host's may fail for one user: that takes none of the others along.
    pub async fn are_active(&self, users: &[UserId]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(users.len());
        let mut parts = vec![users];
        while let Some(part) = parts.pop() {
            let found = match self.active_of(part).await {
                Err(Error::Internal(_)) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                    continue;
                }
                found => found.map(HashMap::<_, _>::from_iter),
            };
            answers.extend(part.iter().map(|user| match &found {
                Ok(found) => Ok(found.get(user).copied()),
                Err(error) => Err(same(error)),
            }));
        }
        answers
    }
}

/// What a query failed with, for each who waited for it.
fn same(error: &Error) -> Error {
    match error {
        Error::Internal(cause) => Error::Internal(cause.to_string().into()),
        other => Error::unavailable(other.to_string()),
    }
}
