//! A slow database is not a silent connection: the listener keeps its own.

use std::time::Duration;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_whose_commit_takes_long_has_its_time_to_come_back() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let interval = [
        ("LISTENER_HEARTBEAT_SECONDS", "16"),
        ("DB_TIMEOUT_SECONDS", "60"),
    ];
    let settings = [&proxy.for_listener()[..], &interval].concat();
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    // Each heartbeat is committed shortly before the next is due, and is back after that. A machine under load may add to each of
    // both what is left of half an interval: some seconds.
    proxy.delay(Duration::from_millis(3500));
    database
        .execute_as_owner(
            "create function host_is_slow() returns trigger language plpgsql as $$
             begin
               perform pg_sleep(13);
               return null;
             end $$;
             create constraint trigger host_is_slow after update on chat_replicas deferrable initially deferred
               for each row execute function host_is_slow()",
        )
        .await;
    let reconnects = async || api.metric("pgchat_listener_reconnects_total").await;
    let patience = 3 * DEADLINE;
    eventually_within(
        patience,
        "such a heartbeat is back, or not waited for",
        || async {
            let lag = api.metric("pgchat_listener_lag_seconds").await;
            (lag > 16.0 || reconnects().await > 0.0).then_some(())
        },
    )
    .await;
    until_heartbeat(&database).await;
    assert_eq!(reconnects().await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_waits_for_what_it_reads_keeps_its_connection() {
    let database = Database::fresh().await;
    let holder = database.hold_read_backs().await;
    let patient = quick(&[("DB_TIMEOUT_SECONDS", "60")]);
    let replica = Replica::start(&database, &patient).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    // It does not fit into its notification.
    let long = "long ".repeat(2_000);
    let api = replica.api();
    api.send(conversation, ALICE, &long).await;
    until_a_lock_is_waited_for(&database, "the listener waits for what it reads").await;
    // However late heartbeats are: nothing behind what it waits for is missed.
    let reconnects = async || api.metric("pgchat_listener_reconnects_total").await;
    let before = reconnects().await;
    for _ in 0..4 {
        until_heartbeat(&database).await;
    }
    assert_eq!(reconnects().await, before);
    holder.batch_execute("commit").await.expect("its end");
    boris.before_message(&long).await;
}
