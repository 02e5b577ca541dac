//! Transaction numbers of another cluster, in rows that were restored or replicated from it: taken away before this one comes to them.
//!
//! Then the rows would be taken for changes of that day, and be sent to everybody once more (`V7__replay.sql`,
//! `chat_forget_foreign_numbers()`). Mostly there are none, and that takes one look into five indexes.

use std::time::Duration;

use postgres_types::Type;
use tokio::time::{Instant, sleep};

use super::{Store, column_of};
use crate::error::Error;

/// Between two looks. A replica may run while rows arrive.
const INTERVAL: Duration = Duration::from_secs(60);

/// Rows in one transaction at most. Where that fails, triggers of the host's may take long: the next look begins with fewer.
const MOST: i32 = 1000;

/// Both take a number of rows, and return that of those that they have changed.
const CALLS: [&str; 2] = [
    "chat_forget_foreign_numbers($1)",
    "chat_forget_foreign_numbers_of_messages($1)",
];

/// Looks now and then, for as long as it is polled.
pub async fn watch(store: Store) {
    let watch = async {
        let mut steps = CALLS.map(|_| MOST);
        loop {
            for (call, step) in CALLS.into_iter().zip(&mut steps) {
                match store.forget_foreign_numbers(call, *step).await {
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
                            "transaction numbers of another cluster, if rows have any, could not be taken from them by {call}: {}",
                            error.with_cause()
                        );
                    }
                }
            }
            sleep(INTERVAL).await;
        }
    };
    watch.await;
}

impl Store {
    /// From all rows, in steps, beside the traffic: how many there were. What somebody else has locked is left for another time.
    async fn forget_foreign_numbers(&self, call: &str, step: i32) -> Result<i64, Error> {
        let mut forgotten = 0;
        loop {
            let began = Instant::now();
            let rows = self.change(call, &[(&step, Type::INT4)]).await?;
            let changed: i64 = rows.first().map_or(Ok(0), |row| column_of(row, 0))?;
            forgotten += changed;
            if changed < i64::from(step) {
                return Ok(forgotten);
            }
            // The other half of the time is everybody else's.
            sleep(began.elapsed()).await;
        }
    }
}
