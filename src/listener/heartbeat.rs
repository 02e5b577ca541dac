//! The heartbeat through the queue, which proves the whole way.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::reader::Progress;
use super::status::Stats;
use crate::model::{Beat, ReplicaId};
use crate::position::Identity;
use crate::store::Store;

/// Heartbeats of which it is known when they were sent: far more than are on their way while the dispatcher is behind.
const KNOWN: i64 = 64;

/// This replica's heartbeats: which number comes next, which came back, and when the newest were sent.
pub(super) struct Beats {
    sent: AtomicI64,
    echoed: AtomicI64,
    start: Instant,
    /// By number, modulo [`KNOWN`].
    sent_micros: [AtomicI64; KNOWN as usize],
}

impl Beats {
    pub fn new() -> Self {
        Self {
            sent: AtomicI64::new(0),
            echoed: AtomicI64::new(0),
            start: Instant::now(),
            sent_micros: std::array::from_fn(|_| AtomicI64::new(0)),
        }
    }

    /// The number of the next one, which is sent now.
    pub fn next(&self) -> Beat {
        let beat = Beat(self.sent.fetch_add(1, Ordering::AcqRel) + 1);
        self.sent_at(beat).store(self.micros(), Ordering::Relaxed);
        beat
    }

    fn sent_at(&self, Beat(number): Beat) -> &AtomicI64 {
        &self.sent_micros[usize::try_from(number % KNOWN).unwrap_or_default()]
    }

    /// The one that is not sent yet.
    pub fn coming(&self) -> Beat {
        Beat(self.sent.load(Ordering::Acquire) + 1)
    }

    /// Whether this one was sent: any program that can connect to the database can NOTIFY anything.
    pub fn was_sent(&self, beat: Beat) -> bool {
        (Beat(1)..self.coming()).contains(&beat)
    }

    /// The newest that came back, if any has.
    pub fn echoed(&self) -> Option<Beat> {
        let number = self.echoed.load(Ordering::Acquire);
        (number > 0).then_some(Beat(number))
    }

    /// This one came back; returns how long it was on its way. Right for the newest [`KNOWN`].
    pub fn echo(&self, beat: Beat) -> Duration {
        self.echoed.fetch_max(beat.0, Ordering::AcqRel);
        let micros = self.micros() - self.sent_at(beat).load(Ordering::Relaxed);
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    fn micros(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX)
    }
}

/// Sends a heartbeat through the queue at each interval. Ends with the reason when one that was committed has not come back by the
/// next, which is half an interval after the commit at least: a slow database is no silent connection. Nor is a dispatcher that waits for
/// what it reads, while the heartbeat waits behind it ([`Missing`]).
pub(super) async fn beat(
    store: Store,
    replica: ReplicaId,
    interval: Duration,
    beats: Arc<Beats>,
    here: Identity,
    progress: Arc<Progress>,
    stats: Arc<Stats>,
) -> String {
    let mut missing = Missing::default();
    loop {
        let due = tokio::time::Instant::now() + interval;
        let beat = beats.next();
        match store.heartbeat(replica, Some(beat), interval).await {
            Ok((there, _)) if there != here => {
                store.renew_connections();
                return torn(&here, &there);
            }
            Ok((_, horizon)) => {
                stats.horizon.found(horizon, Instant::now());
                let least = tokio::time::Instant::now() + interval / 2;
                sleep_until(due.max(least)).await;
                // In this order: what was done with by then had come, and had been echoed.
                let done = progress.done();
                let lost = missing.look(beat, beats.echoed(), done, progress.came());
                if let Some(Beat(lost)) = lost {
                    return format!("heartbeat {lost} did not come back through the queue");
                }
            }
            Err(error) => {
                // The database is in trouble, not the listener's connection; the next one may pass.
                log::warn!("heartbeat not sent: {}", error.with_cause());
                sleep_until(due).await;
            }
        }
    }
}

/// What the log says of it; to the probes the listener is `unavailable`.
pub(super) fn torn(listener: &Identity, pooled: &Identity) -> String {
    format!(
        "the listener is at another database server ({listener}) than the pooled connections ({pooled}), or a dump was restored in place"
    )
}

/// The oldest heartbeat that should have come back and may wait for the dispatcher yet, and how many payloads had come by then: if it
/// is none of these, it was lost. So it is judged when they are done with, however many have come behind them.
#[derive(Default)]
struct Missing(Option<(Beat, u64)>);

impl Missing {
    /// The heartbeat `beat` should have come back by now; `echoed` is the newest that has. The one that was lost, if one was.
    fn look(&mut self, beat: Beat, echoed: Option<Beat>, done: u64, came: u64) -> Option<Beat> {
        let is_back = |beat| echoed.is_some_and(|echoed| echoed >= beat);
        self.0 = self.0.filter(|(first, _)| !is_back(*first));
        if is_back(beat) {
            return None;
        }
        let (first, among) = *self.0.get_or_insert((beat, came));
        (done >= among).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::config::Config;
    use crate::testing;

    /// Or it would be as long until anybody knew that the database is there again.
    #[tokio::test(start_paused = true)]
    async fn a_heartbeat_that_is_not_taken_is_given_up_when_the_next_is_due() {
        const INTERVAL: Duration = Duration::from_secs(1);
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port().to_string();
        let vars = [
            ("DB_HOST", "127.0.0.1"),
            ("DB_PORT", port.as_str()),
            ("DB_TIMEOUT_SECONDS", "60"),
        ];
        let services = testing::services_of(testing::hub(1), Config::from_vars(&vars).unwrap());
        let beats = Arc::new(Beats::new());
        let (store, progress) = (services.store, Arc::default());
        let here = Identity("".into());
        let beating = beat(
            store,
            ReplicaId(Uuid::nil()),
            INTERVAL,
            Arc::clone(&beats),
            here,
            progress,
            Arc::default(),
        );
        let beating = tokio::time::timeout(INTERVAL * 9 / 2, beating).await;
        assert!(beating.is_err(), "none was sent, so none is missed");
        assert_eq!(beats.coming(), Beat(6));
    }

    /// Many times as often as a connection may take to be made.
    const OFTEN: Duration = Duration::from_millis(20);

    /// How many connections are made by who asks a database that takes them and is silent.
    async fn connections_made_by(asking: impl AsyncFnOnce(Store)) -> usize {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        silent.set_nonblocking(true).unwrap();
        let port = silent.local_addr().unwrap().port().to_string();
        let vars = [("DB_HOST", "127.0.0.1"), ("DB_PORT", port.as_str())];
        let services = testing::services_of(testing::hub(1), Config::from_vars(&vars).unwrap());
        asking(services.store).await;
        std::iter::from_fn(|| silent.accept().ok()).count()
    }

    /// If each began with one of its own, none would ever be sent where that takes longer than the interval.
    #[tokio::test]
    async fn heartbeats_that_come_too_soon_for_a_connection_wait_for_the_same_one() {
        let connections = connections_made_by(async |store| {
            let beats = Arc::new(Beats::new());
            let some = async {
                while beats.coming() <= Beat(10) {
                    tokio::time::sleep(OFTEN).await;
                }
            };
            tokio::select! {
                reason = beat(store, ReplicaId(Uuid::nil()), OFTEN, Arc::clone(&beats), Identity("".into()), Arc::default(), Arc::default()) => panic!("{reason}"),
                () = some => {}
            }
        });
        assert_eq!(connections.await, 2, "as many as the pool has");
    }

    #[tokio::test]
    async fn probes_that_come_too_soon_for_a_connection_wait_for_the_same_one() {
        let connections = connections_made_by(async |store| {
            for _ in 0..10 {
                assert!(store.ping(OFTEN).await.is_err());
            }
        });
        assert_eq!(connections.await, 2, "as many as the pool has");
    }

    #[test]
    fn the_way_of_a_heartbeat_counts_from_its_own_sending() {
        const BETWEEN: Duration = Duration::from_millis(20);
        let beats = Beats::new();
        let first = beats.next();
        std::thread::sleep(BETWEEN);
        let second = beats.next();
        assert!(beats.echo(first) >= BETWEEN);
        assert!(beats.echo(second) <= beats.echo(first));
    }

    /// With plain numbers; none is 0.
    fn look(missing: &mut Missing, beat: i64, echoed: i64, done: u64, came: u64) -> Option<i64> {
        let echoed = (echoed > 0).then_some(Beat(echoed));
        let lost = missing.look(Beat(beat), echoed, done, came);
        lost.map(|Beat(lost)| lost)
    }

    #[test]
    fn a_heartbeat_is_lost_when_nothing_is_left_that_it_may_wait_behind() {
        let mut missing = Missing::default();
        assert_eq!(look(&mut missing, 1, 1, 5, 5), None, "it is back");
        assert_eq!(look(&mut missing, 2, 1, 5, 5), Some(2));
    }

    #[test]
    fn a_listener_that_is_never_at_the_end_of_its_queue_is_found_silent_all_the_same() {
        let mut missing = Missing::default();
        assert_eq!(
            look(&mut missing, 1, 0, 5, 10),
            None,
            "it may be among the ten"
        );
        assert_eq!(
            look(&mut missing, 2, 0, 9, 20),
            None,
            "it may be the last of them"
        );
        assert_eq!(look(&mut missing, 3, 0, 10, 30), Some(1));
    }

    #[test]
    fn a_heartbeat_that_comes_back_late_begins_the_wait_for_the_next_one_anew() {
        let mut missing = Missing::default();
        assert_eq!(look(&mut missing, 1, 0, 5, 10), None);
        assert_eq!(
            look(&mut missing, 2, 1, 12, 20),
            None,
            "the second may be behind"
        );
        assert_eq!(look(&mut missing, 3, 2, 21, 30), None);
        assert_eq!(look(&mut missing, 4, 4, 40, 40), None);
        assert_eq!(look(&mut missing, 5, 4, 50, 50), Some(5));
    }
}
