//! Transaction numbers of another cluster, in rows that were restored or replicated from it: taken away before this one comes to them.
//!
//! Then the rows would be taken for changes of that day, and be sent to everybody once more (`V7__replay.sql`,
//! `chat_forget_foreign_numbers()`). Mostly there are none, and that takes one look into five indexes.

use std::mem;
use std::time::Duration;

use postgres_types::Type;
use tokio::time::{Instant, sleep};

use super::{Store, column_of, single};
use crate::error::Error;

/// Between two looks. A replica may run while rows arrive.
const INTERVAL: Duration = Duration::from_secs(60);

/// Rows in one transaction at most. Where that fails, triggers of the host's may take long: the next look begins with fewer.
const MOST: i32 = 1000;

/// Messages that keep their numbers in one look at most, where triggers of the host's refuse or drop the change of many: the next look goes
/// on behind them.
const MOST_KEPT: i64 = 10_000;

/// Looks now and then, for as long as it is polled.
pub async fn watch(store: Store) {
    let (mut step, mut step_of_messages, mut passed) = (MOST, MOST, 0);
    loop {
        let forgotten = store.forget_foreign_numbers(step).await;
        step = report(&forgotten, step);
        let forgotten = store
            .forget_foreign_numbers_of_messages(step_of_messages, &mut passed)
            .await;
        step_of_messages = report(&forgotten, step_of_messages);
        sleep(INTERVAL).await;
    }
}

/// Tells in the log what a look has done, in steps of so many rows. Returns how many the next one's have.
fn report(forgotten: &Result<i64, Error>, step: i32) -> i32 {
    match forgotten {
        Ok(forgotten) => {
            if *forgotten > 0 {
                log::info!(
                    "{forgotten} rows had transaction numbers of another cluster, from which they were restored or replicated; these are forgotten"
                );
            }
            MOST
        }
        Err(error) => {
            log::warn!(
                "transaction numbers of another cluster, if rows have any, could not be taken from them: {}",
                error.with_cause()
            );
            (step / 10).max(1)
        }
    }
}

impl Store {
    /// From all rows but messages, in steps, beside the traffic: how many there were. What somebody else has locked is left for another
    /// time.
    async fn forget_foreign_numbers(&self, step: i32) -> Result<i64, Error> {
        let mut forgotten = 0;
        loop {
            let began = Instant::now();
            let call = "chat_forget_foreign_numbers($1)";
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

    /// The same of messages. Those that triggers of the host's let nobody change are passed by, and told of in one warning.
    ///
    /// `passed`: how many of the first are passed by from the beginning, and then by the next look. 0 after a failure, of which they may
    /// have been the cause: to pass by very many takes long.
    async fn forget_foreign_numbers_of_messages(
        &self,
        step: i32,
        passed: &mut i64,
    ) -> Result<i64, Error> {
        let mut behind = mem::take(passed);
        let (mut forgotten, mut kept, mut refusal) = (0, 0, None);
        loop {
            let began = Instant::now();
            let done = self.step_of_messages(step, behind).await?;
            forgotten += done.forgotten;
            kept += done.kept;
            refusal = refusal.or(done.refusal);
            behind += done.chosen - done.forgotten;
            if done.chosen < i64::from(step) {
                break;
            }
            if kept >= MOST_KEPT {
                *passed = behind;
                break;
            }
            // The other half of the time is everybody else's.
            sleep(began.elapsed()).await;
        }
        if kept > 0 {
            log::warn!(
                "{kept} messages keep transaction numbers of another cluster, because a trigger on messages refuses or drops the change: {}",
                refusal.as_deref().unwrap_or("it was dropped")
            );
        }
        Ok(forgotten)
    }

    async fn step_of_messages(&self, step: i32, passed: i64) -> Result<Step, Error> {
        let call = "chat_forget_foreign_numbers_of_messages($1, $2)";
        let params = [(&step as _, Type::INT4), (&passed as _, Type::INT8)];
        let rows = self.change(call, &params).await?;
        Ok(Step {
            chosen: single(&rows, 0)?,
            forgotten: single(&rows, 1)?,
            kept: single(&rows, 2)?,
            refusal: single(&rows, 3)?,
        })
    }
}

/// What `chat_forget_foreign_numbers_of_messages()` has done with so many messages.
struct Step {
    /// Those included that somebody else has locked.
    chosen: i64,
    forgotten: i64,
    /// Triggers of the host's have refused or dropped the change.
    kept: i64,
    /// Why, of one that was refused.
    refusal: Option<String>,
}
