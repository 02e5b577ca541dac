//! Who of this replica's users types, and what is to be told of it and when. No I/O; time is passed in.
//!
//! The last state wins: all changes within the interval after a notification are told as one, at its end. That a user has stopped is
//! always told, unless the other replicas know it otherwise: by a message, or because they have not heard of the user for too long.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::config::Config;
use crate::live::agenda::Agenda;
use crate::model::{ConnectionId, ConversationId, UserId};
use crate::store::{Pair, Telling};

/// Conversations in which somebody types, on one replica, at most; beyond it nobody new is told of. No setting: it bounds what a
/// mistake may cost (about 10 MiB), and a replica on which so many type at once is long past what it can tell in an interval.
const CAPACITY: usize = 65_536;

/// Between two notifications about one pair, at most: often enough for whoever is shown it, and seldom enough that many who type cost
/// little. Where typing lasts less than twice as long, half of that, so that a renewal arrives in time.
const MOST_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug)]
pub struct TypingTimes {
    /// How long typing lasts without renewal.
    pub lasting: Duration,
    /// Between two notifications about one pair.
    pub interval: Duration,
}

impl From<&Config> for TypingTimes {
    fn from(config: &Config) -> Self {
        let lasting = config.timeouts.typing;
        Self {
            lasting,
            interval: MOST_INTERVAL.min(lasting / 2),
        }
    }
}

pub struct Typists {
    times: TypingTimes,
    /// Ordered, so that those of one typist stand together.
    entries: BTreeMap<Pair, Entry>,
    /// When to look at which entry again.
    agenda: Agenda<Pair>,
}

struct Entry {
    conversation: ConversationId,
    /// The socket that typed last.
    connection: ConnectionId,
    /// Types until then, if not renewed.
    until: Option<Instant>,
    /// Began, or was renewed, since the last notification.
    fresh: bool,
    /// Others may believe until then that this user types.
    believed: Option<Instant>,
    /// A notification is on its way to the database.
    in_flight: bool,
    /// Not to be told of before: the interval after this replica's last notification.
    free: Option<Instant>,
    due: Option<Instant>,
}

impl Entry {
    fn new(conversation: ConversationId, connection: ConnectionId) -> Self {
        Self {
            conversation,
            connection,
            until: None,
            fresh: false,
            believed: None,
            in_flight: false,
            free: None,
            due: None,
        }
    }
}

impl Typists {
    pub fn new(times: TypingTimes) -> Self {
        Self {
            times,
            entries: BTreeMap::new(),
            agenda: Agenda::new(),
        }
    }

    /// A client types; again while it does so.
    pub fn types(
        &mut self,
        pair: Pair,
        conversation: ConversationId,
        connection: ConnectionId,
        now: Instant,
    ) {
        if self.entries.len() >= CAPACITY && !self.entries.contains_key(&pair) {
            return;
        }
        let new = || Entry::new(conversation, connection);
        let entry = self.entries.entry(pair).or_insert_with(new);
        entry.connection = connection;
        entry.until = Some(now + self.times.lasting);
        entry.fresh = true;
        self.plan(pair, now);
    }

    /// A client says that it has stopped.
    pub fn stops(&mut self, pair: Pair, now: Instant) {
        self.end(pair, now, |_| true);
    }

    /// A socket is gone: with it ends what was typed on it.
    /// Whether there was anything.
    pub fn leaves(&mut self, typist: UserId, connection: ConnectionId, now: Instant) -> bool {
        let first = Pair {
            typist,
            to: UserId(Uuid::nil()),
        };
        let mine: Vec<Pair> = self
            .entries
            .range(first..)
            .map(|(pair, _)| *pair)
            .take_while(|pair| pair.typist == typist)
            .collect();
        for pair in &mine {
            self.end(*pair, now, |entry| entry.connection == connection);
        }
        !mine.is_empty()
    }

    fn end(&mut self, pair: Pair, now: Instant, which: impl Fn(&Entry) -> bool) {
        if let Some(entry) = self.entries.get_mut(&pair).filter(|entry| which(entry)) {
            entry.until = None;
            entry.fresh = false;
            self.plan(pair, now);
        }
    }

    /// A message of the typist's was heard, so every replica that heard it knows that the typing is over. Whether it had been typed here.
    pub fn wrote(&mut self, pair: Pair, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(&pair) else {
            return false;
        };
        entry.until = None;
        entry.fresh = false;
        // What is still on its way may arrive after the message.
        if !entry.in_flight {
            entry.believed = None;
        }
        self.plan(pair, now);
        true
    }

    /// A notification of this replica's own was heard: what others believe is this replica's to end, whatever was heard before.
    /// Should it tell of typing that a message has ended meanwhile, it is taken back.
    pub fn heard(&mut self, pair: Pair, is_typing: bool, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&pair)
            && is_typing
        {
            entry.believed = Some(now + self.times.lasting);
            self.plan(pair, now);
        }
    }

    /// A notification of another replica, where the same user types, was heard. All hear all notifications in the same order: so what
    /// others believe is now that replica's to end, unless one of our own comes behind it.
    pub fn heard_elsewhere(&mut self, pair: Pair, now: Instant) {
        let entry = self.entries.get_mut(&pair);
        if let Some(entry) = entry.filter(|entry| !entry.in_flight) {
            entry.believed = None;
            self.plan(pair, now);
        }
    }

    /// When there is something to do next.
    pub fn next(&self) -> Option<Instant> {
        self.agenda.next()
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// At most `limit` of what is to be told now. Each is in flight until [`Typists::told`].
    pub fn take(&mut self, now: Instant, limit: usize) -> Vec<Telling> {
        let mut tellings = Vec::new();
        while tellings.len() < limit
            && let Some(pair) = self.agenda.pop_due(now)
        {
            let Some(entry) = self.entries.get_mut(&pair) else {
                continue;
            };
            entry.due = None;
            if entry.until.is_some_and(|until| until <= now) {
                // Those who were told count for themselves. What they heard at its usual moment ends with it or soon after; what they heard
                // late is taken back.
                let soon = now + self.times.interval;
                entry.until = None;
                entry.fresh = false;
                entry.believed = entry.believed.filter(|until| *until > soon);
            }
            let believed = entry.believed.is_some_and(|until| now < until);
            let is_typing = entry.until.is_some();
            let news = match is_typing {
                true => entry.fresh,
                false => believed,
            };
            // What ends by itself stands on the agenda, whether or not the interval is over.
            let free = entry.free.is_none_or(|free| free <= now);
            if news && free {
                entry.fresh = false;
                entry.in_flight = true;
                entry.free = Some(now + self.times.interval);
                if is_typing {
                    entry.believed = Some(now + self.times.lasting);
                }
                tellings.push(Telling {
                    pair,
                    conversation: entry.conversation,
                    is_typing,
                });
            }
            self.plan(pair, now);
        }
        tellings
    }

    /// What became of a telling: whether the database took it. If it did not, it may have done so all the same; a `false` is
    /// told again as long as somebody may believe otherwise, a `true` when it is renewed.
    pub fn told(&mut self, telling: &Telling, done: bool, now: Instant) {
        if let Some(entry) = self.entries.get_mut(&telling.pair) {
            entry.in_flight = false;
            if !telling.is_typing && done {
                entry.believed = None;
            }
            self.plan(telling.pair, now);
        }
    }

    /// Puts an entry on the agenda for the moment at which it wants something, or forgets it.
    fn plan(&mut self, pair: Pair, now: Instant) {
        let Some(entry) = self.entries.get_mut(&pair) else {
            return;
        };
        let free = entry.free.unwrap_or(now);
        let at = match entry.until {
            _ if entry.in_flight => None,
            Some(until) if entry.fresh => Some(free.min(until)),
            Some(until) => Some(until),
            None if entry.believed.is_some_and(|until| now < until) => Some(free),
            // Kept that long, so that the interval holds for what comes next.
            None => Some(free).filter(|free| *free > now),
        };
        self.agenda.set(pair, &mut entry.due, at);
        if at.is_none() && !entry.in_flight {
            self.entries.remove(&pair);
        }
    }
}

#[cfg(test)]
mod tests;
