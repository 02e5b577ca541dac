//! The heartbeat through the queue, which proves the whole way.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::store::Store;

/// This replica's heartbeats: which number comes next, which came back, and when the newest was sent.
pub(super) struct Beats {
    sent: AtomicI64,
    echoed: AtomicI64,
    start: Instant,
    sent_micros: AtomicI64,
}

impl Beats {
    pub fn new() -> Self {
        Self {
            sent: AtomicI64::new(0),
            echoed: AtomicI64::new(0),
            start: Instant::now(),
            sent_micros: AtomicI64::new(0),
        }
    }

    pub fn next(&self) -> i64 {
        self.sent_micros.store(self.micros(), Ordering::Relaxed);
        self.sent.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The one that is not sent yet.
    pub fn coming(&self) -> i64 {
        self.sent.load(Ordering::Acquire) + 1
    }

    /// Whether this one was: whoever can connect to the database can NOTIFY anything.
    pub fn was_sent(&self, number: i64) -> bool {
        (1..self.coming()).contains(&number)
    }

    pub fn echoed(&self) -> i64 {
        self.echoed.load(Ordering::Acquire)
    }

    pub fn echo(&self, number: i64) -> Duration {
        self.echoed.fetch_max(number, Ordering::AcqRel);
        let micros = self.micros() - self.sent_micros.load(Ordering::Relaxed);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    fn micros(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// Sends a heartbeat through the queue at each interval. Ends with the reason when one that was
/// committed has not come back by the next.
pub(super) async fn beat(
    store: Store,
    replica: Uuid,
    interval: Duration,
    beats: Arc<Beats>,
) -> String {
    let mut ticker = tokio::time::interval(interval);
    ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut committed = None;
    loop {
        ticker.tick().await;
        if let Some(number) = committed
            && beats.echoed() < number
        {
            return format!(
                "heartbeat {number} did not come back through the queue within {interval:?}"
            );
        }
        let number = beats.next();
        match store.heartbeat(replica, number, interval).await {
            Ok(_) => committed = Some(number),
            // The database is in trouble, not the listener's connection; the next one may pass.
            Err(error) => log::warn!("heartbeat not sent: {}", error.with_cause()),
        }
    }
}
