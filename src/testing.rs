//! What tests of one socket, and the fuzzer, need of a replica. The database is never reached.

#![allow(clippy::unwrap_used)] // clippy does not see that the fuzzer's build is one for tests

use std::sync::Arc;
#[cfg(test)]
use std::time::Duration;

use uuid::Uuid;

use crate::app::Services;
use crate::auth::{Auth, Keys};
use crate::config::{Config, DatabaseSource};
use crate::frame::Cursor;
use crate::health::{Health, Lifecycle};
use crate::hub::{Hub, HubLimits};
use crate::limits::{Refusals, Room, SendLimiter};
use crate::listener::{Listener, ListenerConfig};
use crate::live::{Live, PresenceTimes, Times};
use crate::metrics::Metrics;
use crate::replay::{Replay, ReplayLimits};
use crate::store::{Connector, Horizon, Identity, Store, UsersLink, UsersTable, Way};
use crate::writer::{Writer, WriterLimits};

/// A hub that is live and limits no connections; so many frames may wait for each of its sockets.
pub fn hub(socket_queue: usize) -> Hub {
    let hub = Hub::new(HubLimits {
        connections: 0,
        connections_per_user: 0,
        socket_queue,
    });
    hub.start_at(Cursor {
        identity: Identity("a-b-1".into()),
        horizon: Horizon(1),
    });
    hub
}

/// Services around `hub`; must be called in a runtime, for the writer's task.
#[cfg(test)]
pub fn services(hub: Hub, heartbeat: Duration, shutdown_grace: Duration) -> Services {
    let mut config = Config::from_vars(&[("DB_HOST", "127.0.0.1"), ("DB_PORT", "1")]).unwrap();
    config.timeouts.heartbeat = heartbeat;
    config.timeouts.shutdown_grace = shutdown_grace;
    services_of(hub, config)
}

/// The same with a configuration of one's own, which must name an external database.
pub fn services_of(hub: Hub, config: Config) -> Services {
    let DatabaseSource::External(database) = &config.database else {
        panic!("DB_HOST is set");
    };
    let connector = Connector::new(database).unwrap();
    let timeout = config.timeouts.database;
    let store = Store::new(&connector, &config.schema, 2, timeout, Way::Direct).unwrap();
    let lifecycle = Lifecycle::default();
    let limits = WriterLimits {
        queue: config.limits.writer_queue,
        batch: config.limits.writer_batch,
        timeout: config.timeouts.write,
    };
    let (writer, writing) = Writer::new(
        store.clone(),
        limits,
        lifecycle.tasks.clone(),
        lifecycle.stopping.clone(),
    );
    lifecycle.tasks.spawn(writing);
    let users = UsersLink::new(
        store.clone(),
        connector.clone(),
        config.schema.clone(),
        UsersTable {
            name: config.users_table.clone(),
            columns: None,
        },
        config.timeouts.users_table_check,
    );
    let listener = ListenerConfig {
        connector,
        schema: config.schema.clone(),
        replica: Uuid::nil(),
        heartbeat: config.timeouts.listener_heartbeat,
        most_changes: config.limits.catch_up_changes,
    };
    let limiter = SendLimiter::new(config.limits.rate_per_second, config.limits.rate_burst);
    let times = Times {
        lasting: config.timeouts.typing,
        interval: config.timeouts.typing_interval,
    };
    let presence = PresenceTimes {
        grace: config.timeouts.presence_grace,
        silence: config.timeouts.listener_heartbeat * 3,
    };
    let live = Live::new(
        store.clone(),
        hub.clone(),
        Uuid::nil(),
        limiter.clone(),
        times,
        presence,
    );
    let (_, status) = Listener::new(listener, store.clone(), hub.clone(), live.clone());
    let (keys, _) = Keys::load(&config.auth).unwrap();
    Services {
        auth: Auth::new(&config.auth, keys, store.clone()),
        frames: SendLimiter::of_frames(config.limits.rate_per_second, config.limits.rate_burst),
        refusals: Refusals::new(config.limits.refused_handshakes),
        answers: Room::of(0),
        incoming: Room::of(8 * config.limits.body_bytes),
        handshakes: Arc::new(tokio::sync::Semaphore::new(1)),
        limiter,
        metrics: Metrics::new(
            store.clone(),
            writer.clone(),
            hub.clone(),
            status.clone(),
            live.clone(),
        ),
        replica_id: Uuid::from_u128(99),
        replay: Replay::new(
            store.clone(),
            hub.clone(),
            ReplayLimits {
                events: config.limits.replay_events,
                bytes: config.limits.replay_bytes,
                parallel: config.limits.replay_parallel,
                patience: config.timeouts.database,
            },
        ),
        health: Health::new(store.clone(), status, users, lifecycle.clone()),
        config: Arc::new(config),
        store,
        writer,
        hub,
        live,
        lifecycle,
    }
}
