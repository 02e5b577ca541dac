//! A conversation that is deleted while somebody does not hear of it: a client that is away, or a replica that is cut off.

use std::cell::RefCell;

use serde_json::Value;
use uuid::Uuid;

use super::cut_off::CutOff;
use super::*;

/// With its messages in one transaction, or behind them in another: nothing else tells a client that was away of either.
#[tokio::test]
async fn a_client_that_was_away_when_a_conversation_was_deleted_reloads_and_no_other_does() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &QUICK).await;
    let api = replica.api();
    let elsewhere = api.open_conversation(CARLA, DAVID).await;
    for transactions in [
        &[
            "begin; delete from messages where content = 'seen'; delete from conversations where id = '{}'; commit",
        ][..],
        &[
            "delete from messages where content = 'seen'",
            "delete from conversations where id = '{}'",
        ],
    ] {
        let deleted = api.open_conversation(ALICE, BORIS).await;
        api.send(deleted, ALICE, "seen").await;
        let mut cursors = Vec::new();
        for user in [ALICE, BORIS, CARLA] {
            cursors.push((user, settled_cursor(&replica, user).await));
        }
        for sql in transactions {
            database
                .execute(&sql.replace("{}", &deleted.to_string()))
                .await;
        }
        for (user, before) in cursors {
            if user == CARLA {
                Socket::resume(&replica, user, &before).await;
            } else {
                let (_socket, resync) = Socket::resume_refused(&replica, user, &before).await;
                let reason = resync["data"]["reason"].as_str().unwrap_or_default();
                assert!(reason.contains("conversation was deleted"), "{resync}");
                until_resumed(&replica, user, &resync).await;
            }
        }
        api.send(elsewhere, DAVID, "still there").await;
    }
}

/// What is left of the one says nothing of the other.
#[tokio::test]
async fn a_client_that_was_away_reloads_also_if_another_pairs_conversation_had_the_same_id_since() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &QUICK).await;
    let deleted = replica.api().open_conversation(ALICE, BORIS).await;
    let before = settled_cursor(&replica, ALICE).await;
    let delete = format!("delete from conversations where id = '{deleted}'");
    database.execute(&delete).await;
    database
        .execute_as_owner(&format!(
            "insert into conversations (id, participant1_id, participant2_id) values ('{deleted}', '{CARLA}', '{DAVID}')"
        ))
        .await;
    database.execute(&delete).await;
    Socket::resume_refused(&replica, ALICE, &before).await;
}

/// By no way: neither the catch-up of a replica that was cut off, nor the replay of a client that was away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_in_a_conversation_is_not_told_to_another_pair_that_has_its_id_since() {
    let stage = CutOff::set(&[]).await;
    let id = stage.conversation;
    let before = settled_cursor(&stage.replica, CARLA).await;
    let mut carla = Socket::connect(&stage.replica, CARLA).await;
    stage.cut().await;
    let delete = format!("delete from messages; delete from conversations where id = '{id}'");
    stage.database.execute(&delete).await;
    stage
        .database
        .execute_as_owner(&format!(
            "insert into conversations (id, participant1_id, participant2_id) values ('{id}', '{CARLA}', '{DAVID}')"
        ))
        .await;
    stage.comes_back().await;
    let mut back = Socket::resume(&stage.replica, CARLA, &before).await;
    stage.replica.api().send(id, DAVID, "last").await;
    for socket in [&mut carla, &mut back] {
        let frames = socket.before_message("last").await;
        let types: Vec<_> = frames.iter().map(|frame| &frame["type"]).collect();
        assert_eq!(types, ["conversation_created"], "{frames:#?}");
    }
}

/// With the cursor of the frame by which they were told to reload: they may be told once more, with a later one.
async fn until_resumed(replica: &Replica, user: Uuid, resync: &Value) {
    let cursor = RefCell::new(cursor_of(resync));
    eventually("they go on", || async {
        let from = cursor.borrow().clone();
        let mut socket = Socket::come_back(replica, user, &from).await;
        if socket.is_resumed() {
            return Some(());
        }
        let again = socket.expect("resync_required").await;
        cursor.replace(cursor_of(&again));
        None
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_cut_off_when_a_conversation_was_deleted_tells_its_sockets_once() {
    let mut stage = CutOff::set(&[]).await;
    let mut carla = Socket::connect(&stage.replica, CARLA).await;
    let elsewhere = stage.database.conversation(BORIS, CARLA).await;
    for socket in [&mut stage.boris, &mut carla] {
        socket.expect("conversation_created").await;
    }
    // Holds the horizon back: each catch-up reads all of it anew.
    let _stranger = stage.database.holding("select pg_current_xact_id()").await;
    let delete = format!(
        "begin; delete from messages; delete from conversations where id = '{}'; commit",
        stage.conversation
    );
    stage.cut().await;
    stage.database.execute(&delete).await;
    stage.comes_back().await;
    stage.assert_reloads().await;

    // One that is told live is not read again either.
    let live = stage.database.conversation(BORIS, DAVID).await;
    stage.boris.expect("conversation_created").await;
    let delete = format!("delete from conversations where id = '{live}'");
    stage.database.execute(&delete).await;
    stage.assert_reloads().await;
    stage.cut().await;
    stage.comes_back().await;
    stage.replica.api().send(elsewhere, CARLA, "last").await;
    for socket in [&mut stage.boris, &mut carla] {
        assert_eq!(socket.before_message("last").await, Vec::<Value>::new());
    }
}

/// They count like everything else that a catch-up reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_deleted_conversations_than_a_catch_up_reads_make_all_clients_reload() {
    let mut stage = CutOff::set(&[("CATCH_UP_CHANGES", "10")]).await;
    let others = stage.database.add_users(11).await;
    stage.database.conversations(ALICE, &others).await;
    stage.cut().await;
    let delete = "delete from conversations
                   where participant2_id in (select id from users where first_name = 'User')";
    stage.database.execute(delete).await;
    stage.comes_back().await;
    stage.assert_reloads().await;
}
