//! The listener's connection, and the task that empties it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::task::AbortOnDropHandle;

use super::ListenerConfig;
use crate::model::ReplicaId;
use crate::position::{Identity, Incarnation};
use crate::store::{DbConnection, ISOLATION, LASTING, channel_of, describe, quoted_name};

/// Notifications that wait for the dispatcher, at most 8 KB each. When it is full the connection is given up.
const QUEUE: usize = 4096;

/// Between two tries for the replica's lock.
const LOCK_RETRY: Duration = Duration::from_millis(500);

/// How far a session's notifications have got.
#[derive(Default)]
pub(super) struct Progress {
    came: AtomicU64,
    done: AtomicU64,
}

impl Progress {
    /// Payloads that the connection has brought.
    pub fn came(&self) -> u64 {
        self.came.load(Ordering::Acquire)
    }

    /// Payloads that the dispatcher is done with; taken in the order in which they came.
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Acquire)
    }
}

/// An open connection that LISTENs.
pub(super) struct Reading {
    pub identity: Identity,
    pub incarnation: Incarnation,
    queue: mpsc::Receiver<String>,
    /// Payloads that were taken out of it.
    taken: u64,
    progress: Arc<Progress>,
    /// Ends with the reason why the connection has ended.
    task: AbortOnDropHandle<String>,
    /// Keeps the connection open; nothing is asked of it that could wait.
    _client: Arc<Client>,
    /// While somebody else holds the replica's lock.
    _holding: Option<AbortOnDropHandle<()>>,
}

/// What a new connection was told before it LISTENed.
struct Found {
    identity: Identity,
    incarnation: Incarnation,
    /// Whether it has the replica's lock.
    holds: bool,
}

impl Reading {
    /// Connects, takes the replica's advisory lock if it is to be had, and returns when LISTEN has taken effect.
    pub async fn open(config: &ListenerConfig) -> Result<Self, String> {
        let (client, connection) = config
            .connector
            .connect("pgchat listener")
            .await
            .map_err(|e| format!("cannot connect: {e}"))?;
        let (sender, queue) = mpsc::channel(QUEUE);
        let progress = Arc::new(Progress::default());
        let reading = read(connection, sender, Arc::clone(&progress));
        let task = AbortOnDropHandle::new(tokio::spawn(reading));
        let setup = tokio::time::timeout(Duration::from_secs(10), set_up(&client, config));
        let Ok(found) = setup.await else {
            return Err("no answer to LISTEN within 10 s".to_owned());
        };
        let Found {
            identity,
            incarnation,
            holds,
        } = found?;
        let client = Arc::new(client);
        let holding = (!holds).then(|| {
            log::warn!("the replica's lock is held by another session: trying until it is free");
            let sql = format!(
                "select {}.chat_try_replica($1)",
                quoted_name(&config.schema)
            );
            let holding = hold(Arc::clone(&client), sql, config.replica);
            AbortOnDropHandle::new(tokio::spawn(holding))
        });
        Ok(Self {
            identity,
            incarnation,
            queue,
            taken: 0,
            progress,
            task,
            _client: client,
            _holding: holding,
        })
    }

    /// The next payload, when the one before is done with; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<String> {
        self.progress.done.store(self.taken, Ordering::Release);
        let payload = self.queue.recv().await?;
        self.taken += 1;
        Some(payload)
    }

    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Why the connection has ended; resolves when it has.
    pub async fn end_reason(self) -> String {
        match self.task.await {
            Ok(reason) => reason,
            Err(panic) => format!("the reader ended: {panic}"),
        }
    }
}

/// Returns when LISTEN has taken effect; the error is one line.
async fn set_up(client: &Client, config: &ListenerConfig) -> Result<Found, String> {
    let failed = |e: tokio_postgres::Error| format!("cannot listen: {}", describe(&e));
    let schema = quoted_name(&config.schema);
    // A listener is idle for as long as nobody chats. And the server must notice too when it is gone: its
    // place in the notification queue holds back everybody.
    client
        .batch_execute(&format!("{ISOLATION}; {LASTING}"))
        .await
        .map_err(failed)?;
    let row = client
        .query_one(
            &format!("select {schema}.chat_settle_identity(), {schema}.chat_incarnation()"),
            &[],
        )
        .await
        .map_err(failed)?;
    let identity = Identity(row.try_get::<_, String>(0).map_err(failed)?.into());
    let incarnation = Incarnation(row.try_get(1).map_err(failed)?);
    let take = format!("select {schema}.chat_hold_replica($1)");
    let row = client
        .query_one(&take, &[&config.replica])
        .await
        .map_err(failed)?;
    let holds = row.try_get(0).map_err(failed)?;
    client
        .batch_execute(&format!(
            "listen {}",
            quoted_name(&channel_of(&config.schema))
        ))
        .await
        .map_err(failed)?;
    Ok(Found {
        identity,
        incarnation,
        holds,
    })
}

/// Tries for the replica's lock until it is had. Beside LISTEN, and not ahead of it: no message needs the lock, and a former session that
/// hangs would keep the sockets from them. While another session holds the lock, the other replicas take this one for alive; when it is free,
/// for dead, which is why it is tried so often. A try waits for nothing, and so it holds no notification up.
async fn hold(client: Arc<Client>, sql: String, replica: ReplicaId) {
    loop {
        tokio::time::sleep(LOCK_RETRY).await;
        let tried = client.query_one(&sql, &[&replica]).await;
        match tried.and_then(|row| row.try_get::<_, bool>(0)) {
            Ok(true) => return log::info!("the replica's lock is held"),
            Ok(false) => {}
            Err(_) if client.is_closed() => return,
            Err(error) => log::debug!("the replica's lock was not tried: {}", describe(&error)),
        }
    }
}

/// Drives the connection, and returns why it has ended. Waits for nothing but its messages.
async fn read(
    mut connection: DbConnection,
    queue: mpsc::Sender<String>,
    progress: Arc<Progress>,
) -> String {
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                // Before it can be taken: what is done has come.
                progress.came.fetch_add(1, Ordering::AcqRel);
                match queue.try_send(notification.payload().to_owned()) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        return format!("{QUEUE} notifications wait: reading on from the tables");
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => {
                        return "nobody takes the notifications".to_owned();
                    }
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return format!("the connection broke: {}", describe(&error)),
            None => return "the server closed the connection".to_owned(),
        }
    }
}
