//! What the probes and the drain need to know. STUB.
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The stages of a replica's end, shared by everything that has a task.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Set first: readiness fails, new WebSocket handshakes get 503, HTTP is still served.
    pub draining: CancellationToken,
    /// Set second: sockets get `server_closing` (their closes spread over time), then 1012.
    pub closing: CancellationToken,
    /// Set last: background tasks (listener, writer, heartbeat) end.
    pub stopping: CancellationToken,
    /// Connections and sockets: waited for between `closing` and `stopping`.
    pub connections: TaskTracker,
    /// Background tasks: waited for after `stopping`.
    pub tasks: TaskTracker,
}

#[derive(Clone)]
pub struct Health {}

#[derive(Debug, Clone)]
pub struct Report {
    pub database: Result<(), String>,
    pub listener: Result<(), String>,
    pub draining: bool,
}

impl Health {
    /// Asks the database (bounded to 2 s) and the listener.
    pub async fn report(&self) -> Report {
        unimplemented!()
    }
}
