//! Watches over the tasks that the service cannot do without: without the listener nobody hears anything, without the user check,
//! deactivated users stay connected. If one ends, it is better to restart the service.

use std::collections::HashMap;
use std::future::pending;

use futures_util::FutureExt;
use tokio::task::{Id, JoinSet};
use tokio_util::task::TaskTracker;

use crate::lifecycle::Lifecycle;

/// The tasks end with [`Lifecycle::stopping`], or with this.
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

    /// For one that has no end of its own: it is dropped at [`Lifecycle::stopping`], wherever it waits by then.
    pub fn spawn_until_stopping(
        &mut self,
        lifecycle: &Lifecycle,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stopping = lifecycle.stopping.clone();
        let task = stopping.run_until_cancelled_owned(task).map(drop);
        self.spawn(&lifecycle.tasks, name, task);
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
    use std::time::Duration;

    use tokio::time::timeout;

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

    #[tokio::test(start_paused = true)]
    async fn a_task_that_has_no_end_is_gone_after_the_stop_and_not_before() {
        let (mut supervisor, lifecycle) = (Supervisor::default(), Lifecycle::default());
        supervisor.spawn_until_stopping(&lifecycle, "one that goes on", pending());
        lifecycle.tasks.close();
        let mut gone = std::pin::pin!(lifecycle.tasks.wait());
        let patience = Duration::from_secs(60);
        assert!(timeout(patience, &mut gone).await.is_err(), "too early");
        lifecycle.stopping.cancel();
        assert!(timeout(patience, gone).await.is_ok(), "it goes on");
    }
}
