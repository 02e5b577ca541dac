//! What could not be read from the tables is read later: nothing is passed over for it.

use super::cut_off::CutOff;
use super::ledger::seqs;
use super::*;

/// Where the database was meanwhile is no position until all below it is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_that_failed_is_made_again_from_where_it_began() {
    const SESSIONS: &str = "pgchat_listener_reconnects_total";
    let mut stage = CutOff::set(&[("DB_TIMEOUT_SECONDS", "3")]).await;
    let before = stage.replica.api().metric(SESSIONS).await;
    stage.cut().await;
    for content in ["missed", "and missed"] {
        stage.send(content).await;
    }
    let holder = stage
        .database
        .holding("lock table messages in access exclusive mode")
        .await;
    stage.proxy.accept();
    // It listens for the second time since then: what it wanted to read the first time, it could not.
    until_metric_above(&stage.replica, SESSIONS, before + 1.0).await;
    holder.batch_execute("commit").await.expect("its end");

    until_healthy(&stage.replica).await;
    assert_eq!(stage.told_until_now().await, [2, 3]);
}

/// Or a replica that has now and then trouble with a catch-up would tell all clients to reload one day, for nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn catch_ups_that_failed_once_and_were_made_good_do_not_count() {
    const SESSIONS: &str = "pgchat_listener_reconnects_total";
    // The end of its connection tells it, and no heartbeat that is late on a slow machine makes it reconnect once more.
    let mut stage = CutOff::set(&[("LISTENER_HEARTBEAT_SECONDS", "30")]).await;
    // Of three in a row that failed the last would be given up.
    stage
        .database
        .execute_as_owner(
            "create sequence host_tries;
             create or replace function chat_changes_exceed(horizon xid8, before pg_snapshot, most bigint) returns boolean
             language plpgsql volatile security definer set search_path from current as $$
             begin
               if nextval('host_tries') % 3 <> 0 then
                 raise exception 'the host says so';
               end if;
               return false;
             end $$",
        )
        .await;
    for content in ["missed", "and missed"] {
        let before = stage.replica.api().metric(SESSIONS).await;
        kill_listeners(&stage.database).await;
        stage.send(content).await;
        until_metric_above(&stage.replica, SESSIONS, before + 2.0).await;
        until_healthy(&stage.replica).await;
    }
    assert_eq!(stage.told_until_now().await, [2, 3]);
}

/// It does not fit into its notification, and cannot be read back when that comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_could_not_be_read_back_comes_ahead_of_what_follows_it() {
    const SESSIONS: &str = "pgchat_listener_reconnects_total";
    let rare = [
        ("DB_TIMEOUT_SECONDS", "3"),
        ("LISTENER_HEARTBEAT_SECONDS", "30"),
    ];
    let mut stage = CutOff::set(&rare).await;
    let before = stage.replica.api().metric(SESSIONS).await;
    // It hears of it only when the table is locked.
    stage.proxy.mute_open();
    let long = "long ".repeat(2_000);
    stage.send(long.trim()).await;
    let holder = stage
        .database
        .holding("lock table messages in access exclusive mode")
        .await;
    stage.proxy.unmute();
    until_metric_above(&stage.replica, SESSIONS, before).await;
    holder.batch_execute("commit").await.expect("its end");

    assert_eq!(stage.told_until_now().await, [2]);
}

/// The replica waits for something that it has to read back, and more notifications come than wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_has_fallen_far_behind_reads_on_from_the_tables() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // Longer than the test: nothing else is to end what it waits for.
    let patient = [
        ("DB_TIMEOUT_SECONDS", "300"),
        ("LISTENER_HEARTBEAT_SECONDS", "300"),
    ];
    let replica = Replica::start(&database, &patient).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let api = replica.api();
    let holder = database
        .holding("lock table chat_tombstones in access exclusive mode")
        .await;
    let long = "long ".repeat(2_000);
    api.send(conversation, ALICE, long.trim()).await;
    database
        .execute(
            "select pg_notify('chat_events', 'not ours ' || n) from generate_series(1, 5000) n",
        )
        .await;
    let listening = "pg_stat_activity where datname = current_database() and application_name = 'pgchat listener'";
    eventually("the listener gives its connection up", || async {
        (database.count(listening).await == 0).then_some(())
    })
    .await;
    for content in ["missed", "and missed"] {
        api.send(conversation, ALICE, content).await;
    }
    holder.batch_execute("commit").await.expect("its end");

    until_healthy(&replica).await;
    api.send(conversation, ALICE, "last").await;
    let frames = boris.before_message("last").await;
    assert_eq!(seqs(&frames, conversation), [1, 2, 3]);
    assert_eq!(frames.len(), 3, "{frames:?}");
}
