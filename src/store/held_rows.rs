//! Changes of rows that somebody else may hold: another program in an open transaction, for as long as it likes.
//!
//! Their functions wait 0.1 s for such a row (`lock_timeout`, `V5__send.sql`) and are then tried again, until the deadline of
//! a statement. Between two tries they have no connection, and those who wait for the same row share one turn. So however
//! many wait, most of the pool is left to everybody else.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::sync::{acquire_owned, lock};

/// Between two tries for a row that is held; doubled up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Tries at a time for rows that are known to be held.
pub(super) const RETRIES: usize = 1;

/// Resolves when nobody waits for the answer any more.
pub type Gone<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// Why a change is not tried again: whoever wanted it has gone. They may have repeated it elsewhere and changed it again since: made now,
/// it would undo that.
#[derive(Debug)]
pub(super) struct CallerGone;

/// Who may try when. What a row is told by is the caller's: of two that share an id by chance, one waits for the other.
pub(super) struct HeldRows {
    /// For rows of which nothing is known.
    tries: Arc<Semaphore>,
    /// For rows that are known to be held.
    retries: Arc<Semaphore>,
    /// The queue at each row that somebody waits for. A std mutex: held to look a row up.
    queues: Mutex<HashMap<Uuid, Arc<Semaphore>>>,
}

/// One change, until it has been made or given up.
pub(super) struct Attempts<'a> {
    rows: &'a HeldRows,
    row: Uuid,
    place: Option<Place<'a>>,
    pause: Duration,
}

/// A place in the queue at a row that is held.
struct Place<'a> {
    rows: &'a HeldRows,
    row: Uuid,
    queue: Arc<Semaphore>,
    /// At its head.
    turn: Option<OwnedSemaphorePermit>,
}

impl HeldRows {
    /// With so many tries at a time for rows of which nothing is known, beside [`RETRIES`].
    pub fn new(tries: usize) -> Self {
        Self {
            tries: Arc::new(Semaphore::new(tries)),
            retries: Arc::new(Semaphore::new(RETRIES)),
            queues: Mutex::default(),
        }
    }

    /// Tries to change this row, one after the other.
    pub fn attempts(&self, row: Uuid) -> Attempts<'_> {
        Attempts {
            rows: self,
            row,
            place: None,
            pause: Duration::ZERO,
        }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Semaphore>>> {
        lock(&self.queues)
    }

    fn is_waited_for(&self, row: Uuid) -> bool {
        self.queues().contains_key(&row)
    }

    fn queue_up(&self, row: Uuid) -> Place<'_> {
        let queue = Arc::clone(
            self.queues()
                .entry(row)
                .or_insert_with(|| Arc::new(Semaphore::new(1))),
        );
        Place {
            rows: self,
            row,
            queue,
            turn: None,
        }
    }
}

impl Attempts<'_> {
    /// When the change may be tried, again or for the first time. The permit is to be held until the statement has ended, though whoever
    /// waits for it goes.
    ///
    /// Nobody waits whose caller has gone, neither for a row that is held nor for a try. A first try that need not wait is made all the
    /// same: whoever marks something as read and leaves has marked it.
    pub async fn next(&mut self, mut gone: Gone<'_>) -> Result<OwnedSemaphorePermit, CallerGone> {
        if self.place.is_none() {
            let tries = &self.rows.tries;
            let permit = match Arc::clone(tries).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => tokio::select! {
                    biased;
                    () = gone.as_mut() => return Err(CallerGone),
                    permit = acquire_owned(Arc::clone(tries)) => permit,
                },
            };
            if !self.rows.is_waited_for(self.row) {
                return Ok(permit);
            }
        }
        tokio::select! {
            biased;
            () = gone => Err(CallerGone),
            permit = self.retry() => Ok(permit),
        }
    }

    /// When its turn at the row has come, and the pause is over.
    async fn retry(&mut self) -> OwnedSemaphorePermit {
        let place = self
            .place
            .get_or_insert_with(|| self.rows.queue_up(self.row));
        if place.turn.is_none() {
            place.turn = Some(acquire_owned(Arc::clone(&place.queue)).await);
        }
        tokio::time::sleep(self.pause).await;
        acquire_owned(Arc::clone(&self.rows.retries)).await
    }

    /// The row is held.
    pub fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
        if self.place.is_none() {
            self.place = Some(self.rows.queue_up(self.row));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queues = self.rows.queues();
        self.turn = None;
        // The map's and this one's: nobody else waits. Others come by the map only, which is locked.
        if Arc::strong_count(&self.queue) == 2 {
            queues.remove(&self.row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use super::*;

    macro_rules! nobody_goes {
        () => {
            pin!(pending())
        };
    }

    const ROW: Uuid = Uuid::from_u128(1);

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_for_a_row_leave_room_for_others_and_nothing_behind() {
        let rows = HeldRows::new(3);
        let mut first = rows.attempts(ROW);
        drop(first.next(nobody_goes!()).await.expect("a try"));
        first.failed();
        let mut second = rows.attempts(ROW);
        let retry = first.next(nobody_goes!()).await.expect("another try");
        // It waits in the queue, and neither for a permit nor with one.
        let waited =
            tokio::time::timeout(Duration::from_secs(60), second.next(nobody_goes!())).await;
        assert!(waited.is_err(), "two try at a row that is held");
        assert_eq!(rows.tries.available_permits(), 3);
        let other = rows.attempts(Uuid::from_u128(2)).next(nobody_goes!()).await;
        assert!(other.is_ok());
        drop((retry, first));
        let retry = second.next(nobody_goes!()).await.expect("its turn");
        drop((retry, second));
        assert!(rows.queues().is_empty());
    }
    #[tokio::test(start_paused = true)]
    async fn whoever_has_gone_tries_once_and_not_for_a_row_that_is_held() {
        let rows = HeldRows::new(3);
        let mut first = rows.attempts(ROW);
        drop(first.next(pin!(ready(()))).await.expect("a try"));
        first.failed();
        let again = first.next(pin!(ready(()))).await;
        assert!(again.is_err());
        let mut second = rows.attempts(ROW);
        let behind = second.next(pin!(ready(()))).await;
        assert!(behind.is_err());
        // Others change other rows, and take long.
        let _all = rows.tries.acquire_many(3).await;
        let mut third = rows.attempts(Uuid::from_u128(2));
        let crowded = third.next(pin!(ready(()))).await;
        assert!(crowded.is_err());
        drop((first, second, third));
        assert!(rows.queues().is_empty());
    }
}
