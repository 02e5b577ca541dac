//! Has the pieces built, starts them and stops them in order.

mod commands;
mod database;
mod hints;
mod supervisor;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::auth::Keys;
use crate::config::{AuthMode, Config};
use crate::hub::{Hub, HubLimits};
use crate::lifecycle::Lifecycle;
use crate::listener::ListenerStatus;
use crate::services::{Background, Services};
use crate::store::{Purpose, foreign_numbers};
use crate::{http, limits, open_files, server, ws};

pub use commands::{Probe, demo_data, healthcheck, migrate};
pub use database::check_ca_files;

use database::Database;
use supervisor::Supervisor;

/// How long a start waits for the listener at least, once the database has answered: for a session, LISTEN, and the first heartbeat.
const LISTENER_PATIENCE: Duration = Duration::from_secs(10);

/// How long a start waits for the search index: time enough to build a small one, or to see that it is there.
const SEARCH_PATIENCE: Duration = Duration::from_secs(1);

/// How long a replica whose grace is used up may still take to leave the registry.
const LEAVE_PATIENCE: Duration = Duration::from_millis(500);

/// A run-time failure that ends the process: one line, exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

impl StartError {
    fn because(error: impl ToString) -> Self {
        Self(error.to_string())
    }
}

/// Migrates, then serves until `shutdown` resolves, then drains.
pub async fn serve(
    mut config: Config,
    keys: Keys,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    if config.auth.mode == AuthMode::Trusted {
        log::warn!("{}", hints::trusted_warning(config.server_addr));
    }
    if let Some(shortage) = open_files::make_room(&mut config.limits, config.pool_size) {
        log::log!(shortage.level, "{}", shortage.text);
    }
    let mut shutdown = std::pin::pin!(shutdown);
    let mut running = tokio::select! {
        running = Running::start(config, keys) => running?,
        () = &mut shutdown => {
            log::info!("stopped before the start was complete");
            return Ok(());
        }
    };
    let ended = tokio::select! {
        () = shutdown => None,
        task = running.supervisor.one_ended() => Some(task),
    };
    drain(&running.services).await;
    match ended {
        None => Ok(()),
        Some(task) => Err(StartError(format!("{task} ended unexpectedly"))),
    }
}

/// A replica that serves.
struct Running {
    services: Services,
    supervisor: Supervisor,
    /// Holds the claim on the embedded database.
    _database: Database,
}

impl Running {
    async fn start(config: Config, keys: Keys) -> Result<Self, StartError> {
        let started = Instant::now();
        let mut database = Database::reach(&config).await?;
        database.migrate(&config, Purpose::Serve).await?;
        if database.embedded.is_some() && !database.has_users(&config).await? {
            database.insert_demo_data(&config).await?;
            log::info!("inserted demo users and conversations");
        }

        // Bound before anything is started: a port in use is a clear line and nothing else.
        let socket = bind(config.server_addr)?;
        let address = socket.local_addr().map_err(StartError::because)?;

        let lifecycle = Lifecycle::default();
        let mut supervisor = Supervisor::default();
        let services = start(config, keys, &database, &lifecycle, &mut supervisor).await?;
        let routes = http::routes(services.clone(), ws::route(services.clone()));
        let limits = server::ServerLimits::from(&*services.config);
        // Only now: a connection that the kernel takes before would wait, and be reset if the start fails, while one that is refused
        // goes to another replica at once.
        let listener = socket.listen(server::BACKLOG);
        let listener = listener.map_err(|error| cannot_listen(address, &error))?;
        let serving = server::serve(
            listener,
            routes,
            limits,
            lifecycle.clone(),
            services.metrics.connections.clone(),
        );
        supervisor.spawn(&lifecycle.late, "the accept loop", serving);

        log::info!(
            "listening on http://{address} (ready after {} ms)",
            started.elapsed().as_millis()
        );
        if let Some(embedded) = &database.embedded {
            for line in hints::hints(&services.config, address, embedded.url_file()) {
                log::info!("{line}");
            }
        }
        Ok(Self {
            services,
            supervisor,
            _database: database,
        })
    }
}

/// A socket that has the address and does not listen yet. Where another one that does not listen either has it too, only `listen()` tells.
fn bind(address: SocketAddr) -> Result<TcpSocket, StartError> {
    let bind = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // As TcpListener::bind() does: connections of the process before may still be closing.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(socket)
    };
    bind().map_err(|error| cannot_listen(address, &error))
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> StartError {
    match error.kind() {
        ErrorKind::AddrInUse => StartError(format!(
            "{address} is in use by another program; set SERVER_PORT"
        )),
        _ => StartError(format!("cannot listen on {address}: {error}")),
    }
}

/// Everything behind the routes; returns when the listener is live.
async fn start(
    config: Config,
    keys: Keys,
    database: &Database,
    lifecycle: &Lifecycle,
    supervisor: &mut Supervisor,
) -> Result<Services, StartError> {
    let store = database.store(&config)?;
    database.require_search_language(&store, &config).await?;
    let users = database.users_link(&config, &store);
    let search_index = database.search_index(&config);
    let hub = Hub::new(HubLimits::from(&config));
    let (services, background) = Services::new(
        config,
        keys,
        hub,
        store,
        database.direct.clone(),
        users.clone(),
        lifecycle.clone(),
    );

    let live = services.live.clone().run();
    supervisor.spawn_until_stopping(lifecycle, "typing and presence", live);
    let Background {
        listener,
        mut listening,
        writing,
    } = background;
    let stopping = lifecycle.stopping.clone();
    supervisor.spawn(&lifecycle.tasks, "the listener", listener.run(stopping));
    let deadline = database.deadline.max(Instant::now() + LISTENER_PATIENCE);
    until_live(&mut listening, deadline).await?;

    supervisor.spawn(&lifecycle.tasks, "the writer", writing);
    let watch = users.watch();
    supervisor.spawn_until_stopping(lifecycle, "the watch over the users table", watch);

    let (built, index_is_built) = oneshot::channel();
    let seeing_to_it = search_index.run(services.store.clone(), built);
    supervisor.spawn_until_stopping(lifecycle, "the search index task", seeing_to_it);
    // Late, it is no reason not to serve: searches say so.
    let _ = timeout(SEARCH_PATIENCE, index_is_built).await;

    spawn_watches(&services, supervisor);
    Ok(services)
}

/// What looks after the services from time to time.
fn spawn_watches(services: &Services, supervisor: &mut Supervisor) {
    let lifecycle = &services.lifecycle;
    let watch = services.metrics.clone().watch();
    supervisor.spawn_until_stopping(lifecycle, "the watch over the figures", watch);
    let limiters = vec![
        services.send_limiter.clone(),
        services.other_limiter.clone(),
        services.live_limiter.clone(),
        services.frame_limiter.clone(),
    ];
    supervisor.spawn_until_stopping(lifecycle, "the sweep of limits", limits::sweep(limiters));
    let watch = services.auth.clone().watch(services.hub.clone());
    supervisor.spawn_until_stopping(lifecycle, "the check of users", watch);
    let watch = foreign_numbers::watch(services.store.clone());
    supervisor.spawn_until_stopping(lifecycle, "the watch over restored rows", watch);
}

/// Waits until the first heartbeat has come back.
async fn until_live(listener: &mut ListenerStatus, deadline: Instant) -> Result<(), StartError> {
    if timeout_at(deadline, listener.proven()).await.is_ok() {
        return Ok(());
    }
    let reason = match listener.check() {
        Err(reason) => reason,
        Ok(()) => "no heartbeat comes back through the queue".to_owned(),
    };
    Err(StartError(format!(
        "the listener did not become live: {reason}; where a pooler such as PgBouncer stands before the database, \
         LISTEN_DATABASE_URL must lead past it, to the same database"
    )))
}

/// Ends in order: not ready, requests finish and sockets are told, no new connections, the writer empties.
/// Bounded by `SHUTDOWN_GRACE_SECONDS`, of which `SHUTDOWN_DELAY_SECONDS` are a part.
async fn drain(services: &Services) {
    let lifecycle = &services.lifecycle;
    let timeouts = &services.config.timeouts;
    let deadline = Instant::now() + timeouts.shutdown_grace;
    log::info!(
        "draining: {} sockets, {} messages are not answered yet",
        services.hub.connections(),
        services.writer.unanswered()
    );
    lifecycle.draining.cancel();
    tokio::time::sleep(timeouts.shutdown_delay).await;

    lifecycle.closing.cancel();
    lifecycle.connections.close();
    if timeout_at(deadline, lifecycle.connections.wait())
        .await
        .is_err()
    {
        log::warn!(
            "{} connections were still open at the end of the grace time",
            lifecycle.connections.len()
        );
    }

    // Only now: until here a proxy that has not heard of the drain is served, however many requests it sends.
    lifecycle.refusing.cancel();
    lifecycle.late.close();
    if timeout_at(deadline, lifecycle.late.wait()).await.is_err() {
        log::warn!("requests were still unanswered at the end of the grace time");
    }

    lifecycle.stopping.cancel();
    lifecycle.tasks.close();
    if timeout_at(deadline, lifecycle.tasks.wait()).await.is_err() {
        match services.writer.unanswered() {
            0 => log::warn!("background tasks still ran at the end of the grace time"),
            unanswered => log::warn!(
                "{unanswered} messages were not answered by the end of the grace time: whether they are stored is not known"
            ),
        }
    }
    leave_registry(services, deadline.max(Instant::now() + LEAVE_PATIENCE)).await;
    log::info!("stopped");
}

/// Takes the replica out of the registry, so that the others need not find out that it is gone.
async fn leave_registry(services: &Services, deadline: Instant) {
    let leave = services.store.leave(services.replica_id);
    match timeout_at(deadline, leave).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!(
            "left in the registry for the others to sweep: {}",
            error.with_cause()
        ),
        Err(_) => log::debug!("left in the registry for the others to sweep: no answer"),
    }
}
