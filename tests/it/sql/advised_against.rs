//! What `sql/README.md` advises against, and what it says becomes of it.

use super::Scene;
use crate::support::*;

#[tokio::test]
async fn after_both_tables_are_truncated_a_live_replica_begins_anew() {
    let mut scene = Scene::set().await;
    scene.api().send(scene.conversation, ALICE, "gone").await;
    scene.expect("chat_message").await;
    let truncate = "truncate messages, conversations";
    scene.database.execute(truncate).await;

    assert!(scene.api().conversations(ALICE).await.is_empty());
    let gone = scene.api().try_send(scene.conversation, ALICE, "x").await;
    gone.refused(404, "conversation_not_found");
    scene.conversation = scene.api().open_conversation(ALICE, BORIS).await;
    scene.expect("conversation_created").await;
    let sent = scene.api().send(scene.conversation, ALICE, "anew").await;
    assert_eq!(sent["seq"], 1);
    assert_eq!(scene.expect("chat_message").await["data"], sent);
    // Nobody is told of what is gone.
    scene.assert_silence().await;
}

#[tokio::test]
async fn after_the_messages_alone_are_truncated_their_numbers_go_on() {
    let mut scene = Scene::set().await;
    let gone = scene.api().send(scene.conversation, ALICE, "gone").await;
    scene.expect("chat_message").await;
    scene.database.execute("truncate messages").await;
    let listed = scene.api().conversations(ALICE).await;
    assert_eq!(listed[0]["lastMessageId"], gone["id"]);
    let sent = scene.api().send(scene.conversation, BORIS, "next").await;
    assert_eq!(sent["seq"], 2);
    scene.expect("chat_message").await;
    scene.assert_silence().await;
}

/// Row-level security of the two tables is for other programs, unless it is forced.
#[tokio::test]
async fn forced_row_level_security_hides_rows_from_the_chat_too() {
    let scene = Scene::set().await;
    let api = scene.api();
    for content in ["open", "hidden"] {
        api.send(scene.conversation, ALICE, content).await;
    }
    let role = scene.database.role("program").await;
    scene
        .database
        .execute_as_owner(&format!(
            "alter table messages enable row level security;
             create policy openly on messages using (content <> 'hidden');
             grant select on messages to {role}"
        ))
        .await;
    let program = scene.database.sql_as(&role).await;
    let rows = program.query("select content from messages", &[]).await;
    assert_eq!(rows.expect("its rows").len(), 1);
    assert_eq!(api.history(scene.conversation).await.len(), 2);

    let force = "alter table messages force row level security";
    scene.database.execute_as_owner(force).await;
    let history = api.history(scene.conversation).await;
    assert_eq!(history.len(), 1, "{history:?}");
    assert_eq!(history[0]["content"], "open");
}

/// So a program that hears of messages takes UTF8.
#[tokio::test]
async fn a_listener_whose_encoding_lacks_a_character_of_a_message_is_ended() {
    let mut scene = Scene::set().await;
    let narrow = scene.database.sql().await;
    let listen = "set client_encoding = 'LATIN1'; listen chat_events";
    narrow.batch_execute(listen).await.expect("listening");
    let mut wide = scene.database.listen("chat_events").await;
    scene.api().send(scene.conversation, ALICE, "plain").await;
    scene.expect("chat_message").await;
    narrow.batch_execute("select 1").await.expect("it lives");

    let sent = scene.api().send(scene.conversation, ALICE, "Łódź").await;
    eventually("its session is ended", || async {
        narrow.is_closed().then_some(())
    })
    .await;
    wide.about(&id_of(&sent).to_string()).await;
    assert_eq!(scene.expect("chat_message").await["data"], sent);
}
