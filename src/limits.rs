//! How fast one user may send on this replica, or ask for something else that costs the database as much. Beside it: how fast
//! handshakes are refused, and how much memory large things may take.

mod budget;
mod refusals;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio::time::sleep;

use crate::config::Rate;
use crate::error::Error;
use crate::model::UserId;

pub use budget::{Holder, MemoryBudget, Reservation, SMALL};
pub use refusals::Refusals;

/// Users who were quiet for long enough to have their whole burst again are forgotten this often.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// Frames of any kind that a user's sockets are read, for each send that they may make: pings, what is malformed, and what is
/// refused cost little, but not nothing.
const FRAMES_OF_A_SEND: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// Bytes of content for which a send or an edit counts as one: what it costs the writer, the log and the index goes by its length.
const BYTES_OF_A_SEND: usize = 4 * 1024;

/// A replay counts as this many frames of its user's: it costs the database more than most commands do, and a client can come back once more
/// without sending any frame. All sockets that a user may have can come back at once without being held back.
pub const FRAMES_OF_A_REPLAY: u32 = 100;

/// The least time for which a user is held back who has sent too many frames: waking up costs, too.
pub const FLOOD_PAUSE: Duration = Duration::from_millis(20);

/// How often each user may do one kind of thing; clones share the counts.
#[derive(Clone)]
pub struct UserLimiter {
    /// `None`: no limit.
    limiter: Option<Arc<DefaultKeyedRateLimiter<UserId>>>,
    burst: NonZeroU32,
    per_second: NonZeroU32,
}

impl UserLimiter {
    /// As often as `rate` says, or without limit.
    pub fn new(rate: Option<Rate>) -> Self {
        let quota = |rate: Rate| Quota::per_second(rate.per_second).allow_burst(rate.burst);
        Self {
            burst: rate.map_or(NonZeroU32::MAX, |rate| rate.burst),
            per_second: rate.map_or(NonZeroU32::MAX, |rate| rate.per_second),
            limiter: rate.map(|rate| Arc::new(RateLimiter::keyed(quota(rate)))),
        }
    }

    /// For all frames of a user's sockets, where sends may come as often as `sends` says.
    pub fn of_frames(sends: Option<Rate>) -> Self {
        Self::new(sends.map(|sends| Rate {
            per_second: sends.per_second.saturating_mul(FRAMES_OF_A_SEND),
            burst: sends.burst.saturating_mul(FRAMES_OF_A_SEND),
        }))
    }

    /// Counts up to `count` of them, and leaves in it those over the limit. Returns the wait until one more is allowed; `None` if all were
    /// counted.
    pub fn pause(&self, user: UserId, count: &mut u32) -> Option<Duration> {
        let Some(limiter) = &self.limiter else {
            *count = 0;
            return None;
        };
        while let Some(left) = NonZeroU32::new(*count) {
            let portion = left.min(self.burst);
            if let Ok(Err(not_until)) = limiter.check_key_n(&user, portion) {
                return Some(not_until.wait_time_from(DefaultClock::default().now()));
            }
            *count -= portion.get();
        }
        None
    }

    /// Counts so many, or as many as may come at once where that is less, and resolves when all of them are counted. If they are not
    /// welcome at once, they are counted one by one: to wait for all of them together would be to wait for ever, while others of this
    /// user's take each as it comes.
    pub async fn counted(&self, user: UserId, count: u32) {
        let mut left = count.min(self.burst.get());
        if self.pause(user, &mut left).is_none() {
            return;
        }
        for _ in 0..left {
            while let Some(pause) = self.pause(user, &mut 1) {
                sleep(pause.max(FLOOD_PAUSE)).await;
            }
        }
    }

    /// Counts one of them. `TooManyRequests` says when the next one is welcome.
    pub fn check(&self, user: UserId) -> Result<(), Error> {
        self.check_weight(user, 1)
    }

    /// Counts a send or an edit of this content, once for each 4 KiB of it that are begun: see [`check_weight`](Self::check_weight).
    pub fn check_content(&self, user: UserId, content: &str) -> Result<(), Error> {
        self.check_weight(user, weight_of(content))
    }

    /// Counts what weighs as much as so many of them: one at least, and no more than may come at once, or it would never be welcome. It is
    /// counted as a whole or not at all; `TooManyRequests` says when all of it is welcome, if nothing else of this user's comes before.
    pub fn check_weight(&self, user: UserId, weight: usize) -> Result<(), Error> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        let weight = NonZeroU32::new(weight).map_or(NonZeroU32::MIN, |it| it.min(self.burst));
        match limiter.check_key_n(&user, weight) {
            // As many as may come at once are never too many.
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(not_until)) => Err(Error::TooManyRequests {
                message: "this user makes too many requests".to_owned(),
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            }),
        }
    }

    /// Counts a replay over HTTP: as [`FRAMES_OF_A_REPLAY`], but never as more than a second allows, so that one a second is always welcome.
    /// `TooManyRequests` says when the next one is.
    pub fn check_replay(&self, user: UserId) -> Result<(), Error> {
        let frames = FRAMES_OF_A_REPLAY.min(self.per_second.get());
        self.check_weight(user, frames as usize)
    }

    /// Forgets users who are quiet.
    fn sweep(&self) {
        if let Some(limiter) = &self.limiter {
            limiter.retain_recent();
            // In trusted mode whoever calls names the users: what a flood of names took is given back.
            limiter.shrink_to_fit();
        }
    }
}

/// Sweeps these from time to time, for as long as it is polled.
pub async fn sweep(limiters: Vec<UserLimiter>) {
    sweep_every(SWEEP_INTERVAL, &limiters).await;
}

async fn sweep_every(interval: Duration, limiters: &[UserLimiter]) {
    loop {
        sleep(interval).await;
        limiters.iter().for_each(UserLimiter::sweep);
    }
}

/// As how many sends this content counts.
fn weight_of(content: &str) -> usize {
    content.len().div_ceil(BYTES_OF_A_SEND)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::FutureExt;
    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;

    fn rate(per_second: u32, burst: u32) -> Rate {
        let [per_second, burst] = [per_second, burst].map(|n| NonZeroU32::new(n).expect("some"));
        Rate { per_second, burst }
    }

    fn sends(per_second: u32, burst: u32) -> UserLimiter {
        UserLimiter::new(Some(rate(per_second, burst)))
    }

    /// Of frames, where so many sends are allowed.
    fn frames(per_second: u32, burst: u32) -> UserLimiter {
        UserLimiter::of_frames(Some(rate(per_second, burst)))
    }

    #[test]
    fn a_burst_passes_the_next_is_refused_and_other_users_are_free() {
        let limiter = sends(1, 3);
        let (one, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        for _ in 0..3 {
            limiter.check(one).expect("within the burst");
        }
        let Err(Error::TooManyRequests { retry_after, .. }) = limiter.check(one) else {
            panic!("the fourth send passed");
        };
        assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(1));
        limiter.check(other).expect("another user");
    }

    #[test]
    fn one_replay_a_second_is_welcome_whatever_the_limit_is() {
        let user = UserId(Uuid::from_u128(1));
        for (per_second, burst, at_once) in [(1, 1, 1), (1, 5, 5), (9, 9, 1), (10, 40, 4)] {
            let limiter = frames(per_second, burst);
            for _ in 0..at_once {
                limiter.check_replay(user).expect("within the burst");
            }
            let Err(Error::TooManyRequests { retry_after, .. }) = limiter.check_replay(user) else {
                panic!("one more than {at_once} passed");
            };
            assert!(retry_after <= Duration::from_secs(1), "{retry_after:?}");
        }
    }

    /// When a refusal says that this much is welcome.
    fn refused(limiter: &UserLimiter, user: UserId, weight: usize) -> Duration {
        match limiter.check_weight(user, weight) {
            Err(Error::TooManyRequests { retry_after, .. }) => retry_after,
            other => panic!("{weight}: {other:?}"),
        }
    }

    #[test]
    fn content_counts_once_for_each_four_kibibytes_that_are_begun() {
        for (bytes, weight) in [
            (1, 1),
            (4096, 1),
            (4097, 2),
            (8192, 2),
            (65_535, 16),
            (65_536, 16),
        ] {
            assert_eq!(weight_of(&"x".repeat(bytes)), weight, "{bytes} bytes");
        }
        // Bytes, not characters.
        assert_eq!(weight_of(&"é".repeat(4096)), 2);
        let limiter = sends(1, 3600);
        let user = UserId(Uuid::nil());
        let long = "x".repeat(3000 * 4096);
        limiter.check_content(user, &long).expect("a burst");
        // None of it is counted, since it is too much: what is left passes.
        refused(&limiter, user, 1000);
        limiter.check_weight(user, 600).expect("what is left");
    }

    #[test]
    fn what_weighs_more_than_may_come_at_once_takes_all_of_it() {
        const BURST: u32 = 3600;
        let limiter = sends(1, BURST);
        let (one, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        for (user, weight) in [(one, 4000), (other, usize::MAX)] {
            limiter.check_weight(user, weight).expect("a whole burst");
            let wait = refused(&limiter, user, weight);
            assert!(wait <= Duration::from_secs(BURST.into()), "{wait:?}");
            refused(&limiter, user, 1800);
        }
    }

    #[test]
    fn a_refusal_says_when_all_that_was_asked_is_welcome() {
        let limiter = sends(1, 3600);
        let user = UserId(Uuid::nil());
        let started = Instant::now();
        limiter.check_weight(user, 3600).expect("a burst");
        for weight in [1000, 2000, 3600] {
            let wait = refused(&limiter, user, weight);
            // A second each, less what has passed.
            let all = Duration::from_secs(weight as u64);
            assert!(wait <= all, "{weight}: {wait:?}");
            let passed = started.elapsed() + Duration::from_millis(1);
            assert!(wait + passed >= all, "{weight}: {wait:?}");
        }
    }

    #[test]
    fn what_weighs_much_passes_when_its_refusal_says_so() {
        let limiter = sends(100, 20);
        let user = UserId(Uuid::nil());
        let wait = loop {
            match limiter.check_weight(user, 16) {
                Err(Error::TooManyRequests { retry_after, .. }) => break retry_after,
                passed => passed.expect("no other error"),
            }
        };
        std::thread::sleep(wait);
        limiter.check_weight(user, 16).expect("as it was told");
    }

    #[test]
    fn without_a_limit_all_is_welcome() {
        let limiter = UserLimiter::new(None);
        for _ in 0..1000 {
            limiter.check(UserId(Uuid::nil())).expect("no limit");
            let weighs = limiter.check_weight(UserId(Uuid::nil()), 1000);
            weighs.expect("no limit");
        }
        assert_eq!(limiter.pause(UserId(Uuid::nil()), &mut 1000), None);
    }

    #[test]
    fn ten_frames_are_read_for_each_send_and_the_next_one_waits() {
        let frames = frames(1, 3);
        let user = UserId(Uuid::nil());
        let read = (0..1000)
            .take_while(|_| frames.pause(user, &mut 1).is_none())
            .count();
        // One more for each tenth of a second that this took.
        assert!((30..40).contains(&read), "{read}");
        let pause = frames.pause(user, &mut 1).unwrap_or_default();
        assert!(pause <= Duration::from_millis(100), "{pause:?}");
    }

    #[test]
    fn more_frames_than_may_come_at_once_are_counted_one_burst_after_the_other() {
        let frames = frames(100, 1);
        let user = UserId(Uuid::nil());
        let mut count = 35;
        let started = Instant::now();
        while let Some(pause) = frames.pause(user, &mut count) {
            std::thread::sleep(pause);
        }
        assert_eq!(count, 0);
        // The first ten at once, the others at 1,000 a second.
        assert!(started.elapsed() >= Duration::from_millis(24));
    }

    #[tokio::test]
    async fn what_costs_many_frames_waits_for_them_and_for_no_more_than_come_at_once() {
        let frames = frames(10, 20);
        let (one, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        assert!(frames.counted(one, 100).now_or_never().is_some());
        assert!(frames.counted(one, 100).now_or_never().is_some());
        assert!(frames.counted(one, 100).now_or_never().is_none());
        assert!(frames.counted(other, 300).now_or_never().is_some());
        // Beside others of this user's who take each of the hundred a second that they can get.
        let flood = || async {
            loop {
                frames.counted(one, 1).await;
            }
        };
        let counted = timeout(Duration::from_secs(60), frames.counted(one, 20));
        tokio::select! {
            counted = counted => counted.expect("in time"),
            ((), (), ()) = async { tokio::join!(flood(), flood(), flood()) } => unreachable!("they have no end"),
        }
    }

    #[tokio::test]
    async fn who_was_quiet_is_forgotten_and_who_was_not_is_not() {
        let (fast, slow) = (sends(1_000_000, 1), sends(1, 3600));
        let user = UserId(Uuid::nil());
        for number in 0..10_000 {
            let _ = fast.check(UserId(Uuid::from_u128(number)));
        }
        while slow.pause(user, &mut 1).is_none() {}
        let both = [slow.clone(), fast.clone()];
        let remembered = |limiter: &UserLimiter| limiter.limiter.as_ref().map_or(0, |l| l.len());
        let forgotten = async {
            while remembered(&fast) > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            forgotten = timeout(Duration::from_secs(60), forgotten) => forgotten.expect("in time"),
            () = sweep_every(Duration::from_millis(1), &both) => unreachable!("it has no end"),
        }
        assert_eq!(remembered(&slow), 1);
    }
}
