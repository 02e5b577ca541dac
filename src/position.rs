//! Where a database is, and where a client is in it: the horizons and snapshots that cursors and catch-ups go by.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

/// A transaction's number, PostgreSQL's `xid8`: never given out twice, except after a crash or a failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xid(pub u64);

impl FromStr for Xid {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A transaction number below which everything is known to have ended and to have been delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Horizon(pub Xid);

impl Horizon {
    /// Whether the transaction is below it: it has ended, and was delivered.
    pub fn covers(self, xid: Xid) -> bool {
        xid < self.0
    }

    /// PostgreSQL's text form of an `xid8`.
    pub(crate) fn to_text(self) -> String {
        self.0.to_string()
    }
}

/// The cluster, database, timeline and table of messages that horizons belong to, with what was drawn by lot for that timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(pub Arc<str>);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The database from one crash to the next: what it had shown and not flushed, it forgets between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation(pub Uuid);

/// Which transactions had ended at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The first number that had not been handed out.
    end: Xid,
    /// Numbers below `end` that were still open.
    open: Box<[Xid]>,
}

impl Snapshot {
    /// PostgreSQL's text form, `xmin:xmax:xip,…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let _first_open: Xid = parts.next()?.parse().ok()?;
        let end = parts.next()?.parse().ok()?;
        let open = parts
            .next()?
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(|xid| xid.parse().ok())
            .collect::<Option<_>>()?;
        Some(Self { end, open })
    }

    /// All below this number.
    #[cfg(test)]
    pub fn until(end: u64) -> Self {
        let (end, open) = (Xid(end), Box::default());
        Self { end, open }
    }

    /// PostgreSQL's text form; the first number that was still open is found in the others.
    pub(crate) fn to_text(&self) -> String {
        let first_open = self.open.iter().copied().min().unwrap_or(self.end);
        let open: Vec<String> = self.open.iter().map(Xid::to_string).collect();
        // There is no transaction 0.
        let [first_open, end] = [first_open, self.end].map(|xid| xid.max(Xid(1)));
        format!("{first_open}:{end}:{}", open.join(","))
    }

    /// The first transaction number that had not been handed out.
    pub fn end(&self) -> Xid {
        self.end
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.open)
    }

    /// Whether the transaction had ended.
    pub fn includes(&self, xid: Xid) -> bool {
        xid < self.end && !self.open.contains(&xid)
    }
}

/// Where a client is: the database's identity and a horizon. Opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub identity: Identity,
    pub horizon: Horizon,
}

/// Changes when the meaning of a cursor changes; older ones are then answered with `resync_required`.
const CURSOR_VERSION: &str = "1";

/// Longest cursor that is looked at, in bytes.
const MAX_CURSOR_BYTES: usize = 128;

impl Cursor {
    /// `1.<identity>.<horizon>`, safe in a URL and in JSON.
    pub fn encode(&self) -> String {
        format!("{CURSOR_VERSION}.{}.{:x}", self.identity, self.horizon.0.0)
    }

    /// `None` for anything that [`Cursor::encode`] did not make.
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > MAX_CURSOR_BYTES {
            return None;
        }
        let mut parts = text.split('.');
        let (version, identity, horizon) = (parts.next()?, parts.next()?, parts.next()?);
        let known_form = version == CURSOR_VERSION
            && parts.next().is_none()
            && !identity.is_empty()
            && identity.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
            && horizon.bytes().all(|b| b.is_ascii_hexdigit());
        if !known_form {
            return None;
        }
        let horizon = u64::from_str_radix(horizon, 16).ok()?;
        let cursor = Self {
            identity: Identity(identity.into()),
            horizon: Horizon(Xid(horizon)),
        };
        // A position is written in one way.
        (cursor.encode() == text).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_snapshot_includes_what_had_ended() {
        let snapshot = Snapshot::parse("10:20:10,14,15").expect("a snapshot");
        let ended: Vec<u64> = (8..22).filter(|xid| snapshot.includes(Xid(*xid))).collect();
        assert_eq!(ended, [8, 9, 11, 12, 13, 16, 17, 18, 19]);
        assert!(Snapshot::parse("7:7:").is_some_and(|s| s.includes(Xid(6)) && !s.includes(Xid(7))));
        assert!(Snapshot::parse("7:x:").is_none());
        assert_eq!(snapshot.to_text(), "10:20:10,14,15");
        // Nothing had ended: there is no number below the first.
        assert_eq!(Snapshot::default().to_text(), "1:1:");
    }

    #[test]
    fn a_cursor_survives_its_encoding() {
        let cursor = Cursor {
            identity: Identity("ffffffffffffffff-ffffffff-ffffffff-ffffffff-ffffffff".into()),
            horizon: Horizon(Xid(u64::MAX)),
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
    }

    #[test]
    fn garbage_is_no_cursor() {
        for text in [
            "",
            ".",
            "1..",
            "1.a.",
            "1.a.g",
            "2.a.1",
            "1.a.1.1",
            "1.a b.1",
            "1.a.+1",
            "1.a.ffffffffffffffffff",
            // What the fuzzer found: other ways to write a position.
            "1.a.0f",
            "1.a.F",
        ] {
            assert_eq!(Cursor::decode(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_decoding_panic(text in ".*") {
            let _ = Cursor::decode(&text);
        }

        #[test]
        fn what_decodes_is_what_is_encoded(text in "1\\.[0-9a-f-]{1,60}\\.(0|[1-9a-f][0-9a-f]{0,15})") {
            let cursor = Cursor::decode(&text);
            prop_assert_eq!(cursor.map(|cursor| cursor.encode()), Some(text));
        }

        #[test]
        fn nothing_else_decodes(text in "[12]\\.[0-9a-fA-F.+-]{0,20}\\.[0-9a-fA-F+]{0,18}") {
            if let Some(cursor) = Cursor::decode(&text) {
                prop_assert_eq!(cursor.encode(), text);
            }
        }
    }
}
