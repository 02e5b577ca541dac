//! A crash of the database forgets what never reached the disk: nothing acknowledged, but transaction numbers, which it then hands
//! out again.

use serde_json::json;
use tokio_postgres::Client;

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
    // Nothing is to be late: a machine under load may be slower than `QUICK` allows.
    let patient = quick(&[
        ("DB_TIMEOUT_SECONDS", "60"),
        ("WRITE_TIMEOUT_SECONDS", "60"),
    ]);
    let replica = Replica::start(&database, &patient).await;
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
            until_heartbeat(&database).await;
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
        boris.send_command("ping", serde_json::json!({})).await;
        let told = super::ledger::seqs(&boris.arrived(), conversation);
        let missed: Vec<i64> = history.iter().map(seq_of).collect();
        let missed = &missed[known.len()..];
        assert!(told.ends_with(missed), "{cursor}: {told:?} of {missed:?}");
        boris.close().await;
    }
}

/// It stays connected, and what its replay has seen the end of were transactions whose numbers are then those of messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_came_back_before_a_crash_loses_nothing_that_came_after_it() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    database.flush_seldom().await;
    // Nor does a heartbeat flush.
    let patient = [
        ("LISTENER_HEARTBEAT_SECONDS", "300"),
        ("DB_TIMEOUT_SECONDS", "60"),
        ("WRITE_TIMEOUT_SECONDS", "60"),
    ];
    let replica = Replica::start(&database, &patient).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let cursor = cursor_of(&Socket::connect(&replica, BORIS).await.connected);
    let stranger = database.sql().await;
    stranger
        .batch_execute("set synchronous_commit = off")
        .await
        .expect("a setting");
    for _ in 0..60 {
        stranger
            .batch_execute("select pg_current_xact_id()")
            .await
            .expect("a number");
    }
    let mut boris = Socket::resume(&replica, BORIS, &cursor).await;
    cluster.crash();
    cluster.start();
    until_healthy(&replica).await;

    for number in 1..=SENDS {
        api.send(conversation, ALICE, &number.to_string()).await;
    }
    api.send(conversation, ALICE, "last").await;
    let frames = boris.before_message("last").await;
    let told = super::ledger::seqs(&frames, conversation);
    assert_eq!(told, (1..=SENDS).collect::<Vec<i64>>(), "{frames:#?}");
    // Or it would have loaded them.
    assert!(
        frames
            .iter()
            .all(|frame| frame["type"] != "resync_required")
    );
}

/// Where nobody but who is asked to flushes: not a heartbeat, nor the server by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_acknowledged_is_flushed_though_commits_do_not_wait_for_it_by_default() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    database.flush_seldom().await;
    let unhurried = format!(
        "alter database {} set synchronous_commit = off",
        database.name
    );
    database.execute(&unhurried).await;
    let still = [
        ("LISTENER_HEARTBEAT_SECONDS", "300"),
        ("SEARCH_LANGUAGE", "off"),
    ];
    let replica = Replica::start(&database, &still).await;
    let api = replica.api();
    let sql = database.sql().await;

    let open = api.open_conversation(ALICE, BORIS);
    let conversation = flushed(&sql, "a new conversation", open).await;
    let send = api.send(conversation, ALICE, "one");
    let sent = flushed(&sql, "a message", send).await;
    let edit = api.edit(id_of(&sent), ALICE, "two");
    flushed(&sql, "an edit", edit).await.ok(200);
    let mark = api.mark_read(conversation, BORIS);
    flushed(&sql, "a read mark", mark).await.ok(200);
    let delete = api.delete_message(id_of(&sent), ALICE);
    flushed(&sql, "a deletion", delete).await;

    // Several in one transaction, since they waited together.
    let mut alice = Socket::connect(&replica, ALICE).await;
    let holder = database.holding_conversation(conversation).await;
    let mut requests = Vec::new();
    for number in 0..3 {
        let data = json!({"conversationId": conversation, "content": number.to_string()});
        requests.push(alice.request("send_message", data).await);
    }
    until_metric_above(&replica, "pgchat_writer_held", 2.0).await;
    let batch = async {
        holder.batch_execute("rollback").await.expect("its end");
        for request in &requests {
            assert_eq!(alice.answer(request).await["type"], "ack");
        }
    };
    flushed(&sql, "a batch", batch).await;
}

/// Makes a change, and something of the log that is younger than its beginning is on the disk when it is acknowledged.
async fn flushed<T>(sql: &Client, what: &str, change: impl Future<Output = T>) -> T {
    let end = "select pg_current_wal_insert_lsn()::text";
    let row = sql.query_one(end, &[]).await.expect("the log's end");
    let end: String = row.get(0);
    let done = change.await;
    let flushed = "select pg_current_wal_flush_lsn() > $1::text::pg_lsn";
    let row = sql.query_one(flushed, &[&end]).await.expect("an answer");
    assert!(row.get::<_, bool>(0), "{what} was not flushed");
    done
}
