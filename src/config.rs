//! Every setting of the service. STUB: the fields are agreed, the reading is not written yet.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Config {
    pub database: DatabaseSource,
    /// Where the listener connects, when the rest goes through a pooler (`LISTEN_DATABASE_URL`).
    pub listen_database: Option<DatabaseConfig>,
    /// Schema of the chat tables (`DB_SCHEMA`).
    pub schema: String,
    pub pool_size: usize,
    pub users_table: String,
    pub users_columns: Option<String>,
    pub server_addr: SocketAddr,
    pub service_name: String,
    pub log_level: log::LevelFilter,
    pub log_format: LogFormat,
    pub limits: Limits,
    pub timeouts: Timeouts,
    /// Browsers' origins for the WebSocket handshake and CORS (`ALLOWED_ORIGINS`); empty: same origin only.
    pub allowed_origins: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Pretty,
    Json,
}

#[derive(Clone, Debug)]
pub enum DatabaseSource {
    External(DatabaseConfig),
    Embedded {
        data_dir: PathBuf,
        bin_dir: Option<PathBuf>,
    },
}

/// One database to connect to, possibly on several hosts (the first that accepts writes is taken).
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// Hosts, ports, user, password, database name; `target_session_attrs` and `ssl_mode` are set by store.
    pub postgres: tokio_postgres::Config,
    pub ssl_mode: SslMode,
    pub ssl_root_cert: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Bounds on what callers may use. Zero turns a connection or rate limit off.
#[derive(Clone, Debug)]
pub struct Limits {
    /// `MAX_MESSAGE_BYTES`, 65536.
    pub message_bytes: usize,
    /// `MAX_BODY_BYTES`, 1048576: an HTTP body, and a WebSocket message.
    pub body_bytes: usize,
    /// `MAX_CONNECTIONS`, 100000: sockets of this replica.
    pub connections: usize,
    /// `MAX_CONNECTIONS_PER_USER`, 20.
    pub connections_per_user: usize,
    /// `SOCKET_QUEUE`, 256 frames.
    pub socket_queue: usize,
    /// `RATE_LIMIT_PER_SECOND`, 50, and `RATE_LIMIT_BURST`, 200.
    pub rate_per_second: u32,
    pub rate_burst: u32,
    /// `WRITER_QUEUE`, 10000 messages waiting for their transaction; beyond it 503.
    pub writer_queue: usize,
    /// `WRITER_BATCH`, 500 messages in one transaction.
    pub writer_batch: usize,
    /// `REPLAY_EVENTS`, 1000: beyond it `resync_required`.
    pub replay_events: usize,
}

#[derive(Clone, Debug)]
pub struct Timeouts {
    /// `HEARTBEAT_SECONDS`, 25: WebSocket ping interval.
    pub heartbeat: Duration,
    /// `LISTENER_HEARTBEAT_SECONDS`, 3: heartbeat through the notification queue.
    pub listener_heartbeat: Duration,
    /// `SHUTDOWN_GRACE_SECONDS`, 30.
    pub shutdown_grace: Duration,
    /// `SHUTDOWN_DELAY_SECONDS`, 0: not ready, but still serving, so that a load balancer notices.
    pub shutdown_delay: Duration,
    /// `HEADER_TIMEOUT_SECONDS`, 10: a request head must be complete by then.
    pub header: Duration,
    /// `BODY_TIMEOUT_SECONDS`, 20.
    pub body: Duration,
    /// `WRITE_TIMEOUT_SECONDS`, 10: a message is stored by then or refused with 503.
    pub write: Duration,
    /// `DB_TIMEOUT_SECONDS`, 10: any other statement, waiting for a pooled connection included.
    pub database: Duration,
    /// `DB_CONNECT_TIMEOUT_SECONDS`, 30: how long `serve` tries to reach the database at its start.
    pub database_start: Duration,
}

/// What is wrong with which setting; shown in one line, exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct ConfigError {
    pub variable: String,
    pub problem: String,
}

#[allow(unused)]
fn placeholder(_: IpAddr) {}
