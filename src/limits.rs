//! How fast one user may send on this replica, or ask for something else that costs the database as much.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::model::UserId;

/// Users who were quiet for long enough to have their whole burst again are forgotten this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// Frames of any kind that a user's sockets are read, for each send that he may make: pings, what is malformed, and what is
/// refused cost little, but not nothing.
const FRAMES_OF_A_SEND: u32 = 10;

/// Limits by user what writes or searches; clones share the counts.
#[derive(Clone)]
pub struct SendLimiter {
    /// `None`: no limit.
    limiter: Option<Arc<DefaultKeyedRateLimiter<UserId>>>,
}

impl SendLimiter {
    /// `per_second` on average and `burst` at once; a zero of either is no limit.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let quota = NonZeroU32::new(per_second)
            .zip(NonZeroU32::new(burst))
            .map(|(rate, burst)| Quota::per_second(rate).allow_burst(burst));
        Self {
            limiter: quota.map(|quota| Arc::new(RateLimiter::keyed(quota))),
        }
    }

    /// For all frames of a user's sockets, where these are the limits of his sends.
    pub fn of_frames(per_second: u32, burst: u32) -> Self {
        let frames = |sends: u32| sends.saturating_mul(FRAMES_OF_A_SEND);
        Self::new(frames(per_second), frames(burst))
    }

    /// How long to wait until the next one is welcome; `None`: it is counted.
    pub fn pause(&self, user: UserId) -> Option<Duration> {
        match self.check(user) {
            Err(Error::TooManyRequests { retry_after, .. }) => Some(retry_after),
            _ => None,
        }
    }

    /// Counts one of them. `TooManyRequests` says when the next one is welcome.
    pub fn check(&self, user: UserId) -> Result<(), Error> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        limiter
            .check_key(&user)
            .map_err(|not_until| Error::TooManyRequests {
                message: "this user sends or asks too fast".to_owned(),
                retry_after: not_until.wait_time_from(DefaultClock::default().now()),
            })
    }

    /// Forgets users who are quiet, until `stop`.
    pub async fn sweep(self, stop: CancellationToken) {
        let Some(limiter) = &self.limiter else { return };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP_INTERVAL) => limiter.retain_recent(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_burst_passes_the_next_is_refused_and_other_users_are_free() {
        let limiter = SendLimiter::new(1, 3);
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
    fn zero_is_no_limit() {
        let limiter = SendLimiter::new(0, 3);
        for _ in 0..1000 {
            limiter.check(UserId(Uuid::nil())).expect("no limit");
        }
    }
}
