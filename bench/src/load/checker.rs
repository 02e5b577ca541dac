//! What a socket may see of a lane: each message once, and by `seq`. A fast run that breaks this is a
//! failed run. No I/O.

use std::collections::BTreeSet;

/// What one socket has seen of one lane.
#[derive(Debug, Default)]
pub struct Seen {
    /// All numbers below have been seen, but for `missing`.
    next: u32,
    missing: BTreeSet<u32>,
    last_seq: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// The first time, and after everything that has a lower `seq`.
    Good,
    /// The first time, but something that was sent or committed later came before it.
    OutOfOrder,
    Doubled,
}

impl Seen {
    pub fn see(&mut self, number: u32, seq: u64) -> Sight {
        let late = number < self.next;
        if late && !self.missing.remove(&number) {
            return Sight::Doubled;
        }
        if !late {
            self.missing.extend(self.next..number);
            self.next = number + 1;
        }
        let in_order = !late && seq > self.last_seq;
        self.last_seq = self.last_seq.max(seq);
        if in_order {
            Sight::Good
        } else {
            Sight::OutOfOrder
        }
    }
}

/// What went wrong in a run; all zero in a good one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Acknowledged, and not seen by a socket that should have.
    pub lost: u64,
    pub doubled: u64,
    pub out_of_order: u64,
    /// Sent, and answered with an error.
    pub refused: u64,
    /// Sent, and not answered at all.
    pub unanswered: u64,
    /// Sockets and connections that ended by themselves.
    pub cut: u64,
}

impl Faults {
    #[cfg(test)]
    pub fn any(&self) -> bool {
        *self != Self::default()
    }

    pub fn count(&mut self, sight: Sight) {
        match sight {
            Sight::Good => {}
            Sight::OutOfOrder => self.out_of_order += 1,
            Sight::Doubled => self.doubled += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sights(seen: &[(u32, u64)]) -> Vec<Sight> {
        let mut socket = Seen::default();
        seen.iter()
            .map(|(number, seq)| socket.see(*number, *seq))
            .collect()
    }

    #[test]
    fn messages_in_order_are_good() {
        assert_eq!(sights(&[(0, 1), (1, 2), (2, 3)]), [Sight::Good; 3]);
    }

    #[test]
    fn a_repeat_is_doubled_whenever_it_comes() {
        use Sight::{Doubled, Good};
        assert_eq!(sights(&[(0, 1), (0, 1)]), [Good, Doubled]);
        assert_eq!(sights(&[(0, 1), (1, 2), (0, 1)]), [Good, Good, Doubled]);
    }

    #[test]
    fn one_that_was_overtaken_is_out_of_order_once_and_then_doubled() {
        use Sight::{Doubled, Good, OutOfOrder};
        let seen = [(0, 1), (2, 3), (1, 2), (1, 2), (3, 4)];
        assert_eq!(sights(&seen), [Good, Good, OutOfOrder, Doubled, Good]);
    }

    #[test]
    fn a_lower_seq_behind_a_higher_one_is_out_of_order() {
        // The sender's order is kept here, that of the commits is not.
        assert_eq!(sights(&[(0, 2), (1, 1)])[1], Sight::OutOfOrder);
    }

    #[test]
    fn every_fault_fails_a_run() {
        assert!(!Faults::default().any());
        let mut faults = Faults::default();
        faults.count(Sight::Good);
        assert!(!faults.any());
        faults.count(Sight::OutOfOrder);
        assert!(faults.any());
    }
}
