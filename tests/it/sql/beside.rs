//! What is sent while another statement or function stores a message is told of in its place, and once.

use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

/// The function answers in two conversations by one statement, which is ahead of what it answers in the first of them alone.
#[tokio::test]
async fn what_a_function_sends_into_several_conversations_arrives_behind_what_it_answers() {
    let mut scene = Scene::set().await;
    scene.database.conversation(BORIS, CARLA).await;
    scene
        .database
        .execute(
            "create function tell_all(sender uuid) returns bigint language sql volatile as $$
               insert into messages (conversation_id, sender_id, content)
               select id, sender, 'answer' from conversations where sender in (participant1_id, participant2_id);
               select 1::bigint
             $$",
        )
        .await;
    let insert = scene.insert(ALICE, "question");
    let sql = format!("with q as ({insert} returning reader_id) select tell_all(reader_id) from q");
    scene.database.execute(&sql).await;
    let here = json!(scene.conversation);
    let [alice, boris] = &mut scene.sockets;
    for (socket, count) in [(alice, 2), (boris, 3)] {
        let mut messages = socket.collect_messages(count).await;
        messages.retain(|message| message["conversationId"] == here);
        let contents: Vec<&Value> = messages.iter().map(|message| &message["content"]).collect();
        assert_eq!(contents, ["question", "answer"]);
    }
    scene.sockets[1].expect("conversation_created").await;
    scene.assert_silence().await;
}

/// Beside it another one is told of, and by that the message that the trigger is for.
#[tokio::test]
async fn what_was_told_beside_a_message_that_is_dropped_is_not_told_as_new_once_more() {
    let mut scene = Scene::set().await;
    let other = scene.database.conversation(ALICE, CARLA).await;
    scene.sockets[0].expect("conversation_created").await;
    scene
        .database
        .execute(&format!(
            "create function keep_out() returns trigger language plpgsql security definer as $$
             begin
               if not exists (select from messages where content = 'beside') then
                 insert into messages (conversation_id, sender_id, content) values ('{}', '{BORIS}', 'beside');
               end if;
               return null;
             end $$;
             create trigger keep_out before insert on messages for each row
               when (new.content = 'dropped') execute function keep_out();
             create function answer() returns trigger language plpgsql security definer as $$
             begin
               perform chat_store_message(chat_uuid_v7(), '{other}', '{ALICE}', 'dropped', 'text', null);
               update messages set content = 'question, changed' where id = new.id;
               return null;
             end $$;
             create trigger answer after insert on messages for each row
               when (new.content = 'question') execute function answer()",
            scene.conversation
        ))
        .await;
    scene
        .api()
        .send(scene.conversation, ALICE, "question")
        .await;
    for content in ["question", "beside"] {
        let told = scene.expect("chat_message").await;
        assert_eq!(told["data"]["content"], content);
    }
    let told = scene.expect("message_updated").await;
    assert_eq!(told["data"]["content"], "question, changed");
    scene.assert_silence().await;
}

/// A greeting, for example, inserted before the conversation's own statement has published it.
#[tokio::test]
async fn a_new_conversation_is_told_of_before_what_a_trigger_sends_into_it() {
    let mut scene = Scene::set().await;
    let greet = "insert into messages (conversation_id, sender_id, content) values (new.id, new.participant2_id, 'hello');
                 perform chat_send_message(new.id, new.participant2_id, 'how can I help?');
                 return null;";
    scene
        .with_trigger("after insert on conversations", greet)
        .await;
    let opened = scene.api().open_conversation(ALICE, CARLA).await;
    scene.database.conversation(ALICE, DAVID).await;
    for _ in 0..2 {
        let alice = &mut scene.sockets[0];
        let created = alice.next().await;
        assert_eq!(created["type"], "conversation_created", "{created}");
        let mut contents = Vec::new();
        for _ in 0..2 {
            let sent = alice.next().await;
            assert_eq!(sent["data"]["conversationId"], created["data"]["id"]);
            contents.push(sent["data"]["content"].clone());
        }
        assert_eq!(contents, ["hello", "how can I help?"]);
    }
    let listed = scene.api().conversations(ALICE).await;
    let mine = listed.iter().find(|c| c["id"] == json!(opened));
    assert_eq!(mine.expect("listed")["lastSeq"], 2);
    scene.assert_silence().await;
}
