//! Transaction numbers of another cluster, in rows that were restored or replicated from it: taken away before this one comes to them.
//!
//! Then the rows would be taken for changes of that day, and be sent to everybody once more (`V7__replay.sql`,
//! `chat_forget_foreign_numbers()`). Mostly there are none, and that takes one look into five indexes.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Store, column_of};
use crate::error::Error;

/// Between two looks. A replica may run while rows arrive.
const INTERVAL: Duration = Duration::from_secs(60);

/// Rows in one transaction at most. Where that fails, triggers of the host's may take long: the next look begins with fewer.
const MOST: i64 = 1000;

/// Both take a number of rows, and return that of those that they have changed.
const FUNCTIONS: [&str; 2] = [
    "chat_forget_foreign_numbers",
    "chat_forget_foreign_numbers_of_messages",
];

/// Looks now and then, until `stopping`.
pub async fn watch(store: Store, stopping: CancellationToken) {
    let watch = async {
        let mut steps = FUNCTIONS.map(|_| MOST);
        loop {
            for (function, step) in FUNCTIONS.into_iter().zip(&mut steps) {
                match store.forget_foreign_numbers(function, *step).await {
                    Ok(forgotten) => {
                        *step = MOST;
                        if forgotten > 0 {
                            log::info!(
                                "{forgotten} rows had transaction numbers of another cluster, from which they were restored or replicated; these are forgotten"
                            );
                        }
                    }
                    Err(error) => {
                        *step = (*step / 10).max(1);
                        log::warn!(
                            "transaction numbers of another cluster, if rows have any, could not be taken from them by {function}(): {}",
                            error.with_cause()
                        );
                    }
                }
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
    /// From all rows, in steps, beside the traffic: how many there were. What somebody else has locked is left for another time.
    async fn forget_foreign_numbers(&self, function: &str, step: i64) -> Result<i64, Error> {
        let call = format!("{function}({step})");
        let mut forgotten = 0;
        loop {
            let began = Instant::now();
            let rows = self.change(&call, &[]).await?;
            let changed: i64 = rows.first().map_or(Ok(0), |row| column_of(row, 0))?;
            forgotten += changed;
            if changed < step {
                return Ok(forgotten);
            }
            // The other half of the time is everybody else's.
            sleep(began.elapsed()).await;
        }
    }
}
