//! The tasks that carry the service. It is better started anew than left without one of them: without the listener nobody hears
//! anything, without the check of users who is deactivated stays.

use std::collections::HashMap;
use std::future::pending;

use tokio::task::{Id, JoinSet};
use tokio_util::task::TaskTracker;

/// They end with [`Lifecycle::stopping`](crate::health::Lifecycle), or with this.
#[derive(Default)]
pub(super) struct Carriers {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Carriers {
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
        let (mut carriers, tracker) = (Carriers::default(), TaskTracker::new());
        carriers.spawn(&tracker, "one that goes on", pending());
        assert!(futures_util::poll!(std::pin::pin!(carriers.one_ended())).is_pending());
        carriers.spawn(&tracker, "one that panics", async { panic!("in a task") });
        assert_eq!(carriers.one_ended().await, "one that panics");
        carriers.spawn(&tracker, "one that ends", async {});
        assert_eq!(carriers.one_ended().await, "one that ends");
        assert_eq!(tracker.len(), 1);
        drop(carriers);
        tracker.close();
        tracker.wait().await;
    }
}
