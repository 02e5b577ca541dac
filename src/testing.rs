//! What tests of one socket, and the fuzzer, need of a replica. The database is never reached.

#![allow(clippy::unwrap_used)] // clippy does not see that the fuzzer's build is one for tests

#[cfg(test)]
use std::time::Duration;

use crate::auth::Keys;
use crate::config::{Config, DatabaseSource};
use crate::hub::{Hub, HubLimits};
use crate::lifecycle::Lifecycle;
use crate::position::{Cursor, Horizon, Identity, Xid};
use crate::services::Services;
use crate::store::{Connector, Store, StoreLimits, UsersLink, UsersLinked, UsersTable, Way};

/// A hub that is live and limits no connections; `socket_queue` frames may wait for each of its sockets.
pub fn hub(socket_queue: usize) -> Hub {
    let hub = Hub::new(HubLimits {
        connections: None,
        connections_per_user: None,
        socket_queue,
        queued_bytes: usize::MAX,
    });
    hub.start_at(Cursor {
        identity: Identity("a-b-1".into()),
        horizon: Horizon(Xid(1)),
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

/// The same, whose database is to be found at this port of 127.0.0.1.
#[cfg(test)]
pub fn services_with_database_at(port: u16, hub: Hub) -> Services {
    let port = port.to_string();
    let vars = [
        ("DB_HOST", "127.0.0.1"),
        ("DB_PORT", port.as_str()),
        ("DB_SSL_MODE", "disable"),
    ];
    services_of(hub, Config::from_vars(&vars).unwrap())
}

/// A store with this configuration, which must name an external database, and the way to that.
pub fn store_of(config: &Config) -> (Store, Connector) {
    let DatabaseSource::External(database) = &config.database else {
        panic!("DB_HOST is set");
    };
    let connector = Connector::new(database).unwrap();
    let limits = StoreLimits::from(config);
    let store = Store::new(&connector, &config.schema, limits, Way::Direct).unwrap();
    (store, connector)
}

/// Services around `hub` with this configuration, which must name an external database; must be called in a runtime, for the writer's task.
pub fn services_of(hub: Hub, config: Config) -> Services {
    let (store, connector) = store_of(&config);
    let users = UsersLink::new(
        store.clone(),
        connector.clone(),
        config.schema.clone(),
        UsersTable {
            name: config.users_table.clone(),
            columns: Vec::new(),
        },
        config.timeouts.users_table_check,
        UsersLinked::Now,
    );
    let (keys, _) = Keys::load(&config.auth).unwrap();
    let lifecycle = Lifecycle::default();
    let (services, background) =
        Services::new(config, keys, hub, store, connector, users, lifecycle);
    services.lifecycle.tasks.spawn(background.writing);
    services
}
