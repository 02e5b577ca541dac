//! A crash of the database forgets transaction numbers that never reached the disk, and hands them out again.

use super::*;

const SENDS: i64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_from_before_a_crash_loses_nothing_that_came_after_it() {
    crash_between_cursor_and_sends(&[], Last::Event).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_from_before_a_crash_loses_nothing_without_synchronous_commit() {
    crash_between_cursor_and_sends(&["synchronous_commit = off"], Last::Event).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_from_a_heartbeat_right_before_a_crash_loses_nothing() {
    crash_between_cursor_and_sends(&["synchronous_commit = off"], Last::Heartbeat).await;
}

/// What the replica heard last before the crash.
#[derive(PartialEq)]
enum Last {
    Event,
    Heartbeat,
}

/// Numbers are used up by transactions whose commits are not flushed, with heartbeats and events between; then the
/// server crashes, and messages get the same numbers.
async fn crash_between_cursor_and_sends(settings: &[&str], last: Last) {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    for setting in settings {
        let set = format!("alter database {} set {setting}", database.name);
        database.execute(&set).await;
    }
    database.flush_seldom().await;
    let replica = Replica::start(&database, &QUICK).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut clients = Vec::new();
    let stranger = database.sql().await;
    stranger
        .batch_execute("set synchronous_commit = off")
        .await
        .expect("a setting");
    let mut boris = Socket::connect(&replica, BORIS).await;
    let acked = api.send(conversation, ALICE, "acknowledged").await;
    clients.push(cursor_of(&boris.expect("chat_message").await));

    // What fills a page of the log is written out, though not flushed: enough of them to leave some behind.
    for round in 0..3 {
        until_heartbeat(&database).await;
        for number in 0..60 {
            stranger
                .batch_execute("select pg_current_xact_id()")
                .await
                .expect("a number");
            // Live, and not flushed: its frame's cursor must not be from beyond the crash.
            if number == 30 {
                let insert = format!(
                    "insert into messages (conversation_id, sender_id, content)
                     values ('{conversation}', '{ALICE}', 'unflushed {round}')"
                );
                stranger.batch_execute(&insert).await.expect("an insert");
                clients.push(cursor_of(&boris.expect("chat_message").await));
                let fresh = Socket::connect(&replica, BORIS).await;
                clients.push(cursor_of(&fresh.connected));
            }
        }
    }
    if last == Last::Heartbeat {
        let former = clients.last().cloned();
        let moved = eventually("a heartbeat has moved the horizon", || async {
            let fresh = Socket::connect(&replica, BORIS).await;
            Some(cursor_of(&fresh.connected)).filter(|cursor| former.as_ref() != Some(cursor))
        });
        clients.push(moved.await);
    }
    cluster.crash();
    cluster.start();
    until_healthy(&replica).await;
    clients.push(cursor_of(&Socket::connect(&replica, BORIS).await.connected));

    let known = api.history(conversation).await;
    assert_eq!(
        known[0]["id"], acked["id"],
        "what was acknowledged is there"
    );
    for number in 0..SENDS {
        api.send(conversation, ALICE, &format!("after {number}"))
            .await;
    }
    let history = api.history(conversation).await;
    for cursor in clients {
        let mut boris = Socket::resume(&replica, BORIS, &cursor).await;
        assert_eq!(boris.connected["data"]["resumed"], true, "{cursor}");
        boris.send_command("ping", serde_json::json!({})).await;
        let told = super::ledger::seqs(&boris.arrived(), conversation);
        let missed: Vec<i64> = history.iter().map(seq_of).collect();
        let missed = &missed[known.len()..];
        assert!(told.ends_with(missed), "{cursor}: {told:?} of {missed:?}");
        boris.close().await;
    }
}
