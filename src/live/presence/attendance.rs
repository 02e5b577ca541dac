//! Who has an active socket on this replica, and what is to be told the database of it and when. No I/O; time is passed in.
//!
//! The replica's roll in the database follows: a user who comes is put on it at once, and one who has gone is taken off after the grace, so
//! that a reconnect is not told at all.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::live::agenda::Agenda;
use crate::model::UserId;
use crate::store::{Roll, RollChange};

/// Bounded by the sockets of the replica: one entry a user who has an active one, or had one until a grace ago. Of sockets that are not
/// active nothing is known here.
pub struct Attendance {
    grace: Duration,
    roll: Option<Roll>,
    entries: HashMap<UserId, Entry>,
    /// When to look at which entry again.
    agenda: Agenda<UserId>,
}

struct Entry {
    /// The active ones.
    sockets: usize,
    /// When the last of these left, or became inactive.
    left: Instant,
    listed: Listed,
    in_flight: bool,
    due: Option<Instant>,
}

/// Whether a user stands on the roll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    No,
    Yes,
    /// The database did not answer.
    Perhaps,
}

impl Attendance {
    pub fn new(grace: Duration) -> Self {
        Self {
            grace,
            roll: None,
            entries: HashMap::new(),
            agenda: Agenda::new(),
        }
    }

    /// A user has one active socket more.
    pub fn comes(&mut self, user: UserId, now: Instant) {
        let entry = self.entries.entry(user).or_insert(Entry {
            sockets: 0,
            left: now,
            listed: Listed::No,
            in_flight: false,
            due: None,
        });
        entry.sockets += 1;
        self.plan(user, now);
    }

    /// A user has one active socket less.
    pub fn leaves(&mut self, user: UserId, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&user) {
            entry.sockets = entry.sockets.saturating_sub(1);
            entry.left = now;
            self.plan(user, now);
        }
    }

    /// A new roll: nobody stands on it yet. Those who left a moment ago are put on it as well, so that their leaving is told
    /// in the same way as ever.
    pub fn begin(&mut self, roll: Roll, now: Instant) {
        self.roll = Some(roll);
        let users: Vec<UserId> = self.entries.keys().copied().collect();
        for user in users {
            if let Some(entry) = self.entries.get_mut(&user) {
                entry.listed = Listed::No;
                entry.in_flight = false;
            }
            self.plan(user, now);
        }
    }

    /// The roll has ended, or is to be begun anew.
    pub fn end(&mut self) {
        self.roll = None;
    }

    /// `roll` has ended. Without effect if another one was begun meanwhile.
    pub fn end_of(&mut self, roll: Roll) {
        if self.roll == Some(roll) {
            self.roll = None;
        }
    }

    pub fn roll(&self) -> Option<Roll> {
        self.roll
    }

    /// When there is something to tell next.
    pub fn next(&self) -> Option<Instant> {
        self.roll.and(self.agenda.next())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// At most `limit` of what is to be told now, and on which roll. Each is in flight until [`Attendance::told`].
    pub fn take(&mut self, now: Instant, limit: usize) -> Option<(Roll, Vec<RollChange>)> {
        let roll = self.roll?;
        let mut changes = Vec::new();
        while changes.len() < limit
            && let Some(user) = self.agenda.pop_due(now)
        {
            let Some(entry) = self.entries.get_mut(&user) else {
                continue;
            };
            entry.due = None;
            let belongs = entry.belongs(self.grace, now);
            let change = match (belongs, entry.listed) {
                (true, Listed::No | Listed::Perhaps) => RollChange::Comes(user),
                (false, Listed::Yes | Listed::Perhaps) => RollChange::Went(user, now - entry.left),
                _ => {
                    self.plan(user, now);
                    continue;
                }
            };
            entry.in_flight = true;
            changes.push(change);
        }
        Some((roll, changes))
    }

    /// What became of changes: whether the database took them. If it did not, it may have done so all the same.
    pub fn told(&mut self, roll: Roll, changes: &[RollChange], done: bool, now: Instant) {
        if self.roll != Some(roll) {
            return;
        }
        for change in changes {
            if let Some(entry) = self.entries.get_mut(&change.user()) {
                entry.in_flight = false;
                entry.listed = match (done, change) {
                    (false, _) => Listed::Perhaps,
                    (true, RollChange::Comes(_)) => Listed::Yes,
                    (true, RollChange::Went(..)) => Listed::No,
                };
            }
            self.plan(change.user(), now);
        }
    }

    /// Puts an entry on the agenda for the moment at which it wants something, or forgets it.
    fn plan(&mut self, user: UserId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&user) else {
            return;
        };
        let belongs = entry.belongs(self.grace, now);
        let at = match (belongs, entry.listed) {
            _ if entry.in_flight => None,
            (true, Listed::No | Listed::Perhaps) | (false, Listed::Yes | Listed::Perhaps) => {
                Some(now)
            }
            (true, Listed::Yes) if entry.sockets > 0 => None,
            (true, Listed::Yes) => Some(entry.left + self.grace),
            (false, Listed::No) => None,
        };
        self.agenda.set(user, &mut entry.due, at);
        if !entry.in_flight && !belongs && entry.listed == Listed::No {
            self.entries.remove(&user);
        }
    }
}

impl Entry {
    /// Whether the user is to stand on the roll.
    fn belongs(&self, grace: Duration, now: Instant) -> bool {
        self.sockets > 0 || now < self.left + grace
    }
}

#[cfg(test)]
mod tests;
