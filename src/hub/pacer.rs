//! Paces the sockets of a user who has very many: each event is written to every one of them, and all at once that would
//! hold up everybody else for as long as it takes. So they write in bursts, with room for others between them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Sockets of one user that write whenever they like; those beyond them are paced. No setting: it is far above what a user's
/// devices need, and so many writes take less than a millisecond.
pub(super) const UNPACED: usize = 64;

/// Sockets that write in one [`INTERVAL`]: some 0.1 ms of work.
pub(super) const BURST: usize = 8;

/// From one burst to the next. Of a thousand sockets the last one writes after an eighth to a quarter of a second (timers count in
/// milliseconds), with whatever else waits for it by then.
pub(super) const INTERVAL: Duration = Duration::from_millis(1);

/// For the sockets of one user; clones share it. First come, first served: tokio's mutex is fair, and is held over the wait for the
/// next burst, behind which the others wait.
#[derive(Clone)]
pub(super) struct Pacer(Arc<Mutex<State>>);

struct State {
    /// Sockets that may still write in this burst.
    left: usize,
    /// When the next burst begins.
    next: Instant,
}

impl Pacer {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            left: 0,
            next: Instant::now(),
        })))
    }

    /// Waits until this one may write.
    pub async fn wait(&self) {
        let mut state = self.0.lock().await;
        let now = Instant::now();
        if state.left == 0 && now < state.next {
            sleep_until(state.next).await;
        }
        let now = Instant::now();
        if state.next <= now {
            state.left = BURST;
            state.next = now + INTERVAL;
        }
        state.left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn in_each_interval_one_burst_writes() {
        let (pacer, begin) = (Pacer::new(), Instant::now());
        let mut tasks = JoinSet::new();
        for _ in 0..BURST * 3 + 1 {
            let pacer = pacer.clone();
            tasks.spawn(async move {
                pacer.wait().await;
                (Instant::now() - begin).as_nanos() / INTERVAL.as_nanos()
            });
        }
        let mut bursts = tasks.join_all().await;
        bursts.sort_unstable();
        let mut expected: Vec<u128> = (0..3u128).flat_map(|n| vec![n; BURST]).collect();
        expected.push(3);
        assert_eq!(bursts, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_quiet_time_nobody_waits() {
        let (pacer, begin) = (Pacer::new(), Instant::now());
        pacer.wait().await;
        tokio::time::advance(INTERVAL * 10).await;
        for _ in 0..BURST {
            pacer.wait().await;
        }
        assert_eq!(Instant::now() - begin, INTERVAL * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_it_waits_holds_nobody_up() {
        let pacer = Pacer::new();
        for _ in 0..BURST {
            pacer.wait().await;
        }
        let mut gone = Box::pin(pacer.wait());
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        pacer.wait().await;
    }
}
