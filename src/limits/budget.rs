//! How much of what is large may be in memory at a time: answers that their clients have not taken yet, messages that wait
//! to be stored, and what is on its way in.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::model::{ConversationId, ServiceToken, UserId};
use crate::sync::lock;

/// What is no larger is not counted, where nothing else is said: a connection itself may hold as much.
pub const SMALL: usize = 64 * 1024;

/// One holder has this part of a budget at most, so that one who reads slowly leaves the rest to the others.
const SHARES: usize = 8;

/// Whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    User(UserId),
    /// A server that asks by this token, for whomever it asks.
    Service(ServiceToken),
    /// What a gateway asks for without naming a user (trusted mode): the participants of this conversation.
    Conversation(ConversationId),
    /// Nobody in particular: the request names neither a user nor a conversation.
    Anybody,
}

/// Never waited for, since whoever waited would hold what they have read. Clones share it.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Shared>);

struct Shared {
    kib: usize,
    small: usize,
    taken: Mutex<Shares>,
}

/// How many KiB are taken, of all and of each who holds something.
#[derive(Default)]
struct Shares {
    all: usize,
    of: HashMap<Holder, usize>,
}

/// Bytes that are taken, until this is dropped.
#[derive(Default)]
pub struct Reservation(#[expect(dead_code, reason = "held")] Option<Part>);

struct Part {
    budget: MemoryBudget,
    holder: Holder,
    kib: usize,
}

impl MemoryBudget {
    /// Counts only what is larger than [`SMALL`].
    pub fn new(bytes: usize) -> Self {
        Self::exempting(SMALL, bytes)
    }

    /// Counts only what is larger than `small`.
    pub fn exempting(small: usize, bytes: usize) -> Self {
        Self(Arc::new(Shared {
            kib: bytes / 1024,
            small,
            taken: Mutex::default(),
        }))
    }

    /// `None`: there is none left, or none for this holder. What is small always has some, and who holds nothing may have something
    /// that is larger than their share, where there is room for it.
    pub fn reserve(&self, holder: Holder, bytes: usize) -> Option<Reservation> {
        if bytes <= self.0.small {
            return Some(Reservation(None));
        }
        // Rounded, so that as many of the largest pages are there as are said to be, with the few bytes around their items.
        let kib = bytes / 1024;
        let mut taken = self.taken();
        let own = taken.of.get(&holder).copied().unwrap_or(0);
        let fits = |taken: usize, budget: usize| kib <= budget.saturating_sub(taken);
        if !fits(taken.all, self.0.kib) || (own > 0 && !fits(own, self.0.kib / SHARES)) {
            return None;
        }
        taken.all += kib;
        *taken.of.entry(holder).or_default() += kib;
        drop(taken);
        let budget = self.clone();
        Some(Reservation(Some(Part {
            budget,
            holder,
            kib,
        })))
    }

    fn taken(&self) -> MutexGuard<'_, Shares> {
        lock(&self.0.taken)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut taken = self.budget.taken();
        taken.all -= self.kib;
        if let Entry::Occupied(mut own) = taken.of.entry(self.holder) {
            *own.get_mut() -= self.kib;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn user(number: u128) -> Holder {
        Holder::User(UserId(Uuid::from_u128(number)))
    }

    #[test]
    fn a_budget_has_so_many_bytes_and_small_ones_are_free() {
        let budget = MemoryBudget::new(10 * SMALL);
        let taken: Vec<_> = (0..5)
            .map(|number| budget.reserve(user(number), 2 * SMALL).expect("budget"))
            .collect();
        assert!(budget.reserve(user(5), 2 * SMALL).is_none());
        assert!(budget.reserve(user(5), SMALL).is_some());
        drop(taken);
        assert!(budget.reserve(user(5), 10 * SMALL).is_some());
        assert!(budget.reserve(user(5), 10 * SMALL + 1024).is_none());
        assert!(budget.reserve(user(5), usize::MAX).is_none());
    }

    #[test]
    fn one_holder_has_an_eighth_of_it_and_the_others_have_the_rest() {
        let budget = MemoryBudget::new(8 * 4 * SMALL);
        let conversation = |number| Holder::Conversation(ConversationId(Uuid::from_u128(number)));
        let holders = [
            user(1),
            user(2),
            user(3),
            user(4),
            conversation(1),
            conversation(2),
            conversation(3),
            Holder::Anybody,
        ];
        let mut taken = Vec::new();
        for holder in holders {
            for _ in 0..2 {
                taken.push(budget.reserve(holder, 2 * SMALL).expect("their share"));
            }
            assert!(budget.reserve(holder, SMALL + 1).is_none(), "{holder:?}");
            assert!(budget.reserve(holder, SMALL).is_some(), "{holder:?}");
        }
        assert!(budget.reserve(user(5), SMALL + 1).is_none());
        drop(taken);
        assert_eq!(budget.taken().all, 0);
        assert!(budget.taken().of.is_empty(), "nobody is remembered");
    }

    #[test]
    fn what_one_gives_back_they_may_take_again() {
        let budget = MemoryBudget::new(8 * 4 * SMALL);
        let first = budget.reserve(user(1), 3 * SMALL).expect("budget");
        let second = budget.reserve(user(1), 2 * SMALL);
        assert!(second.is_none());
        drop(first);
        let _again = budget.reserve(user(1), 2 * SMALL).expect("budget");
        assert!(budget.reserve(user(1), 2 * SMALL).is_some());
    }

    #[test]
    fn who_holds_nothing_may_have_one_that_is_larger_than_a_share() {
        let budget = MemoryBudget::new(8 * 2 * SMALL);
        let large = budget.reserve(user(1), 12 * SMALL).expect("budget");
        assert!(budget.reserve(user(1), SMALL + 1).is_none(), "and no other");
        // What is left is the others'.
        assert!(budget.reserve(user(2), 5 * SMALL).is_none());
        let others = budget.reserve(user(2), 4 * SMALL).expect("budget");
        drop(large);
        assert!(
            budget.reserve(user(2), 2 * SMALL).is_none(),
            "they hold one"
        );
        assert!(budget.reserve(user(1), 12 * SMALL).is_some());
        drop(others);
    }
}
