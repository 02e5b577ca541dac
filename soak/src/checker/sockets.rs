//! What each client sees: its sockets, their frames, and its reloads over HTTP.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::log::Sighting;
use super::moment::Moment;
use super::{Checker, Kind, State, Violation, record};
use crate::model::*;

pub(super) struct Connection {
    pub(super) client: ClientIx,
    /// The replica that the proxy chose.
    pub(super) replica: usize,
    pub(super) opened: At,
    pub(super) closed: Option<At>,
    pub(super) end: String,
    /// As the service names it in `connected`.
    pub(super) id: String,
    pub(super) cursor: Option<String>,
    pub(super) resumed: bool,
    /// From `resync_required` until the reload over HTTP is complete: gaps are being filled.
    resyncing: bool,
    pub(super) reload: Reload,
    /// The last `seq` of each conversation on this socket; emptied at its end.
    last: HashMap<ConversationIx, u32>,
    /// What was shown on it as edited or deleted; emptied at its end.
    pub(super) changed: HashMap<Key, State>,
    pub(super) moment: Moment,
}

/// What a reload over HTTP has to show its client, and has.
#[derive(Default)]
pub(super) struct Reload {
    /// By conversation of the client's: all that comes after this `seq` is read.
    pub(super) from: HashMap<ConversationIx, u32>,
    pub(super) shown: HashSet<Key>,
}

impl Checker {
    /// A socket's handshake is done; `cursor` is the one it asked to resume from.
    pub fn opened(
        &mut self,
        client: ClientIx,
        replica: usize,
        cursor: Option<String>,
        at: At,
    ) -> ConnectionNo {
        if self.connections.is_empty() {
            // Number 0 means "no socket".
            self.connections
                .push(Connection::new(client, replica, None, at));
        }
        self.connections
            .push(Connection::new(client, replica, cursor, at));
        ConnectionNo::try_from(self.connections.len() - 1).unwrap_or(ConnectionNo::MAX)
    }

    /// The `connected` frame.
    pub fn connected(&mut self, connection: ConnectionNo, id: String, resumed: bool) {
        let known = &mut self.connections[connection as usize];
        known.id = id;
        known.resumed = resumed;
        self.counts.resumed += u64::from(resumed);
    }

    /// The socket by which a client is connected, if it is.
    pub(super) fn live_socket(&self, client: ClientIx) -> Option<ConnectionNo> {
        let newest = self
            .connections
            .iter()
            .rposition(|known| known.client == client)?;
        let known = &self.connections[newest];
        let is_live = !known.id.is_empty() && known.closed.is_none();
        is_live.then_some(ConnectionNo::try_from(newest).unwrap_or(ConnectionNo::MAX))
    }

    /// The `resync_required` frame: gaps are allowed until [`Checker::reload_complete`].
    pub fn resync_required(&mut self, connection: ConnectionNo) {
        let client = self.connections[connection as usize].client;
        let reload = Reload {
            from: self.to_reload(client),
            shown: HashSet::new(),
        };
        let known = &mut self.connections[connection as usize];
        known.resyncing = true;
        known.reload = reload;
        self.counts.resyncs += 1;
    }

    /// By conversation: the `seq` after which a client has to read again. All before it they have seen, with all changes and marks
    /// that anybody has asked for.
    fn to_reload(&self, client: ClientIx) -> HashMap<ConversationIx, u32> {
        let mut from = HashMap::new();
        for (ix, conversation) in (0..).zip(&self.conversations) {
            if !conversation.members.contains(&client) {
                continue;
            }
            let member = self.member(client, ix);
            let lacking = self.read[usize::from(ix)]
                .iter()
                .filter(|marks| marks.told[member] < marks.asked)
                .map(|marks| marks.told[member]);
            let whole = self.progress[usize::from(ix)][member].whole();
            from.insert(ix, lacking.fold(whole, u32::min));
        }
        for message in &self.messages {
            let changes = &message.changes;
            if let Some(from) = from.get_mut(&message.conversation)
                && changes.shown[self.member(client, message.conversation)] < changes.asked
            {
                *from = (*from).min(message.seq.saturating_sub(1));
            }
        }
        from
    }

    /// Where the reload of a socket's client is to begin in one of their conversations.
    pub fn reload_from(&self, connection: ConnectionNo, conversation: ConversationIx) -> u32 {
        let reload = &self.connections[connection as usize].reload;
        reload.from.get(&conversation).copied().unwrap_or(0)
    }

    pub fn closed(&mut self, connection: ConnectionNo, end: &str, at: At) {
        let known = &mut self.connections[connection as usize];
        known.closed = Some(at);
        known.end = end.to_owned();
        known.last = HashMap::new();
        known.changed = HashMap::new();
        known.moment = Moment::default();
        known.reload = Reload::default();
    }

    /// A `chat_message` frame; `actor` is its `userId`.
    pub fn frame(&mut self, connection: ConnectionNo, actor: Uuid, view: &MessageView, at: At) {
        self.counts.frames += 1;
        let client = self.connections[connection as usize].client;
        let Some(key) = self.identify(view, Some((client, Some(connection))), at) else {
            return;
        };
        if actor != view.sender_id {
            self.violate(
                Violation::new(Kind::Altered, at, format!("the frame's userId is {actor}"))
                    .key(key)
                    .connection(Some(connection)),
            );
        }
        let message = &self.messages[key as usize];
        let (conversation, seq) = (message.conversation, message.seq);
        let known = &mut self.connections[connection as usize];
        if message.acked_at != 0 && message.acked_at < known.opened {
            self.counts.replayed += 1;
        }
        let last = known.last.get(&conversation).copied().unwrap_or(0);
        if seq > last {
            known.last.insert(conversation, seq);
        } else if self.log.was_seen_on(key, connection) {
            self.violate(
                Violation::new(Kind::Twice, at, format!("seq {seq} twice on one socket"))
                    .key(key)
                    .client(client)
                    .connection(Some(connection)),
            );
        } else {
            self.violate(
                Violation::new(Kind::OutOfOrder, at, format!("seq {seq} after {last}"))
                    .key(key)
                    .client(client)
                    .connection(Some(connection)),
            );
        }
        self.saw(client, Some(connection), key, at);
        self.show(client, Some(connection), key, view, at);
    }

    /// A `messages_read` frame on a socket of `client`.
    pub fn read_frame(
        &mut self,
        connection: ConnectionNo,
        conversation: Uuid,
        reader: Uuid,
        up_to: i64,
        at: At,
    ) {
        let client = self.connections[connection as usize].client;
        let told = format!("{reader} has read {conversation} up to {up_to}");
        let wrong = |kind, why: &str| {
            Violation::new(kind, at, format!("{told}: {why}"))
                .client(client)
                .connection(Some(connection))
        };
        let place = self.conversation_numbers.get(&conversation).copied();
        let known = place.zip(self.users.get(&reader).copied());
        let Some((ix, reader)) = known else {
            return self.violate(wrong(Kind::ReadFromNobody, "there is no such reader"));
        };
        let members = self.conversations[usize::from(ix)].members;
        if !members.contains(&client) {
            let why = "the client does not take part in the conversation";
            return self.violate(wrong(Kind::Misdelivered, why));
        }
        let marks = self.read[usize::from(ix)][self.member(reader, ix)];
        if !members.contains(&reader) || up_to > i64::from(marks.asked) {
            let why = format!("{} was the most asked for", marks.asked);
            return self.violate(wrong(Kind::ReadFromNobody, &why));
        }
        self.show_read(client, ix, reader, up_to);
    }

    fn show_read(
        &mut self,
        client: ClientIx,
        conversation: ConversationIx,
        reader: ClientIx,
        up_to: i64,
    ) {
        let viewer = self.member(client, conversation);
        let reader = self.member(reader, conversation);
        let told = &mut self.read[usize::from(conversation)][reader].told[viewer];
        *told = (*told).max(u32::try_from(up_to).unwrap_or(0));
    }

    /// Everything up to now has been read over HTTP: holes that are left stay.
    pub fn reload_complete(&mut self, connection: ConnectionNo, at: At) {
        let known = &mut self.connections[connection as usize];
        known.resyncing = false;
        let client = known.client;
        let reload = std::mem::take(&mut known.reload);
        self.erasures_reloaded(client, &reload);
        self.fill_erased(client, false, at);
        let mut found = Vec::new();
        for (ix, conversation) in (0..).zip(&self.conversations) {
            for (member, progress) in conversation
                .members
                .iter()
                .zip(&self.progress[usize::from(ix)])
            {
                if let Some(hole) = progress.first_hole()
                    && *member == client
                {
                    found.push((ix, hole));
                }
            }
        }
        self.fill_erased(client, true, at);
        for (conversation, hole) in found {
            let text = "neither the reload nor the socket had it";
            self.violate(
                Violation::new(Kind::Skipped, at, text)
                    .place(conversation, hole)
                    .client(client)
                    .connection(Some(connection)),
            );
        }
    }

    /// A message that a reload over HTTP showed, after `resync_required`: of how it is now, and whether it is read, no frame need come.
    pub fn reloaded(&mut self, connection: ConnectionNo, view: &MessageView, at: At) {
        self.counts.reloaded += 1;
        let client = self.connections[connection as usize].client;
        let Some(key) = self.identify(view, Some((client, None)), at) else {
            return;
        };
        self.connections[connection as usize]
            .reload
            .shown
            .insert(key);
        self.saw(client, None, key, at);
        self.show(client, None, key, view, at);
        if view.is_read {
            let message = &self.messages[key as usize];
            let (conversation, sender) = (message.conversation, message.sender);
            let members = self.conversations[usize::from(conversation)].members;
            let reader = members[usize::from(members[0] == sender)];
            self.show_read(client, conversation, reader, view.seq);
        }
    }

    /// A message read over HTTP by the way: it must be right, but does not count as delivered.
    pub fn read_by_the_way(&mut self, client: ClientIx, view: &MessageView, at: At) {
        self.identify(view, Some((client, None)), at);
    }

    /// Notes that a client has a message, and what it passed over to get it.
    pub(super) fn saw(
        &mut self,
        client: ClientIx,
        connection: Option<ConnectionNo>,
        key: Key,
        at: At,
    ) {
        self.log.sighting(Sighting {
            at,
            key,
            connection: connection.unwrap_or(0),
            client,
        });
        let message = &mut self.messages[key as usize];
        let (conversation, seq) = (message.conversation, message.seq);
        let members = self.conversations[usize::from(conversation)].members;
        let member = usize::from(members[1] == client);
        if message.seen[member] == 0 {
            message.seen[member] = at.max(1);
            if message.sender != client {
                record(
                    &mut self.latencies.seen,
                    at.saturating_sub(message.first_at),
                );
            }
        }
        let filling = connection.is_none_or(|no| self.connections[no as usize].resyncing);
        let passed_over = self.progress[usize::from(conversation)][member].saw(seq);
        if let Some((first, last)) = passed_over
            && !filling
        {
            let text = format!("seq {seq} came, but {first} to {last} had not been seen");
            self.violate(
                Violation::new(Kind::Skipped, at, text)
                    .place(conversation, first)
                    .client(client)
                    .connection(connection),
            );
        }
        self.settle(key);
    }
}

impl Connection {
    fn new(client: ClientIx, replica: usize, cursor: Option<String>, at: At) -> Self {
        Self {
            client,
            replica,
            opened: at,
            closed: None,
            end: String::new(),
            id: String::new(),
            cursor,
            resumed: false,
            resyncing: false,
            reload: Reload::default(),
            last: HashMap::new(),
            changed: HashMap::new(),
            moment: Moment::default(),
        }
    }
}
