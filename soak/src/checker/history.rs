//! A message's whole history, for the one who has to find out why.

use std::fmt::{self, Write};

use super::{Checker, Violation};
use crate::content;
use crate::model::*;

/// Faults that ended this long before, or began this long after, still count as near. Microseconds.
const NEAR: At = 5_000_000;
/// Sockets of one participant that are shown.
const SOCKETS: usize = 8;

/// A fault that was done.
#[derive(Clone, Debug)]
pub struct FaultRecord {
    pub number: u32,
    pub name: &'static str,
    pub text: String,
    pub began: At,
    pub ended: Option<At>,
}

impl Checker {
    /// Who sent it, each attempt and answer, the row, each socket's view, and the faults around it.
    pub fn history(&self, violation: &Violation, faults: &[FaultRecord]) -> String {
        let mut out = format!("[{}] {violation}\n", seconds(violation.at));
        // Writing to a String does not fail.
        let _ = self.write_history(&mut out, violation, faults);
        out
    }

    fn write_history(
        &self,
        out: &mut String,
        violation: &Violation,
        faults: &[FaultRecord],
    ) -> fmt::Result {
        let key = violation
            .key
            .or_else(|| violation.place.and_then(|(ix, seq)| self.key_at(ix, seq)));
        let (mut from, mut to) = (violation.at, violation.at);
        if let Some(key) = key {
            (from, to) = self.write_message(out, key)?;
        } else if violation.place.is_some() {
            writeln!(out, "  nobody has acknowledged or seen the message there")?;
        }
        if let Some(client) = violation.client.filter(|client| {
            key.is_none_or(|key| {
                let conversation = self.messages[key as usize].conversation;
                !self.conversations[usize::from(conversation)]
                    .members
                    .contains(client)
            })
        }) {
            self.write_sockets(out, client, from, to)?;
        }
        if let Some(connection) = violation.connection {
            writeln!(
                out,
                "  last chat_message frames on connection {connection}:"
            )?;
            for sighting in self.log.last_on(connection, violation.at, 12) {
                let message = &self.messages[sighting.key as usize];
                writeln!(
                    out,
                    "    {} #{} conversation {} seq {}",
                    seconds(sighting.at),
                    sighting.key,
                    message.conversation,
                    message.seq
                )?;
            }
        }
        writeln!(out, "  faults around it:")?;
        for fault in faults.iter().filter(|fault| {
            fault.began <= to + NEAR && fault.ended.is_none_or(|ended| ended + NEAR >= from)
        }) {
            let ended = fault.ended.map_or("…".to_owned(), seconds);
            writeln!(
                out,
                "    {} to {ended} fault {} {}: {}",
                seconds(fault.began),
                fault.number,
                fault.name,
                fault.text
            )?;
        }
        Ok(())
    }

    /// Returns from when to when its history goes.
    fn write_message(&self, out: &mut String, key: Key) -> Result<(At, At), fmt::Error> {
        let message = &self.messages[key as usize];
        let conversation = &self.conversations[usize::from(message.conversation)];
        let mut to = message.acked_at.max(message.first_at);
        writeln!(
            out,
            "  message #{key}: {} bytes of client {} in conversation {} ({}), seq {}, id {:?}, {:?}, rows in the table: {}",
            content::make(self.seed, key).len(),
            message.sender,
            message.conversation,
            conversation.id,
            message.seq,
            message.id,
            message.fate,
            message.rows
        )?;
        for (attempt, note) in self.log.attempts(key) {
            to = to.max(attempt.at);
            write!(
                out,
                "    {} {} {note}",
                seconds(attempt.at),
                attempt.via.name()
            )?;
            if attempt.connection != 0 {
                write!(out, ", connection {}", attempt.connection)?;
            }
            writeln!(out)?;
        }
        for (client, seen) in conversation.members.into_iter().zip(message.seen) {
            if seen == 0 {
                writeln!(out, "  client {client} has not seen it")?;
            } else {
                writeln!(out, "  client {client} saw it")?;
            }
            for sighting in self.log.sightings(key).filter(|s| s.client == client) {
                to = to.max(sighting.at);
                if sighting.connection == 0 {
                    writeln!(out, "    {} by a reload over HTTP", seconds(sighting.at))?;
                } else {
                    let connection = sighting.connection;
                    writeln!(
                        out,
                        "    {} on connection {connection}",
                        seconds(sighting.at)
                    )?;
                }
            }
            self.write_sockets(out, client, message.first_at, to)?;
        }
        Ok((message.first_at, to))
    }

    /// The sockets that a client had around that time.
    fn write_sockets(&self, out: &mut String, client: ClientIx, from: At, to: At) -> fmt::Result {
        writeln!(out, "  sockets of client {client}:")?;
        let near = (0..)
            .zip(&self.connections)
            .skip(1)
            .filter(|(_, connection)| {
                connection.client == client
                    && connection.opened <= to + NEAR
                    && connection.closed.is_none_or(|closed| closed + NEAR >= from)
            });
        for (number, connection) in near.take(SOCKETS) {
            let number: ConnectionNo = number;
            writeln!(
                out,
                "    connection {number} ({}) to replica {}, {} to {}{}, resumed {}, cursor {}",
                connection.id,
                connection.replica,
                seconds(connection.opened),
                connection.closed.map_or("…".to_owned(), seconds),
                if connection.end.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", connection.end)
                },
                connection.resumed,
                connection.cursor.as_deref().unwrap_or("none")
            )?;
        }
        Ok(())
    }

    fn key_at(&self, conversation: ConversationIx, seq: u32) -> Option<Key> {
        (0..)
            .zip(&self.messages)
            .find(|(_, message)| message.conversation == conversation && message.seq == seq)
            .map(|(key, _)| key)
    }
}
