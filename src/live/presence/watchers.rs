//! Which sockets of this replica watch whom, and what they were last shown. No I/O.
//!
//! A user's presence is read from the database when it may have changed, and shown when it has: to all sockets that watch the user. Sockets
//! that have just begun to watch are shown it in any case.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Bound, RangeBounds, RangeInclusive};
use std::sync::Arc;

use uuid::Uuid;

use crate::frame::Frame;
use crate::hub::{Mailbox, Topic};
use crate::model::{ConnectionId, UserId};

/// Bounded by the sockets of the replica and what each may watch; a socket that watches nobody has nothing here.
#[derive(Default)]
pub struct Watchers {
    sockets: HashMap<ConnectionId, Watcher>,
    /// Ordered, so that the sockets that watch one user stand together. `true`: the watch is new, and nothing was shown yet.
    watches: BTreeMap<(UserId, ConnectionId), bool>,
    watched: HashMap<UserId, Watched>,
    /// Users to be read, in the order in which it was asked for.
    queue: BTreeMap<u64, UserId>,
    asked: u64,
}

struct Watcher {
    mailbox: Arc<Mailbox>,
    users: Box<[UserId]>,
}

/// Sockets that are looked at in one call of [`Watchers::show`], which holds the lock: a millisecond or two.
const LOOKED_AT: usize = 1000;

/// What was read of a user, on its way to those who watch them.
pub struct Showing {
    user: UserId,
    /// It is not what was shown last. Else only the new watches are shown it.
    news: bool,
    /// The last socket that was looked at.
    behind: Option<ConnectionId>,
}

impl Showing {
    /// The place in the map of the sockets that are not looked at yet.
    fn left(&self) -> impl RangeBounds<(UserId, ConnectionId)> + use<> {
        let at = |connection| (self.user, connection);
        let [first, last] = [Uuid::nil(), Uuid::max()].map(|id| at(ConnectionId(id)));
        let first = match self.behind {
            Some(connection) => Bound::Excluded(at(connection)),
            None => Bound::Included(first),
        };
        (first, Bound::Included(last))
    }
}

/// How far one call has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Sockets that were shown it.
    pub count: usize,
    /// There may be more to look at.
    pub more: bool,
}

/// How much is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watching {
    /// Sockets that watch somebody.
    pub sockets: usize,
    /// Users whom somebody watches.
    pub users: usize,
    /// Pairs of both.
    pub pairs: usize,
}

#[derive(Default)]
struct Watched {
    /// The `data` that was shown last.
    shown: Option<Box<str>>,
    /// The place in the queue.
    queued: Option<u64>,
}

impl Watchers {
    /// Replaces what a socket watches. Each user of the new list is shown to it once more.
    pub fn watch(
        &mut self,
        connection: ConnectionId,
        mailbox: &Arc<Mailbox>,
        mut users: Vec<UserId>,
    ) {
        users.sort_unstable();
        users.dedup();
        let former = self.sockets.remove(&connection);
        for user in former.iter().flat_map(|former| &former.users) {
            if users.binary_search(user).is_err() {
                self.forget(*user, connection);
            }
        }
        for user in &users {
            self.watches.insert((*user, connection), true);
            self.watched.entry(*user).or_default();
            self.ask(*user);
        }
        if !users.is_empty() {
            let (mailbox, users) = (Arc::clone(mailbox), users.into_boxed_slice());
            self.sockets.insert(connection, Watcher { mailbox, users });
        }
    }

    /// What a socket was shown counts no more.
    pub fn show_again_to(&mut self, connection: ConnectionId) {
        let Some(watcher) = self.sockets.get(&connection) else {
            return;
        };
        for user in watcher.users.clone() {
            self.watches.insert((user, connection), true);
            self.ask(user);
        }
    }

    /// A socket is gone.
    pub fn leaves(&mut self, connection: ConnectionId) {
        if let Some(watcher) = self.sockets.remove(&connection) {
            for user in &watcher.users {
                self.forget(*user, connection);
            }
        }
    }

    /// A user's presence may have changed: it is read if anybody here wants to know.
    pub fn ask(&mut self, user: UserId) {
        if let Some(watched) = self.watched.get_mut(&user)
            && watched.queued.is_none()
        {
            self.asked += 1;
            watched.queued = Some(self.asked);
            self.queue.insert(self.asked, user);
        }
    }

    /// What the sockets were shown does not count any more: all watched users are read and shown once more.
    pub fn show_all_again(&mut self) {
        self.watched
            .values_mut()
            .for_each(|watched| watched.shown = None);
        self.ask_all();
    }

    /// Everybody's presence may have changed: all watched users are read.
    pub fn ask_all(&mut self) {
        let users: Vec<UserId> = self.watched.keys().copied().collect();
        for user in users {
            self.ask(user);
        }
    }

    /// Whether there is somebody to be read.
    pub fn is_asked(&self) -> bool {
        !self.queue.is_empty()
    }

    /// At most `limit` users to be read now. Whose change is heard from here on is asked for again.
    pub fn take(&mut self, limit: usize) -> Vec<UserId> {
        let mut users = Vec::new();
        while users.len() < limit
            && let Some((_, user)) = self.queue.pop_first()
        {
            if let Some(watched) = self.watched.get_mut(&user) {
                watched.queued = None;
            }
            users.push(user);
        }
        users
    }

    /// What was read of a user, which is to be shown from now on, up to its end ([`Watchers::show`]). `None`: nobody watches them.
    pub fn saw(&mut self, user: UserId, data: &str) -> Option<Showing> {
        let watched = self.watched.get_mut(&user)?;
        let news = watched.shown.as_deref() != Some(data);
        if news {
            watched.shown = Some(data.into());
        }
        Some(Showing {
            user,
            news,
            behind: None,
        })
    }

    /// Shows it to some of the sockets. Whoever watches the user from now on has that read once more, wherever this has got to.
    pub fn show(&mut self, showing: &mut Showing, frame: impl Fn() -> Frame) -> Shown {
        let mut count = 0;
        let theirs = self.watches.range_mut(showing.left());
        for (looked_at, ((user, connection), new)) in theirs.enumerate() {
            if looked_at == LOOKED_AT {
                return Shown { count, more: true };
            }
            showing.behind = Some(*connection);
            if (std::mem::take(new) || showing.news)
                && let Some(watcher) = self.sockets.get(connection)
            {
                watcher.mailbox.put(Topic::Presence(*user), frame());
                count += 1;
            }
        }
        Shown { count, more: false }
    }

    pub fn counts(&self) -> Watching {
        Watching {
            sockets: self.sockets.len(),
            users: self.watched.len(),
            pairs: self.watches.len(),
        }
    }

    fn forget(&mut self, user: UserId, connection: ConnectionId) {
        self.watches.remove(&(user, connection));
        let theirs = watches_of(user);
        if self.watches.range(theirs).next().is_none()
            && let Some(watched) = self.watched.remove(&user)
            && let Some(place) = watched.queued
        {
            self.queue.remove(&place);
        }
    }
}

/// The place in the map of the sockets that watch this user.
fn watches_of(user: UserId) -> RangeInclusive<(UserId, ConnectionId)> {
    let [first, last] = [Uuid::nil(), Uuid::max()].map(ConnectionId);
    (user, first)..=(user, last)
}

#[cfg(test)]
mod tests;
