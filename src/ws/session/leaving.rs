//! The end of a session whose replica closes.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Session;
use super::delivering::BATCH;
use crate::services::Services;
use crate::ws::close::CloseReason;

/// The closes of one replica's sockets spread over this long at most, so that the others do not get all of its
/// clients in one moment.
const MAX_SPREAD: Duration = Duration::from_secs(5);

/// Bounds of `reconnectAfterMs`.
pub(super) const RECONNECT_MS: std::ops::RangeInclusive<u64> = 200..=3000;

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    /// The replica closes: this socket leaves at a random time in the spread, and is served until then.
    pub(super) fn plan_to_leave(&mut self) {
        let share: f64 = rand::random();
        self.leave_at = Some(Instant::now() + spread(&self.services).mul_f64(share));
    }

    pub(super) fn leaving(&self) -> bool {
        self.leave_at.is_some_and(|at| Instant::now() >= at)
    }

    pub(super) async fn take_leave(&mut self) -> CloseReason {
        // What waits goes first, not only to spare its client a replay: a reload may be there of which its cursor would not tell. As much as
        // a queue holds: what comes meanwhile need not.
        for _ in 0..=self.services.config.limits.socket_queue / BATCH {
            let Some(delivery) = self.subscription.try_next() else {
                break;
            };
            if let Err(reason) = self.deliver(delivery).await {
                return reason;
            }
        }
        let frame = self
            .frames()
            .server_closing(rand::random_range(RECONNECT_MS));
        match self.feed(frame).await {
            Ok(()) => CloseReason::Restart,
            Err(reason) => reason,
        }
    }
}

/// How long this replica spreads its closes over: at most a third of what the delay leaves of the grace, so that the rest is left for
/// close handshakes.
pub(super) fn spread(services: &Services) -> Duration {
    let timeouts = &services.config.timeouts;
    let left = timeouts
        .shutdown_grace
        .saturating_sub(timeouts.shutdown_delay);
    (left / 3).min(MAX_SPREAD)
}
