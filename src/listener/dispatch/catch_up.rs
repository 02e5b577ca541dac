//! From rows that changed to events: what a listener missed, without what it has delivered.

use std::time::Duration;

use super::Dispatcher;
use crate::error::Error;
use crate::frame;
use crate::hub::{Event, Subject};
use crate::listener::delivered::Standing;
use crate::store::{Change, Horizon};

/// How long a catch-up waits for one event's sockets before it goes on without them.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(2);

/// Catch-ups that fail one after the other before it is given up to read what was missed: each reads as much as the one
/// before, and more.
const CATCH_UP_TRIES: u32 = 3;

/// How a catch-up came out.
pub(in crate::listener) enum CaughtUp {
    /// So many changes were delivered.
    All(u64),
    /// There is more than a replica reads, or reads in time: clients must reload.
    TooMuch,
}

impl Dispatcher {
    /// Delivers what changed at or above `horizon`, unless that is too much, or has failed too often: a replica that tried for
    /// ever would never be live again. What ended below `flushed` is on the disk.
    pub async fn catch_up(
        &mut self,
        horizon: Horizon,
        flushed: Horizon,
    ) -> Result<CaughtUp, Error> {
        if self.failed_catch_ups >= CATCH_UP_TRIES {
            self.failed_catch_ups = 0;
            return Ok(CaughtUp::TooMuch);
        }
        let caught_up = self.catch_up_within_bounds(horizon, flushed).await;
        match caught_up {
            Ok(_) => self.failed_catch_ups = 0,
            Err(_) => self.failed_catch_ups += 1,
        }
        caught_up
    }

    async fn catch_up_within_bounds(
        &mut self,
        horizon: Horizon,
        flushed: Horizon,
    ) -> Result<CaughtUp, Error> {
        let most = i64::from(self.most_changes);
        match self
            .store
            .changes_exceed(horizon, &self.before, most)
            .await?
        {
            true => Ok(CaughtUp::TooMuch),
            false => {
                let delivered = self.deliver_since(horizon, flushed).await;
                delivered.map(CaughtUp::All)
            }
        }
    }

    /// Everything that changed at or above `horizon`, without what was delivered already. Frames carry the
    /// old cursor: the new position is reached only with the last of them.
    async fn deliver_since(&mut self, horizon: Horizon, flushed: Horizon) -> Result<u64, Error> {
        let Some(position) = self.hub.position() else {
            return Ok(0);
        };
        let cursor = position.encode();
        let mut changes = self.store.changes_since(horizon).await?;
        let now = chrono::Utc::now().timestamp();
        let mut count = 0;
        while let Some(change) = changes.next().await? {
            if self.before.includes(change.xid) {
                continue;
            }
            let subject = match change.event_type.as_str() {
                "messages_read" => Subject::Read {
                    conversation: change.conversation,
                    reader: change.subject,
                    xid: change.xid,
                },
                _ => Subject::Row(change.subject),
            };
            let frame_of =
                |event_type| frame::durable(event_type, &change.data, change.user, now, &cursor);
            let event = match self.delivered.standing(subject, change.version) {
                Standing::Repeat => continue,
                Standing::Later => (frame_of(&change.later_type), None),
                // A row from before this replica's first socket: only its change is news.
                Standing::New
                    if change
                        .create_xid
                        .is_some_and(|xid| self.before.includes(xid)) =>
                {
                    (frame_of(&change.later_type), None)
                }
                Standing::New => (
                    frame_of(&change.event_type),
                    (change.event_type != change.later_type).then(|| frame_of(&change.later_type)),
                ),
            };
            if change.xid >= flushed.0 {
                self.unflushed.read(self.beats.coming());
            }
            self.wait_for_room(&change).await;
            self.hand_over(
                &change.recipients,
                Event {
                    subject,
                    version: change.version,
                    xid: change.xid,
                    horizon: Horizon::default(),
                    frame: event.0,
                    made_at: None,
                    frame_as_update: event.1,
                },
            );
            if change.event_type == "chat_message" {
                self.end_typing(change.user, &change.recipients, now);
            }
            count += 1;
        }
        Ok(count)
    }

    /// A catch-up is a burst of our own making, so healthy sockets get time for it; one that does not
    /// read is given up, so that it delays the others once and not at every event.
    async fn wait_for_room(&self, change: &Change) {
        let deadline = tokio::time::Instant::now() + CATCH_UP_PATIENCE;
        while !self.hub.has_room(&change.recipients) {
            if tokio::time::Instant::now() > deadline {
                self.hub.give_up_slow(&change.recipients);
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
