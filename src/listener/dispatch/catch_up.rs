//! From rows that changed to events: what a listener missed, without what it has delivered.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Dispatcher;
use super::told::Told;
use crate::error::Error;
use crate::frame::{EventType, FrameType};
use crate::hub::Novelty;
use crate::model::{UnixSeconds, UserId};
use crate::position::{Horizon, Snapshot};
use crate::store::Change;

/// How long a catch-up waits for one event's sockets before it goes on without them, and how long for those of all its events: the
/// replica is not live meanwhile. However many do not read, those behind them have a part of what is left of it, and the least in
/// any case: one that reads takes what waits for it as soon as its session has a turn.
const EVENT_PATIENCE: Duration = Duration::from_secs(2);
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(10);
const PART: u32 = 5;
const LEAST_PATIENCE: Duration = Duration::from_millis(2);

/// Catch-ups that fail one after the other before it is given up to read what was missed: each reads as much as the one
/// before, and more.
const CATCH_UP_TRIES: u32 = 3;

/// How a catch-up came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::listener) enum CaughtUp {
    /// What was missed is delivered.
    All,
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
        let exceed = self.store.changes_exceed(horizon, &self.before, most);
        if exceed.await? {
            return Ok(CaughtUp::TooMuch);
        }
        let events = self.deliver_since(horizon, flushed).await?;
        self.stats
            .catch_up_events
            .fetch_add(events, Ordering::Relaxed);
        // Some of it may have been removed between the question and the reading.
        if self.store.changes_removed(horizon, &self.before).await? {
            return Ok(CaughtUp::TooMuch);
        }
        log::info!("listener caught up: {events} changes since its horizon");
        Ok(CaughtUp::All)
    }

    /// Everything that changed at or above `horizon`, without what was delivered already. Frames carry the
    /// old cursor: the new position is reached only with the last of them.
    async fn deliver_since(&mut self, horizon: Horizon, flushed: Horizon) -> Result<u64, Error> {
        self.caught_up = Snapshot::default();
        let Some(position) = self.hub.position() else {
            return Ok(0);
        };
        let cursor = position.encode();
        let mut changes = self.store.changes_since(horizon).await?;
        let now = UnixSeconds::now();
        let (mut count, mut patience) = (0, CATCH_UP_PATIENCE);
        while let Some(change) = changes.next().await? {
            let Some(told) = self.news_of(&change) else {
                continue;
            };
            if !flushed.covers(change.xid) {
                self.unflushed.read(self.beats.coming());
            }
            if self.hub.concerns(&change.recipients) {
                let event = told.into_event(change.user, now, &cursor);
                self.wait_for_room(&change.recipients, &mut patience).await;
                self.hand_over(&change.recipients, event);
            } else {
                self.note(told.subject, told.version, told.xid);
            }
            if EventType::named(&change.event_type).is(FrameType::ChatMessage) {
                self.end_typing(change.user, &change.recipients, now);
            }
            count += 1;
        }
        self.caught_up = changes.snapshot().clone();
        Ok(count)
    }

    /// What a change tells; `None` where it is no news.
    pub(super) fn news_of<'a>(&self, change: &'a Change) -> Option<Told<'a>> {
        if self.before.includes(change.xid) {
            return None;
        }
        let told = Told::of_change(change);
        let is_known = match self.delivered.novelty(told.subject, told.version) {
            Novelty::Repeat => return None,
            Novelty::Later => true,
            // A row from before this replica's first socket: only its change is news.
            Novelty::New => change
                .create_xid
                .is_some_and(|xid| self.before.includes(xid)),
        };
        Some(match is_known {
            true => told.into_later(),
            false => told,
        })
    }

    /// A catch-up is a burst of our own making, so healthy sockets get time for it; one that does not
    /// read is given up, so that it delays the others once and not at every event. `patience` is what is left for all of them.
    async fn wait_for_room(&self, recipients: &[UserId; 2], patience: &mut Duration) {
        let started = Instant::now();
        let deadline = started + (*patience / PART).clamp(LEAST_PATIENCE, EVENT_PATIENCE);
        while !self.hub.has_room(recipients) {
            if Instant::now() >= deadline {
                self.hub.give_up_slow(recipients);
                break;
            }
            sleep(Duration::from_millis(1)).await;
        }
        *patience = patience.saturating_sub(started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::hub::{Counted, Event, Subject, Subscription};
    use crate::model::{MessageId, ReplicaId};
    use crate::position::Xid;
    use crate::testing;

    fn event() -> Arc<Event> {
        Arc::new(Event {
            subject: Subject::Row(MessageId(Uuid::nil())),
            version: 1,
            xid: Xid(1),
            horizon: Horizon(Xid(1)),
            frame: "{}".into(),
            made_at: None,
            as_update: None,
            counted: Counted::default(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_sockets_do_not_read_a_catch_up_waits_for_them_for_a_bounded_time() {
        let hub = testing::hub(2);
        let minute = Duration::from_secs(60);
        let services = testing::services(hub.clone(), minute, minute);
        let (store, live) = (services.store.clone(), services.live.clone());
        let dispatcher = Dispatcher::new(
            store,
            hub.clone(),
            live,
            ReplicaId(Uuid::nil()),
            1000,
            Arc::default(),
        );
        let users: Vec<UserId> = (0..100).map(|n| UserId(Uuid::from_u128(n))).collect();
        let _sockets: Vec<Subscription> = users
            .iter()
            .map(|user| hub.register(*user).expect("room"))
            .collect();
        // Half of each queue is taken.
        hub.publish(&users, &event());

        let (started, mut patience) = (Instant::now(), CATCH_UP_PATIENCE);
        for user in &users {
            dispatcher
                .wait_for_room(&[*user, *user], &mut patience)
                .await;
        }
        assert_eq!(hub.connections(), 0, "none of them reads");
        let took = started.elapsed();
        assert!(took >= EVENT_PATIENCE, "{took:?}");
        assert!(took < CATCH_UP_PATIENCE + EVENT_PATIENCE, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_is_waited_for_though_others_have_used_up_the_time() {
        let hub = testing::hub(2);
        let minute = Duration::from_secs(60);
        let services = testing::services(hub.clone(), minute, minute);
        let (store, live) = (services.store.clone(), services.live.clone());
        let replica = ReplicaId(Uuid::nil());
        let dispatcher = Dispatcher::new(store, hub.clone(), live, replica, 1000, Arc::default());
        let user = UserId(Uuid::nil());
        let mut socket = hub.register(user).expect("room");
        hub.publish(&[user], &event());
        let mut patience = Duration::ZERO;
        let reads = async {
            tokio::task::yield_now().await;
            socket.try_next()
        };
        let recipients = [user, user];
        let waits = dispatcher.wait_for_room(&recipients, &mut patience);
        let ((), read) = tokio::join!(waits, reads);
        assert!(read.is_some());
        assert_eq!(hub.connections(), 1);
    }
}
