//! The watch that logs what turns bad.

use std::time::Duration;

use log::Level;
use tokio::time::Instant;

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
    pub async fn watch(self) {
        self.watch_every(WATCH_INTERVAL).await;
    }

    async fn watch_every(self, interval: Duration) {
        let mut alarms = Alarms::default();
        loop {
            tokio::time::sleep(interval).await;
            for (level, line) in alarms.changes(&self.look().await) {
                log::log!(level, "{line}");
            }
        }
    }

    async fn look(&self) -> Look {
        let sources = &self.sources;
        let asked = Instant::now();
        let answer = sources.store.notification_queue_usage().await;
        // Where nobody asks the probes, this alone keeps `pgchat_ready` true to them.
        sources.health.heard_from_database(&answer, asked.elapsed());
        let queue_usage = answer.ok();
        if let Some(usage) = queue_usage {
            sources.queue_usage.set(usage);
        }
        Look {
            queue_usage,
            lag: sources.listener.lag(),
            waiting: sources.writer.depth(),
            bound: sources.writer.capacity(),
        }
    }
}

/// The figures that are looked at.
#[derive(Clone, Copy)]
struct Look {
    /// `None`: the database does not say.
    queue_usage: Option<f64>,
    lag: Duration,
    /// In the writer's queue.
    waiting: usize,
    /// As many may wait there.
    bound: usize,
}

/// What is bad at present.
struct Alarms {
    queue: Alarm,
    lag: Alarm,
    depth: Alarm,
}

impl Default for Alarms {
    fn default() -> Self {
        Self {
            queue: Alarm::new(
                "the notification queue fills: some session LISTENs and does not read",
            ),
            lag: Alarm::new("notifications are slow"),
            depth: Alarm::new("messages wait for the database"),
        }
    }
}

impl Alarms {
    /// The lines about what has turned bad, and what is good again.
    fn changes(&mut self, look: &Look) -> impl Iterator<Item = (Level, String)> {
        let Look {
            queue_usage,
            lag,
            waiting,
            bound,
        } = *look;
        let queue = queue_usage.and_then(|usage| {
            let figure = format!("{:.1} % in use", usage * 100.0);
            self.queue.set(usage > QUEUE_WARNING, figure)
        });
        let lag = self.lag.set(
            lag > LAG_WARNING,
            format!("a heartbeat took {} ms", lag.as_millis()),
        );
        let depth = self.depth.set(
            waiting as f64 > bound as f64 * DEPTH_WARNING,
            format!("{waiting} of at most {bound}"),
        );
        [queue, lag, depth].into_iter().flatten()
    }
}

/// Something that is good or bad.
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

    /// A line where it has changed.
    fn set(&mut self, bad: bool, figure: String) -> Option<(Level, String)> {
        if bad == self.raised {
            return None;
        }
        self.raised = bad;
        let what = self.what;
        Some(match bad {
            true => (Level::Warn, format!("{what}: {figure}")),
            false => (Level::Info, format!("over: {what}: {figure}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::pause;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::Config;
    use crate::testing;

    /// Each at its bound.
    const FINE: Look = Look {
        queue_usage: Some(0.1),
        lag: Duration::from_secs(1),
        waiting: 5,
        bound: 10,
    };

    #[test]
    fn what_turns_bad_is_told_once_and_so_is_its_end() {
        let queue = Look {
            queue_usage: Some(0.125),
            ..FINE
        };
        let lag = Look {
            lag: Duration::from_millis(1001),
            ..FINE
        };
        let depth = Look { waiting: 6, ..FINE };
        for (bad, alarm, over) in [
            (
                queue,
                "the notification queue fills: some session LISTENs and does not read: 12.5 % in use",
                "over: the notification queue fills: some session LISTENs and does not read: 10.0 % in use",
            ),
            (
                lag,
                "notifications are slow: a heartbeat took 1001 ms",
                "over: notifications are slow: a heartbeat took 1000 ms",
            ),
            (
                depth,
                "messages wait for the database: 6 of at most 10",
                "over: messages wait for the database: 5 of at most 10",
            ),
        ] {
            let mut alarms = Alarms::default();
            let mut told = |look| alarms.changes(&look).collect::<Vec<_>>();
            for _ in 0..2 {
                assert_eq!(told(FINE), []);
                assert_eq!(told(bad), [(Level::Warn, alarm.to_owned())]);
                assert_eq!(told(bad), []);
                assert_eq!(told(FINE), [(Level::Info, over.to_owned())]);
            }
        }
    }

    #[test]
    fn a_database_that_does_not_say_how_full_its_queue_is_ends_no_alarm() {
        let usage = |queue_usage| Look {
            queue_usage,
            ..FINE
        };
        let mut alarms = Alarms::default();
        let mut told = |look| alarms.changes(&look).count();
        assert_eq!(told(usage(Some(0.5))), 1);
        assert_eq!(told(usage(None)), 0);
        assert_eq!(told(usage(Some(0.6))), 0);
        assert_eq!(told(usage(Some(0.0))), 1);
    }

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
        let watch = metrics.watch_every(Duration::from_millis(1));
        let watch = tokio::spawn(stop.clone().run_until_cancelled_owned(watch));
        let _asked = silent.accept().await.unwrap();
        // From here on time passes only while there is nothing to do but to wait for it.
        pause();
        let stopped = Instant::now();
        stop.cancel();
        watch.await.unwrap();
        assert_eq!(stopped.elapsed(), Duration::ZERO);
    }
}
