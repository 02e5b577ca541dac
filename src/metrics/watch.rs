//! The watch that logs what turns bad.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Metrics;

/// Between two looks of the watch. The usage of the notification queue is asked only then: asking takes
/// a lock that listeners need.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// Fraction of the 8 GB notification queue from which the watch warns. A full queue makes every insert fail
/// (PostgreSQL manual, NOTIFY); a tenth means that some listener has stopped reading.
const QUEUE_WARNING: f64 = 0.1;

/// A heartbeat's way through the queue from which the watch warns.
const LAG_WARNING: Duration = Duration::from_secs(1);

/// Fraction of the writer's queue from which the watch warns.
const DEPTH_WARNING: f64 = 0.5;

impl Metrics {
    /// Looks at the figures every 10 s and logs those that turned bad, and when they are good again.
    pub async fn watch(self, stop: CancellationToken) {
        self.watch_every(WATCH_INTERVAL, stop).await;
    }

    async fn watch_every(self, interval: Duration, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.look_every(interval) => {}
        }
    }

    /// For as long as it is polled.
    async fn look_every(&self, interval: Duration) {
        let mut queue =
            Alarm::new("the notification queue fills: some session LISTENs and does not read");
        let mut lag = Alarm::new("notifications are slow");
        let mut depth = Alarm::new("messages wait for the database");
        loop {
            tokio::time::sleep(interval).await;
            let sources = &self.sources;
            if let Ok(usage) = sources.store.notification_queue_usage().await {
                sources
                    .queue_usage
                    .store(usage.to_bits(), Ordering::Relaxed);
                queue.set(usage > QUEUE_WARNING, || {
                    format!("{:.1} % in use", usage * 100.0)
                });
            }
            let delay = sources.listener.lag();
            lag.set(delay > LAG_WARNING, || {
                format!("a heartbeat took {} ms", delay.as_millis())
            });
            let (waiting, bound) = (sources.writer.depth(), sources.writer.capacity());
            depth.set(waiting as f64 > bound as f64 * DEPTH_WARNING, || {
                format!("{waiting} of at most {bound}")
            });
        }
    }
}

/// Something that is good or bad; logged when it changes.
struct Alarm {
    what: &'static str,
    raised: bool,
}

impl Alarm {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            raised: false,
        }
    }

    fn set(&mut self, bad: bool, figure: impl Fn() -> String) {
        if bad != self.raised {
            match bad {
                true => log::warn!("{}: {}", self.what, figure()),
                false => log::info!("over: {}: {}", self.what, figure()),
            }
            self.raised = bad;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::{Instant, pause};

    use super::*;
    use crate::config::Config;
    use crate::testing;

    #[tokio::test]
    async fn it_stops_while_it_asks_a_database_that_is_silent() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port().to_string();
        let vars = [
            ("DB_HOST", "127.0.0.1"),
            ("DB_PORT", port.as_str()),
            ("DB_TIMEOUT_SECONDS", "300"),
        ];
        let hub = testing::hub(1);
        let metrics = testing::services_of(hub, Config::from_vars(&vars).unwrap()).metrics;
        let stop = CancellationToken::new();
        let watch = tokio::spawn(metrics.watch_every(Duration::from_millis(1), stop.clone()));
        let _asked = silent.accept().await.unwrap();
        // From here on time passes only while there is nothing to do but to wait for it.
        pause();
        let stopped = Instant::now();
        stop.cancel();
        watch.await.unwrap();
        assert_eq!(stopped.elapsed(), Duration::ZERO);
    }
}
