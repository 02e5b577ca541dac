//! What each client sees: its sockets, their frames, and its reloads over HTTP.

use std::collections::HashMap;

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
    /// The last `seq` of each conversation on this socket; emptied at its end.
    last: HashMap<ConversationIx, u32>,
    /// What was shown on it as edited or deleted; emptied at its end.
    pub(super) changed: HashMap<Key, State>,
    pub(super) moment: Moment,
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
        self.connections[connection as usize].resyncing = true;
        self.counts.resyncs += 1;
    }

    pub fn closed(&mut self, connection: ConnectionNo, end: &str, at: At) {
        let known = &mut self.connections[connection as usize];
        known.closed = Some(at);
        known.end = end.to_owned();
        known.last = HashMap::new();
        known.changed = HashMap::new();
        known.moment = Moment::default();
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
    pub fn read_frame(&mut self, client: ClientIx, conversation: Uuid, reader: Uuid, up_to: i64) {
        let place = self.conversation_numbers.get(&conversation).copied();
        let Some((ix, reader)) = place.zip(self.users.get(&reader).copied()) else {
            return;
        };
        let viewer = self.member(client, ix);
        let reader = self.member(reader, ix);
        let told = &mut self.read[usize::from(ix)][reader].told[viewer];
        *told = (*told).max(u32::try_from(up_to).unwrap_or(0));
    }

    /// Everything up to now has been read over HTTP: holes that are left stay.
    pub fn reload_complete(&mut self, connection: ConnectionNo, at: At) {
        let known = &mut self.connections[connection as usize];
        known.resyncing = false;
        let client = known.client;
        self.changes_reloaded(client);
        self.fill_erased(client, false, at);
        for (conversation, read) in self.conversations.iter().zip(&mut self.read) {
            for marks in read {
                for (member, told) in conversation.members.iter().zip(&mut marks.told) {
                    // Whoever reloads sees what is read by then, so no frame need come for it.
                    if *member == client {
                        *told = (*told).max(marks.asked);
                    }
                }
            }
        }
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

    /// A message that a reload over HTTP showed, after `resync_required`.
    pub fn reloaded(&mut self, client: ClientIx, view: &MessageView, at: At) {
        self.counts.reloaded += 1;
        if let Some(key) = self.identify(view, Some((client, None)), at) {
            self.saw(client, None, key, at);
            self.show(client, None, key, view, at);
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
            last: HashMap::new(),
            changed: HashMap::new(),
            moment: Moment::default(),
        }
    }
}
