//! What SQL marks as read, and as unread again.

use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

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

    let frames = scene.told_since().await;
    let told: Vec<_> = frames.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(
        told,
        ["message_updated", "message_updated", "messages_read"]
    );
    for (frame, content) in frames.iter().zip(["one!", "two!"]) {
        assert_eq!(frame["data"]["content"], content);
        assert_eq!(frame["data"]["isRead"], true);
    }
    assert_eq!(frames[2]["data"]["upToSeq"], 2);
}

/// Or the mark would take back what is told ahead of it.
#[tokio::test]
async fn what_one_statement_makes_unread_again_is_told_behind_what_it_marks_as_read() {
    let mut scene = Scene::set().await;
    for content in ["one", "two"] {
        scene.api().send(scene.conversation, ALICE, content).await;
        scene.expect("chat_message").await;
    }
    let update = |is_read: &str| {
        format!(
            "update messages set is_read = ({is_read}) where conversation_id = '{}'",
            scene.conversation
        )
    };
    let (first, then) = (update("seq = 1"), update("seq <> 1"));
    scene.database.execute(&first).await;
    assert_eq!(scene.expect("messages_read").await["data"]["upToSeq"], 1);

    scene.database.execute(&then).await;

    let frames = scene.told_since().await;
    let told: Vec<_> = frames.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(told, ["messages_read", "message_updated"]);
    assert_eq!(frames[0]["data"]["upToSeq"], 2);
    assert_eq!(frames[1]["data"]["seq"], 1);
    assert_eq!(frames[1]["data"]["isRead"], false);
}

/// Where the mark has looked for what is unread, and a message comes before it has looked for the end.
#[tokio::test]
async fn a_mark_says_of_no_message_that_it_is_read_that_comes_while_it_is_made() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let insert = |content: &str, is_read: bool| {
        format!(
            "insert into messages (conversation_id, sender_id, content, is_read)
             values ('{conversation}', '{ALICE}', '{content}', {is_read})"
        )
    };
    database.execute(&insert("read", true)).await;
    database.execute(&insert("hidden", false)).await;
    // A policy of the host's takes long over the second one: not when it is to be marked, but when it is looked for once more.
    database
        .execute(
            "create sequence looks;
             create function takes_long(seq bigint) returns boolean language plpgsql volatile security definer as $$
             begin
               if seq <> 2 then
                 return true;
               end if;
               if nextval('looks') = 2 then
                 perform pg_advisory_xact_lock_shared(7);
               end if;
               return false;
             end $$",
        )
        .await;
    database
        .execute_as_owner(
            "alter table messages enable row level security;
             alter table messages force row level security;
             create policy slow on messages using (takes_long(seq));
             alter function chat_mark_read set lock_timeout = '60s'",
        )
        .await;
    let program = database.holding("select pg_advisory_lock(7)").await;
    let marker = database.sql().await;
    let mark = async {
        let sql = "select read_seq from chat_mark_read($1, $2)";
        let row = marker.query_one(sql, &[&conversation, &BORIS]).await;
        row.expect("a mark").get::<_, i64>(0)
    };
    let comes = async {
        until_a_lock_is_waited_for(&database, "the mark looks").await;
        program
            .batch_execute(&insert("new", false))
            .await
            .expect("a message");
        program
            .batch_execute("commit; select pg_advisory_unlock(7)")
            .await
            .expect("its end");
    };
    let (read_seq, ()) = tokio::join!(mark, comes);
    assert_eq!(read_seq, 2, "the third is unread");
}
