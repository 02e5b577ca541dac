//! Updates, deletions and new conversations by SQL.

use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

#[tokio::test]
async fn an_update_that_breaks_a_rule_is_refused() {
    let mut scene = Scene::set().await;
    let insert = scene.insert(ALICE, "as it was");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;
    for (sqlstate, set, word) in [
        ("23514", "client_message_id = ''", "64 bytes"),
        ("23514", "client_message_id = repeat('q', 65)", "64 bytes"),
        ("23514", "created_at = 'infinity'", "years 1 to 9999"),
        ("23514", "id = gen_random_uuid()", "cannot change"),
        (
            "23514",
            "conversation_id = gen_random_uuid()",
            "cannot change",
        ),
        ("23514", "sender_id = gen_random_uuid()", "cannot change"),
        ("23514", "reader_id = gen_random_uuid()", "cannot change"),
        ("23514", "seq = 2", "cannot change"),
        ("23502", "content = null", "null value"),
    ] {
        let update = format!("update messages set {set}");
        let refused = scene.refused(sqlstate, &update).await;
        assert!(refused.contains(word), "{set}: {refused}");
    }
    scene.assert_silence().await;
}

#[tokio::test]
async fn an_update_of_content_is_live() {
    let mut scene = Scene::set().await;
    let sent = scene.api().send(scene.conversation, ALICE, "hello").await;
    scene.expect("chat_message").await;

    for content in ["hallo", &"ü".repeat(10_000)] {
        let update = format!(
            "update messages set content = '{content}' where id = '{}'",
            id_of(&sent)
        );
        scene.database.execute(&update).await;
        let frame = scene.expect("message_updated").await;
        assert_message(&frame["data"]);
        assert_eq!(frame["userId"], json!(ALICE));
        assert_eq!(frame["data"]["id"], sent["id"]);
        assert_eq!(frame["data"]["content"], content);
        // Nothing changes, nobody is told.
        scene.database.execute(&update).await;
    }
    scene.assert_silence().await;
}

#[tokio::test]
async fn a_soft_delete_is_live() {
    let mut scene = Scene::set().await;
    let sent = scene.api().send(scene.conversation, ALICE, "hello").await;
    scene.expect("chat_message").await;
    let delete = format!(
        "update messages set deleted_at = now() where id = '{}'",
        id_of(&sent)
    );

    scene.database.execute(&delete).await;

    let frame = scene.expect("message_deleted").await;
    assert_message(&frame["data"]);
    assert_eq!(frame["data"]["id"], sent["id"]);
    assert_eq!(frame["data"]["content"], "");
    assert_time(&frame["data"], "deletedAt");
    scene.assert_silence().await;
}

#[tokio::test]
async fn another_type_and_a_deletion_that_is_taken_back_are_live() {
    let mut scene = Scene::set().await;
    let sent = scene.api().send(scene.conversation, ALICE, "hello").await;
    scene.expect("chat_message").await;
    let update = async |set: &str| {
        let update = format!("update messages set {set} where id = '{}'", id_of(&sent));
        scene.database.execute(&update).await;
    };

    update("message_type = 'file'").await;
    update("deleted_at = now()").await;
    update("deleted_at = null").await;

    let frame = scene.expect("message_updated").await;
    assert_eq!(frame["data"]["messageType"], "file");
    assert_eq!(frame["data"]["content"], "hello");
    assert_time(&frame["data"], "editedAt");
    scene.expect("message_deleted").await;
    let frame = scene.expect("message_updated").await;
    assert_eq!(frame["data"]["deletedAt"], Value::Null);
    assert_eq!(frame["data"]["content"], "", "it was emptied");
    assert_eq!(scene.api().unread_count(BORIS).await, 1);
    scene.assert_silence().await;
}

#[tokio::test]
async fn an_outright_delete_is_live_and_leaves_its_seq_unused() {
    let mut scene = Scene::set().await;
    let first = scene.api().send(scene.conversation, ALICE, "first").await;
    let second = scene.api().send(scene.conversation, BORIS, "second").await;
    scene.expect("chat_message").await;
    scene.expect("chat_message").await;

    for message in [&second, &first] {
        let delete = format!("delete from messages where id = '{}'", id_of(message));
        scene.database.execute(&delete).await;
        let frame = scene.expect("message_deleted").await;
        assert_message(&frame["data"]);
        assert_eq!(frame["userId"], message["senderId"]);
        assert_eq!(frame["data"]["id"], message["id"]);
        assert_eq!(frame["data"]["seq"], message["seq"]);
        assert_eq!(frame["data"]["content"], "");
    }

    let conversation = scene.api().conversations(ALICE).await.remove(0);
    assert_conversation(&conversation);
    assert_eq!(conversation["lastMessage"], Value::Null);
    let next = scene.api().send(scene.conversation, ALICE, "next").await;
    assert_eq!(next["seq"], 3);
    scene.expect("chat_message").await;
    scene.assert_silence().await;
}

#[tokio::test]
async fn a_conversation_inserted_by_sql_is_live() {
    let mut scene = Scene::set().await;
    let mut carla = Socket::connect(&scene.replicas[0], CARLA).await;
    scene
        .database
        .execute(&format!(
            "insert into conversations (participant1_id, participant2_id) values ('{CARLA}', '{BORIS}')"
        ))
        .await;

    let frame = carla.expect("conversation_created").await;
    assert_conversation(&frame["data"]);
    assert_eq!(frame["userId"], json!(CARLA));
    assert_eq!(frame["data"]["participant2Id"], json!(BORIS));
    let [_, boris] = &mut scene.sockets;
    let for_boris = boris.expect("conversation_created").await;
    assert_eq!(for_boris["data"], frame["data"]);
    let found = scene.api().open_conversation(BORIS, CARLA).await;
    assert_eq!(found, id_of(&frame["data"]));
    scene.assert_silence().await;
}

/// What the rows of a database restored into a younger cluster have: transaction numbers that it has not come to yet.
#[tokio::test]
async fn changes_of_rows_that_were_restored_into_a_younger_cluster_are_not_missed() {
    let mut scene = Scene::set().await;
    for content in ["one", "two", "three", "four"] {
        let insert = scene.insert(ALICE, content);
        scene.database.execute(&insert).await;
        scene.expect("chat_message").await;
    }
    // Of the last one an update has made them null, as it does (chat_own_xid()). It is still unread.
    scene
        .database
        .execute(
            "set session_replication_role = replica;
             update messages set is_read = true, create_xid = '9000000', change_xid = '9000000', read_xid = '9000001';
             update messages set is_read = false, create_xid = null, change_xid = null, read_xid = null where seq = 4;
             update conversations set create_xid = '9000000', last_xid = '9000000';
             set session_replication_role = origin",
        )
        .await;
    let fresh = Socket::connect(&scene.replicas[0], BORIS).await;
    let cursor = cursor_of(&fresh.connected);
    drop(fresh);
    scene
        .database
        .execute(
            "update messages set content = 'one, edited' where seq = 1;
             update messages set deleted_at = now() where seq = 2;
             delete from messages where seq = 3;
             update messages set is_read = true where seq = 4",
        )
        .await;

    let mut back = Socket::resume(&scene.replicas[1], BORIS, &cursor).await;
    let insert = scene.insert(ALICE, "the end");
    scene.database.execute(&insert).await;
    let missed: Vec<(Value, Value)> = back
        .before_message("the end")
        .await
        .iter()
        .map(|frame| (frame["type"].clone(), frame["data"]["seq"].clone()))
        .collect();
    assert_eq!(
        missed,
        [
            ("message_updated".into(), 1.into()),
            ("message_deleted".into(), 2.into()),
            ("message_deleted".into(), 3.into()),
            ("message_updated".into(), 4.into()),
            ("messages_read".into(), Value::Null)
        ]
    );
}

/// Clients keep the state with the later `updatedAt`.
#[tokio::test]
async fn each_state_of_a_message_is_later_than_the_one_before_it_whatever_the_clock_says() {
    let mut scene = Scene::set().await;
    let ahead = "insert into messages (conversation_id, sender_id, content, created_at, updated_at) values
                 ('{c}', '{a}', 'from a clock that was ahead', now() + interval '1 hour', now() + interval '1 hour')"
        .replace("{c}", &scene.conversation.to_string())
        .replace("{a}", &ALICE.to_string());
    scene.database.execute(&ahead).await;
    let mut last = scene.expect("chat_message").await["data"]["updatedAt"].to_string();
    for (change, kind) in [
        ("update messages set content = 'edited'", "message_updated"),
        ("update messages set is_read = true", "messages_read"),
        ("update messages set deleted_at = now()", "message_deleted"),
        ("update messages set deleted_at = null", "message_updated"),
        ("delete from messages", "message_deleted"),
    ] {
        scene.database.execute(change).await;
        let frame = scene.expect(kind).await;
        if kind != "messages_read" {
            let now = frame["data"]["updatedAt"].to_string();
            assert!(now > last, "{change}: {now} after {last}");
            last = now;
        }
    }
}

#[tokio::test]
async fn a_message_whose_id_comes_back_is_told_of_like_any_other() {
    let mut scene = Scene::set().await;
    let insert = |content: &str| {
        format!(
            "insert into messages (id, conversation_id, sender_id, content)
             values ('{NOBODY}', '{}', '{ALICE}', '{content}')",
            scene.conversation
        )
    };
    let (first, again, large) = (insert("first"), insert("again"), insert(&"x".repeat(9_000)));
    scene.database.execute(&first).await;
    scene.expect("chat_message").await;
    for insert in [again, large] {
        let both = format!("begin; delete from messages; {insert}; commit");
        scene.database.execute(&both).await;
        let deleted = scene.expect("message_deleted").await;
        let frame = scene.expect("chat_message").await;
        // Clients keep the later of two states.
        let updated_at = |frame: &Value| frame["data"]["updatedAt"].to_string();
        assert!(updated_at(&frame) > updated_at(&deleted), "{frame}");
        assert_eq!(frame["data"]["deletedAt"], Value::Null);
        assert_ne!(frame["data"]["content"], "");
        let edit = "update messages set content = 'edited'";
        scene.database.execute(edit).await;
        let frame = scene.expect("message_updated").await;
        assert_eq!(frame["data"]["content"], "edited");
    }
    assert_eq!(scene.database.count("chat_tombstones").await, 0);
    scene.assert_silence().await;
}

/// Such events come without the message, and each replica fetches it, as it is by then. Here all of them come from one transaction, so that
/// what is fetched is its last state.
#[tokio::test]
async fn a_large_message_that_is_changed_at_once_is_shown_once_in_each_state_and_never_goes_back() {
    let mut scene = Scene::set().await;
    let large = |letter: &str| letter.repeat(9_000);
    let insert = scene.insert(ALICE, &large("a"));
    let edit = |content: &str| format!("update messages set content = '{content}'");
    let (short, again) = (edit("short"), edit(&large("b")));
    let changes = format!("begin; {insert}; {short}; {again}; commit");
    scene.database.execute(&changes).await;
    let frame = scene.expect("chat_message").await;
    assert_eq!(frame["data"]["content"], large("b"));
    scene.assert_silence().await;

    let of_it = format!("where id = '{}'", id_of(&frame["data"]));
    let (first, last) = (edit(&large("c")), edit(&large("d")));
    let changes = format!("begin; {first} {of_it}; {short} {of_it}; {last} {of_it}; commit");
    scene.database.execute(&changes).await;
    let frame = scene.expect("message_updated").await;
    assert_eq!(frame["data"]["content"], large("d"));
    scene.assert_silence().await;

    let delete = format!("update messages set deleted_at = now() {of_it}");
    let changes = format!("begin; {first} {of_it}; {delete}; commit");
    scene.database.execute(&changes).await;
    let frame = scene.expect("message_deleted").await;
    assert_eq!(frame["data"]["content"], "");
    scene.assert_silence().await;
}

/// Only an edit or a deletion makes a repeat find another content than it has.
#[tokio::test]
async fn what_is_changed_in_sql_without_an_edit_lets_no_other_message_pass_for_a_repeat() {
    let scene = Scene::set().await;
    let api = scene.api();
    let conversation = scene.conversation;
    let sent = api.send_once(conversation, ALICE, "x", "m-1").await;
    let id = id_of(&sent.ok(201));
    let change = async |set: &str| {
        let change = format!("update messages set {set} where id = '{id}'");
        scene.database.execute(&change).await;
    };
    let send = async |content: &str| api.send_once(conversation, ALICE, content, "m-1").await;
    for set in [
        "is_read = true",
        "is_read = false",
        "created_at = created_at - interval '1 day'",
        "revision = revision + 1",
    ] {
        change(set).await;
        send("y").await.refused(409, "client_message_id_reused");
        let repeat = send("x").await.ok(200);
        assert_eq!(repeat["content"], "x", "{set}");
    }
    change("content = 'z'").await;
    for content in ["x", "y", "z"] {
        assert_eq!(send(content).await.ok(200)["content"], "z");
    }
    // It is what was sent, then, for all that is known of it.
    change("edited_at = null").await;
    send("x").await.refused(409, "client_message_id_reused");
    assert_eq!(send("z").await.ok(200)["content"], "z");
    change("deleted_at = now()").await;
    assert_eq!(send("x").await.ok(200)["content"], "");
    assert_eq!(scene.database.count("messages").await, 1);
}
