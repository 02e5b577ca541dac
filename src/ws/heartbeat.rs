//! Tells a live client from a dead one. No clock and no I/O of its own: the session brings both.

use std::time::Duration;

use tokio::time::Instant;

/// A client is dead after this many pings that nothing came back to.
const MISSES: u32 = 2;

/// Pings go out at every interval. Any frame of the client proves that it lives, not only a pong: a pong can
/// queue behind a large upload.
#[derive(Debug)]
pub struct Heartbeat {
    interval: Duration,
    next: Instant,
    unanswered: u32,
}

/// What is to be done at a beat.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not yet.
    Wait,
    Ping,
    /// Close with 4408.
    Dead,
}

impl Heartbeat {
    /// The first ping is due after `share` (0.0 to 1.0) of the interval: sockets that connected together, after a
    /// restart, shall not ping together for ever.
    pub fn new(interval: Duration, share: f64, now: Instant) -> Self {
        Self {
            interval,
            next: now + interval.mul_f64(share),
            unanswered: 0,
        }
    }

    /// When [`Heartbeat::beat`] has something to do.
    pub fn due(&self) -> Instant {
        self.next
    }

    /// A frame of the client arrived.
    pub fn alive(&mut self) {
        self.unanswered = 0;
    }

    /// `listening`: whether the client's frames are read at present. A pong that nobody reads is not a missed one.
    pub fn beat(&mut self, listening: bool, now: Instant) -> Verdict {
        if now < self.next {
            return Verdict::Wait;
        }
        if self.unanswered >= MISSES {
            return Verdict::Dead;
        }
        if listening {
            self.unanswered += 1;
        }
        // From now, not from when it was due: after a long write the pings must not come in a burst.
        self.next = now + self.interval;
        Verdict::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);

    /// The beats at whole intervals, with the client's frames before those in `frames_before`.
    fn beats(count: u32, frames_before: &[u32], listening: bool) -> Vec<Verdict> {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, 1.0, start);
        (1..=count)
            .map(|n| {
                if frames_before.contains(&n) {
                    heartbeat.alive();
                }
                heartbeat.beat(listening, start + INTERVAL * n)
            })
            .collect()
    }

    #[test]
    fn two_missed_pongs_are_the_end() {
        assert_eq!(
            beats(3, &[], true),
            [Verdict::Ping, Verdict::Ping, Verdict::Dead]
        );
    }

    #[test]
    fn any_frame_of_the_client_starts_the_count_again() {
        assert_eq!(
            beats(5, &[3], true),
            [
                Verdict::Ping,
                Verdict::Ping,
                Verdict::Ping,
                Verdict::Ping,
                Verdict::Dead
            ]
        );
    }

    #[test]
    fn nothing_is_missed_while_nobody_reads() {
        assert!(
            beats(20, &[], false)
                .iter()
                .all(|beat| *beat == Verdict::Ping)
        );
    }

    #[test]
    fn nothing_is_due_before_its_time() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(INTERVAL, 0.5, start);
        assert_eq!(heartbeat.beat(true, start), Verdict::Wait);
        assert_eq!(heartbeat.due(), start + INTERVAL / 2);
        assert_eq!(heartbeat.beat(true, heartbeat.due()), Verdict::Ping);
    }
}
