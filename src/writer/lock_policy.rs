//! Which locks the fast lane waits for, and for how long, by what it has met of late.

use std::time::Duration;

use tokio::time::Instant;

use crate::store::Locks;

/// How long a batch waits for conversations, if it does, and for other rows: those that triggers of the host's take, or its sender's, where
/// adopted tables have a foreign key for it.
const FAST_LANE_WAIT: Duration = Duration::from_millis(100);

/// A batch that took longer has waited for too many conversations, one after the other, or its commit is slow: then skipping some for a second
/// costs little.
const LONG_WAITS: Duration = Duration::from_millis(300);

/// How long a batch waits for rows other than conversations while some are held for longer than [`FAST_LANE_WAIT`].
const BRIEF_WAIT: Duration = Duration::from_millis(10);

/// How long a finding about the other holders of conversations counts, until it is looked at again.
const MEMORY: Duration = Duration::from_secs(1);

/// What has been found out about the other holders of rows.
///
/// Conversations that are busy are mostly those of another replica's batch, whose transaction lasts milliseconds. Two
/// replicas that skipped each other's would do so again and again, so the next batches wait in line; all of them lock in
/// id order. Where the wait was in vain somebody holds a row for long, and what is held is skipped again.
#[derive(Default)]
pub(super) struct LockPolicy {
    wait_until: Option<Instant>,
    skip_until: Option<Instant>,
    /// Other rows than conversations are held for long.
    rows_held_until: Option<Instant>,
}

impl LockPolicy {
    /// What the next batch does about rows that others hold.
    pub fn locks(&self, now: Instant) -> Locks {
        let counts = |until: Option<Instant>| until.is_some_and(|until| now < until);
        if counts(self.wait_until) && !counts(self.skip_until) {
            Locks::Wait(FAST_LANE_WAIT)
        } else if counts(self.rows_held_until) {
            Locks::Skip { wait: BRIEF_WAIT }
        } else {
            Locks::Skip {
                wait: FAST_LANE_WAIT,
            }
        }
    }

    /// A batch with these locks found conversations busy.
    pub fn found_busy(&mut self, now: Instant, locks: Locks) {
        if !locks.waits_for_conversations() {
            self.wait_until = Some(now + MEMORY);
        }
    }

    /// A batch with these locks was stored, and took this long. Each conversation was waited for by itself, so many that are held
    /// briefly add up.
    pub fn stored(&mut self, now: Instant, locks: Locks, took: Duration) {
        if locks.waits_for_conversations() && took > LONG_WAITS {
            self.waited_in_vain(now, locks);
        }
    }

    /// A batch with these locks waited in vain.
    pub fn waited_in_vain(&mut self, now: Instant, locks: Locks) {
        let found = match locks.waits_for_conversations() {
            true => &mut self.skip_until,
            false => &mut self.rows_held_until,
        };
        *found = Some(now + MEMORY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_conversations_are_waited_for_until_the_wait_is_in_vain() {
        let mut policy = LockPolicy::default();
        let now = Instant::now();
        assert!(!policy.locks(now).waits_for_conversations());
        policy.found_busy(now, policy.locks(now));
        assert!(policy.locks(now).waits_for_conversations());
        policy.waited_in_vain(now, policy.locks(now));
        assert!(!policy.locks(now).waits_for_conversations());
        let later = now + MEMORY * 2;
        assert!(!policy.locks(later).waits_for_conversations());
        policy.found_busy(later, policy.locks(later));
        assert!(policy.locks(later).waits_for_conversations());
    }

    #[test]
    fn conversations_that_are_held_briefly_are_no_longer_waited_for_where_that_adds_up() {
        let mut policy = LockPolicy::default();
        let now = Instant::now();
        policy.found_busy(now, policy.locks(now));
        policy.stored(now, policy.locks(now), LONG_WAITS);
        assert!(policy.locks(now).waits_for_conversations());
        policy.stored(now, policy.locks(now), LONG_WAITS * 2);
        assert!(!policy.locks(now).waits_for_conversations());
        // Without such a wait a long time has other reasons.
        let mut policy = LockPolicy::default();
        policy.stored(now, policy.locks(now), LONG_WAITS * 2);
        policy.found_busy(now, policy.locks(now));
        assert!(policy.locks(now).waits_for_conversations());
    }

    #[test]
    fn rows_that_are_held_for_long_are_waited_for_briefly_for_a_while() {
        let mut policy = LockPolicy::default();
        let now = Instant::now();
        let wait = |policy: &LockPolicy, now| match policy.locks(now) {
            Locks::Skip { wait } => wait,
            Locks::Wait(wait) => panic!("waits {wait:?} for conversations"),
        };
        assert_eq!(wait(&policy, now), FAST_LANE_WAIT);
        policy.waited_in_vain(now, policy.locks(now));
        assert_eq!(wait(&policy, now), BRIEF_WAIT);
        assert_eq!(wait(&policy, now + MEMORY * 2), FAST_LANE_WAIT);
    }
}
