//! The beginning of a session: its first frame, and what the client missed.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use log::Level;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::Message;

use super::sending::{ended, interrupted};
use super::{Incoming, Session, hold_back};
use crate::error::Error;
use crate::limits::{FRAMES_OF_A_REPLAY, SMALL};
use crate::logging::Repeats;
use crate::replay::{ReplayTurn, Resume};
use crate::schema::frames::{Connected, Limits};
use crate::until::until;
use crate::ws::close::CloseReason;
use crate::ws::in_flight;

/// Frames that a client may send before it is greeted and that are kept: as many as may be in flight afterwards.
const EARLY_FRAMES: usize = in_flight::LIMIT;

/// The bytes of all of them but the last, which counts as what is on its way in does.
const EARLY_BYTES: usize = SMALL;

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    /// The first frame, and what the client missed. The socket is registered already, so its queue collects what
    /// happens meanwhile.
    pub(super) async fn greet(&mut self, cursor: Option<String>) -> Result<(), CloseReason> {
        let resume = match &cursor {
            Some(cursor) => Some(self.resume(cursor).await?),
            None => None,
        };
        let live;
        let (cursor, resumed) = match (&cursor, &resume) {
            (Some(given), Some(Resume::Missed(_))) => (given, true),
            // Not the cursor of the resync: a client that keeps the cursor of `connected`, and breaks off before it has
            // reloaded, must be told to reload again.
            (Some(given), _) => (given, false),
            (None, _) => {
                live = self.subscription.cursor();
                (&live, false)
            }
        };
        let config = &self.services.config;
        let connected = self.frames().connected(&Connected {
            connection_id: self.subscription.connection_id(),
            replica_id: self.services.replica_id,
            heartbeat_seconds: config.timeouts.heartbeat.as_secs(),
            cursor,
            resumed,
            limits: Limits {
                max_message_bytes: config.limits.message_bytes,
                max_watched_users: config.limits.watched_users,
                typing_seconds: config.timeouts.typing.as_secs(),
            },
            search: config.search_language.is_some(),
            directory: self.caller.lists_users(config.lists_users_to_users),
        });
        self.feed(connected).await?;
        match resume {
            Some(Resume::Missed(mut missed)) => {
                let unsent = std::mem::take(&mut missed.unsent);
                let (id, user, frames) = (
                    self.subscription.connection_id(),
                    self.user,
                    unsent.frames.len(),
                );
                log::debug!(connectionId:% = id, userId:% = user, frames = frames; "socket {id} of user {user}: resumed, {frames} frames that it missed");
                for frame in unsent.frames {
                    self.feed(frame).await?;
                }
                self.replayed = Some(Box::new(missed));
            }
            Some(Resume::ResyncRequired { reason, cursor }) => {
                let frame = self.frames().resync_required(reason, &cursor);
                self.feed(frame).await?;
            }
            None => {}
        }
        self.flush().await
    }

    async fn resume(&mut self, cursor: &str) -> Result<Resume, CloseReason> {
        let turn = self.wait_for_turn().await?;
        let services = Arc::clone(&self.services);
        let resumed = tokio::select! {
            biased;
            reason = ended(&services, &self.closing, &self.expiry) => return Err(reason),
            // Though its queue runs over meanwhile: with what is read here, it goes on from there when it comes back.
            resumed = services.replay.resume(turn, cursor) => resumed,
        };
        resumed.map_err(|error| self.replay_failed(&error))
    }

    /// Waits until the user's frames are counted and for the turn to be read for, unless the client goes before it comes.
    async fn wait_for_turn(&mut self) -> Result<ReplayTurn, CloseReason> {
        let (services, user) = (Arc::clone(&self.services), self.user);
        let counted = services.frame_limiter.counted(user, FRAMES_OF_A_REPLAY);
        let turn = tokio::select! {
            biased;
            reason = self.watch() => return Err(reason),
            turn = services.replay.acquire(user, counted) => turn,
        };
        turn.map_err(|error| self.replay_failed(&error))
    }

    fn replay_failed(&self, error: &Error) -> CloseReason {
        static LINES: Repeats = Repeats::new(module_path!());
        let (id, user) = (self.subscription.connection_id(), self.user);
        let error = error.with_cause();
        // When the database is gone, thousands come back at once.
        let (level, left_out) = LINES.next(Level::Warn);
        log::log!(level, connectionId:% = id, userId:% = user; "socket {id} of user {user}: replay failed: {error}{left_out}");
        CloseReason::Overloaded
    }

    /// Resolves when nobody waits for the greeting any more, or when the session ends for another reason. What the client sends
    /// meanwhile is kept for [`Session::serve`], as much of it as [`EARLY_FRAMES`] and [`EARLY_BYTES`]; behind that it is not
    /// read, so that TCP holds it back, and its going is not seen. Frames count for their limit as they do later.
    pub(super) async fn watch(&mut self) -> CloseReason {
        let Self {
            services,
            user,
            stream,
            subscription,
            expiry,
            held_back,
            uncounted,
            early,
            closing,
            ..
        } = self;
        let mut interrupted = pin!(interrupted(services, subscription, closing, expiry));
        let mut kept = 0;
        loop {
            let few = early
                .as_ref()
                .is_none_or(|early| early.0.len() < EARLY_FRAMES);
            let keeps = few && kept < EARLY_BYTES;
            tokio::select! {
                frame = stream.next(), if keeps && held_back.is_none() => match frame {
                    None => return CloseReason::Lost("end of stream".to_owned()),
                    Some(Err(error)) => return error.into(),
                    Some(Ok(Message::Close(frame))) => return CloseReason::closed_by_client(frame),
                    // The protocol's own code answers pings at the next look.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                    Some(Ok(message)) => {
                        kept += message.len();
                        let incoming = Incoming::of(message, stream);
                        early.get_or_insert_default().0.push_back(incoming);
                    }
                },
                reason = &mut interrupted => return reason,
                () = until(*held_back), if held_back.is_some() => {}
            }
            let came = stream.get_mut().take_frames();
            *held_back = hold_back(&services.frame_limiter, *user, came, uncounted);
        }
    }
}
