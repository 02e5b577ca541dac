//! Changes of rows that somebody else may hold: another program in an open transaction, for as long as it likes.
//!
//! Their functions wait 0.1 s for such a row (`lock_timeout`, `V5__send.sql`) and are then tried again, until the deadline of
//! a statement. Between two tries they have no connection, and those who wait for the same row share one turn. So however
//! many wait, most of the pool is left to everybody else. Of the tries one user has a part only: whose changes take long, for
//! whatever reason, delays the others by little.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::admission::{FairSemaphore, Head, KeyedLines, Permit, Place, Turns};
use super::failure::QueryFailure;
use crate::error::Error;
use crate::limits::Holder;
use crate::model::UserId;

/// Between two tries for a row that is held; doubled up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Tries at a time for rows that are known to be held.
pub(super) const RETRIES: usize = 1;

/// Resolves when nobody waits for the answer any more.
pub struct Gone<'a>(Option<Pin<&'a mut (dyn Future<Output = ()> + Send)>>);

impl<'a> Gone<'a> {
    /// When `gone` resolves.
    pub fn when(gone: Pin<&'a mut (dyn Future<Output = ()> + Send)>) -> Self {
        Self(Some(gone))
    }

    /// For what is wanted whoever waits, or whose caller takes the future along.
    pub fn never() -> Self {
        Self(None)
    }

    pub(super) fn as_mut(&mut self) -> Gone<'_> {
        match &mut self.0 {
            Some(gone) => Gone::when(gone.as_mut()),
            None => Gone::never(),
        }
    }
}

impl Future for Gone<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(gone) => gone.as_mut().poll(context),
            None => Poll::Pending,
        }
    }
}

/// Why a change is not tried again: whoever wanted it has gone. They may have repeated it elsewhere and changed it again since: made now,
/// it would undo that.
#[derive(Debug)]
pub(super) struct CallerGone;

impl From<CallerGone> for Error {
    fn from(_: CallerGone) -> Self {
        Self::unavailable("the caller has gone")
    }
}

/// Who may try when. What a row is told by is the caller's: of two that share an id by chance, one waits for the other.
pub(super) struct HeldRows {
    /// For rows of which nothing is known.
    tries: Turns,
    /// For rows that are known to be held.
    retries: FairSemaphore,
    /// Those who wait for a row that is held; one of each row is tried for.
    queues: KeyedLines<Uuid>,
}

/// One change, until it has been made or given up.
pub(super) struct Attempts<'a> {
    rows: &'a HeldRows,
    /// In whose name it is made: whose turn it is to try.
    user: UserId,
    /// Where the user's own line need not be waited in before the first try.
    head: Option<Head>,
    row: Uuid,
    place: Option<Place<Uuid>>,
    /// At the head of that queue.
    turn: Option<OwnedSemaphorePermit>,
    pause: Duration,
}

impl HeldRows {
    /// With these tries for rows of which nothing is known, beside [`RETRIES`].
    pub fn new(tries: Turns) -> Self {
        Self {
            tries,
            retries: FairSemaphore::new(RETRIES, 1),
            queues: KeyedLines::new(1),
        }
    }

    /// Tries of this user to change this row, one after the other.
    pub fn attempts(&self, user: UserId, row: Uuid) -> Attempts<'_> {
        Attempts {
            rows: self,
            user,
            head: None,
            row,
            place: None,
            turn: None,
            pause: Duration::ZERO,
        }
    }

    /// The head of this user's own line, for a change that is made together with those of others, or tried from there. As for a try
    /// ([`Attempts::next`]), nobody waits whose caller has gone.
    pub async fn head(&self, user: UserId, gone: Gone<'_>) -> Result<Head, CallerGone> {
        unless_gone(self.tries.line().head(Holder::User(user)), gone).await
    }

    /// A try for changes of several users, who are all at the head of their own line. To be held as that of one.
    pub async fn try_of_several(&self) -> OwnedSemaphorePermit {
        self.tries.line().common().await
    }

    /// How many wait for their first try. Those who wait for a row that is held are not among them: more connections would not help them.
    pub fn waiting(&self) -> (&'static str, usize) {
        self.tries.waiting()
    }

    /// Why a change was not made whose turn did not come in time.
    pub fn no_turn(&self) -> Error {
        self.tries.refused()
    }

    /// Whether it is known to be held.
    pub fn is_waited_for(&self, row: Uuid) -> bool {
        self.queues.contains(row)
    }
}

impl Attempts<'_> {
    /// The first of them from the head of the user's own line.
    pub fn starting_at(mut self, head: Option<Head>) -> Self {
        self.head = head;
        self
    }

    /// When the change may be tried, again or for the first time. The permit is to be held until the statement has ended, though whoever
    /// waits for it goes.
    ///
    /// Nobody waits whose caller has gone, neither for a row that is held nor for a try. A first try that need not wait is made all the
    /// same: whoever marks something as read and leaves has marked it.
    pub async fn next(&mut self, mut gone: Gone<'_>) -> Result<Permit, CallerGone> {
        if self.place.is_none() {
            let permit = self.first(gone.as_mut()).await?;
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

    /// A try as for a row of which nothing is known.
    async fn first(&mut self, gone: Gone<'_>) -> Result<Permit, CallerGone> {
        let (head, rows, holder) = (self.head.take(), self.rows, Holder::User(self.user));
        let permit = async {
            let head = match head {
                Some(head) => head,
                None => rows.tries.line().head(holder).await,
            };
            head.permit().await
        };
        unless_gone(permit, gone).await
    }

    /// When its turn at the row has come, and the pause is over.
    async fn retry(&mut self) -> Permit {
        let place = self
            .place
            .get_or_insert_with(|| self.rows.queues.place(self.row));
        if self.turn.is_none() {
            self.turn = Some(place.head().await);
        }
        tokio::time::sleep(self.pause).await;
        let head = self.rows.retries.head(Holder::User(self.user)).await;
        head.permit().await
    }

    /// The row is held.
    pub fn failed(&mut self) {
        self.pause = (self.pause * 2).clamp(FIRST_PAUSE, MAX_PAUSE);
        self.place
            .get_or_insert_with(|| self.rows.queues.place(self.row));
    }

    /// Why it was not made, where [`next`](Self::next) did not come in time: the row was held until then, or others' changes, or the
    /// user's own, took too long.
    pub fn given_up(&self) -> Error {
        if self.place.is_some() {
            return QueryFailure::held().into();
        }
        self.rows.no_turn()
    }
}

/// What comes at once, or until the caller has gone.
async fn unless_gone<T>(coming: impl Future<Output = T>, gone: Gone<'_>) -> Result<T, CallerGone> {
    let mut coming = pin!(coming);
    if let Some(come) = coming.as_mut().now_or_never() {
        return Ok(come);
    }
    tokio::select! {
        biased;
        () = gone => Err(CallerGone),
        come = coming => Ok(come),
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    const ROW: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn of(user: u128) -> UserId {
        UserId(Uuid::from_u128(user))
    }

    /// Three tries at a time, one of each user.
    fn three() -> HeldRows {
        with_tries(3, 1)
    }

    fn with_tries(tries: usize, each: usize) -> HeldRows {
        let patience = Duration::from_secs(10);
        HeldRows::new(Turns::new("changes", REFUSAL, patience, (tries, each)))
    }

    const REFUSAL: &str = "other changes take too long: try again";

    /// A first try of this user, at a row that nobody waits for.
    fn at_once(rows: &HeldRows, user: u128) -> Option<Permit> {
        let mut attempts = rows.attempts(of(user), OTHER);
        let next = attempts.next(Gone::never()).now_or_never();
        next.map(|permit| permit.expect("nobody goes"))
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_for_a_row_leave_room_for_others_and_nothing_behind() {
        let rows = three();
        let mut first = rows.attempts(of(1), ROW);
        drop(first.next(Gone::never()).await.expect("a try"));
        first.failed();
        let mut second = rows.attempts(of(2), ROW);
        let retry = first.next(Gone::never()).await.expect("another try");
        // It waits in the queue, and neither for a permit nor with one.
        let waited =
            tokio::time::timeout(Duration::from_secs(60), second.next(Gone::never())).await;
        assert!(waited.is_err(), "two try at a row that is held");
        let tries = [1, 2, 3].map(|user| at_once(&rows, user));
        assert!(tries.iter().all(Option::is_some));
        drop((retry, first, tries));
        let retry = second.next(Gone::never()).await.expect("its turn");
        drop((retry, second));
        assert_eq!(rows.queues.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_gone_tries_once_and_not_for_a_row_that_is_held() {
        let rows = three();
        let mut first = rows.attempts(of(1), ROW);
        drop(
            first
                .next(Gone::when(pin!(ready(()))))
                .await
                .expect("a try"),
        );
        first.failed();
        let again = first.next(Gone::when(pin!(ready(())))).await;
        assert!(again.is_err());
        let mut second = rows.attempts(of(1), ROW);
        let behind = second.next(Gone::when(pin!(ready(())))).await;
        assert!(behind.is_err());
        // Others change other rows, and take long.
        let _all = [2, 3, 4].map(|user| at_once(&rows, user));
        let mut third = rows.attempts(of(1), OTHER);
        let crowded = third.next(Gone::when(pin!(ready(())))).await;
        assert!(crowded.is_err());
        drop((first, second, third));
        assert_eq!(rows.queues.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn of_the_tries_a_user_has_a_part_and_the_next_one_waits_and_is_told_why_in_vain() {
        let rows = with_tries(4, 2);
        let hers = [at_once(&rows, 1), at_once(&rows, 1)];
        assert!(hers.iter().all(Option::is_some));
        let mut third = rows.attempts(of(1), ROW);
        let patience = Duration::from_secs(10);
        let in_vain = tokio::time::timeout(patience, third.next(Gone::never())).await;
        assert!(in_vain.is_err(), "a third of hers has its turn");
        let Error::Unavailable { message, .. } = third.given_up() else {
            panic!("another error");
        };
        assert_eq!(message, REFUSAL);
        let others = [at_once(&rows, 2), at_once(&rows, 3)];
        assert!(others.iter().all(Option::is_some));
        let mut waits = rows.attempts(of(4), ROW);
        let mut waits = pin!(waits.next(Gone::never()));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(rows.waiting(), ("changes", 1));
        // It is the next that comes free, however long hers wait.
        let mut hers_wait = pin!(third.next(Gone::never()));
        assert!(hers_wait.as_mut().now_or_never().is_none());
        drop(hers);
        assert!(waits.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_row_that_is_held_is_told_that_it_is() {
        let rows = three();
        let mut attempts = rows.attempts(of(1), ROW);
        drop(attempts.next(Gone::never()).await.expect("a try"));
        attempts.failed();
        let Error::Unavailable { message, .. } = attempts.given_up() else {
            panic!("another error");
        };
        let held: Error = QueryFailure::held().into();
        assert_eq!(message, held.to_string());
    }
}
