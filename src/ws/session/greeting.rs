//! The beginning of a session: its first frame, and what the client missed.

use tokio::io::{AsyncRead, AsyncWrite};

use super::Session;
use crate::replay::Resume;
use crate::ws::ending::Ending;
use crate::ws::protocol::Connected;

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    /// The first frame, and what the client missed. The socket is registered already, so its queue collects what
    /// happens meanwhile.
    pub(super) async fn greet(&mut self, cursor: Option<String>) -> Result<(), Ending> {
        let resume = match &cursor {
            Some(cursor) => Some(self.resume(cursor).await?),
            None => None,
        };
        let live;
        let (cursor, resumed) = match (&cursor, &resume) {
            (Some(given), Some(Resume::Missed(_))) => (given, true),
            // Not the cursor of the resync: who keeps the cursor of `connected`, and breaks off before it has
            // reloaded, must be told to reload again.
            (Some(given), _) => (given, false),
            (None, _) => {
                live = self.subscription.cursor();
                (&live, false)
            }
        };
        let connected = self.frames().connected(&Connected {
            connection_id: self.subscription.connection_id(),
            replica_id: self.services.replica_id,
            heartbeat_seconds: self.services.config.timeouts.heartbeat.as_secs(),
            cursor,
            resumed,
        });
        self.feed(connected).await?;
        match resume {
            Some(Resume::Missed(mut missed)) => {
                let unsent = std::mem::take(&mut missed.unsent);
                for frame in unsent.frames {
                    self.feed(frame).await?;
                }
                self.replayed = Some(Box::new(missed));
            }
            Some(Resume::ResyncRequired { reason, cursor }) => {
                let frame = self.frames().resync_required(reason, &cursor);
                self.feed(frame).await?;
            }
            None => {}
        }
        self.flush().await
    }

    /// `&mut`, though nothing changes: a shared reference to an upgraded connection cannot move between threads.
    async fn resume(&mut self, cursor: &str) -> Result<Resume, Ending> {
        match self.services.replay.resume(self.user, cursor).await {
            Ok(resume) => Ok(resume),
            Err(error) => {
                let (id, user) = (self.subscription.connection_id(), self.user);
                let error = error.with_cause();
                log::warn!(connectionId:% = id, userId:% = user; "socket {id} of user {user}: replay failed: {error}");
                Err(Ending::Overloaded)
            }
        }
    }
}
