//! Where the database is, as the listener has found it: for sockets that begin, and for those who read what clients missed.

use super::Hub;
use crate::position::{Cursor, Horizon, Identity, Incarnation};

/// What the listener has found.
#[derive(Default)]
pub(super) struct Database {
    /// What has been delivered so far.
    pub position: Option<Cursor>,
    /// Both as they were when the listener connected last.
    incarnation: Option<Incarnation>,
    is_torn: bool,
}

impl Hub {
    /// The position that everything delivered so far has reached; `None` before the first start.
    pub fn position(&self) -> Option<Cursor> {
        self.lock().database.position.clone()
    }

    /// Begins at a position of another database or timeline, or at the first one.
    pub fn start_at(&self, position: Cursor) {
        self.lock().database.position = Some(position);
    }

    /// Moves the horizon forward; it never moves back.
    pub fn advance(&self, identity: &Identity, horizon: Horizon) -> Horizon {
        let mut state = self.lock();
        match &mut state.database.position {
            Some(position) if position.identity == *identity => {
                position.horizon = position.horizon.max(horizon);
                position.horizon
            }
            _ => horizon,
        }
    }

    /// The database's incarnation, as the listener found it when it connected last; `None` before.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.lock().database.incarnation
    }

    pub fn set_incarnation(&self, incarnation: Incarnation) {
        self.lock().database.incarnation = Some(incarnation);
    }

    /// Whether the listener is at another server than what is read: what clients missed is known to neither.
    pub fn is_torn(&self) -> bool {
        self.lock().database.is_torn
    }

    pub fn set_torn(&self, is_torn: bool) {
        self.lock().database.is_torn = is_torn;
    }
}
