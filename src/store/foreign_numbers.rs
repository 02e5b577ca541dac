//! Transaction numbers of another cluster, in rows that were restored or replicated from it: taken away before this one comes to them.
//!
//! Then the rows would be taken for changes of that day, and be sent to everybody once more (`V7__replay.sql`,
//! `chat_forget_foreign_numbers()`). Mostly there are none, and that takes one look into five indexes.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Store, column_of};
use crate::error::Error;

/// Between two looks. A replica may run while rows arrive.
const INTERVAL: Duration = Duration::from_secs(60);

/// Rows of each table in one transaction.
const STEP: i64 = 1000;

/// Looks now and then, until `stopping`.
pub async fn watch(store: Store, stopping: CancellationToken) {
    let watch = async {
        loop {
            match store.forget_foreign_numbers().await {
                Ok(0) => {}
                Ok(rows) => log::info!(
                    "{rows} rows had transaction numbers of another cluster, from which they were restored or replicated; these are forgotten"
                ),
                Err(error) => log::warn!(
                    "whether rows have transaction numbers of another cluster was not found out, and is looked at again: {}",
                    error.with_cause()
                ),
            }
            sleep(INTERVAL).await;
        }
    };
    tokio::select! {
        () = watch => {}
        () = stopping.cancelled() => {}
    }
}

impl Store {
    /// All that are there, in steps, beside the traffic: how many rows. What somebody else has locked is left for another time.
    async fn forget_foreign_numbers(&self) -> Result<i64, Error> {
        let call = format!("chat_forget_foreign_numbers({STEP})");
        let mut forgotten = 0;
        loop {
            let rows = self.change(&call, &[]).await?;
            let step: i64 = rows.first().map_or(Ok(0), |row| column_of(row, 0))?;
            forgotten += step;
            if step < STEP {
                return Ok(forgotten);
            }
        }
    }
}
