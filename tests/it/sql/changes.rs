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
    for (set, word) in [
        ("client_message_id = ''", "64 bytes"),
        ("client_message_id = repeat('q', 65)", "64 bytes"),
        ("created_at = 'infinity'", "years 1 to 9999"),
        ("seq = 2", "cannot change"),
        ("content = null", "null value"),
    ] {
        let refused = scene.refused(&format!("update messages set {set}")).await;
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
async fn is_read_set_by_sql_is_live() {
    let mut scene = Scene::set().await;
    for content in ["one", "two"] {
        scene.api().send(scene.conversation, ALICE, content).await;
        scene.expect("chat_message").await;
    }
    let update = format!(
        "update messages set is_read = true where conversation_id = '{}' and sender_id = '{ALICE}'",
        scene.conversation
    );

    scene.database.execute(&update).await;
    scene.database.execute(&update).await;

    let frame = scene.expect("messages_read").await;
    assert_eq!(frame["userId"], json!(BORIS));
    let data = json!({"conversationId": scene.conversation, "readerId": BORIS, "upToSeq": 2});
    assert_eq!(frame["data"], data);
    assert_eq!(scene.api().unread_count(BORIS).await, 0);
    scene.assert_silence().await;
}

#[tokio::test]
async fn what_sql_marks_as_unread_again_is_unread_again() {
    let mut scene = Scene::set().await;
    let sent = scene.api().send(scene.conversation, ALICE, "hello").await;
    scene.expect("chat_message").await;
    let api = scene.api();
    api.mark_read(scene.conversation, BORIS).await.ok(200);
    scene.expect("messages_read").await;

    let update = format!(
        "update messages set is_read = false where id = '{}'",
        id_of(&sent)
    );
    scene.database.execute(&update).await;

    let frame = scene.expect("message_updated").await;
    assert_eq!(frame["data"]["isRead"], false);
    assert_eq!(frame["data"]["editedAt"], Value::Null, "nothing was edited");
    assert_eq!(api.unread_count(BORIS).await, 1);
    let marked = api.mark_read(scene.conversation, BORIS).await.ok(200);
    assert_eq!(marked["markedCount"], 1);
    scene.expect("messages_read").await;
    scene.assert_silence().await;
}

/// One statement that edits and marks as read makes both events, of each message, in order.
#[tokio::test]
async fn what_one_statement_changes_and_marks_as_read_is_told_as_both() {
    let mut scene = Scene::set().await;
    for content in ["one", "two"] {
        scene.api().send(scene.conversation, ALICE, content).await;
        scene.expect("chat_message").await;
    }
    let update = format!(
        "update messages set content = content || '!', is_read = true where conversation_id = '{}'",
        scene.conversation
    );

    scene.database.execute(&update).await;

    for content in ["one!", "two!"] {
        let frame = scene.expect("message_updated").await;
        assert_eq!(frame["data"]["content"], content);
        assert_eq!(frame["data"]["isRead"], true);
    }
    assert_eq!(scene.expect("messages_read").await["data"]["upToSeq"], 2);
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
