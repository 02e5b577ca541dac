//! Where the database is and how to reach it: pools for statements, a bare connection for the listener.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime, Timeouts,
};
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{CancelToken, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Way, describe, tls};
use crate::config::DatabaseConfig;

/// The TLS stream that the connector makes, or plain TCP.
pub type DbConnection =
    Connection<Socket, <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream>;

/// One TCP connection attempt, and the whole of one start-up with TLS and authentication.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What the functions are written for: a lock's next statement sees what its former holder stored, and nothing fails that could
/// have waited. The host may have made another level the default of the database or of a role.
pub(crate) const ISOLATION: &str = "set default_transaction_isolation = 'read committed'";

/// An unanswered segment ends the connection after this long (`tcp_user_timeout`, RFC 5482): a peer that
/// vanished is noticed while something is being sent.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(pub String);

/// How to reach one database.
#[derive(Clone)]
pub struct Connector {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

impl Connector {
    /// Prepares the connection: the first host that accepts writes, keepalives, TLS as configured.
    pub fn new(database: &DatabaseConfig) -> Result<Self, ConnectError> {
        let mut config = database.postgres.clone();
        config
            .ssl_mode(tls::ssl_mode(database.ssl_mode))
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(TCP_USER_TIMEOUT);
        let tls = tls::connector(database.ssl_mode, database.ssl_root_cert.as_deref())
            .map_err(|e| ConnectError(e.to_string()))?;
        Ok(Self { config, tls })
    }

    /// A pool that waits, connects and recycles within `timeout` (deadpool itself sets no limit).
    pub fn pool(&self, size: usize, timeout: Duration, way: Way) -> Result<Pool, ConnectError> {
        let mut config = self.config.clone();
        config.application_name("pgchat pool");
        let manager = Manager::from_config(
            config,
            self.tls.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let builder = match way {
            Way::Direct => Pool::builder(manager).post_create(Hook::async_fn(|client, _| {
                Box::pin(async move {
                    let set = client.batch_execute(ISOLATION).await;
                    set.map_err(HookError::Backend)
                })
            })),
            // A setting would be left behind in whatever session it came to.
            Way::Pooler => Pool::builder(manager),
        };
        builder
            .max_size(size)
            // The connection that was used last: its session has its plans, and its memory is warm.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(timeout),
                create: Some(timeout.min(CONNECT_TIMEOUT)),
                recycle: Some(timeout.min(CONNECT_TIMEOUT)),
            })
            .build()
            .map_err(|e| ConnectError(e.to_string()))
    }

    /// One connection of its own, whose messages the caller drives.
    pub async fn connect(
        &self,
        application_name: &str,
    ) -> Result<(Client, DbConnection), ConnectError> {
        let mut config = self.config.clone();
        config.application_name(application_name);
        // `connect_timeout` covers the TCP connection only.
        match tokio::time::timeout(CONNECT_TIMEOUT, config.connect(self.tls.clone())).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(ConnectError(describe(&error))),
            Err(_) => Err(ConnectError("no answer within 5 s".to_owned())),
        }
    }

    /// Asks the server to cancel a statement, in the background and for [`CONNECT_TIMEOUT`] at most: nobody
    /// waits for the outcome, which is only that a backend ends sooner.
    pub fn cancel(&self, token: CancelToken) {
        let tls = self.tls.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let cancelled =
                    tokio::time::timeout(CONNECT_TIMEOUT, token.cancel_query(tls)).await;
                log::debug!("a statement without an answer was cancelled: {cancelled:?}");
            });
        }
    }

    /// Where it leads, for log lines: no password.
    pub fn target(&self) -> String {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                tokio_postgres::config::Host::Tcp(name) => name.clone(),
                #[cfg(unix)]
                tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let ports: Vec<String> = self.config.get_ports().iter().map(u16::to_string).collect();
        format!(
            "{} at {}:{}",
            self.config.get_dbname().unwrap_or("postgres"),
            hosts.join(","),
            ports.join(",")
        )
    }
}
