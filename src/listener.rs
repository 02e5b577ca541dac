//! The listener of a replica: LISTENs on one connection of its own, reads back what did not fit into a
//! payload, catches up after a lost connection, and hands every event to the hub, in order.
//!
//! Two tasks share the work. The reader ([`reader`]) only moves notifications from the connection into a
//! bounded queue, so it never waits for a socket, a pool or a lock. The dispatcher ([`dispatch`]) takes them out.
//! When the queue is full, the reader gives up the connection: what it dropped is then read from the
//! tables, like everything else that a listener missed.

mod backoff;
mod delivered;
mod dispatch;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod heartbeat;
mod payload;
mod reader;
mod resuming;
mod status;
mod unflushed;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::error::Error;
use crate::hub::Hub;
use crate::live::Live;
use crate::model::ReplicaId;
use crate::store::{Connector, Store};

use backoff::Backoff;
use dispatch::Dispatcher;
use reader::Reading;
use status::State;

pub use status::{ListenerStatus, Stats};

/// What a listener needs.
pub struct ListenerConfig {
    pub connector: Connector,
    pub schema: String,
    pub replica: ReplicaId,
    /// Interval of the heartbeat through the queue; a lost connection is noticed within two of them.
    pub heartbeat: Duration,
    /// `CATCH_UP_CHANGES`: rows that a catch-up reads.
    pub most_changes: u32,
}

impl ListenerConfig {
    /// That of the replica `replica`; `connector` leads past a pooler.
    pub fn new(config: &Config, connector: Connector, replica: ReplicaId) -> Self {
        Self {
            connector,
            schema: config.schema.clone(),
            replica,
            heartbeat: config.timeouts.listener_heartbeat,
            most_changes: config.limits.catch_up_changes,
        }
    }
}

/// Why a session with the database ended; one line.
#[derive(Debug)]
struct SessionEnd(String);

impl From<Error> for SessionEnd {
    fn from(error: Error) -> Self {
        Self(error.with_cause().to_string())
    }
}

/// The listener's task: ends when `stop` is set.
pub struct Listener {
    config: ListenerConfig,
    store: Store,
    hub: Hub,
    live: Live,
    stats: Arc<Stats>,
    state: watch::Sender<State>,
}

impl Listener {
    /// With the view that others have of it. Nothing is connected before [`Listener::run`].
    pub fn new(
        config: ListenerConfig,
        store: Store,
        hub: Hub,
        live: Live,
    ) -> (Self, ListenerStatus) {
        let (state, receiver) = watch::channel(State::Starting);
        let stats = Arc::new(Stats::default());
        let status = ListenerStatus {
            state: receiver,
            stats: Arc::clone(&stats),
            heartbeat: config.heartbeat,
        };
        (
            Self {
                config,
                store,
                hub,
                live,
                stats,
                state,
            },
            status,
        )
    }

    /// Keeps a session with the database until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut dispatcher = Dispatcher::new(
            self.store.clone(),
            self.hub.clone(),
            self.live.clone(),
            self.config.replica,
            self.config.most_changes,
            Arc::clone(&self.stats),
        );
        let mut backoff = Backoff::new();
        loop {
            let started = Instant::now();
            let SessionEnd(reason) = tokio::select! {
                () = stop.cancelled() => return,
                end = self.session(&mut dispatcher) => end,
            };
            log::warn!("listener: {reason}; reconnecting");
            self.state.send_replace(State::Down { reason });
            let most = backoff.after(started.elapsed());
            // Full jitter: after the end of a server all replicas come back.
            let wait = most.mul_f64(rand::random::<f64>());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One connection's life: connect, LISTEN, catch up, then live.
    async fn session(&self, dispatcher: &mut Dispatcher) -> SessionEnd {
        let mut reading = match Reading::open(&self.config).await {
            Ok(reading) => reading,
            Err(reason) => return SessionEnd(reason),
        };
        self.stats.connections.fetch_add(1, Ordering::Relaxed);
        // Everything that commits from here on is in the queue; what committed before is in the tables.
        if let Err(end) = self.catch_up(dispatcher, &reading).await {
            return end;
        }
        self.live.presence().listening();
        let mut heart = AbortOnDropHandle::new(tokio::spawn(heartbeat::beat(
            self.store.clone(),
            self.config.replica,
            self.config.heartbeat,
            dispatcher.beats(),
            reading.identity.clone(),
            reading.progress(),
            Arc::clone(&self.stats),
        )));
        self.state.send_replace(State::Live {
            last_echo: Instant::now(),
            proven: false,
        });
        log::info!("listener is live");
        loop {
            tokio::select! {
                notification = reading.next() => {
                    let Some(text) = notification else {
                        return SessionEnd(reading.end_reason().await);
                    };
                    match dispatcher.dispatch(&text).await {
                        Ok(None) => {}
                        Ok(Some(lag)) => self.heard_itself(lag),
                        Err(error) => return error.into(),
                    }
                }
                end = &mut heart => return SessionEnd(match end {
                    Ok(reason) => reason,
                    Err(panic) => format!("the heartbeat ended: {panic}"),
                }),
            }
        }
    }

    /// A heartbeat has come back through the queue, in this time.
    fn heard_itself(&self, lag: Duration) {
        let micros = u64::try_from(lag.as_micros()).unwrap_or(u64::MAX);
        self.stats.lag_micros.store(micros, Ordering::Relaxed);
        self.state.send_replace(State::Live {
            last_echo: Instant::now(),
            proven: true,
        });
    }
}
