//! What the probes and the drain need to know.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::listener::ListenerStatus;
use crate::store::{Store, UsersLink};

/// Bound of the question to the database.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// The stages of a replica's end, shared by everything that has a task.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Set first: readiness fails, new WebSocket handshakes get 503, HTTP is still served.
    pub draining: CancellationToken,
    /// Set second: sockets get `server_closing` (their closes spread over time), then 1012.
    pub closing: CancellationToken,
    /// Set third, when those that were connected are gone: no new connections. What has come is answered.
    pub refusing: CancellationToken,
    /// Set last: background tasks (listener, writer) end.
    pub stopping: CancellationToken,
    /// Connections and sockets: waited for between `closing` and `stopping`.
    pub connections: TaskTracker,
    /// The accept loop, and the connections that come after `closing`: waited for between `refusing` and `stopping`.
    pub late: TaskTracker,
    /// Background tasks: waited for after `stopping`.
    pub tasks: TaskTracker,
}

/// Answers the probes.
#[derive(Clone)]
pub struct Health {
    store: Store,
    listener: ListenerStatus,
    users: UsersLink,
    lifecycle: Lifecycle,
}

/// How the replica is; each error says why.
#[derive(Clone, Debug)]
pub struct Report {
    pub database: Result<(), String>,
    pub listener: Result<(), String>,
    /// Whether the host's users table still fits.
    pub users: Result<(), String>,
    pub draining: bool,
}

impl Report {
    /// All that a request needs is there.
    pub fn is_well(&self) -> bool {
        self.database.is_ok() && self.listener.is_ok() && self.users.is_ok()
    }
}

impl Health {
    pub fn new(
        store: Store,
        listener: ListenerStatus,
        users: UsersLink,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            store,
            listener,
            users,
            lifecycle,
        }
    }

    /// Asks the database (for 2 s at most) and the listener.
    pub async fn report(&self) -> Report {
        let database = match tokio::time::timeout(DATABASE_PATIENCE, self.store.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer within 2 s".to_owned()),
        };
        Report {
            database,
            listener: self.listener.check(),
            users: self.users.check(),
            draining: self.lifecycle.draining.is_cancelled(),
        }
    }

    pub fn listener(&self) -> &ListenerStatus {
        &self.listener
    }
}
