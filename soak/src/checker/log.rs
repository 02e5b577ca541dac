//! What happened, in append-only lists that are small enough for hours: about 24 bytes an entry.
//! They are searched from end to end, and only when a violation wants its history.

use std::collections::HashMap;

use crate::model::{At, ClientIx, ConnectionNo, Key, Via};

/// Different notes kept; a note says e.g. `201`, `ack`, `no answer in time`.
const NOTES: usize = 2_000;

/// An attempt to send a message, or its answer.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    pub at: At,
    pub key: Key,
    /// 0 when it was not over a WebSocket.
    pub connection: ConnectionNo,
    pub via: Via,
    note: u16,
}

/// A message seen by a client.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    pub at: At,
    pub key: Key,
    /// 0 when it was read over HTTP.
    pub connection: ConnectionNo,
    pub client: ClientIx,
}

#[derive(Default)]
pub struct Log {
    attempts: Vec<Attempt>,
    sightings: Vec<Sighting>,
    notes: Vec<String>,
    note_numbers: HashMap<String, u16>,
}

impl Log {
    pub fn attempt(&mut self, key: Key, via: Via, connection: ConnectionNo, note: &str, at: At) {
        let note = self.intern(note);
        self.attempts.push(Attempt {
            at,
            key,
            connection,
            via,
            note,
        });
    }

    pub fn sighting(&mut self, sighting: Sighting) {
        self.sightings.push(sighting);
    }

    pub fn attempts(&self, key: Key) -> impl Iterator<Item = (&Attempt, &str)> {
        self.attempts
            .iter()
            .filter(move |attempt| attempt.key == key)
            .map(|attempt| (attempt, self.note(attempt.note)))
    }

    pub fn sightings(&self, key: Key) -> impl Iterator<Item = &Sighting> {
        self.sightings
            .iter()
            .filter(move |sighting| sighting.key == key)
    }

    pub fn was_seen_on(&self, key: Key, connection: ConnectionNo) -> bool {
        self.sightings(key)
            .any(|sighting| sighting.connection == connection)
    }

    /// The last sightings of one connection up to a moment, oldest first.
    pub fn last_on(&self, connection: ConnectionNo, until: At, count: usize) -> Vec<Sighting> {
        let mut last: Vec<Sighting> = self
            .sightings
            .iter()
            .rev()
            .filter(|sighting| sighting.connection == connection && sighting.at <= until)
            .take(count)
            .copied()
            .collect();
        last.reverse();
        last
    }

    fn note(&self, number: u16) -> &str {
        self.notes.get(usize::from(number)).map_or("…", |note| note)
    }

    fn intern(&mut self, note: &str) -> u16 {
        if let Some(number) = self.note_numbers.get(note) {
            return *number;
        }
        if self.notes.len() >= NOTES {
            return u16::MAX;
        }
        let number = u16::try_from(self.notes.len()).unwrap_or(u16::MAX);
        self.notes.push(note.to_owned());
        self.note_numbers.insert(note.to_owned(), number);
        number
    }
}
