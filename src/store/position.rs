//! Where the database is: asked for, and as heartbeats tell of it.

use std::time::Duration;

use postgres_types::Type;
use tokio::time::Instant;
use tokio_postgres::Row;

use super::{Statement, Store, single};
use crate::error::Error;
use crate::model::{Beat, ReplicaId};
use crate::position::{Horizon, Identity, Snapshot, Xid};

impl Store {
    /// Which transactions have ended by now, and in which database.
    pub async fn snapshot(&self) -> Result<(Snapshot, Identity), Error> {
        let columns = format!("s, {}chat_identity()", self.shared.prefix);
        let statement = self.select(&columns, "chat_snapshot() s", &[]);
        let rows = self.read_on(&self.shared.vital_pool, &statement).await?;
        Ok((parse_snapshot(single(&rows, 0)?)?, identity(&rows, 1)?))
    }

    /// Takes a replica that ends out of the registry.
    pub async fn leave(&self, replica: ReplicaId) -> Result<(), Error> {
        let params = [(&replica as _, Type::UUID)];
        let statement = self.select("*", "chat_leave($1)", &params);
        let left = self.change_on(&self.shared.vital_pool, &statement).await;
        Ok(left.map(drop)?)
    }

    /// One heartbeat through the notification queue, within `patience`; returns where the database that took it is: a horizon that is
    /// flushed. Without a number it is one that nobody waits for.
    pub async fn heartbeat(
        &self,
        replica: ReplicaId,
        beat: Option<Beat>,
        patience: Duration,
    ) -> Result<(Identity, Horizon), Error> {
        let number = beat.map_or(0, |Beat(number)| number);
        let params = [(&replica as _, Type::UUID), (&number as _, Type::INT8)];
        let columns = format!("h::text, {}chat_identity()", self.shared.prefix);
        let statement = Statement {
            deadline: Instant::now() + patience.min(self.shared.timeout),
            ..self.select_telling(&columns, "chat_heartbeat($1, $2) h", &params)
        };
        self.connect_vital(statement.deadline).await?;
        let rows = self.change_on(&self.shared.vital_pool, &statement).await?;
        Ok((
            identity(&rows, 1)?,
            Horizon(xid(&single::<String>(&rows, 0)?)?),
        ))
    }
}

pub(super) fn identity(rows: &[Row], column: usize) -> Result<Identity, Error> {
    Ok(Identity(single::<String>(rows, column)?.into()))
}

pub(super) fn parse_snapshot(text: &str) -> Result<Snapshot, Error> {
    Snapshot::parse(text).ok_or_else(|| Error::Internal(format!("not a snapshot: {text:?}").into()))
}

pub(super) fn xid(text: &str) -> Result<Xid, Error> {
    text.parse()
        .map_err(|_| Error::Internal(format!("not a transaction number: {text:?}").into()))
}
