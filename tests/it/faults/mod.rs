//! Every fault that production brings, one at a time: nothing acknowledged is lost, nothing comes twice on one socket.
//!
//! `ledger` has the words in which these tests compare what was done with what each client saw.

mod backpressure;
mod catch_up;
mod crash;
mod drain;
mod failover;
mod horizon;
mod idempotence;
mod ledger;
mod registry;
mod restore;
mod resume;
mod turns;
mod unflushed;
mod watchfulness;

use crate::support::*;

/// Short times, so that a fault is noticed soon.
const QUICK: [(&str, &str); 3] = [
    ("LISTENER_HEARTBEAT_SECONDS", "1"),
    ("DB_TIMEOUT_SECONDS", "5"),
    ("WRITE_TIMEOUT_SECONDS", "5"),
];

/// `QUICK` and more, which wins.
fn quick<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    QUICK.iter().chain(more).copied().collect()
}

/// The setting that leads the listener, and nothing else, through a proxy.
fn listen_url(database: &Database, proxy: &Proxy) -> String {
    format!(
        "postgres://{SERVICE}@127.0.0.1:{}/{}?sslmode=disable",
        proxy.port, database.name
    )
}

async fn until_status(replica: &Replica, path: &str, status: u16) {
    let api = replica.api();
    eventually(&format!("{path} answers {status}"), || async {
        (api.status(path).await == Some(status)).then_some(())
    })
    .await;
}

async fn until_healthy(replica: &Replica) {
    until_status(replica, "/health", 200).await;
    until_status(replica, "/health/ready", 200).await;
}

/// Waits until a figure is above `bound`.
async fn until_metric_above(replica: &Replica, name: &str, bound: f64) -> f64 {
    let api = replica.api();
    eventually(&format!("{name} above {bound}"), || async {
        let value = api.metric(name).await;
        (value > bound).then_some(value)
    })
    .await
}

/// Ends the sessions of the database's listeners, at the server; how many there were.
async fn kill_listeners(database: &Database) -> i64 {
    database
        .count(
            "(select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name = 'pgchat listener') as killed",
        )
        .await
}

pub(crate) fn cursor_of(frame: &serde_json::Value) -> String {
    frame["cursor"]
        .as_str()
        .or(frame["data"]["cursor"].as_str())
        .unwrap_or_else(|| panic!("no cursor: {frame}"))
        .to_owned()
}

/// A cursor of this replica's from beyond all that `user` was told of: who resumes with it is sent nothing. Right after
/// an event cursors are still at or below it, by as much as other transactions were open at its time.
pub(crate) async fn settled_cursor(replica: &Replica, user: uuid::Uuid) -> String {
    eventually("a cursor that replays nothing", || async {
        let cursor = cursor_of(&Socket::connect(replica, user).await.connected);
        let mut socket = Socket::resume(replica, user, &cursor).await;
        socket.send_command("ping", serde_json::json!({})).await;
        socket.arrived().is_empty().then_some(cursor)
    })
    .await
}

/// The next beat of a replica, so that what follows is right after one.
async fn until_heartbeat(database: &Database) {
    let client = database.sql().await;
    let beat = || async {
        let newest = "select max(heartbeat_at)::text from chat_replicas";
        let row = client.query_one(newest, &[]).await.expect("the registry");
        row.get::<_, Option<String>>(0)
    };
    let before = beat().await;
    eventually("a heartbeat", || async {
        (beat().await != before).then_some(())
    })
    .await;
}
