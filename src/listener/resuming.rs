//! Where the hub resumes in a new session: at its old position once what was missed is delivered; where that cannot be read, or means
//! something else by now, at the database's present one, and clients reload.

use super::dispatch::{CaughtUp, Dispatcher};
use super::reader::Reading;
use super::{Listener, SessionEnd, heartbeat};
use crate::error::Error;
use crate::hub::Pace;
use crate::position::{Cursor, Identity, Snapshot};

/// What came of the events between two sessions.
enum Missed {
    Delivered,
    /// Not all of them: clients must reload, for the reason that they are told.
    Lost(&'static str, Pace),
}

impl Listener {
    /// Brings the hub to where the database was when LISTEN took effect.
    pub(super) async fn catch_up(
        &self,
        dispatcher: &mut Dispatcher,
        reading: &Reading,
    ) -> Result<(), SessionEnd> {
        let before = self.hub.position();
        let here = self.here(reading).await?;
        if before
            .as_ref()
            .is_some_and(|before| before.identity != here.identity)
        {
            // Pooled connections that were busy all the time have not noticed: if the former primary lives on, so do they.
            self.store.renew_connections();
        }
        self.hub.set_incarnation(reading.incarnation);
        let may_be_lost = dispatcher.may_be_lost_in(reading.incarnation);
        let Some(before) = before else {
            return self.start_live(dispatcher, here, reading).await;
        };
        let missed = self
            .deliver_missed(dispatcher, &before, &here, may_be_lost)
            .await?;
        match missed {
            Missed::Delivered => {
                self.hub.advance(&here.identity, here.horizon);
                Ok(())
            }
            Missed::Lost(reason, pace) => {
                self.skip_to(dispatcher, here, reading, reason, pace).await
            }
        }
    }

    /// Where the database is. The horizon is flushed, and below it everything had ended before the changes are read.
    async fn here(&self, reading: &Reading) -> Result<Cursor, SessionEnd> {
        let patience = self.config.heartbeat * 3;
        let beat = self.store.heartbeat(self.config.replica, None, patience);
        let (identity, horizon) = beat.await?;
        self.require_same_server(&identity, reading)?;
        Ok(Cursor { identity, horizon })
    }

    /// After a failover whose former primary lives on, the listener can be at one server and the pools at the other, whose numbers say
    /// nothing of what this one brings. Idle connections are closed, so that the next session finds new ones; until both are at the same
    /// server no client can resume.
    fn require_same_server(&self, pooled: &Identity, reading: &Reading) -> Result<(), SessionEnd> {
        let is_torn = *pooled != reading.identity;
        self.hub.set_torn(is_torn);
        if !is_torn {
            return Ok(());
        }
        self.store.renew_connections();
        Err(SessionEnd(heartbeat::torn(&reading.identity, pooled)))
    }

    /// Which transactions have ended by now.
    async fn ended(&self, reading: &Reading) -> Result<Snapshot, SessionEnd> {
        let (snapshot, identity) = self.store.snapshot().await?;
        self.require_same_server(&identity, reading)?;
        Ok(snapshot)
    }

    /// The first session's: sockets start live, and what had ended before is never delivered, not even by a catch-up whose horizon an
    /// old open transaction holds back.
    async fn start_live(
        &self,
        dispatcher: &mut Dispatcher,
        here: Cursor,
        reading: &Reading,
    ) -> Result<(), SessionEnd> {
        dispatcher.start_after(self.ended(reading).await?);
        self.hub.start_at(here);
        Ok(())
    }

    /// Delivers what has changed from `before` to `here`. Where clients must reload in any case, nothing is read: they load it, and what
    /// was delivered may have had the same numbers and revisions.
    async fn deliver_missed(
        &self,
        dispatcher: &mut Dispatcher,
        before: &Cursor,
        here: &Cursor,
        may_be_lost: bool,
    ) -> Result<Missed, Error> {
        // The horizon of one database never moves back, unless its files are those of an earlier moment.
        let is_another = before.identity != here.identity;
        if is_another || dispatcher.is_set_back(here.horizon < before.horizon) {
            // A failover or a restore: transactions that we delivered may be gone, and their numbers
            // be given to others.
            log::warn!(
                "the database is another one, or at an earlier moment ({} was {}): clients must reload",
                here.encode(),
                before.encode()
            );
            // An old cursor of the same identity does not tell that: whoever goes before being told would not be told again.
            let pace = match is_another {
                true => Pace::Spread,
                false => Pace::AtOnce,
            };
            return Ok(Missed::Lost(
                "the service moved to another database server",
                pace,
            ));
        }
        if may_be_lost {
            // Its transaction numbers and its seq are given to others, perhaps by now.
            log::warn!(
                "the database has crashed, and what was delivered since {} may not have been flushed: clients must reload",
                before.encode()
            );
            return Ok(Missed::Lost(
                "the database crashed and may have lost what came last",
                Pace::AtOnce,
            ));
        }
        if dispatcher.catch_up(before.horizon, here.horizon).await? == CaughtUp::TooMuch {
            log::warn!(
                "more has changed since {} than is read again (CATCH_UP_CHANGES), or than could be read in time: clients must \
                 reload",
                before.encode()
            );
            return Ok(Missed::Lost(
                "too much was missed while the database was away",
                Pace::Spread,
            ));
        }
        Ok(Missed::Delivered)
    }

    /// Goes on from `here`; what was before, the clients load anew.
    async fn skip_to(
        &self,
        dispatcher: &mut Dispatcher,
        here: Cursor,
        reading: &Reading,
        reason: &'static str,
        pace: Pace,
    ) -> Result<(), SessionEnd> {
        // What has ended by now is in what the clients load.
        let ended = self.ended(reading).await?;
        dispatcher.forget(reading.incarnation);
        dispatcher.start_after(ended);
        self.hub.start_at(here);
        self.hub.resync_all(reason, pace);
        self.live.presence().show_again();
        Ok(())
    }
}
