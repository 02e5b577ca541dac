//! How fast a replica refuses handshakes.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::sync::acquire;

/// Limits how many handshakes this replica refuses per second, over all callers. A client that keeps asking gets its refusals one after
/// the other, which slows a flood to this rate. A waiting refusal holds its connection (whose number is bounded) and nothing else.
/// Clones share the queue.
#[derive(Clone)]
pub struct Refusals {
    /// `None`: no limit.
    line: Option<Arc<Line>>,
}

struct Line {
    limiter: DefaultDirectRateLimiter,
    /// In the order of their coming, one looks at the clock; who has gone meanwhile takes nobody's turn.
    first: Semaphore,
    patience: Duration,
}

/// The longest wait for a refusal: the caller may be a well-meant program that should learn why it is refused.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);

impl Refusals {
    /// As many at once, where none was refused for a second.
    pub fn new(per_second: Option<NonZeroU32>) -> Self {
        Self::with_patience(per_second, REFUSAL_PATIENCE)
    }

    fn with_patience(per_second: Option<NonZeroU32>, patience: Duration) -> Self {
        let line = per_second.map(|rate| {
            Arc::new(Line {
                limiter: RateLimiter::direct(Quota::per_second(rate)),
                first: Semaphore::new(1),
                patience,
            })
        });
        Self { line }
    }

    /// Resolves when one more may be refused.
    pub async fn turn(&self) {
        let Some(line) = &self.line else { return };
        // Late is as good as in turn.
        let _ = timeout(line.patience, line.turn()).await;
    }
}

impl Line {
    async fn turn(&self) {
        let _first = acquire(&self.first).await;
        while let Err(not_until) = self.limiter.check() {
            sleep(not_until.wait_time_from(DefaultClock::default().now())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use futures_util::FutureExt;
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn refusals_beyond_the_burst_wait_in_line_and_who_gives_up_takes_no_turn() {
        const RATE: u32 = 5;
        const PATIENCE: Duration = Duration::from_secs(20);
        let refusals = Refusals::with_patience(NonZeroU32::new(RATE), PATIENCE);
        let started = Instant::now();
        join_all((0..RATE).map(|_| refusals.turn())).await;
        // Neither waits for ever: they are dropped.
        let passed = (0..1000).filter(|_| refusals.turn().now_or_never().is_some());
        let passed = f64::from(u32::try_from(passed.count()).unwrap());
        // Those alone whose time had come: none, on a machine that does this at once.
        let came = started.elapsed().as_secs_f64() * f64::from(RATE);
        assert!(passed <= came + 1.0, "{passed} of 1000 passed");
        join_all((0..RATE).map(|_| refusals.turn())).await;
        // 200 ms each; with those that have gone it would be minutes, and so the patience of all.
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(950), "{took:?}");
        assert!(took < PATIENCE, "{took:?}");
    }

    /// In line it would be a quarter of an hour.
    #[tokio::test]
    async fn nobody_waits_longer_than_the_patience_to_be_refused() {
        let refusals = Refusals::with_patience(Some(NonZeroU32::MIN), Duration::from_millis(100));
        let all = join_all((0..1000).map(|_| refusals.turn()));
        timeout(Duration::from_secs(60), all).await.expect("an end");
    }

    #[test]
    fn without_a_limit_nobody_waits_to_be_refused() {
        let refusals = Refusals::new(None);
        for _ in 0..1000 {
            assert!(refusals.turn().now_or_never().is_some());
        }
    }
}
