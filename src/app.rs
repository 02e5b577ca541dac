//! Builds the pieces, starts them and stops them in order.

mod carriers;
mod commands;
mod database;
mod hints;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::auth::{Auth, Keys};
use crate::config::Config;
use crate::health::{Health, Lifecycle};
use crate::hub::{Hub, HubLimits};
use crate::limits::{Refusals, Room, SendLimiter};
use crate::listener::{Listener, ListenerConfig};
use crate::live::{self, Live, PresenceTimes};
use crate::metrics::Metrics;
use crate::replay::{Replay, ReplayLimits};
use crate::store::{Store, UsersLink};
use crate::writer::{Writer, WriterLimits};
use crate::{http, server, ws};

pub use commands::{demo_data, healthcheck, migrate};

use carriers::Carriers;
use database::Database;

/// Pages of more than 64 KiB that clients have not taken yet: 16 of the largest, of one user two.
const ANSWERS_BYTES: usize = 64 * 1024 * 1024;

/// Bodies and WebSocket messages of more than 64 KiB that have not arrived in full, or wait on their socket. At least eight of the largest, so that each user has
/// one.
const INCOMING_BYTES: usize = 64 * 1024 * 1024;

/// How long a start waits for the search index: time enough to build a small one, or to see that it is there.
const SEARCH_PATIENCE: Duration = Duration::from_secs(1);

/// How long a replica whose grace is used up may still take to leave the registry.
const LEAVE_PATIENCE: Duration = Duration::from_millis(500);

/// What the handlers of http and ws get.
#[derive(Clone)]
pub struct Services {
    pub config: Arc<Config>,
    pub auth: Auth,
    pub replica_id: Uuid,
    pub store: Store,
    pub writer: Writer,
    pub hub: Hub,
    pub live: Live,
    pub replay: Replay,
    pub health: Health,
    pub metrics: Metrics,
    pub limiter: SendLimiter,
    /// Of all frames of a user's sockets.
    pub frames: SendLimiter,
    /// Handshakes that ask the database at a time: half of the pool, so that a flood of them leaves the rest to those who
    /// are in.
    pub handshakes: Arc<Semaphore>,
    /// Of handshakes.
    pub refusals: Refusals,
    /// For pages that their clients have not taken yet.
    pub answers: Room,
    /// For bodies and messages of sockets that have not arrived in full, or wait there.
    pub incoming: Room,
    pub lifecycle: Lifecycle,
}

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
    config: Config,
    keys: Keys,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
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
        task = running.carriers.one_ended() => Some(task),
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
    carriers: Carriers,
    /// Holds the claim on the embedded database.
    _database: Database,
}

impl Running {
    async fn start(config: Config, keys: Keys) -> Result<Self, StartError> {
        let started = Instant::now();
        let database = Database::reach(&config).await?;
        database.migrate(&config).await?;
        if database.embedded.is_some() && !database.has_users().await.map_err(StartError)? {
            database
                .insert_demo_data(&config)
                .await
                .map_err(StartError)?;
            log::info!("inserted demo users and conversations");
        }

        // Bound before anything is started: a port in use is a clear line and nothing else.
        let listener = bind(config.server_addr).await?;
        let address = listener.local_addr().map_err(StartError::because)?;

        let lifecycle = Lifecycle::default();
        let mut carriers = Carriers::default();
        let services = start(config, keys, &database, &lifecycle, &mut carriers).await?;
        let routes = http::routes(services.clone(), ws::route(services.clone()));
        let limits = server::ServerLimits::from(&*services.config);
        let serving = server::serve(listener, routes, limits, lifecycle.clone());
        carriers.spawn(&lifecycle.late, "the accept loop", serving);

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
            carriers,
            _database: database,
        })
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => StartError(format!(
                "{address} is in use by another program; set SERVER_PORT"
            )),
            _ => StartError(format!("cannot listen on {address}: {error}")),
        })
}

/// Everything behind the routes; returns when the listener is live.
async fn start(
    config: Config,
    keys: Keys,
    database: &Database,
    lifecycle: &Lifecycle,
    carriers: &mut Carriers,
) -> Result<Services, StartError> {
    let stop = || lifecycle.stopping.clone();
    let tasks = &lifecycle.tasks;
    let replica_id = Uuid::new_v4();
    let store = database.store(&config)?;
    let hub = Hub::new(HubLimits {
        connections: config.limits.connections,
        connections_per_user: config.limits.connections_per_user,
        socket_queue: config.limits.socket_queue,
    });
    let live_limiter = SendLimiter::new(config.limits.rate_per_second, config.limits.rate_burst);
    let sweep = live_limiter.clone().sweep(stop());
    carriers.spawn(tasks, "the sweep of typing's limits", sweep);
    let times = live::Times {
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
        replica_id,
        live_limiter,
        times,
        presence,
    );
    carriers.spawn(tasks, "typing and presence", live.clone().run(stop()));
    require_search_language(&store, config.search_language.as_deref()).await?;
    let listener_config = ListenerConfig {
        connector: database.direct.clone(),
        schema: config.schema.clone(),
        replica: replica_id,
        heartbeat: config.timeouts.listener_heartbeat,
        most_changes: config.limits.catch_up_changes,
    };
    let (listener, mut status) =
        Listener::new(listener_config, store.clone(), hub.clone(), live.clone());
    carriers.spawn(tasks, "the listener", listener.run(stop()));
    if timeout(config.timeouts.database_start, status.proven())
        .await
        .is_err()
    {
        let reason = match status.check() {
            Err(reason) => reason,
            Ok(()) => "no heartbeat comes back through the queue".to_owned(),
        };
        return Err(StartError(format!(
            "the listener does not get live: {reason}; where a pooler such as PgBouncer stands before the database, \
             LISTEN_DATABASE_URL must lead past it"
        )));
    }
    let (writer, writing) = Writer::new(
        store.clone(),
        WriterLimits {
            queue: config.limits.writer_queue,
            batch: config.limits.writer_batch,
            timeout: config.timeouts.write,
        },
        tasks.clone(),
        stop(),
    );
    carriers.spawn(tasks, "the writer", writing);
    let users = UsersLink::new(
        store.clone(),
        database.owner.clone(),
        config.schema.clone(),
        database::users_table(&config),
        config.timeouts.users_table_check,
    );
    let watch = users.clone().watch(stop());
    carriers.spawn(tasks, "the watch over the users table", watch);
    let search_index = database.search_index(&config);
    let (built, index_is_built) = oneshot::channel();
    let seeing_to_it = search_index.run(store.clone(), built, stop());
    carriers.spawn(tasks, "what sees to the search index", seeing_to_it);
    // Late, it is no reason not to serve: searches say so.
    let _ = timeout(SEARCH_PATIENCE, index_is_built).await;
    let metrics = Metrics::new(
        store.clone(),
        writer.clone(),
        hub.clone(),
        status.clone(),
        live.clone(),
    );
    let watch = metrics.clone().watch(stop());
    carriers.spawn(tasks, "the watch over the figures", watch);
    let limiter = SendLimiter::new(config.limits.rate_per_second, config.limits.rate_burst);
    let sweep = limiter.clone().sweep(stop());
    carriers.spawn(tasks, "the sweep of limits", sweep);
    let frames = SendLimiter::of_frames(config.limits.rate_per_second, config.limits.rate_burst);
    let sweep = frames.clone().sweep(stop());
    carriers.spawn(tasks, "the sweep of frames' limits", sweep);
    let auth = Auth::new(&config.auth, keys, store.clone());
    let watch = auth.clone().watch(hub.clone(), stop());
    carriers.spawn(tasks, "the check of users", watch);
    let services = Services {
        auth,
        metrics,
        limiter,
        frames,
        refusals: Refusals::new(config.limits.refused_handshakes),
        answers: Room::of(ANSWERS_BYTES),
        incoming: Room::of(INCOMING_BYTES.max(8 * config.limits.body_bytes)),
        handshakes: Arc::new(Semaphore::new(config.pool_size.div_ceil(2))),
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
        replica_id,
        store,
        writer,
        hub,
        live,
        lifecycle: lifecycle.clone(),
    };
    Ok(services)
}

/// A misspelt language would leave every search waiting for an index that never comes.
async fn require_search_language(store: &Store, wanted: Option<&str>) -> Result<(), StartError> {
    let Some(wanted) = wanted else { return Ok(()) };
    let languages = store
        .search_languages()
        .await
        .map_err(|error| StartError(error.with_cause().to_string()))?;
    if languages.iter().any(|language| language == wanted) {
        return Ok(());
    }
    Err(StartError(format!(
        "SEARCH_LANGUAGE: the database has no text search configuration {wanted}; it has {}",
        languages.join(", ")
    )))
}

/// Ends in order: not ready, requests finish and sockets are told, no new connections, the writer empties.
/// Bounded by `SHUTDOWN_GRACE_SECONDS`, of which `SHUTDOWN_DELAY_SECONDS` are a part.
async fn drain(services: &Services) {
    let lifecycle = &services.lifecycle;
    let timeouts = &services.config.timeouts;
    let deadline = Instant::now() + timeouts.shutdown_grace;
    log::info!(
        "draining: {} sockets, {} messages wait",
        services.hub.connections(),
        services.writer.depth()
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
        log::warn!(
            "{} messages were not stored at the end of the grace time",
            services.writer.depth()
        );
    }
    let leave = services.store.leave(services.replica_id);
    let patience = deadline.max(Instant::now() + LEAVE_PATIENCE);
    match timeout_at(patience, leave).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!(
            "left in the registry for the others to sweep: {}",
            error.with_cause()
        ),
        Err(_) => log::debug!("left in the registry for the others to sweep: no answer"),
    }
    log::info!("stopped");
}
