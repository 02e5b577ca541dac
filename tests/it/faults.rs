//! Every fault that production brings, one at a time: nothing acknowledged is lost, nothing comes twice on one socket.
//!
//! `ledger` has the words in which these tests compare what was done with what each client saw.

mod backpressure;
mod catch_up;
mod catch_up_again;
mod catch_up_bounds;
mod crash;
mod cut_off;
mod deleted_conversation;
mod drain;
mod failover;
mod foreign_numbers;
mod former_primary;
mod horizon;
mod idempotence;
mod ledger;
mod new_conversation;
mod polling;
mod polling_bounds;
mod queued_events;
mod read_back;
mod registry;
mod replay_permits;
mod restore;
mod resume;
mod resume_behind;
mod resume_elsewhere;
mod slowness;
mod standby;
mod unflushed;
mod unflushed_reads;
mod unread_again;
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

/// Ends the sessions of the database's listeners, at the server; how many there were.
pub async fn kill_listeners(database: &Database) -> i64 {
    database
        .count(
            "(select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and application_name = 'pgchat listener') as killed",
        )
        .await
}

/// Uses up the numbers of transactions, this one too.
async fn use_numbers_up_to(database: &Database, last: i64) {
    let use_up = format!(
        "do $$ begin while pg_current_xact_id()::text::bigint <= {last} loop commit; end loop; end $$"
    );
    database.execute(&use_up).await;
}

/// The next beat of a replica, so that what follows is right after one.
pub async fn until_heartbeat(database: &Database) {
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
