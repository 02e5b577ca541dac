//! From payloads and changed rows to events in the hub, each once and in order.

mod catch_up;
mod told;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use uuid::Uuid;

use super::Stats;
use super::delivered::{Delivered, Standing};
use super::heartbeat::Beats;
use super::payload::{Heartbeat, Payload, PayloadEvent, ReadMark, VERSION, Version};
use super::unflushed::Unflushed;
use crate::error::Error;
use crate::frame::FrameType;
use crate::hub::{Event, Hub, Subject};
use crate::live::Live;
use crate::model::{ReplicaId, UserId};
use crate::position::{Horizon, Incarnation, Snapshot};
use crate::store::{Pair, ReadBack, RowBack, Store, Telling};

pub(super) use catch_up::CaughtUp;

use told::Told;

pub(super) struct Dispatcher {
    store: Store,
    hub: Hub,
    replica: ReplicaId,
    delivered: Delivered,
    unflushed: Unflushed,
    /// What had ended before this replica's first socket, or before all were told to reload: no socket is told of it.
    before: Snapshot,
    /// What had ended when this session's catch-up read: no read mark or reload of it is told behind what came of it since.
    caught_up: Snapshot,
    /// `CATCH_UP_CHANGES`.
    most_changes: u32,
    failed_catch_ups: u32,
    beats: Arc<Beats>,
    stats: Arc<Stats>,
    live: Live,
}

impl Dispatcher {
    pub fn new(
        store: Store,
        hub: Hub,
        live: Live,
        replica: ReplicaId,
        most_changes: u32,
        stats: Arc<Stats>,
    ) -> Self {
        Self {
            store,
            hub,
            replica,
            delivered: Delivered::new(2 * most_changes as usize),
            unflushed: Unflushed::default(),
            before: Snapshot::default(),
            caught_up: Snapshot::default(),
            most_changes,
            failed_catch_ups: 0,
            beats: Arc::new(Beats::new()),
            stats,
            live,
        }
    }

    pub fn beats(&self) -> Arc<Beats> {
        Arc::clone(&self.beats)
    }

    /// Leaves out what had ended by now, whether it is read by a catch-up or heard of yet.
    pub fn start_after(&mut self, snapshot: Snapshot) {
        self.before = snapshot;
        // A number that had ended without a flush may be given to something that comes after a crash, which may also take back what
        // clients load now.
        self.unflushed.read(self.beats.coming());
    }

    /// Whether the database has crashed since, and may have lost what was delivered; until all is forgotten.
    pub fn may_be_lost_in(&mut self, incarnation: Incarnation) -> bool {
        self.unflushed.may_be_lost_in(incarnation)
    }

    /// Transaction numbers mean something else from now on; [`Dispatcher::start_after`] has to follow.
    pub fn forget(&mut self, incarnation: Incarnation) {
        self.delivered.clear();
        self.caught_up = Snapshot::default();
        self.unflushed.forget(incarnation);
    }

    /// One notification. Returns the way's time when it is a heartbeat of this replica's own.
    ///
    /// An error means that its events were not all delivered: the session must end, and catch up.
    pub async fn dispatch(&mut self, text: &str) -> Result<Option<Duration>, Error> {
        self.stats.notifications.fetch_add(1, Ordering::Relaxed);
        let Some(mut payload) = understood(text)? else {
            return Ok(None);
        };
        let Some(mut position) = self.hub.position() else {
            return Ok(None);
        };
        // No transaction's horizon is above its own number.
        if let Some(horizon) = payload.horizon.filter(|horizon| *horizon <= payload.xid) {
            position.horizon = self.hub.advance(&position.identity, Horizon(horizon));
            // By this payload's own horizon: right after a catch-up the hub's is ahead of the queue, which
            // still holds what committed between LISTEN and the catch-up's reading.
            self.delivered.prune(Horizon(horizon));
            self.unflushed.flushed();
        } else if !payload.events.is_empty() {
            self.unflushed.told();
        }
        if self.before.includes(payload.xid) {
            // Clients that were here load it, and those that came meanwhile may have got it by a replay. What its sender typed ends by itself.
            payload.events.clear();
        }
        let cursor = position.encode();
        let fetched = self.fetch_missing(&payload).await?;
        for event in &payload.events {
            self.deliver(&payload, event, &fetched, &cursor);
        }
        self.hear(&payload);
        if !payload.events.is_empty() || !payload.typing.is_empty() {
            // The sessions of the sockets get their turn before the next notification.
            tokio::task::yield_now().await;
        }
        Ok(self.echo(&payload))
    }

    /// What a payload tells of typing and presence.
    fn hear(&self, payload: &Payload<'_>) {
        if let Some(from) = payload.from {
            for typing in &payload.typing {
                let telling = Telling {
                    pair: Pair {
                        typist: typing.user_id,
                        to: typing.to,
                    },
                    conversation: typing.conversation_id,
                    is_typing: typing.is_typing,
                };
                self.live.typing().heard(from, &telling, payload.at);
            }
        }
        if !payload.presence.is_empty() {
            self.live.presence().heard(&payload.presence);
        }
    }

    /// The round-trip time of a heartbeat that this replica has sent.
    fn echo(&mut self, payload: &Payload<'_>) -> Option<Duration> {
        let Heartbeat { replica, beat } = *payload.heartbeat.as_ref()?;
        if replica != self.replica || !self.beats.was_sent(beat) {
            return None;
        }
        self.unflushed.echoed(beat);
        Some(self.beats.echo(beat))
    }

    fn deliver(
        &mut self,
        payload: &Payload<'_>,
        event: &PayloadEvent<'_>,
        fetched: &HashMap<Uuid, RowBack>,
        cursor: &str,
    ) {
        let told = match (event.data, event.message.or(event.conversation)) {
            (Some(data), Some(id)) => Told::of_row(id, event, data.get(), payload.xid),
            (Some(data), None) if event.event_type == FrameType::ResyncRequired.name() => {
                Told::of_reload(event, data.get(), payload.xid)
            }
            (Some(data), None) => match serde_json::from_str::<ReadMark>(data.get()) {
                Ok(mark) => Told::of_mark(&mark, event, data.get(), payload.xid),
                Err(error) => {
                    log::warn!(
                        "an event of {} bytes that this version does not know: {}",
                        data.get().len(),
                        fault_without_text(&error)
                    );
                    return;
                }
            },
            (None, Some(id)) => match fetched.get(&id) {
                Some(row) if told::is_about(event, row) => {
                    Told::of_row_now(row, event, payload.xid)
                }
                // Told already, or gone meanwhile, or gone and made anew, perhaps for others: an event of its own will say so.
                _ => return,
            },
            (None, None) => return,
        };
        if self.was_told(told.subject, told.version) {
            return;
        }
        self.hand_over(
            &event.recipients,
            Event {
                horizon: Horizon(payload.horizon.unwrap_or_default().min(payload.xid)),
                made_at: payload.at_micros,
                ..told.into_event(event.user, payload.at, cursor)
            },
        );
        if event.event_type == FrameType::ChatMessage.name() {
            self.end_typing(event.user, &event.recipients, payload.at);
        }
    }

    /// Whether sockets have been told already what an event tells, or something later. A row that was fetched for an earlier event may have
    /// shown the state of this event, or a later one; a read mark or a reload may have been in what a catch-up read. Of several marks in one
    /// transaction each is news, even a mark that covers less than the one before it.
    fn was_told(&self, subject: Subject, version: i64) -> bool {
        let is_repeat = || self.delivered.standing(subject, version) == Standing::Repeat;
        match subject {
            Subject::Row(_) | Subject::Conversation { .. } => is_repeat(),
            Subject::Read { xid, .. } => self.caught_up.includes(xid),
            Subject::Reload { xid, .. } => self.caught_up.includes(xid) || is_repeat(),
        }
    }

    /// The sender of a message has stopped typing it.
    fn end_typing(&self, typist: UserId, recipients: &[UserId; 2], at: i64) {
        for to in recipients.iter().filter(|to| **to != typist) {
            self.live.typing().wrote(Pair { typist, to: *to }, at);
        }
    }

    /// Reads back the rows that did not fit into the payload, as they are now, which may be later than the event. Rows that a catch-up has told
    /// already are left out: a later state of them would be told as if the event itself were news.
    async fn fetch_missing(
        &mut self,
        payload: &Payload<'_>,
    ) -> Result<HashMap<Uuid, RowBack>, Error> {
        let missing = || payload.events.iter().filter(|event| event.data.is_none());
        let messages: Vec<Uuid> = missing()
            .filter_map(|event| event.message.map(|id| (id, event.revision)))
            .filter(|(id, revision)| !self.was_told(Subject::Row(*id), *revision))
            .map(|(id, _)| id)
            .collect();
        let conversations: Vec<Uuid> = missing().filter_map(|event| event.conversation).collect();
        let mut fetched = HashMap::new();
        for (what, ids) in [
            (ReadBack::Messages, messages),
            (ReadBack::Conversations, conversations),
        ] {
            if ids.is_empty() {
                continue;
            }
            let rows = self.store.read_back(what, &ids).await?;
            if rows.iter().any(|row| row.xid != Some(payload.xid)) {
                self.unflushed.read(self.beats.coming());
            }
            fetched.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        Ok(fetched)
    }

    fn hand_over(&mut self, recipients: &[UserId; 2], event: Event) {
        self.delivered
            .record(event.subject, event.version, event.xid);
        self.stats.events.fetch_add(1, Ordering::Relaxed);
        self.hub.publish(recipients, &Arc::new(event));
    }
}

/// A payload of ours; `None`: somebody else's NOTIFY on our channel. An error where it is one of a version to come.
fn understood(text: &str) -> Result<Option<Payload<'_>>, Error> {
    match serde_json::from_str::<Payload<'_>>(text) {
        Ok(payload) if payload.v == VERSION => Ok(Some(payload)),
        Ok(payload) => Err(unknown_version(payload.v)),
        // A payload of a later version says so, whatever its form is.
        Err(error) => match serde_json::from_str::<Version>(text) {
            Ok(Version { v }) if v != VERSION => Err(unknown_version(v)),
            _ => {
                log::warn!(
                    "a notification that is not ours ({}), {} bytes",
                    fault_without_text(&error),
                    text.len()
                );
                Ok(None)
            }
        },
    }
}

/// serde's own words quote what they are about, which may be somebody's message.
fn fault_without_text(error: &serde_json::Error) -> String {
    format!(
        "{:?} error at line {} column {}",
        error.classify(),
        error.line(),
        error.column()
    )
}

fn unknown_version(version: u32) -> Error {
    Error::Internal(
        format!("a notification of version {version}: it is read from the tables").into(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn dispatcher() -> Dispatcher {
        let hub = testing::hub(1);
        let minute = Duration::from_secs(60);
        let services = testing::services(hub.clone(), minute, minute);
        let (store, live) = (services.store.clone(), services.live.clone());
        Dispatcher::new(
            store,
            hub,
            live,
            ReplicaId(Uuid::nil()),
            1000,
            Arc::default(),
        )
    }

    /// Any program that can connect to the database can send one.
    #[tokio::test]
    async fn a_heartbeat_that_was_not_sent_proves_nothing() {
        let mut dispatcher = dispatcher();
        let beats = dispatcher.beats();
        let sent = beats.next();
        for forged in [0, -1, sent + 1, i64::MAX] {
            let echo = dispatcher.dispatch(&heartbeat(forged)).await;
            assert_eq!(echo.expect("one of ours"), None, "{forged}");
            assert_eq!(beats.echoed(), 0, "{forged}");
        }
        // Nor does one of another replica, which counts its own.
        let other = heartbeat_of(ReplicaId(Uuid::max()), sent);
        let echo = dispatcher.dispatch(&other).await;
        assert_eq!(echo.expect("one of ours"), None);
        assert_eq!(beats.echoed(), 0);
        let echo = dispatcher.dispatch(&heartbeat(sent)).await;
        assert!(echo.expect("one of ours").is_some());
        assert_eq!(beats.echoed(), sent);
    }

    #[tokio::test]
    async fn a_horizon_that_is_above_its_own_transaction_is_none() {
        let mut dispatcher = dispatcher();
        let mut horizon_after = async |horizon: u64| {
            let text = format!(r#"{{"v":1,"xid":"9","horizon":"{horizon}","at":5}}"#);
            dispatcher.dispatch(&text).await.expect("one of ours");
            dispatcher.hub.position().expect("live").horizon
        };
        let before = horizon_after(1).await;
        assert_eq!(horizon_after(10).await, before);
        assert_eq!(horizon_after(9).await, Horizon(9));
    }

    /// What had ended by then is left out of catch-ups by its number, which the crash may give to something else.
    #[tokio::test]
    async fn until_a_heartbeat_is_back_a_crash_may_have_taken_back_what_had_ended_at_the_start() {
        let mut dispatcher = dispatcher();
        let incarnation = |number| Incarnation(Uuid::from_u128(number));
        assert!(!dispatcher.may_be_lost_in(incarnation(1)));
        dispatcher.start_after(Snapshot::default());
        for crash in [2, 3] {
            assert!(dispatcher.may_be_lost_in(incarnation(crash)));
            dispatcher.forget(incarnation(crash));
            dispatcher.start_after(Snapshot::default());
        }
        let sent = dispatcher.beats().next();
        let echo = dispatcher.dispatch(&heartbeat(sent)).await;
        assert!(echo.expect("one of ours").is_some());
        assert!(!dispatcher.may_be_lost_in(incarnation(4)));
    }

    /// What a crash took back had a number, which it may have given to a mark.
    #[tokio::test]
    async fn what_was_caught_up_with_before_a_crash_hides_no_read_mark_after_it() {
        let mut dispatcher = dispatcher();
        let reader = Uuid::from_u128(1);
        let mark = Subject::Read {
            conversation: Uuid::nil(),
            reader,
            xid: 9,
        };
        dispatcher.caught_up = Snapshot::parse("20:20:").expect("a snapshot");
        assert!(dispatcher.was_told(mark, 1));
        dispatcher.forget(Incarnation(Uuid::from_u128(2)));
        assert!(!dispatcher.was_told(mark, 1));
    }

    fn heartbeat(beat: i64) -> String {
        heartbeat_of(ReplicaId(Uuid::nil()), beat)
    }

    fn heartbeat_of(replica: ReplicaId, beat: i64) -> String {
        format!(r#"{{"v":1,"xid":"9","at":5,"heartbeat":{{"replica":"{replica}","beat":{beat}}}}}"#)
    }
}
