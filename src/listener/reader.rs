//! The listener's connection, and the task that empties it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::ListenerConfig;
use crate::model::ReplicaId;
use crate::position::{Identity, Incarnation};
use crate::store::{DbConnection, ISOLATION, LASTING, channel_of, describe, quoted_name};
use crate::sync::lock;

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
    end: Arc<Mutex<Option<String>>>,
    /// Keeps the connection open; nothing is asked of it that could wait.
    client: Arc<Client>,
    _task: AbortOnDropHandle<()>,
    /// While somebody else holds the replica's lock.
    _holding: Option<AbortOnDropHandle<()>>,
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
        let end = Arc::new(Mutex::new(None));
        let reading = read(connection, sender, Arc::clone(&progress), Arc::clone(&end));
        let task = AbortOnDropHandle::new(tokio::spawn(reading));
        let mut reading = Self {
            identity: Identity("".into()),
            incarnation: Incarnation(Uuid::nil()),
            queue,
            taken: 0,
            progress,
            end,
            client: Arc::new(client),
            _task: task,
            _holding: None,
        };
        let setup = tokio::time::timeout(Duration::from_secs(10), reading.set_up(config));
        match setup.await {
            Ok(Ok(())) => Ok(reading),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err("no answer to LISTEN within 10 s".to_owned()),
        }
    }

    async fn set_up(&mut self, config: &ListenerConfig) -> Result<(), String> {
        let failed = |e: tokio_postgres::Error| format!("cannot listen: {}", describe(&e));
        let schema = quoted_name(&config.schema);
        let client = &self.client;
        // A listener is idle for as long as nobody chats. And the server must notice too when it is gone: its
        // place in the notification queue holds back everybody.
        client
            .batch_execute(&format!("{ISOLATION}; {LASTING}"))
            .await
            .map_err(failed)?;
        let row = client
            .query_one(
                &format!("select {schema}.chat_identity(), {schema}.chat_incarnation()"),
                &[],
            )
            .await
            .map_err(failed)?;
        self.identity = Identity(row.try_get::<_, String>(0).map_err(failed)?.into());
        self.incarnation = Incarnation(row.try_get(1).map_err(failed)?);
        let take = format!("select {schema}.chat_hold_replica($1)");
        let row = client
            .query_one(&take, &[&config.replica])
            .await
            .map_err(failed)?;
        let holds: bool = row.try_get(0).map_err(failed)?;
        client
            .batch_execute(&format!(
                "listen {}",
                quoted_name(&channel_of(&config.schema))
            ))
            .await
            .map_err(failed)?;
        if !holds {
            log::warn!("the replica's lock is held by another session: trying until it is free");
            let sql = format!("select {schema}.chat_try_replica($1)");
            let holding = hold(Arc::clone(client), sql, config.replica);
            self._holding = Some(AbortOnDropHandle::new(tokio::spawn(holding)));
        }
        Ok(())
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

    /// Why the connection ended.
    pub fn end_reason(&self) -> String {
        let reason = lock(&self.end).take();
        reason.unwrap_or_else(|| "the connection ended".to_owned())
    }
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

/// Drives the connection. Waits for nothing but its messages.
async fn read(
    mut connection: DbConnection,
    queue: mpsc::Sender<String>,
    progress: Arc<Progress>,
    end: Arc<Mutex<Option<String>>>,
) {
    let reason = loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                // Before it can be taken: what is done has come.
                progress.came.fetch_add(1, Ordering::AcqRel);
                match queue.try_send(notification.payload().to_owned()) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        break format!("{QUEUE} notifications wait: reading on from the tables");
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break format!("the connection broke: {}", describe(&error)),
            None => break "the server closed the connection".to_owned(),
        }
    };
    *lock(&end) = Some(reason);
}
