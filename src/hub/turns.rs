//! Turns among the sockets of a user who has very many: each event is written to every one of them, and all at once that would
//! hold up everybody else for as long as it takes. So they write in portions, with room for others between them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Sockets of one user that write whenever they like; those beyond them take turns. No setting: it is far above what a user's
/// devices need, and so many writes take less than a millisecond.
pub(super) const AT_ONCE: usize = 64;

/// Sockets that have their turn in one [`PACE`]: some 0.1 ms of work.
pub(super) const PORTION: usize = 8;

/// From one portion to the next. Of a thousand sockets the last one writes after an eighth to a quarter of a second (timers count in milliseconds), with whatever
/// else waits for it by then.
pub(super) const PACE: Duration = Duration::from_millis(1);

/// The turns of one user's sockets; clones share them. First come, first served: tokio's mutex is fair, and is held over the wait for the
/// next portion, behind which the others wait.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<Pace>>);

struct Pace {
    /// Turns left of this portion.
    left: usize,
    /// When the next portion begins.
    next: Instant,
}

impl Turns {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Pace {
            left: 0,
            next: Instant::now(),
        })))
    }

    /// Waits for this one's turn.
    pub async fn wait(&self) {
        let mut pace = self.0.lock().await;
        let now = Instant::now();
        if pace.left == 0 && now < pace.next {
            sleep_until(pace.next).await;
        }
        let now = Instant::now();
        if pace.next <= now {
            pace.left = PORTION;
            pace.next = now + PACE;
        }
        pace.left -= 1;
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn in_each_time_one_portion_has_its_turn() {
        let (turns, begin) = (Turns::new(), Instant::now());
        let mut tasks = JoinSet::new();
        for _ in 0..PORTION * 3 + 1 {
            let turns = turns.clone();
            tasks.spawn(async move {
                turns.wait().await;
                (Instant::now() - begin).as_nanos() / PACE.as_nanos()
            });
        }
        let mut portions = tasks.join_all().await;
        portions.sort_unstable();
        let mut expected: Vec<u128> = (0..3u128).flat_map(|n| vec![n; PORTION]).collect();
        expected.push(3);
        assert_eq!(portions, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_quiet_time_nobody_waits() {
        let (turns, begin) = (Turns::new(), Instant::now());
        turns.wait().await;
        tokio::time::advance(PACE * 10).await;
        for _ in 0..PORTION {
            turns.wait().await;
        }
        assert_eq!(Instant::now() - begin, PACE * 10);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_it_waits_holds_nobody_up() {
        let turns = Turns::new();
        for _ in 0..PORTION {
            turns.wait().await;
        }
        let mut gone = Box::pin(turns.wait());
        assert!(futures_util::poll!(&mut gone).is_pending());
        drop(gone);
        turns.wait().await;
    }
}
