//! Whom this replica's sockets were told to be typing, and when that ends by itself: also when the replica of the typist has
//! died. No I/O; time is passed in.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::typists::Pair;
use crate::model::ConversationId;

/// Pairs of which it is known that one types; beyond it nobody new is shown.
const CAPACITY: usize = 65_536;

pub struct Shown {
    /// How long typing lasts without renewal.
    lasting: Duration,
    until: HashMap<Pair, (ConversationId, Instant)>,
    /// In the order of time, for all last equally long. One that was renewed is passed over.
    ends: VecDeque<(Instant, Pair)>,
}

impl Shown {
    pub fn new(lasting: Duration) -> Self {
        Self {
            lasting,
            until: HashMap::new(),
            ends: VecDeque::new(),
        }
    }

    /// Somebody types. Whether it is to be shown.
    pub fn begins(&mut self, pair: Pair, conversation: ConversationId, now: Instant) -> bool {
        let until = now + self.lasting;
        if self.until.len() >= CAPACITY && !self.until.contains_key(&pair) {
            return false;
        }
        self.until.insert(pair, (conversation, until));
        self.ends.push_back((until, pair));
        true
    }

    /// Somebody has stopped, or has written. The conversation, if it was shown otherwise.
    pub fn ends(&mut self, pair: Pair) -> Option<ConversationId> {
        self.until
            .remove(&pair)
            .map(|(conversation, _)| conversation)
    }

    /// Those who have not been heard of for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<(Pair, ConversationId)> {
        let mut expired = Vec::new();
        while let Some((at, pair)) = self.ends.front().copied()
            && at <= now
        {
            self.ends.pop_front();
            if let Some((conversation, until)) = self.until.get(&pair).copied()
                && until <= now
            {
                self.until.remove(&pair);
                expired.push((pair, conversation));
            }
        }
        expired
    }

    /// When to look again.
    pub fn next(&self) -> Option<Instant> {
        self.ends.front().map(|(at, _)| *at)
    }

    pub fn len(&self) -> usize {
        self.until.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::UserId;

    fn pair(n: u128) -> Pair {
        Pair {
            typist: UserId(Uuid::from_u128(n)),
            to: UserId(Uuid::from_u128(0)),
        }
    }

    #[tokio::test]
    async fn typing_ends_by_itself_unless_it_is_renewed() {
        let conversation = ConversationId(Uuid::from_u128(9));
        let mut shown = Shown::new(Duration::from_secs(6));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(shown.begins(pair(1), conversation, at(0)));
        assert!(shown.begins(pair(2), conversation, at(1)));
        assert!(shown.begins(pair(1), conversation, at(3)));
        assert_eq!(shown.next(), Some(at(6)));
        assert!(shown.expire(at(6)).is_empty(), "it was renewed");
        assert_eq!(shown.expire(at(8)), [(pair(2), conversation)]);
        assert_eq!(shown.ends(pair(1)), Some(conversation));
        assert_eq!(shown.ends(pair(1)), None, "told once");
        assert!(shown.expire(at(60)).is_empty());
        assert!(shown.until.is_empty() && shown.ends.is_empty());
    }
}
