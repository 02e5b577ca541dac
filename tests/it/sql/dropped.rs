//! What a trigger of the host's takes out of an update is not claimed to be done.

use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

/// In both ways: by dropping the row from the update, and by putting it back as it was.
#[tokio::test]
async fn a_change_that_a_trigger_of_the_host_drops_is_refused_and_a_mark_is_not_counted() {
    let mut scene = Scene::set().await;
    let keep =
        "return case old.content when 'dropped' then null when 'put back' then old else new end;";
    scene.with_trigger("before update on messages", keep).await;
    let (api, conversation) = (scene.api(), scene.conversation);
    let mut kept = Vec::new();
    for content in ["dropped", "put back"] {
        kept.push(api.send(conversation, ALICE, content).await);
    }
    api.send(conversation, ALICE, "free").await;
    for message in &kept {
        let id = id_of(message);
        api.delete_message(id, ALICE).await.refused(500, "internal");
        let data = json!({"messageId": id});
        let alice = &mut scene.sockets[0];
        alice.refused("delete_message", data, "internal").await;
    }
    let id = id_of(&kept[0]);
    let edited = api.edit(id, ALICE, "edited").await;
    edited.refused(500, "internal");
    // As it is, and not as it was to be.
    let edited = api.edit(id_of(&kept[1]), ALICE, "edited").await.ok(200);
    assert_eq!(edited["content"], "put back");

    let read = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(
        (&read["markedCount"], &read["readSeq"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(api.unread_count(BORIS).await, 2);
    for (found, sent) in api.history(conversation).await.iter().zip(&kept) {
        assert_eq!(found, sent);
        assert_eq!(found["deletedAt"], Value::Null);
    }
    for _ in 0..3 {
        scene.expect("chat_message").await;
    }
    scene.expect("messages_read").await;
    scene.assert_silence().await;
}

/// One that counts how often it was asked, which no rollback takes back.
#[tokio::test]
async fn a_trigger_that_drops_what_somebody_asked_for_is_asked_once() {
    let scene = Scene::set().await;
    let (api, conversation) = (scene.api(), scene.conversation);
    let message = id_of(&api.send(conversation, ALICE, "kept").await);
    scene
        .database
        .execute(
            "create sequence asked;
             create function host_keeps() returns trigger language plpgsql security definer as $$
             begin
               perform nextval('public.asked');
               return case tg_argv[0] when 'put back' then old end;
             end $$;
             create trigger host_keeps before insert on conversations for each row execute function host_keeps('dropped');
             create trigger host_keeps before update on messages for each row execute function host_keeps('dropped')",
        )
        .await;
    let asked = async || {
        let times = scene.database.count("asked where is_called").await;
        let last = scene.database.sql().await;
        let last = last.query_one("select last_value from asked", &[]).await;
        times * last.expect("a number").get::<_, i64>(0)
    };
    let opened = api.try_open_conversation(CARLA, DAVID).await;
    opened.refused(500, "internal");
    assert_eq!(asked().await, 1, "opening");
    let log = scene.replicas[0].log();
    assert!(log.contains("has dropped a conversation"), "{log}");
    let edited = api.edit(message, ALICE, "edited").await;
    edited.refused(500, "internal");
    assert_eq!(asked().await, 2, "editing");
    let deleted = api.delete_message(message, ALICE).await;
    deleted.refused(500, "internal");
    assert_eq!(asked().await, 3, "deleting");
    scene
        .database
        .execute(
            "drop trigger host_keeps on messages;
             create trigger host_keeps before update on messages for each row execute function host_keeps('put back')",
        )
        .await;
    let deleted = api.delete_message(message, ALICE).await;
    deleted.refused(500, "internal");
    assert_eq!(asked().await, 4, "deleting what is put back");
    // In one transaction with the row that is kept: nobody else can have replaced it.
    let program = scene.database.sql().await;
    let inserted = format!(
        "begin;
         insert into messages (id, conversation_id, sender_id, content)
         values ('{CARLA}', '{conversation}', '{ALICE}', 'of this transaction')"
    );
    program.batch_execute(&inserted).await.expect("a message");
    for (call, times) in [
        (
            format!("chat_edit_message('{CARLA}', '{ALICE}', 'edited')::text"),
            5,
        ),
        (format!("chat_delete_message('{CARLA}', '{ALICE}')"), 6),
    ] {
        let sql = format!("select {call}");
        program.batch_execute(&sql).await.expect("an answer");
        assert_eq!(asked().await, times, "{call}");
    }
    program.batch_execute("commit").await.expect("its end");
}

/// A trigger that puts aside what it drops, as a filter does.
#[tokio::test]
async fn a_trigger_that_drops_a_message_has_acted_once() {
    let scene = Scene::set().await;
    scene
        .database
        .execute("create table put_aside (content text)")
        .await;
    let body = "insert into put_aside values (new.content); return null;";
    scene.with_trigger("before insert on messages", body).await;
    let (api, conversation) = (scene.api(), scene.conversation);
    for content in ["one", "two"] {
        let sent = api.try_send(conversation, ALICE, content).await;
        sent.refused(500, "internal");
        let named = api
            .send_once(conversation, ALICE, &format!("{content} by name"), content)
            .await;
        named.refused(500, "internal");
    }
    let put_aside = scene.database.count("put_aside").await;
    let contents = scene
        .database
        .count("(select distinct content from put_aside) c")
        .await;
    assert_eq!((put_aside, contents), (4, 4));
    assert_eq!(scene.database.count("messages").await, 0);
}
