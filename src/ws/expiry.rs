//! When a socket's token ends. No clock and no I/O of its own: the session brings both.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::auth::{Caller, Validity};
use crate::model::UnixSeconds;

/// The end of a token, and the warning ahead of it. Times are of the monotonic clock, so that they pass whatever is
/// done to the system's.
#[derive(Debug)]
pub struct Expiry(Option<Ends>);

#[derive(Debug)]
struct Ends {
    at: Instant,
    /// `None`: it was given.
    warn_at: Option<Instant>,
    expires: UnixSeconds,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Not yet.
    Wait,
    /// Tell the client; once for each token.
    Warn(UnixSeconds),
    /// Close with 4401.
    End,
}

impl Expiry {
    /// Of the token by which the caller came, if it was one. `warning` is how long ahead of the end the client is told;
    /// for a token that is shorter than that, at once.
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
            Some(Ends {
                at,
                warn_at: Some(now + left.saturating_sub(warning)),
                expires,
            })
        });
        Self(ends)
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
        let mut expiry = expiry(100, 0, now);
        assert_eq!(expiry.due(), Some(now + Duration::from_secs(40)));
        assert_eq!(expiry.end(), Some(now + Duration::from_secs(100)));
        assert_eq!(expiry.step(now), Step::Wait);
        let warned = Step::Warn(UnixSeconds(1100));
        assert_eq!(expiry.step(now + Duration::from_secs(40)), warned);
        assert_eq!(expiry.step(now + Duration::from_secs(41)), Step::Wait);
        assert_eq!(expiry.due(), Some(now + Duration::from_secs(100)));
        assert_eq!(expiry.step(now + Duration::from_secs(100)), Step::End);
    }

    #[test]
    fn a_token_that_is_shorter_than_the_warning_is_warned_of_at_once() {
        let now = Instant::now();
        let mut expiry = expiry(10, 0, now);
        assert_eq!(expiry.due(), Some(now));
        assert_eq!(expiry.step(now), Step::Warn(UnixSeconds(1010)));
        assert_eq!(expiry.step(now + Duration::from_secs(9)), Step::Wait);
        assert_eq!(expiry.step(now + Duration::from_secs(10)), Step::End);
    }

    #[test]
    fn the_leeway_is_granted_to_a_socket_as_to_a_request() {
        let now = Instant::now();
        let mut expiry = expiry(100, 30, now);
        assert_eq!(expiry.due(), Some(now + Duration::from_secs(70)));
        let warned = Step::Warn(UnixSeconds(1100));
        assert_eq!(expiry.step(now + Duration::from_secs(129)), warned);
        assert_eq!(expiry.step(now + Duration::from_secs(130)), Step::End);
    }

    #[test]
    fn what_has_no_token_never_ends_and_what_is_over_ends_at_once() {
        let now = Instant::now();
        let mut none = Expiry::new(None, MINUTE, now, SYSTEM_NOW);
        assert_eq!((none.due(), none.step(now)), (None, Step::Wait));
        assert_eq!(expiry(-5, 0, now).step(now), Step::End);
    }
}
