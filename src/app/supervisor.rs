//! Watches over the tasks that the service cannot do without: without the listener nobody hears anything, without the user check,
//! deactivated users stay connected. If one ends, it is better to restart the service.

use std::collections::HashMap;
use std::future::pending;

use tokio::task::{Id, JoinSet};
use tokio_util::task::TaskTracker;

/// The tasks end with [`Lifecycle::stopping`](crate::lifecycle::Lifecycle), or with this.
#[derive(Default)]
pub(super) struct Supervisor {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Supervisor {
    /// A drain waits for those on `tracker`.
    pub fn spawn(
        &mut self,
        tracker: &TaskTracker,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(tracker.track_future(task));
        self.names.insert(task.id(), name);
    }

    /// Resolves to the name of one that has ended, whatever ended it.
    pub async fn one_ended(&mut self) -> &'static str {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(panic)) => panic.id(),
            None => pending().await,
        };
        self.names.remove(&id).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_or_panics_is_told_by_its_name() {
        let (mut supervisor, tracker) = (Supervisor::default(), TaskTracker::new());
        supervisor.spawn(&tracker, "one that goes on", pending());
        assert!(futures_util::poll!(std::pin::pin!(supervisor.one_ended())).is_pending());
        supervisor.spawn(&tracker, "one that panics", async { panic!("in a task") });
        assert_eq!(supervisor.one_ended().await, "one that panics");
        supervisor.spawn(&tracker, "one that ends", async {});
        assert_eq!(supervisor.one_ended().await, "one that ends");
        assert_eq!(tracker.len(), 1);
        drop(supervisor);
        tracker.close();
        tracker.wait().await;
    }
}
