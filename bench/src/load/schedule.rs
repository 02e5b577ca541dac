//! When messages are due. In an open loop the times are fixed before the run begins, and a message's
//! latency counts from then, however late it could be sent: a system that stalls cannot hide it by slowing
//! its senders down ("coordinated omission").

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A fixed rate from a start.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    per_second: u64,
}

impl Schedule {
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second.max(1),
        }
    }

    /// When the message with this number is due, in nanoseconds from the start.
    pub fn due(&self, number: u64) -> u64 {
        // In 128 bits: no drift by rounding the interval, and no overflow.
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.per_second);
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// How many are due up to `nanos` from the start, that moment included.
    pub fn due_by(&self, nanos: u64) -> u64 {
        let whole = u128::from(nanos) * u128::from(self.per_second) / 1_000_000_000;
        let mut count = u64::try_from(whole).unwrap_or(u64::MAX);
        while self.due(count) <= nanos {
            count += 1;
        }
        count
    }
}

/// Sleeps to the microsecond: tokio's own timer rounds up to the millisecond, which is more than what is
/// measured.
pub struct Alarm(AsyncFd<Timer>);

/// What tokio wants to see of a file.
struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl AsFd for Timer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Alarm {
    pub fn new() -> io::Result<Self> {
        let timer = TimerFd::new(
            ClockId::CLOCK_MONOTONIC,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        // Deprecated because a type may answer with another descriptor each time; this one cannot. What takes
        // its place is unsafe.
        #[expect(deprecated)]
        let readable = AsyncFd::with_interest(Timer(timer), Interest::READABLE)?;
        Ok(Self(readable))
    }

    pub async fn sleep(&self, duration: Duration) -> io::Result<()> {
        if duration.is_zero() {
            return Ok(());
        }
        self.0.get_ref().0.set(
            Expiration::OneShot(TimeSpec::from_duration(duration)),
            TimerSetTimeFlags::empty(),
        )?;
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|timer| Ok(timer.get_ref().0.wait()?)) {
                Ok(done) => return done,
                Err(_not_yet) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_does_not_drift() {
        let schedule = Schedule::new(3);
        assert_eq!(schedule.due(1), 333_333_333);
        assert_eq!(schedule.due(3_000_000), 1_000_000_000_000_000);
    }

    #[test]
    fn what_is_due_is_what_has_come_due() {
        for rate in [1, 3, 7, 500, 4_999, 5_000] {
            let schedule = Schedule::new(rate);
            for nanos in [0, 1, 333_333_332, 333_333_333, 1_000_000_000, 7_777_777_777] {
                let count = schedule.due_by(nanos);
                assert!(schedule.due(count - 1) <= nanos, "{rate} {nanos}");
                assert!(schedule.due(count) > nanos, "{rate} {nanos}");
            }
        }
    }

    #[test]
    fn a_second_of_a_rate_is_the_rate() {
        assert_eq!(Schedule::new(500).due_by(999_999_999), 500);
    }
}
