//! The users whom this replica's sockets show as typing, and when each indicator ends by itself: it does so also if the typist's replica has
//! died. No I/O; time is passed in.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::typists::TypingTimes;
use crate::model::{ConversationId, ReplicaId};
use crate::store::{Pair, Telling};

/// Pairs of which it is known that one types; beyond it nobody new is shown. No setting, for the reason given in `typists`: other
/// replicas tell of no more than as many each.
const CAPACITY: usize = 65_536;

pub struct TypingIndicators {
    times: TypingTimes,
    known: HashMap<Pair, Indicator>,
    /// In the order of time, for all last equally long. One that was renewed is passed over.
    ends: VecDeque<(Instant, Pair)>,
}

/// Somebody who is shown to type.
struct Indicator {
    conversation: ConversationId,
    /// If it is not renewed.
    until: Instant,
    /// The replica that told of it when it was shown last, and when that was.
    shown: (ReplicaId, Instant),
}

impl TypingIndicators {
    pub fn new(times: TypingTimes) -> Self {
        Self {
            times,
            known: HashMap::new(),
            ends: VecDeque::new(),
        }
    }

    /// Somebody types, as the replica `from` tells. Whether it is to be shown: not within the interval after another replica's
    /// telling of the same. Two of them tell so when the user begins on both before either has heard of the other.
    pub fn begins(&mut self, telling: &Telling, from: ReplicaId, now: Instant) -> bool {
        let Telling {
            pair, conversation, ..
        } = *telling;
        let before = self.known.get(&pair).map(|typing| typing.shown);
        if self.known.len() >= CAPACITY && before.is_none() {
            return false;
        }
        let until = now + self.times.lasting;
        self.ends.push_back((until, pair));
        let again =
            before.filter(|(teller, at)| *teller != from && now < *at + self.times.interval);
        let indicator = Indicator {
            conversation,
            until,
            shown: again.unwrap_or((from, now)),
        };
        self.known.insert(pair, indicator);
        again.is_none()
    }

    /// Somebody has stopped, or has written. The conversation, if it was shown otherwise.
    pub fn ends(&mut self, pair: Pair) -> Option<ConversationId> {
        self.known.remove(&pair).map(|typing| typing.conversation)
    }

    /// Ends the indicators that were not renewed in time, and returns them.
    pub fn expire(&mut self, now: Instant) -> Vec<(Pair, ConversationId)> {
        let mut expired = Vec::new();
        while let Some((at, pair)) = self.ends.front().copied()
            && at <= now
        {
            self.ends.pop_front();
            if self
                .known
                .get(&pair)
                .is_some_and(|typing| typing.until <= now)
                && let Some(conversation) = self.ends(pair)
            {
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
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::model::UserId;

    const TIMES: TypingTimes = TypingTimes {
        lasting: Duration::from_secs(6),
        interval: Duration::from_secs(2),
    };
    const HERE: ReplicaId = ReplicaId(Uuid::from_u128(10));
    const THERE: ReplicaId = ReplicaId(Uuid::from_u128(11));

    fn typing(n: u128) -> Telling {
        Telling {
            pair: Pair {
                typist: UserId(Uuid::from_u128(n)),
                to: UserId(Uuid::from_u128(0)),
            },
            conversation: ConversationId(Uuid::from_u128(9)),
            is_typing: true,
        }
    }

    #[tokio::test]
    async fn typing_ends_by_itself_unless_it_is_renewed() {
        let mut indicators = TypingIndicators::new(TIMES);
        let (one, two) = (typing(1), typing(2));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(indicators.begins(&one, HERE, at(0)));
        assert!(indicators.begins(&two, HERE, at(1)));
        assert!(indicators.begins(&one, HERE, at(3)));
        assert_eq!(indicators.next(), Some(at(6)));
        assert!(indicators.expire(at(6)).is_empty(), "it was renewed");
        assert_eq!(indicators.expire(at(8)), [(two.pair, two.conversation)]);
        assert_eq!(indicators.ends(one.pair), Some(one.conversation));
        assert_eq!(indicators.ends(one.pair), None, "told once");
        assert!(indicators.expire(at(60)).is_empty());
        assert!(indicators.known.is_empty() && indicators.ends.is_empty());
    }

    #[tokio::test]
    async fn two_replicas_that_tell_the_same_at_once_are_shown_once_and_both_count_as_renewals() {
        let mut indicators = TypingIndicators::new(TIMES);
        let one = typing(1);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert!(indicators.begins(&one, HERE, at(0)));
        assert!(!indicators.begins(&one, THERE, at(1000)), "shown already");
        assert!(!indicators.begins(&one, THERE, at(1500)), "shown already");
        assert!(indicators.expire(at(7400)).is_empty(), "it was renewed");
        assert!(indicators.begins(&one, THERE, at(7450)));
        // A replica keeps its own interval: its way here may have been longer the last time.
        assert!(indicators.begins(&one, THERE, at(9400)));
        assert_eq!(indicators.ends(one.pair), Some(one.conversation));
        assert!(indicators.begins(&one, HERE, at(9500)), "it had ended");
    }
}
