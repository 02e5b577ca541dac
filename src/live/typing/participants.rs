//! Who takes part in the conversations in which somebody types, so that a burst of typing is not a query each.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::{ConversationId, UserId};

/// Conversations that are remembered; when there are more, all are asked for anew. No setting: it changes no answer, and what is
/// remembered takes about 1 MiB.
const CAPACITY: usize = 16_384;

/// How long participants are remembered. They do not change, but another program may delete the conversation: typing in it is shown for this
/// long after that.
const LASTING: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Participants {
    known: HashMap<ConversationId, ([UserId; 2], Instant)>,
}

impl Participants {
    pub fn get(&self, conversation: ConversationId, now: Instant) -> Option<[UserId; 2]> {
        let (both, since) = self.known.get(&conversation)?;
        (now < *since + LASTING).then_some(*both)
    }

    pub fn put(&mut self, conversation: ConversationId, both: [UserId; 2], now: Instant) {
        if self.known.len() >= CAPACITY {
            self.known.clear();
        }
        self.known.insert(conversation, (both, now));
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn what_is_known_is_bounded_in_time_and_in_number() {
        let both = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
        let id = |n: usize| ConversationId(Uuid::from_u128(n as u128));
        let now = Instant::now();
        let mut known = Participants::default();
        known.put(id(0), both, now);
        assert_eq!(known.get(id(0), now), Some(both));
        assert_eq!(known.get(id(0), now + LASTING), None);
        for n in 1..=CAPACITY {
            known.put(id(n), both, now);
        }
        assert!(known.known.len() <= CAPACITY);
        assert_eq!(known.get(id(CAPACITY), now), Some(both));
    }
}
