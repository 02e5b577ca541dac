//! Where a database is: the horizons and snapshots that cursors and catch-ups go by, and the heartbeats that tell of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use postgres_types::Type;
use tokio::time::Instant;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Store, single};
use crate::error::Error;
use crate::model::ReplicaId;

/// A transaction number below which everything is known to have ended and to have been delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Horizon(pub u64);

impl Horizon {
    /// PostgreSQL's text form of an `xid8`.
    pub(super) fn to_text(self) -> String {
        self.0.to_string()
    }
}

/// The cluster, database and timeline that horizons belong to.
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
    end: u64,
    /// Those below it that were still open.
    open: Vec<u64>,
}

impl Snapshot {
    /// PostgreSQL's text form, `xmin:xmax:xip,…`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let _first_open: u64 = parts.next()?.parse().ok()?;
        let end = parts.next()?.parse().ok()?;
        let open = parts
            .next()?
            .split(',')
            .filter(|xid| !xid.is_empty())
            .map(|xid| xid.parse().ok())
            .collect::<Option<Vec<u64>>>()?;
        Some(Self { end, open })
    }

    /// All below this number.
    #[cfg(test)]
    pub fn until(end: u64) -> Self {
        let open = Vec::new();
        Self { end, open }
    }

    /// PostgreSQL's text form; the first number that was still open is found in the others.
    pub(super) fn to_text(&self) -> String {
        let first_open = self.open.iter().copied().min().unwrap_or(self.end).max(1);
        let open: Vec<String> = self.open.iter().map(u64::to_string).collect();
        format!("{first_open}:{}:{}", self.end.max(1), open.join(","))
    }

    /// The first transaction number that had not been handed out.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether the transaction had ended.
    pub fn includes(&self, xid: u64) -> bool {
        xid < self.end && !self.open.contains(&xid)
    }
}

impl Store {
    /// Which transactions have ended by now, and in which database.
    pub async fn snapshot(&self) -> Result<(Snapshot, Identity), Error> {
        let columns = format!("s, {}chat_identity()", self.prefix);
        let rows = self
            .read_by(&self.vital_pool, &columns, "chat_snapshot() s", &[])
            .await?;
        Ok((parse_snapshot(single(&rows, 0)?)?, identity(&rows, 1)?))
    }

    /// Takes a replica that ends out of the registry.
    pub async fn leave(&self, replica: ReplicaId) -> Result<(), Error> {
        let sql = self.select("*", "chat_leave($1)");
        let params = [(&replica as _, Type::UUID)];
        let left = self.change_by(&self.vital_pool, &sql, &params, self.deadline());
        Ok(left.await.map(drop)?)
    }

    /// One heartbeat through the notification queue, within `patience`; returns where the database that took it is: a horizon that is
    /// flushed.
    pub async fn heartbeat(
        &self,
        replica: ReplicaId,
        beat: i64,
        patience: Duration,
    ) -> Result<(Identity, Horizon), Error> {
        let params = [(&replica as _, Type::UUID), (&beat as _, Type::INT8)];
        let columns = format!("h::text, {}chat_identity()", self.prefix);
        let sql = self.select(&columns, "chat_heartbeat($1, $2) h");
        let deadline = Instant::now() + patience.min(self.timeout);
        self.connect_vital(deadline).await?;
        let beat = self.change_by(&self.vital_pool, &sql, &params, deadline);
        let rows = beat.await?;
        Ok((
            identity(&rows, 1)?,
            Horizon(parse_xid(&single::<String>(&rows, 0)?)?),
        ))
    }
}

pub(super) fn identity(rows: &[Row], column: usize) -> Result<Identity, Error> {
    Ok(Identity(single::<String>(rows, column)?.into()))
}

pub(super) fn parse_snapshot(text: &str) -> Result<Snapshot, Error> {
    Snapshot::parse(text).ok_or_else(|| Error::Internal(format!("not a snapshot: {text:?}").into()))
}

pub(super) fn parse_xid(text: &str) -> Result<u64, Error> {
    text.parse()
        .map_err(|_| Error::Internal(format!("not a transaction number: {text:?}").into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_includes_what_had_ended() {
        let snapshot = Snapshot::parse("10:20:10,14,15").expect("a snapshot");
        let ended: Vec<u64> = (8..22).filter(|xid| snapshot.includes(*xid)).collect();
        assert_eq!(ended, [8, 9, 11, 12, 13, 16, 17, 18, 19]);
        assert!(Snapshot::parse("7:7:").is_some_and(|s| s.includes(6) && !s.includes(7)));
        assert!(Snapshot::parse("7:x:").is_none());
        assert_eq!(snapshot.to_text(), "10:20:10,14,15");
        // Nothing had ended: there is no number below the first.
        assert_eq!(Snapshot::default().to_text(), "1:1:");
    }
}
