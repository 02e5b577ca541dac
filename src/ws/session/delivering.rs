//! What the hub has for a socket, and what of it a replay has sent already.

use tokio::io::{AsyncRead, AsyncWrite};

use super::Session;
use crate::frame::Frame;
use crate::hub::{Delivery, Event, Novelty, Resync, Subject};
use crate::model::UnixMicros;
use crate::replay::Missed;
use crate::ws::close::CloseReason;

/// Events that are sent before the client's frames get a turn again.
pub(super) const BATCH: usize = 128;

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    pub(super) async fn deliver(&mut self, first: Delivery) -> Result<(), CloseReason> {
        // One look at the clock for all that goes out with the same flush.
        let now = UnixMicros::now();
        let mut delivery = first;
        for place in 1.. {
            match delivery {
                Delivery::Event(event) => {
                    if let Some(frame) = self.frame_of(&event) {
                        self.feed(frame).await?;
                        self.trace(&event);
                        if let Subject::Reload { .. } = event.subject {
                            let id = self.subscription.connection_id();
                            self.services.live.presence().show_again_to(id);
                        }
                        if let Some(made_at) = event.made_at {
                            self.services.metrics.delivery.took(made_at, now);
                        }
                    }
                }
                Delivery::Resync(resync) => {
                    // Revisions may be counted anew after a failover or a crash that lost some.
                    self.replayed = None;
                    let Resync { reason, cursor, .. } = &*resync;
                    let frame = self.frames().resync_required(reason, cursor);
                    self.feed(frame).await?;
                }
                Delivery::Ephemeral(frame) => self.feed(frame).await?,
                Delivery::GivenUp(why) => return Err(why.into()),
            }
            // In this order: what was taken must be sent.
            if place == BATCH {
                break;
            }
            match self.subscription.try_next() {
                Some(next) => delivery = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Says that an event is on its way to this client; costs a comparison while the level is off.
    fn trace(&self, event: &Event) {
        if log::log_enabled!(log::Level::Trace) {
            let (id, user) = (self.subscription.connection_id(), self.user);
            let (subject, version) = (event.subject, event.version);
            log::trace!(connectionId:% = id, userId:% = user; "socket {id} of user {user}: delivers {subject}, version {version}");
        }
    }

    /// An event's frame for this socket; none if the replay sent it already.
    fn frame_of(&mut self, event: &Event) -> Option<Frame> {
        if let Some(missed) = &self.replayed
            && missed.is_over_at(event.horizon)
        {
            self.replayed = None;
        }
        let Some(missed) = &self.replayed else {
            return Some(event.frame.clone());
        };
        let incarnation = || self.services.hub.incarnation();
        let frame = match missed.novelty(event, incarnation) {
            Novelty::New => Some(&event.frame),
            Novelty::Later => {
                let update = event.as_update.as_ref().map(|update| &update.frame);
                update.or(Some(&event.frame))
            }
            Novelty::Repeat => None,
        };
        frame.cloned()
    }

    /// A replay's memory outlives its use where nothing more comes: the events that would end it are others'.
    pub(super) fn forget_replay(&mut self) {
        // In this order: what stands ahead of the horizon was given to the hub before the horizon moved.
        let horizon = self.services.hub.position().map(|at| at.horizon);
        let over = |missed: &Missed| horizon.is_some_and(|horizon| missed.is_over_at(horizon));
        if self.replayed.as_deref().is_some_and(over) && self.subscription.is_empty() {
            self.replayed = None;
        }
    }
}
