//! How long a listener waits before it connects again. No I/O.

use std::time::Duration;

/// The first wait; doubled from session to session up to the last one.
const FIRST: Duration = Duration::from_millis(50);
const LAST: Duration = Duration::from_secs(2);

pub(super) struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(FIRST)
    }

    /// The longest wait after a session that has `lasted` this long.
    pub fn after(&mut self, lasted: Duration) -> Duration {
        if lasted > LAST {
            *self = Self::new();
        }
        let most = self.0;
        self.0 = (most * 2).min(LAST);
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Or the sockets of a replica that has lost some in its life would wait for seconds each time.
    #[test]
    fn a_connection_that_lasted_is_replaced_as_soon_as_the_first_one() {
        let mut backoff = Backoff::new();
        let waits: Vec<Duration> = (0..8).map(|_| backoff.after(Duration::ZERO)).collect();
        assert_eq!(waits[..2], [FIRST, FIRST * 2]);
        assert_eq!(waits[7], LAST);
        assert_eq!(backoff.after(LAST * 2), FIRST);
        assert_eq!(backoff.after(Duration::ZERO), FIRST * 2);
    }
}
