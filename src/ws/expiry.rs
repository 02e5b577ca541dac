//! When a socket's token ends. No clock and no I/O of its own: the session brings both.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::auth::{Caller, Validity};
use crate::model::UnixSeconds;

/// The fraction of its remaining life that follows the warning of a token which has no more left than the warning time: otherwise a client
/// whose tokens live no longer than that would be warned again as soon as it had renewed.
const LAST_PART: u32 = 4;

/// The end of a token, and the warning ahead of it. Times are of the monotonic clock, so that they pass whatever is
/// done to the system's.
#[derive(Debug)]
pub struct Expiry(Option<Ends>);

#[derive(Debug)]
struct Ends {
    at: Instant,
    /// `None`: it was given.
    warn_at: Option<Instant>,
    /// What the client is told; once it was, the latest that it was told.
    expires: UnixSeconds,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Not yet.
    Wait,
    /// Tell the client; once for each token, and only of one that ends later than those of which it was told.
    Warn(UnixSeconds),
    /// Close with 4401.
    End,
}

impl Expiry {
    /// Of the token by which the caller came, if it was one. `warning` is how long ahead of the end the client is told; where
    /// no more than that is left now, a quarter of what is.
    pub fn of(caller: &Caller, warning: Duration, now: Instant) -> Self {
        let system_now = SystemTime::now().duration_since(UNIX_EPOCH);
        let system_now = system_now.unwrap_or_default();
        Self::new(caller.valid_until(), warning, now, system_now)
    }

    /// Of a token that is over at this time.
    #[cfg(test)]
    pub fn at(at: Instant) -> Self {
        Self(Some(Ends {
            at,
            warn_at: None,
            expires: UnixSeconds(0),
        }))
    }

    fn new(until: Option<Validity>, warning: Duration, now: Instant, system_now: Duration) -> Self {
        let ends = until.and_then(|Validity { expires, ends }| {
            let end = Duration::from_secs(u64::try_from(ends.0).unwrap_or(0));
            let left = end.saturating_sub(system_now);
            // A token of thousands of years has no end that a clock could reach.
            let at = now.checked_add(left)?;
            let ahead = if left > warning {
                warning
            } else {
                left / LAST_PART
            };
            Some(Ends {
                at,
                warn_at: Some(at - ahead),
                expires,
            })
        });
        Self(ends)
    }

    /// The client has brought the token that this is of, in the place of `former`. If it was warned of that one and this
    /// one lives no longer, it is not warned again: it has no better one yet.
    pub fn in_place_of(mut self, former: &Self) -> Self {
        if let (Some(ends), Some(former)) = (&mut self.0, &former.0)
            && former.warn_at.is_none()
            && ends.expires <= former.expires
        {
            ends.warn_at = None;
            ends.expires = former.expires;
        }
        self
    }

    /// When [`Expiry::step`] has something to do; `None`: never.
    pub fn due(&self) -> Option<Instant> {
        self.0.as_ref().map(|ends| ends.warn_at.unwrap_or(ends.at))
    }

    /// When the token is over; `None`: never.
    pub fn end(&self) -> Option<Instant> {
        self.0.as_ref().map(|ends| ends.at)
    }

    pub fn step(&mut self, now: Instant) -> Step {
        match &mut self.0 {
            Some(ends) if now >= ends.at => Step::End,
            Some(ends) if ends.warn_at.is_some_and(|at| now >= at) => {
                ends.warn_at = None;
                Step::Warn(ends.expires)
            }
            _ => Step::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SYSTEM_NOW: Duration = Duration::from_secs(1000);

    fn expiry(seconds: i64, leeway: i64, now: Instant) -> Expiry {
        let until = Validity {
            expires: UnixSeconds(1000 + seconds),
            ends: UnixSeconds(1000 + seconds + leeway),
        };
        Expiry::new(Some(until), MINUTE, now, SYSTEM_NOW)
    }

    #[test]
    fn it_ends_with_its_token_and_not_a_part_of_a_second_later() {
        let (now, part) = (Instant::now(), Duration::from_millis(900));
        let until = Validity {
            expires: UnixSeconds(1100),
            ends: UnixSeconds(1100),
        };
        let expiry = Expiry::new(Some(until), MINUTE, now, SYSTEM_NOW + part);
        assert_eq!(expiry.end(), Some(now + Duration::from_secs(100) - part));
    }

    #[test]
    fn a_client_is_warned_once_and_then_it_ends() {
        let now = Instant::now();
        let mut expiry = expiry(240, 0, now);
        assert_eq!(expiry.due(), Some(now + Duration::from_secs(180)));
        assert_eq!(expiry.end(), Some(now + Duration::from_secs(240)));
        assert_eq!(expiry.step(now), Step::Wait);
        let warned = Step::Warn(UnixSeconds(1240));
        assert_eq!(expiry.step(now + Duration::from_secs(180)), warned);
        assert_eq!(expiry.step(now + Duration::from_secs(181)), Step::Wait);
        assert_eq!(expiry.due(), Some(now + Duration::from_secs(240)));
        assert_eq!(expiry.step(now + Duration::from_secs(240)), Step::End);
    }

    #[test]
    fn a_token_that_is_shorter_than_the_warning_is_warned_of_in_its_last_quarter() {
        let now = Instant::now();
        for seconds in [1, 4, 40, 60] {
            let mut expiry = expiry(seconds, 0, now);
            let quarter = Duration::from_secs(u64::try_from(seconds).unwrap()) / 4;
            let (end, warn_at) = (now + 4 * quarter, now + 3 * quarter);
            assert_eq!((expiry.due(), expiry.end()), (Some(warn_at), Some(end)));
            let before = warn_at - Duration::from_millis(1);
            assert_eq!(expiry.step(before), Step::Wait);
            let warned = Step::Warn(UnixSeconds(1000 + seconds));
            assert_eq!(expiry.step(warn_at), warned);
            assert_eq!(expiry.step(end - Duration::from_millis(1)), Step::Wait);
            assert_eq!(expiry.step(end), Step::End);
        }
    }

    #[test]
    fn a_token_that_is_longer_than_the_warning_is_warned_of_that_long_ahead() {
        let now = Instant::now();
        for seconds in [61, 64, 65, 239, 240, 3600] {
            let mut expiry = expiry(seconds, 0, now);
            let end = now + Duration::from_secs(u64::try_from(seconds).unwrap());
            let warn_at = end - MINUTE;
            assert_eq!((expiry.due(), expiry.end()), (Some(warn_at), Some(end)));
            let before = warn_at - Duration::from_millis(1);
            assert_eq!(expiry.step(before), Step::Wait);
            let warned = Step::Warn(UnixSeconds(1000 + seconds));
            assert_eq!(expiry.step(warn_at), warned);
        }
    }

    /// The expiry of a token that lasts this many seconds and whose warning was given, and when.
    fn warned(seconds: i64, now: Instant) -> (Expiry, Instant) {
        let mut expiry = expiry(seconds, 0, now);
        let at = expiry.due().unwrap();
        assert_eq!(expiry.step(at), Step::Warn(UnixSeconds(1000 + seconds)));
        (expiry, at)
    }

    #[test]
    fn who_brings_the_same_token_or_a_shorter_one_is_not_warned_again() {
        let now = Instant::now();
        let (mut former, at) = warned(100, now);
        for seconds in [100, 90, 100, 99] {
            let mut same = expiry(seconds, 0, now).in_place_of(&former);
            let end = now + Duration::from_secs(u64::try_from(seconds).unwrap());
            assert_eq!((same.due(), same.end()), (Some(end), Some(end)));
            assert_eq!(same.step(at), Step::Wait);
            assert_eq!(same.step(end - Duration::from_millis(1)), Step::Wait);
            assert_eq!(same.step(end), Step::End);
            former = same;
        }
    }

    #[test]
    fn who_brings_a_longer_token_or_was_not_warned_yet_is_warned_of_it() {
        let now = Instant::now();
        let longer = expiry(101, 0, now).in_place_of(&warned(100, now).0);
        assert_eq!(longer.due(), expiry(101, 0, now).due());
        let sooner = expiry(80, 0, now).in_place_of(&expiry(100, 0, now));
        assert_eq!(sooner.due(), expiry(80, 0, now).due());
        let none = Expiry::new(None, MINUTE, now, SYSTEM_NOW);
        let first = expiry(80, 0, now).in_place_of(&none);
        assert_eq!(first.due(), expiry(80, 0, now).due());
        assert_eq!(none.in_place_of(&first).due(), None);
    }

    #[test]
    fn the_leeway_is_granted_to_a_socket_as_to_a_request() {
        let now = Instant::now();
        let mut expiry = expiry(300, 30, now);
        assert_eq!(expiry.due(), Some(now + Duration::from_secs(270)));
        let warned = Step::Warn(UnixSeconds(1300));
        assert_eq!(expiry.step(now + Duration::from_secs(329)), warned);
        assert_eq!(expiry.step(now + Duration::from_secs(330)), Step::End);
    }

    #[test]
    fn what_has_no_token_never_ends_and_what_is_over_ends_at_once() {
        let now = Instant::now();
        let mut none = Expiry::new(None, MINUTE, now, SYSTEM_NOW);
        assert_eq!((none.due(), none.step(now)), (None, Step::Wait));
        assert_eq!(expiry(-5, 0, now).step(now), Step::End);
    }
}
