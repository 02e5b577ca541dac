//! What has happened to a user since a cursor, as it was read, and as an answer over HTTP tells it.

use crate::frame::{EventType, Frame, FrameType};
use crate::model::{UnixSeconds, UserId};
use crate::position::{Cursor, Incarnation, Snapshot};
use crate::schema::frames::ResyncRequired;
use crate::store::Change;

/// What has happened to a user since a cursor.
pub(super) enum Told {
    Since(Since),
    /// The client must reload over HTTP, then go on with `cursor`.
    ResyncRequired {
        reason: &'static str,
        cursor: String,
    },
}

/// Everything at or above a cursor, in the order in which it may be told.
pub(super) struct Since {
    pub asked: Cursor,
    /// Where whoever has been told all of it is.
    pub reached: Cursor,
    pub changes: Vec<Change>,
    /// What had ended when it was read.
    pub snapshot: Snapshot,
    /// The listener's, before it was read.
    pub incarnation: Option<Incarnation>,
}

/// What a caller without a socket is told.
pub struct CaughtUp {
    /// Frames without a cursor: what a socket would be sent that comes back with the same cursor, `resync_required` alone where the caller must
    /// reload.
    pub events: Vec<Frame>,
    /// Where the caller is once all of that is done.
    pub cursor: String,
}

impl Told {
    /// As an answer to `user` tells it.
    pub fn listed(self, user: UserId) -> CaughtUp {
        let now = UnixSeconds::now();
        match self {
            Self::Since(since) => since.listed(now),
            Self::ResyncRequired { reason, cursor } => {
                let data = ResyncRequired { reason };
                let kind = FrameType::ResyncRequired;
                CaughtUp {
                    events: vec![Frame::serialized(kind, &data, user, now, None)],
                    cursor,
                }
            }
        }
    }
}

impl Since {
    fn listed(self, now: UnixSeconds) -> CaughtUp {
        // One after the other is let go, so that the data is not there twice.
        let frames = self.changes.into_iter().map(|change| {
            let event_type = EventType::named(&change.event_type);
            Frame::relayed(event_type, &change.data, change.user, now, None)
        });
        CaughtUp {
            events: frames.collect(),
            cursor: self.reached.encode(),
        }
    }
}
