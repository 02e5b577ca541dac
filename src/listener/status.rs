//! What others may know of the listener: whether it is live, and its figures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::position::{Database, Horizon};
use crate::sync::lock;

/// A view of the listener; clones see the same one.
#[derive(Clone)]
pub struct ListenerStatus {
    pub(super) state: watch::Receiver<State>,
    pub(super) stats: Arc<Stats>,
    pub(super) database: Database,
    /// The heartbeat's interval.
    pub(super) heartbeat: Duration,
}

/// Figures of the listener since the start of the process.
#[derive(Default)]
pub struct Stats {
    /// Payloads that came, those of other programs too.
    pub notifications: AtomicU64,
    /// Events that were heard or read, each once.
    pub events: AtomicU64,
    /// Connections of which LISTEN has taken effect; tries in vain are none.
    pub connections: AtomicU64,
    /// Rows that catch-ups read.
    pub catch_up_events: AtomicU64,
    /// The newest heartbeat's way through the queue, in microseconds.
    pub lag_micros: AtomicU64,
    pub horizon: HorizonAge,
}

/// For how long the horizon has stood where it is, as heartbeats find it. It outlives the listener's sessions.
#[derive(Default)]
pub struct HorizonAge(Mutex<Option<Seen>>);

#[derive(Clone, Copy)]
struct Seen {
    horizon: Horizon,
    /// When it was found there for the first time.
    since: Instant,
    /// By the newest heartbeat: while none is taken nobody knows, and other figures tell of it.
    age: Duration,
}

impl HorizonAge {
    /// A heartbeat was taken, and found it here. It may have gone back: the database was restored.
    pub fn found(&self, horizon: Horizon, now: Instant) {
        let mut seen = lock(&self.0);
        let since = match *seen {
            Some(last) if last.horizon == horizon => last.since,
            _ => now,
        };
        let age = now.saturating_duration_since(since);
        *seen = Some(Seen {
            horizon,
            since,
            age,
        });
    }

    /// Nothing before the first heartbeat.
    pub fn age(&self) -> Duration {
        lock(&self.0).map_or(Duration::ZERO, |seen| seen.age)
    }
}

/// How the listener is.
#[derive(Clone, Debug)]
pub(super) enum State {
    Starting,
    /// `proven`: a heartbeat has come back since.
    Live {
        last_echo: Instant,
        proven: bool,
    },
    Down {
        reason: String,
    },
}

impl ListenerStatus {
    /// Why the listener is not live, if it is not.
    pub fn check(&self) -> Result<(), String> {
        match &*self.state.borrow() {
            State::Starting => Err("starting".to_owned()),
            State::Down { reason } => Err(reason.clone()),
            State::Live { last_echo, .. } if last_echo.elapsed() > self.heartbeat * 3 => Err(
                format!("no heartbeat for {} s", last_echo.elapsed().as_secs()),
            ),
            State::Live { .. } => Ok(()),
        }
    }

    /// Resolves when the listener hears what it sends itself: a pooler in between may take LISTEN and deliver nothing.
    pub async fn proven(&mut self) {
        // The sender lives as long as the listener's task; without it nothing is waited for.
        let _ = self
            .state
            .wait_for(|state| matches!(state, State::Live { proven: true, .. }))
            .await;
    }

    /// The newest heartbeat's way through the queue.
    pub fn lag(&self) -> Duration {
        Duration::from_micros(self.stats.lag_micros.load(Ordering::Relaxed))
    }

    /// What it has found of the database.
    pub fn database(&self) -> Database {
        self.database.clone()
    }

    /// The listener's figures, as they are counted.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Xid;

    /// A connection alone is not enough: it may be there while no heartbeat can be sent.
    #[test]
    fn a_listener_is_live_for_as_long_as_heartbeats_come_back() {
        let heartbeat = Duration::from_secs(10);
        let check = |ago| {
            let (_sender, state) = watch::channel(State::Live {
                last_echo: Instant::now() - ago,
                proven: true,
            });
            let stats = Arc::default();
            let status = ListenerStatus {
                state,
                stats,
                database: Database::default(),
                heartbeat,
            };
            status.check()
        };
        assert_eq!(check(heartbeat * 2), Ok(()));
        let late = check(heartbeat * 4).expect_err("too long");
        assert!(late.starts_with("no heartbeat for "), "{late}");
    }

    #[test]
    fn the_age_of_a_horizon_counts_from_when_it_was_first_found_there() {
        let (age, start) = (HorizonAge::default(), Instant::now());
        let found = |horizon: u64, seconds| {
            age.found(Horizon(Xid(horizon)), start + Duration::from_secs(seconds));
            age.age().as_secs()
        };
        assert_eq!(found(7, 0), 0);
        assert_eq!(found(7, 10), 10);
        assert_eq!(found(7, 20), 20);
        assert_eq!(found(8, 30), 0, "it has moved");
        assert_eq!(found(8, 40), 10);
        assert_eq!(found(3, 50), 0, "it was put back");
    }
}
