//! Where the database is and how to reach it: pools for statements, a bare connection for the listener.

mod hosts;
mod timelines;
mod tls;

use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Connect, Hook, HookError, Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime,
    Timeouts,
};
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::{CancelToken, Client, Config, Error};
use tokio_util::task::AbortOnDropHandle;

pub use tls::{DbConnection, check_ca_file};

use hosts::Hosts;
use timelines::Timelines;
use tls::Tls;

use super::describe::{Obstacle, describe};
use crate::config::DatabaseConfig;
use crate::sync::lock;

/// What is between the pools and PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Nothing: a connection is a session, and each statement is prepared once in it. There are as many of them as
    /// functions that the service calls.
    Direct,
    /// Perhaps a pooler that gives each transaction another session (PgBouncer, `pool_mode = transaction`): nothing
    /// is left behind in a session.
    Pooler,
}

/// All of a connection: TCP, TLS and authentication, at as many hosts as there are.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// TCP to one of the addresses that a host's name stands for; one segment may be lost.
const TCP_TIMEOUT: Duration = Duration::from_secs(2);

/// What the functions are written for: a lock's next statement sees what its former holder stored, and nothing fails that could
/// have waited. The functions that wait for rows say themselves for how long; a commit waits its turn for NOTIFY's lock, also while the
/// disk is slow. The host may have made other values the defaults of the database or of a role.
pub(crate) const ISOLATION: &str =
    "set default_transaction_isolation = 'read committed'; set lock_timeout = 0";

/// For a session that holds what others wait for: idle it stays, and the server must notice, too, when this end is gone without a word.
pub(crate) const LASTING: &str = "set idle_session_timeout = 0; set tcp_user_timeout = 10000; \
     set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3";

/// For a session whose work may take long, whatever the host allows others (`transaction_timeout` is there from PostgreSQL 17 on).
pub(super) const UNHURRIED: &str = "set statement_timeout = 0; \
     select set_config(name, '0', false) from pg_settings where name = 'transaction_timeout'";

/// An unanswered segment ends the connection after this long (`tcp_user_timeout`, RFC 5482): a peer that
/// vanished is noticed while something is being sent.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why no connection was made; one line.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct ConnectError {
    text: String,
    pub kind: Obstacle,
}

impl ConnectError {
    fn of(error: &Error) -> Self {
        Self {
            text: describe(error),
            kind: Obstacle::of(error),
        }
    }

    /// With nobody having been asked.
    fn before(error: impl ToString) -> Self {
        Self {
            text: error.to_string(),
            kind: Obstacle::Other,
        }
    }
}

/// A connection of its own, driven by a task that ends with it. Its error comes out of the client's calls.
pub struct Session {
    client: Client,
    _driver: AbortOnDropHandle<Result<(), Error>>,
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// A pool whose connections can be replaced by new ones.
#[derive(Clone)]
pub struct RenewablePool {
    pool: Pool,
    /// A std mutex: held to read or write it.
    renewed: Arc<Mutex<Renewed>>,
}

impl RenewablePool {
    /// For when another server may have taken over: none of its connections is used again, nor one that is being made. Idle ones are
    /// closed at once, those in use when their next turn comes, for a busy writer's would hardly ever be idle.
    pub fn renew(&self) {
        let now = Instant::now();
        *lock(&self.renewed) = Renewed {
            sessions: Some(now),
            connecting: Some(now),
        };
        self.pool.retain(|_, _| false);
    }

    /// For when a session has lost a statement: most probably the others have, too. One that is being made has not, and is used: a
    /// trigger of the host's may fail each time with what looks like a loss, faster than connections are made.
    pub(super) fn renew_sessions(&self) {
        lock(&self.renewed).sessions = Some(Instant::now());
        self.pool.retain(|_, _| false);
    }
}

/// When a pool was renewed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Renewed {
    /// Connections that were made before are not used again.
    sessions: Option<Instant>,
    /// Nor those whose making was begun before.
    connecting: Option<Instant>,
}

impl Deref for RenewablePool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.pool
    }
}

/// How to reach one database.
#[derive(Clone)]
pub struct Connector {
    hosts: Arc<Hosts>,
    tls: Arc<Tls>,
}

impl Connector {
    /// Prepares the connection: the first host that accepts writes and is no former primary, keepalives, TLS as configured.
    pub fn new(database: &DatabaseConfig) -> Result<Self, ConnectError> {
        Self::with(database, Timelines::default())
    }

    /// Another way to the same database, such as past a pooler: where another server has taken over, both know it.
    pub fn beside(&self, database: &DatabaseConfig) -> Result<Self, ConnectError> {
        Self::with(database, self.hosts.timelines().clone())
    }

    fn with(database: &DatabaseConfig, timelines: Timelines) -> Result<Self, ConnectError> {
        let complete = |config: &mut Config| {
            config
                .ssl_mode(tls::ssl_mode(database.ssl_mode))
                .target_session_attrs(TargetSessionAttrs::ReadWrite)
                .connect_timeout(TCP_TIMEOUT)
                .keepalives(true)
                .keepalives_idle(Duration::from_secs(10))
                .keepalives_interval(Duration::from_secs(5))
                .keepalives_retries(3)
                .tcp_user_timeout(TCP_USER_TIMEOUT);
        };
        let tls = Tls::new(database.ssl_mode, database.ssl_root_cert.clone())
            .map_err(ConnectError::before)?;
        Ok(Self {
            hosts: Arc::new(Hosts::new(&database.postgres, timelines, complete)),
            tls: Arc::new(tls),
        })
    }

    /// A pool that waits, connects and recycles within `timeout` (deadpool itself sets no limit).
    pub fn pool(
        &self,
        size: usize,
        timeout: Duration,
        way: Way,
    ) -> Result<RenewablePool, ConnectError> {
        let renewed = Arc::new(Mutex::new(Renewed::default()));
        let used_again = Arc::clone(&renewed);
        let timelines = self.hosts.timelines().clone();
        let patience = timeout.min(CONNECT_TIMEOUT);
        let of_pool = OfPool {
            connector: self.clone(),
            patience,
            way,
            renewed: Arc::clone(&renewed),
        };
        let manager = Manager::from_connect(
            Config::new(),
            of_pool,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let pool = Pool::builder(manager)
            .pre_recycle(Hook::sync_fn(move |_, metrics| {
                let renewed = lock(&used_again).sessions;
                match renewed.max(timelines.risen()) {
                    Some(renewed) if metrics.created <= renewed => {
                        Err(HookError::message("the pool was renewed since"))
                    }
                    _ => Ok(()),
                }
            }))
            .max_size(size)
            // The connection that was used last: its session has its plans, and its memory is warm.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(timeout),
                create: Some(patience),
                recycle: Some(patience),
            })
            .build()
            .map_err(ConnectError::before)?;
        Ok(RenewablePool { pool, renewed })
    }

    /// One connection of its own, whose messages the caller drives.
    pub async fn connect(
        &self,
        application_name: &str,
    ) -> Result<(Client, DbConnection), ConnectError> {
        let connecting = async {
            let tls = self.tls.connector().await;
            self.hosts
                .connect(application_name, &tls, CONNECT_TIMEOUT)
                .await
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(ConnectError::of(&error)),
            Err(_) => Err(ConnectError {
                text: "no answer within 5 s".to_owned(),
                kind: Obstacle::Unreachable,
            }),
        }
    }

    /// One connection of its own, whose messages nobody looks at.
    pub async fn session(&self, application_name: &str) -> Result<Session, ConnectError> {
        let (client, connection) = self.connect(application_name).await?;
        Ok(Session {
            client,
            _driver: AbortOnDropHandle::new(tokio::spawn(connection)),
        })
    }

    /// Asks the server to cancel a statement, in the background and for [`CONNECT_TIMEOUT`] at most: nobody
    /// waits for the outcome, which is only that a backend ends sooner.
    pub fn cancel(&self, token: CancelToken) {
        let tls = Arc::clone(&self.tls);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let cancelling = async { token.cancel_query(tls.connector().await).await };
                let cancelled = tokio::time::timeout(CONNECT_TIMEOUT, cancelling).await;
                log::debug!("a statement without an answer was cancelled: {cancelled:?}");
            });
        }
    }

    /// Where it leads, for log lines: no password.
    pub fn target(&self) -> String {
        let configs = self.hosts.configs();
        let hosts: Vec<String> = configs
            .iter()
            .flat_map(Config::get_hosts)
            .map(|host| match host {
                tokio_postgres::config::Host::Tcp(name) => name.clone(),
                #[cfg(unix)]
                tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let mut ports: Vec<u16> = configs
            .iter()
            .flat_map(Config::get_ports)
            .copied()
            .collect();
        // One for all.
        ports.dedup();
        let name = configs.first().and_then(Config::get_dbname);
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        format!(
            "{} at {}:{}",
            name.unwrap_or("postgres"),
            hosts.join(","),
            ports.join(",")
        )
    }
}

/// How a pool connects.
struct OfPool {
    connector: Connector,
    patience: Duration,
    way: Way,
    renewed: Arc<Mutex<Renewed>>,
}

impl OfPool {
    /// A connection that is ready for statements, and its driver.
    async fn make(&self) -> Result<(Client, AbortOnDropHandle<()>), Error> {
        let Connector { hosts, tls } = &self.connector;
        let tls = tls.connector().await;
        let (client, connection) = hosts.connect("pgchat pool", &tls, self.patience).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async {
            if let Err(error) = connection.await {
                log::debug!("a pooled connection ended: {}", describe(&error));
            }
        }));
        match self.way {
            Way::Direct => client.batch_execute(ISOLATION).await?,
            // A setting would be left behind in whatever session it came to.
            Way::Pooler => {}
        }
        Ok((client, driver))
    }
}

type Connecting<'a> =
    Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

impl Connect for OfPool {
    /// The pool bounds how long this takes.
    fn connect(&self, _: &Config) -> Connecting<'_> {
        Box::pin(async {
            loop {
                let began = Instant::now();
                let (client, driver) = self.make().await?;
                // One that was begun before may be to what the others have left.
                let renewed = lock(&self.renewed).connecting;
                let renewed = renewed.max(self.connector.hosts.timelines().risen());
                if renewed.is_none_or(|renewed| renewed < began) {
                    return Ok((client, driver.detach()));
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
