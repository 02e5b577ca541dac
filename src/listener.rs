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
mod unflushed;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::config::Config;
use crate::error::Error;
use crate::frame::Cursor;
use crate::hub::Hub;
use crate::live::Live;
use crate::model::ReplicaId;
use crate::store::{Connector, Identity, Snapshot, Store};

use backoff::Backoff;
use dispatch::{CaughtUp, Dispatcher};
use reader::Reading;

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

/// What others may know of the listener.
#[derive(Clone)]
pub struct ListenerStatus {
    state: watch::Receiver<State>,
    stats: Arc<Stats>,
    heartbeat: Duration,
}

/// Figures of the listener's life, since the start of the process.
#[derive(Default)]
pub struct Stats {
    pub notifications: AtomicU64,
    pub events: AtomicU64,
    /// Connections of which LISTEN has taken effect; tries in vain are none.
    pub connections: AtomicU64,
    /// Rows that catch-ups read.
    pub catch_up_events: AtomicU64,
    /// The newest heartbeat's way through the queue, in microseconds.
    pub lag_micros: AtomicU64,
}

#[derive(Clone, Debug)]
enum State {
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

/// Why a session with the database ended.
#[derive(Debug)]
enum SessionEnd {
    Stopped,
    Failed(String),
}

impl From<Error> for SessionEnd {
    fn from(error: Error) -> Self {
        Self::Failed(error.with_cause().to_string())
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
            match self.session(&mut dispatcher, &stop).await {
                SessionEnd::Stopped => return,
                SessionEnd::Failed(reason) => {
                    log::warn!("listener: {reason}; reconnecting");
                    self.state.send_replace(State::Down { reason });
                }
            }
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
    async fn session(&self, dispatcher: &mut Dispatcher, stop: &CancellationToken) -> SessionEnd {
        let reading = tokio::select! {
            () = stop.cancelled() => return SessionEnd::Stopped,
            opened = Reading::open(&self.config) => match opened {
                Ok(reading) => reading,
                Err(reason) => return SessionEnd::Failed(reason),
            },
        };
        self.stats.connections.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            () = stop.cancelled() => SessionEnd::Stopped,
            end = self.follow(dispatcher, reading) => end,
        }
    }

    async fn follow(&self, dispatcher: &mut Dispatcher, mut reading: Reading) -> SessionEnd {
        // Everything that commits from here on is in the queue; what committed before is in the tables.
        if let Err(error) = self.catch_up(dispatcher, &reading).await {
            return error;
        }
        self.live.presence().listening();
        let mut heart = AbortOnDropHandle::new(tokio::spawn(heartbeat::beat(
            self.store.clone(),
            self.config.replica,
            self.config.heartbeat,
            dispatcher.beats(),
            reading.identity.clone(),
            reading.progress(),
        )));
        self.state.send_replace(State::Live {
            last_echo: Instant::now(),
            proven: false,
        });
        log::info!("listener is live");
        loop {
            tokio::select! {
                notification = reading.next() => match notification {
                    Some(text) => match dispatcher.dispatch(&text).await {
                        Ok(None) => {}
                        Ok(Some(echo)) => {
                            let micros = u64::try_from(echo.as_micros()).unwrap_or(u64::MAX);
                            self.stats.lag_micros.store(micros, Ordering::Relaxed);
                            self.state.send_replace(State::Live { last_echo: Instant::now(), proven: true });
                        }
                        Err(error) => break SessionEnd::from(error),
                    },
                    None => break SessionEnd::Failed(reading.end_reason()),
                },
                end = &mut heart => break SessionEnd::Failed(match end {
                    Ok(reason) => reason,
                    Err(panic) => format!("the heartbeat ended: {panic}"),
                }),
            }
        }
    }

    /// Brings the hub to where the database was when LISTEN took effect.
    async fn catch_up(
        &self,
        dispatcher: &mut Dispatcher,
        reading: &Reading,
    ) -> Result<(), SessionEnd> {
        let before = self.hub.position();
        // Its horizon is flushed. Below it everything had ended before the changes are read.
        let patience = self.config.heartbeat * 3;
        let (identity, horizon) = self
            .store
            .heartbeat(self.config.replica, 0, patience)
            .await?;
        self.require_same_server(&identity, reading)?;
        let here = Cursor {
            identity: reading.identity.clone(),
            horizon,
        };
        if before
            .as_ref()
            .is_some_and(|before| before.identity != here.identity)
        {
            // Whoever was busy all the time has not noticed: where the former primary lives on, their connections do.
            self.store.renew_connections();
        }
        self.hub.set_incarnation(reading.incarnation);
        let may_be_lost = dispatcher.may_be_lost_in(reading.incarnation);
        let Some(before) = before else {
            // Sockets start live: what had ended before is never delivered, not even by a catch-up whose
            // horizon an old open transaction holds back.
            dispatcher.start_after(self.ended(reading).await?);
            self.hub.start_at(here);
            return Ok(());
        };
        let reload = self
            .deliver_missed(dispatcher, &before, &here, may_be_lost)
            .await?;
        match reload {
            None => {
                self.hub.advance(&here.identity, here.horizon);
                Ok(())
            }
            Some(reason) => self.skip_to(dispatcher, here, reading, reason).await,
        }
    }

    /// After a failover whose former primary lives on, the listener can be at one server and the pools at the other, whose numbers say
    /// nothing of what this one brings. Idle connections are closed, so that the next session finds new ones; until both are at the same
    /// server no client can resume.
    fn require_same_server(&self, pooled: &Identity, reading: &Reading) -> Result<(), SessionEnd> {
        let is_torn = *pooled != reading.identity;
        self.hub.set_torn(is_torn);
        if !is_torn {
            return Ok(());
        }
        self.store.renew_connections();
        Err(SessionEnd::Failed(heartbeat::torn(
            &reading.identity,
            pooled,
        )))
    }

    /// Which transactions have ended by now.
    async fn ended(&self, reading: &Reading) -> Result<Snapshot, SessionEnd> {
        let (snapshot, identity) = self.store.snapshot().await?;
        self.require_same_server(&identity, reading)?;
        Ok(snapshot)
    }

    /// Delivers what has changed from `before` to `here`, or returns the reason for which clients must reload. Where it is known
    /// beforehand, nothing is read: they load it, and what was delivered may have had the same numbers and revisions.
    async fn deliver_missed(
        &self,
        dispatcher: &mut Dispatcher,
        before: &Cursor,
        here: &Cursor,
        may_be_lost: bool,
    ) -> Result<Option<&'static str>, Error> {
        // The horizon of one database never moves back, unless its files are those of an earlier moment.
        if before.identity != here.identity || here.horizon < before.horizon {
            // A failover or a restore: transactions that we delivered may be gone, and their numbers
            // be given to others.
            log::warn!(
                "the database is another one, or at an earlier moment ({} was {}): clients must reload",
                here.encode(),
                before.encode()
            );
            return Ok(Some("the service moved to another database server"));
        }
        if may_be_lost {
            // Its transaction numbers and its seq are given to others, perhaps by now.
            log::warn!(
                "the database has crashed, and what was delivered since {} may not have been flushed: clients must reload",
                before.encode()
            );
            return Ok(Some(
                "the database crashed and may have lost what came last",
            ));
        }
        if dispatcher.catch_up(before.horizon, here.horizon).await? == CaughtUp::TooMuch {
            log::warn!(
                "more has changed since {} than is read again (CATCH_UP_CHANGES), or than could be read in time: clients must \
                 reload",
                before.encode()
            );
            return Ok(Some("too much was missed while the database was away"));
        }
        Ok(None)
    }

    /// Goes on from `here`; what was before, the clients load anew.
    async fn skip_to(
        &self,
        dispatcher: &mut Dispatcher,
        here: Cursor,
        reading: &Reading,
        reason: &'static str,
    ) -> Result<(), SessionEnd> {
        // What has ended by now is in what the clients load.
        let ended = self.ended(reading).await?;
        dispatcher.forget(reading.incarnation);
        dispatcher.start_after(ended);
        self.hub.start_at(here);
        self.hub.resync_all(reason);
        self.live.presence().show_again();
        Ok(())
    }
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

    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Also where its connection is there, and no heartbeat can be sent.
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
                heartbeat,
            };
            status.check()
        };
        assert_eq!(check(heartbeat * 2), Ok(()));
        let late = check(heartbeat * 4).expect_err("too long");
        assert!(late.starts_with("no heartbeat for "), "{late}");
    }
}
