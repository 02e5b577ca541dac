//! Whether a crash of the database may have taken back something that was delivered: PostgreSQL shows a commit before it is
//! flushed, where its session has `synchronous_commit` off.
//!
//! Commits that notify come one after the other, in the order of the queue (each holds the lock of NOTIFY), and are flushed in
//! that order. So a notification with a horizon, which is one of a flushed commit, says that all before it are flushed. What
//! was read from the tables may stand in the queue behind it yet: there only a heartbeat says so that was sent after the reading. Both are
//! heard over the listener's own session, which no crash survives.

use crate::model::Beat;
use crate::position::Incarnation;

#[derive(Default)]
pub(super) struct Unflushed {
    /// Of the database, when all of this was delivered.
    incarnation: Option<Incarnation>,
    /// By the newest notifications.
    told: bool,
    /// From the tables, until this heartbeat is back.
    read: Option<Beat>,
}

impl Unflushed {
    /// A notification of a flushed commit.
    pub fn flushed(&mut self) {
        self.told = false;
    }

    /// Events of a commit that was not flushed.
    pub fn told(&mut self) {
        self.told = true;
    }

    /// Something from the tables that may be younger than what was flushed; `beat`: the heartbeat that is sent next.
    pub fn read(&mut self, beat: Beat) {
        self.read = Some(beat);
    }

    /// A heartbeat has come back.
    pub fn echoed(&mut self, beat: Beat) {
        if self.read.is_some_and(|until| beat >= until) {
            self.read = None;
        }
    }

    /// A session has found the database in this incarnation. Whether a crash lies between, and something is not known to have
    /// survived it; so it stays until [`Unflushed::forget`].
    pub fn may_be_lost_in(&mut self, incarnation: Incarnation) -> bool {
        let crashed = self.incarnation.is_some_and(|former| former != incarnation);
        if crashed && (self.told || self.read.is_some()) {
            return true;
        }
        self.incarnation = Some(incarnation);
        false
    }

    /// Forgets what was delivered: all clients load it anew.
    pub fn forget(&mut self, incarnation: Incarnation) {
        *self = Self {
            incarnation: Some(incarnation),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const FIRST: Incarnation = Incarnation(Uuid::from_u128(1));
    const SECOND: Incarnation = Incarnation(Uuid::from_u128(2));
    const THIRD: Incarnation = Incarnation(Uuid::from_u128(3));

    fn started() -> Unflushed {
        let mut unflushed = Unflushed::default();
        assert!(!unflushed.may_be_lost_in(FIRST), "nothing was delivered");
        unflushed
    }

    #[test]
    fn what_was_flushed_survives_a_crash() {
        let mut unflushed = started();
        unflushed.told();
        unflushed.flushed();
        assert!(!unflushed.may_be_lost_in(SECOND));
        // That crash is over and done with.
        unflushed.told();
        assert!(!unflushed.may_be_lost_in(SECOND));
    }

    #[test]
    fn what_was_not_flushed_may_be_lost_by_a_crash_and_by_nothing_else() {
        let mut unflushed = started();
        unflushed.told();
        assert!(
            !unflushed.may_be_lost_in(FIRST),
            "only the connection broke"
        );
        assert!(unflushed.may_be_lost_in(SECOND));
        assert!(
            unflushed.may_be_lost_in(SECOND),
            "clients were not told yet"
        );
        unflushed.forget(SECOND);
        assert!(!unflushed.may_be_lost_in(SECOND));
        assert!(!unflushed.may_be_lost_in(THIRD));
    }

    #[test]
    fn what_was_read_is_flushed_with_the_next_heartbeat_and_not_with_what_the_queue_still_holds() {
        let mut unflushed = started();
        unflushed.read(Beat(7));
        unflushed.flushed();
        unflushed.echoed(Beat(6));
        assert!(unflushed.may_be_lost_in(SECOND));
        unflushed.echoed(Beat(7));
        assert!(!unflushed.may_be_lost_in(SECOND));
    }
}
