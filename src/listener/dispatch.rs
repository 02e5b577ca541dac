//! From payloads and changed rows to events in the hub, each once and in order.

mod catch_up;
mod told;

use std::cell::LazyCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Stats;
use super::delivered::Delivered;
use super::heartbeat::Beats;
use super::payload::{Heartbeat, Payload, PayloadEvent, ReadMark, VERSION, Version};
use super::unflushed::Unflushed;
use crate::error::Error;
use crate::frame::FrameType;
use crate::hub::{Event, Hub, Novelty, Subject};
use crate::live::Live;
use crate::model::{ConversationId, MessageId, ReplicaId, UnixSeconds, UserId};
use crate::position::{Cursor, Horizon, Incarnation, Snapshot, Xid};
use crate::store::{Pair, ReadBack, RowBack, RowId, Store, Telling};

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
    /// The database was found at an earlier moment than what was delivered, and clients have not been told yet.
    was_set_back: bool,
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
            was_set_back: false,
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

    /// Whether the database is at an earlier moment than what was delivered: `is_found` now, or in a session that ended before clients were
    /// told. By now it may have passed where it was, which shows nothing of that. Until all is forgotten.
    pub fn is_set_back(&mut self, is_found: bool) -> bool {
        self.was_set_back |= is_found;
        self.was_set_back
    }

    /// Transaction numbers mean something else from now on; [`Dispatcher::start_after`] has to follow.
    pub fn forget(&mut self, incarnation: Incarnation) {
        self.delivered.clear();
        self.was_set_back = false;
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
        let horizon = payload.horizon;
        if let Some(horizon) = horizon.filter(|horizon| !horizon.covers(payload.xid)) {
            position.horizon = self.hub.advance(&position.identity, horizon);
            // By this payload's own horizon: right after a catch-up the hub's is ahead of the queue, which
            // still holds what committed between LISTEN and the catch-up's reading.
            self.delivered.prune(horizon);
            self.unflushed.flushed();
        } else if !payload.events.is_empty() {
            self.unflushed.told();
        }
        if self.before.includes(payload.xid) {
            // Clients that were here load it, and those that came meanwhile may have got it by a replay. What its sender typed ends by itself.
            payload.events.clear();
        }
        for event in &mut payload.events {
            event.concerns_sockets = self.hub.concerns(&event.recipients);
        }
        let fetched = self.fetch_missing(&payload).await?;
        self.deliver_all(&payload, &fetched, &position);
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

    /// The events of a payload, in its order. The cursor is only written for those that become frames.
    fn deliver_all(
        &mut self,
        payload: &Payload<'_>,
        fetched: &HashMap<RowId, Option<RowBack>>,
        position: &Cursor,
    ) {
        let cursor = LazyCell::new(|| position.encode());
        for event in &payload.events {
            if is_lost(event, fetched) {
                self.have_reload(payload, event, &cursor);
                continue;
            }
            let Some(told) = told_of(event, payload.xid, fetched) else {
                continue;
            };
            if self.was_told(told.subject, told.version) {
                continue;
            }
            if event.concerns_sockets {
                self.hand_over(
                    &event.recipients,
                    Event {
                        horizon: payload
                            .horizon
                            .unwrap_or_default()
                            .min(Horizon(payload.xid)),
                        made_at: payload.at_micros,
                        ..told.into_event(event.user, payload.at, &cursor)
                    },
                );
            } else {
                self.note(told.subject, told.version, told.xid);
            }
            if event.event_type.is(FrameType::ChatMessage) {
                self.end_typing(event.user, &event.recipients, payload.at);
            }
        }
    }

    /// Both who have a message that is lost reload, as they would coming back.
    fn have_reload(&mut self, payload: &Payload<'_>, event: &PayloadEvent<'_>, cursor: &str) {
        for user in event.recipients {
            let told = Told::of_lost(user, payload.xid);
            if !self.was_told(told.subject, told.version) {
                let event = told.into_event(user, payload.at, cursor);
                self.hand_over(&[user, user], event);
            }
        }
    }

    /// Whether sockets have been told already what an event tells, or something later. A row that was fetched for an earlier event may have
    /// shown the state of this event, or a later one; a read mark or a reload may have been in what a catch-up read. Of several marks in one
    /// transaction each is news, even a mark that covers less than the one before it.
    fn was_told(&self, subject: Subject, version: i64) -> bool {
        let is_repeat = || self.delivered.novelty(subject, version) == Novelty::Repeat;
        match subject {
            Subject::Row(_) | Subject::Conversation { .. } => is_repeat(),
            Subject::Read { xid, .. } => self.caught_up.includes(xid),
            Subject::Reload { xid, .. } => self.caught_up.includes(xid) || is_repeat(),
        }
    }

    /// The sender of a message has stopped typing it.
    fn end_typing(&self, typist: UserId, recipients: &[UserId; 2], at: UnixSeconds) {
        for to in recipients.iter().filter(|to| **to != typist) {
            self.live.typing().wrote(Pair { typist, to: *to }, at);
        }
    }

    /// Reads back the rows that did not fit into the payload, as they are now, which may be later than the event; `None` where nothing is
    /// left of a message. Left out are rows that no socket here is told of, and those that a catch-up has told already: a later state of them
    /// would be told as if the event itself were news.
    async fn fetch_missing(
        &mut self,
        payload: &Payload<'_>,
    ) -> Result<HashMap<RowId, Option<RowBack>>, Error> {
        let missing = || {
            let events = payload.events.iter();
            events.filter(|event| event.data.is_none() && event.concerns_sockets)
        };
        let messages: Vec<MessageId> = missing()
            .filter_map(|event| event.message.map(|id| (id, event.revision)))
            .filter(|(id, revision)| !self.was_told(Subject::Row(*id), revision.0))
            .map(|(id, _)| id)
            .collect();
        let conversations: Vec<ConversationId> =
            missing().filter_map(|event| event.conversation).collect();
        let asked = messages.iter().map(|id| (RowId::Message(*id), None));
        let mut fetched: HashMap<_, _> = asked.collect();
        for what in [
            ReadBack::Messages(&messages),
            ReadBack::Conversations(&conversations),
        ] {
            if what.is_empty() {
                continue;
            }
            let rows = self.store.read_back(what).await?;
            if rows.iter().any(|row| row.xid != Some(payload.xid)) {
                self.unflushed.read(self.beats.coming());
            }
            fetched.extend(rows.into_iter().map(|row| (row.id, Some(row))));
        }
        Ok(fetched)
    }

    fn hand_over(&mut self, recipients: &[UserId; 2], event: Event) {
        self.note(event.subject, event.version, event.xid);
        self.hub.publish(recipients, &Arc::new(event));
    }

    /// Remembers an event that was heard or read. All that concerns no socket here: one that comes now knows of it by what it loads or has
    /// replayed, so that a catch-up must not tell it as news.
    fn note(&mut self, subject: Subject, version: i64, xid: Xid) {
        self.delivered.record(subject, version, xid);
        self.stats.events.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whether of a message that was asked for there is nothing left, not even a tombstone: it was removed for its age, of which no event tells.
/// What it had become is not known any more. (Nor is it known of a conversation that was deleted outright, for which both reload anyway.)
fn is_lost(event: &PayloadEvent<'_>, fetched: &HashMap<RowId, Option<RowBack>>) -> bool {
    let message = event.message.filter(|_| event.data.is_none());
    message.is_some_and(|id| matches!(fetched.get(&RowId::Message(id)), Some(None)))
}

/// What an event tells; nothing where this version does not know it, or where its row is to be read back and is not there.
fn told_of<'a>(
    event: &'a PayloadEvent<'_>,
    xid: Xid,
    fetched: &'a HashMap<RowId, Option<RowBack>>,
) -> Option<Told<'a>> {
    match (event.data, event.row()) {
        (Some(data), Some(id)) => Some(Told::of_row(id, event, data.get(), xid)),
        (Some(data), None) if event.event_type.is(FrameType::ResyncRequired) => {
            Some(Told::of_reload(event, data.get(), xid))
        }
        (Some(data), None) => match serde_json::from_str::<ReadMark>(data.get()) {
            Ok(mark) => Some(Told::of_mark(&mark, event, data.get(), xid)),
            Err(error) => {
                log::warn!(
                    "an event of {} bytes that this version does not know: {}",
                    data.get().len(),
                    fault_without_text(&error)
                );
                None
            }
        },
        // It was not read back, and becomes no frame.
        (None, Some(id)) if !event.concerns_sockets => Some(Told::of_row(id, event, "", xid)),
        (None, Some(id)) => match fetched.get(&id) {
            Some(Some(row)) if told::is_about(event, row) => {
                Some(Told::of_row_now(row, event, xid))
            }
            // Told already, or gone and made anew, perhaps for others, or a conversation that is gone: an event of its own will say so.
            _ => None,
        },
        (None, None) => None,
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
mod tests;
