//! The stages of a replica's end, and which tasks each stage waits for: everything that has a task asks here, from the accept loop to the
//! writer.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The stages of a replica's end, shared by everything that has a task.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    /// Set first: readiness fails, new WebSocket handshakes get 503, HTTP is still served.
    pub draining: CancellationToken,
    /// Set second: sockets get `server_closing` (their closes spread over time), then 1012.
    pub closing: CancellationToken,
    /// Set third, when those that were connected are gone: no new connections. What has come is answered.
    pub refusing: CancellationToken,
    /// Set last: background tasks (listener, writer) end.
    pub stopping: CancellationToken,
    /// Connections and sockets: waited for between `closing` and `stopping`.
    pub connections: TaskTracker,
    /// The accept loop, and the connections that come after `closing`: waited for between `refusing` and `stopping`.
    pub late: TaskTracker,
    /// Background tasks: waited for after `stopping`.
    pub tasks: TaskTracker,
}

/// When a connection comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    InTime,
    /// After `closing`.
    Late,
}

impl Lifecycle {
    /// A place for a connection among those that a drain waits for.
    pub fn admit(&self) -> (TaskTrackerToken, Arrival) {
        // Before `closing` is looked at: a drain that sets it and then waits for the connections waits for this one.
        let place = self.connections.token();
        match self.closing.is_cancelled() {
            false => (place, Arrival::InTime),
            true => (self.late.token(), Arrival::Late),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;

    /// A race that is run often enough to be lost where it can be.
    #[test]
    fn whoever_waits_for_the_connections_waits_for_all_that_are_not_late() {
        for _ in 0..300 {
            let (lifecycle, gone) = (Lifecycle::default(), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    lifecycle.closing.cancel();
                    while !lifecycle.connections.is_empty() {
                        thread::yield_now();
                    }
                    gone.store(true, Ordering::SeqCst);
                });
                loop {
                    let (_place, arrival) = lifecycle.admit();
                    if arrival == Arrival::Late {
                        break;
                    }
                    assert!(!gone.load(Ordering::SeqCst), "it was not waited for");
                }
            });
        }
    }
}
