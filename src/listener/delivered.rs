//! What the hub was given at or above the horizon, and what concerned no socket and was passed over: tells repeats when a catch-up reads the tables.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use crate::hub::{Novelty, Subject};
use crate::position::{Horizon, Xid};

/// Its memory is bounded, though one open write transaction anywhere in the cluster holds the horizon back: a row is two
/// subjects at most (itself, and that it was read), so with room for twice the rows that a catch-up may read, it knows all
/// that one can repeat.
pub(super) struct Delivered {
    versions: HashMap<Subject, (i64, Xid)>,
    /// In order of delivery, which is nearly the order of transactions.
    order: VecDeque<(Subject, Xid)>,
    /// Most subjects that are remembered; beyond them the oldest are forgotten.
    capacity: usize,
}

impl Delivered {
    pub fn new(capacity: usize) -> Self {
        Self {
            versions: HashMap::new(),
            order: VecDeque::new(),
            capacity,
        }
    }

    /// What this version of a subject is after what was delivered of it.
    pub fn novelty(&self, subject: Subject, version: i64) -> Novelty {
        match self.versions.get(&subject) {
            None => Novelty::New,
            Some((delivered, _)) if *delivered >= version => Novelty::Repeat,
            Some(_) => Novelty::Later,
        }
    }

    /// This version, made by the transaction `xid`, was delivered.
    pub fn record(&mut self, subject: Subject, version: i64, xid: Xid) {
        let known = match self.versions.entry(subject) {
            Entry::Vacant(place) => {
                place.insert((version, xid));
                None
            }
            Entry::Occupied(mut place) => {
                let (highest, newest) = *place.get();
                // Of the marks of one transaction a later one may cover less.
                place.insert((highest.max(version), xid));
                Some(newest)
            }
        };
        if known != Some(xid) {
            self.order.push_back((subject, xid));
        }
        if self.order.len() > 2 * self.capacity {
            self.drop_superseded();
        }
        while self.versions.len() > self.capacity {
            self.drop_oldest();
        }
    }

    /// Forgets what is below the horizon of a notification: no catch-up will read it, and the queue holds no
    /// repeat of it any more.
    pub fn prune(&mut self, horizon: Horizon) {
        while self
            .order
            .front()
            .is_some_and(|(_, xid)| horizon.covers(*xid))
        {
            self.drop_oldest();
        }
    }

    /// Forgets everything: transaction numbers mean something else from now on.
    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// Of a subject that was delivered again and again only the newest place counts.
    fn drop_superseded(&mut self) {
        let versions = &self.versions;
        self.order.retain(|(subject, xid)| {
            versions
                .get(subject)
                .is_some_and(|(_, newest)| newest == xid)
        });
    }

    fn drop_oldest(&mut self) {
        if let Some((subject, xid)) = self.order.pop_front()
            // A later delivery of the same subject keeps it.
            && self.versions.get(&subject).is_some_and(|(_, newest)| *newest == xid)
        {
            self.versions.remove(&subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::MessageId;

    fn row(n: u128) -> Subject {
        Subject::Row(MessageId(Uuid::from_u128(n)))
    }

    fn horizon(xid: u64) -> Horizon {
        Horizon(Xid(xid))
    }

    #[test]
    fn repeats_are_told_until_the_horizon_passes_them() {
        let mut delivered = Delivered::new(100);
        delivered.record(row(1), 1, Xid(10));
        delivered.record(row(2), 1, Xid(11));
        assert_eq!(delivered.novelty(row(1), 1), Novelty::Repeat);
        assert_eq!(delivered.novelty(row(1), 2), Novelty::Later);
        assert_eq!(delivered.novelty(row(3), 1), Novelty::New);
        delivered.prune(horizon(11));
        assert_eq!(delivered.novelty(row(1), 1), Novelty::New);
        assert_eq!(delivered.novelty(row(2), 1), Novelty::Repeat);
    }

    #[test]
    fn a_later_change_keeps_its_subject_in_memory() {
        let mut delivered = Delivered::new(100);
        delivered.record(row(1), 1, Xid(10));
        delivered.record(row(1), 2, Xid(20));
        delivered.prune(horizon(15));
        assert_eq!(delivered.novelty(row(1), 2), Novelty::Repeat);
        delivered.prune(horizon(21));
        assert!(delivered.versions.is_empty() && delivered.order.is_empty());
    }

    #[test]
    fn what_covers_less_than_before_makes_nothing_earlier_news() {
        let mut delivered = Delivered::new(100);
        delivered.record(row(1), 9, Xid(10));
        delivered.record(row(1), 2, Xid(10));
        assert_eq!(delivered.novelty(row(1), 9), Novelty::Repeat);
    }

    #[test]
    fn memory_is_bounded() {
        let mut delivered = Delivered::new(100);
        for n in 0..310 {
            delivered.record(row(n), 1, Xid(5));
        }
        assert_eq!(delivered.versions.len(), 100);
        assert!(delivered.order.len() <= 200);
        assert_eq!(delivered.novelty(row(209), 1), Novelty::New);
        assert_eq!(delivered.novelty(row(210), 1), Novelty::Repeat);
    }

    #[test]
    fn what_changes_again_and_again_pushes_nothing_else_out() {
        let mut delivered = Delivered::new(100);
        delivered.record(row(1), 1, Xid(1));
        for n in 2..1000 {
            delivered.record(row(2), n, Xid(2 * n.unsigned_abs()));
            delivered.record(row(2), n + 1, Xid(2 * n.unsigned_abs()));
        }
        assert_eq!(delivered.novelty(row(1), 1), Novelty::Repeat);
        assert_eq!(delivered.novelty(row(2), 1000), Novelty::Repeat);
        assert!(delivered.order.len() <= 200);
    }
}
