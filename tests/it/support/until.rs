//! Waiting until a replica says something of itself, or a session of the database is where it is to be.

use super::database::Database;
use super::replica::Replica;
use super::wait::eventually;

pub async fn until_status(replica: &Replica, path: &str, status: u16) {
    let api = replica.api();
    eventually(&format!("{path} answers {status}"), || async {
        (api.status(path).await == Some(status)).then_some(())
    })
    .await;
}

pub async fn until_healthy(replica: &Replica) {
    until_status(replica, "/health", 200).await;
    until_status(replica, "/health/ready", 200).await;
}

/// Waits until the log has this text.
pub async fn until_logged(replica: &Replica, text: &str) {
    eventually(&format!("the log has {text:?}"), || async {
        replica.log().contains(text).then_some(())
    })
    .await;
}

/// Waits until a figure has this value.
pub async fn until_metric(replica: &Replica, name: &str, wanted: f64) {
    let api = replica.api();
    eventually(&format!("{name} is {wanted}"), || async {
        (api.metric(name).await == wanted).then_some(())
    })
    .await;
}

/// Waits until a figure is above `bound`; what it is then.
pub async fn until_metric_above(replica: &Replica, name: &str, bound: f64) -> f64 {
    let api = replica.api();
    eventually(&format!("{name} above {bound}"), || async {
        let value = api.metric(name).await;
        (value > bound).then_some(value)
    })
    .await
}

/// The sessions of this database that wait for what another one holds. Not those whose commit waits for its turn to notify,
/// which the whole cluster takes: a heartbeat does at any moment.
pub const LOCK_WAITERS: &str = "pg_stat_activity where datname = current_database()
    and wait_event in ('relation', 'tuple', 'transactionid', 'advisory')";

/// Waits until so many sessions of this database wait for a lock.
pub async fn until_lock_waiters(database: &Database, count: i64) {
    eventually(&format!("{count} wait for a lock"), || async {
        (database.count(LOCK_WAITERS).await == count).then_some(())
    })
    .await;
}

/// Waits until a session of this database waits for a lock; `what` says what that shows.
pub async fn until_a_lock_is_waited_for(database: &Database, what: &str) {
    eventually(what, || async {
        (database.count(LOCK_WAITERS).await > 0).then_some(())
    })
    .await;
}
