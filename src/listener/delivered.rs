//! What the hub was given at or above the horizon: tells repeats when a catch-up reads the tables.

use std::collections::{HashMap, VecDeque};

use crate::hub::Subject;
use crate::store::Horizon;

/// Most subjects that are remembered. One open write transaction anywhere in the cluster holds the horizon
/// back, and then this bound counts: a repeat may pass after a lost connection, never a loss.
const CAPACITY: usize = 200_000;

#[derive(Default)]
pub(super) struct Delivered {
    versions: HashMap<Subject, (i64, u64)>,
    /// In order of delivery, which is nearly the order of transactions.
    order: VecDeque<(Subject, u64)>,
}

/// How an event stands to what was delivered of its subject.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    New,
    /// An earlier state was delivered.
    Later,
    /// This state or a later one was.
    Repeat,
}

impl Delivered {
    pub fn standing(&self, subject: Subject, version: i64) -> Standing {
        match self.versions.get(&subject) {
            None => Standing::New,
            Some((delivered, _)) if *delivered >= version => Standing::Repeat,
            Some(_) => Standing::Later,
        }
    }

    pub fn record(&mut self, subject: Subject, version: i64, xid: u64) {
        self.versions.insert(subject, (version, xid));
        self.order.push_back((subject, xid));
        if self.order.len() > CAPACITY {
            self.drop_oldest();
        }
    }

    /// Forgets what is below the horizon of a notification: no catch-up will read it, and the queue holds no
    /// repeat of it any more.
    pub fn prune(&mut self, horizon: Horizon) {
        while self.order.front().is_some_and(|(_, xid)| *xid < horizon.0) {
            self.drop_oldest();
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
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

    fn row(n: u128) -> Subject {
        Subject::Row(Uuid::from_u128(n))
    }

    #[test]
    fn repeats_are_told_until_the_horizon_passes_them() {
        let mut delivered = Delivered::default();
        delivered.record(row(1), 1, 10);
        delivered.record(row(2), 1, 11);
        assert_eq!(delivered.standing(row(1), 1), Standing::Repeat);
        assert_eq!(delivered.standing(row(1), 2), Standing::Later);
        assert_eq!(delivered.standing(row(3), 1), Standing::New);
        delivered.prune(Horizon(11));
        assert_eq!(delivered.standing(row(1), 1), Standing::New);
        assert_eq!(delivered.standing(row(2), 1), Standing::Repeat);
    }

    #[test]
    fn a_later_change_keeps_its_subject_in_memory() {
        let mut delivered = Delivered::default();
        delivered.record(row(1), 1, 10);
        delivered.record(row(1), 2, 20);
        delivered.prune(Horizon(15));
        assert_eq!(delivered.standing(row(1), 2), Standing::Repeat);
        delivered.prune(Horizon(21));
        assert!(delivered.versions.is_empty() && delivered.order.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut delivered = Delivered::default();
        for n in 0..CAPACITY as u128 + 10 {
            delivered.record(row(n), 1, 5);
        }
        assert_eq!(delivered.order.len(), CAPACITY);
        assert_eq!(delivered.versions.len(), CAPACITY);
    }
}
