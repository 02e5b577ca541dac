//! What the host refuses on purpose, by the SQLSTATE PC403: who asked is told why, and nothing of it remains.

use serde_json::json;
use uuid::Uuid;

use super::Scene;
use crate::support::*;

const REFUSED: &str = "This person does not take messages from you.";

/// The block of SQL that creates this function.
fn documented<'a>(page: &'a str, function: &str) -> &'a str {
    let creates = format!("create function {function}()");
    sql_block(page, |block| block.contains(&creates))
}

/// The triggers of the guide, and a user who has blocked another.
async fn with_blocking(scene: &Scene, user: Uuid, blocked: Uuid) {
    let guide = include_str!("../../../sql/README.md");
    for function in ["refuse_blocked", "refuse_conversation"] {
        scene.database.execute(documented(guide, function)).await;
    }
    block(scene, user, blocked).await;
}

async fn block(scene: &Scene, user: Uuid, blocked: Uuid) {
    let insert = format!("insert into blocked_users values ('{user}', '{blocked}')");
    scene.database.execute(&insert).await;
}

/// The service's own log says nothing of a refusal, nor of a repeat.
fn assert_no_alarm(scene: &Scene) {
    for replica in &scene.replicas {
        let log = replica.log();
        let (_, since) = log.split_once("listening on ").expect("its start");
        for word in ["ERROR", "WARN", "PC403"] {
            assert!(!since.contains(word), "{log}");
        }
    }
}

#[tokio::test]
async fn a_message_that_the_documented_trigger_refuses_is_told_so_and_leaves_nothing() {
    let mut scene = Scene::set().await;
    let (api, conversation) = (scene.api(), scene.conversation);
    let before = api.send_once(conversation, ALICE, "by name", "named").await;
    let before = before.ok(201);
    scene.expect("chat_message").await;
    with_blocking(&scene, BORIS, ALICE).await;

    let batches = api.metric("pgchat_writer_batches_total").await;
    let refused = api.try_send(conversation, ALICE, "over HTTP").await;
    assert_eq!(refused.refused(403, "refused"), REFUSED);
    let tried = api.metric("pgchat_writer_batches_total").await - batches;
    assert_eq!(tried, 1.0, "one that was alone is not tried again");
    let data = json!({"conversationId": conversation, "content": "over the socket"});
    let refused = scene.sockets[0]
        .refused("send_message", data, "refused")
        .await;
    assert_eq!(refused, REFUSED);
    let insert = scene.insert(ALICE, "as a row");
    assert!(scene.refused("PC403", &insert).await.contains(REFUSED));
    let send = format!("select chat_send_message('{conversation}', '{ALICE}', 'in SQL')");
    assert!(scene.refused("PC403", &send).await.contains(REFUSED));

    // What was stored before is still answered to who repeats it.
    let again = api.send_once(conversation, ALICE, "by name", "named").await;
    assert_eq!(again.ok(200), before);
    let by_boris = api.send(conversation, BORIS, "free").await;
    assert_eq!(seq_of(&by_boris), 2, "no gap");
    scene.expect("chat_message").await;
    assert_eq!(scene.database.count("messages").await, 2);
    // A stranger hears of no trigger.
    let stranger = api.try_send(conversation, CARLA, "who is there?").await;
    stranger.refused(403, "not_a_participant");
    assert_no_alarm(&scene);
}

/// By the documented trigger: an edit would show the victim whatever the blocked user likes, and at once.
#[tokio::test]
async fn what_a_blocked_user_wrote_before_may_be_deleted_and_not_edited() {
    let mut scene = Scene::set().await;
    let (api, conversation) = (scene.api(), scene.conversation);
    let [first, second, third] = ["first", "second", "third"];
    let mut ids = Vec::new();
    for content in [first, second, third] {
        ids.push(id_of(&api.send(conversation, ALICE, content).await));
        scene.expect("chat_message").await;
    }
    let of_boris = id_of(&api.send(conversation, BORIS, "mine").await);
    scene.expect("chat_message").await;
    with_blocking(&scene, BORIS, ALICE).await;

    let refused = api.edit(ids[0], ALICE, "over HTTP").await;
    assert_eq!(refused.refused(403, "refused"), REFUSED);
    let data = json!({"messageId": ids[0], "content": "over the socket"});
    let refused = scene.sockets[0]
        .refused("edit_message", data, "refused")
        .await;
    assert_eq!(refused, REFUSED);
    let edit = format!(
        "update messages set content = 'in SQL' where id = '{}'",
        ids[0]
    );
    assert!(scene.refused("PC403", &edit).await.contains(REFUSED));
    let history = api.history(conversation).await;
    assert!(history.iter().any(|message| message["content"] == first));

    // What takes words away from the victim's sight is not refused, however it is done, nor is what shows none.
    assert_eq!(api.delete_message(ids[1], ALICE).await.status, 204);
    assert_eq!(
        scene.expect("message_deleted").await["data"]["id"],
        json!(ids[1])
    );
    let emptied = format!(
        "update messages set content = '', deleted_at = now() where id = '{}'",
        ids[2]
    );
    scene.database.execute(&emptied).await;
    assert_eq!(
        scene.expect("message_deleted").await["data"]["id"],
        json!(ids[2])
    );
    api.mark_read(conversation, ALICE).await.ok(200);
    api.mark_read(conversation, BORIS).await.ok(200);
    for _ in 0..2 {
        scene.expect("messages_read").await;
    }
    // And nobody is kept from editing who is not blocked.
    api.edit(of_boris, BORIS, "mine, edited").await.ok(200);
    scene.expect("message_updated").await;
    assert_no_alarm(&scene);
}

#[tokio::test]
async fn a_conversation_that_the_documented_trigger_refuses_is_not_opened() {
    let scene = Scene::set().await;
    with_blocking(&scene, CARLA, DAVID).await;
    block(&scene, BORIS, ALICE).await;
    let api = scene.api();
    for (user1, user2) in [(CARLA, DAVID), (DAVID, CARLA)] {
        let refused = api.try_open_conversation(user1, user2).await;
        let words = refused.refused(403, "refused");
        assert_eq!(words, "You cannot write to this person.");
    }
    assert_eq!(scene.database.count("conversations").await, 1);
    // One that exists is found.
    let found = api.try_open_conversation(ALICE, BORIS).await.ok(200);
    assert_eq!(id_of(&found), scene.conversation);
    api.open_conversation(CARLA, ALICE).await;
    assert_no_alarm(&scene);
}

/// In words that are longer than a user is told.
#[tokio::test]
async fn an_edit_a_deletion_and_a_mark_that_the_host_refuses_change_nothing() {
    let mut scene = Scene::set().await;
    let (api, conversation) = (scene.api(), scene.conversation);
    let sent = api.send(conversation, ALICE, "stays").await;
    scene.expect("chat_message").await;
    let refuse = "raise exception '%', repeat('é', 300) using errcode = 'PC403';";
    scene
        .with_trigger("before update on messages", refuse)
        .await;
    let words = format!("{}…", "é".repeat(256));
    let id = id_of(&sent);
    for refused in [
        api.edit(id, ALICE, "edited").await,
        api.delete_message(id, ALICE).await,
        api.mark_read(conversation, BORIS).await,
    ] {
        assert_eq!(refused.refused(403, "refused"), words);
    }
    for (user, kind, data) in [
        (
            0,
            "edit_message",
            json!({"messageId": id, "content": "edited"}),
        ),
        (0, "delete_message", json!({"messageId": id})),
        (1, "mark_read", json!({"conversationId": conversation})),
    ] {
        let socket = &mut scene.sockets[user];
        assert_eq!(socket.refused(kind, data, "refused").await, words);
    }
    assert_eq!(api.history(conversation).await, [sent]);
    assert_eq!(api.unread_count(BORIS).await, 1);
    scene.assert_silence().await;
    assert_no_alarm(&scene);
}

/// By a trigger that is asked at the end of the transaction.
#[tokio::test]
async fn what_the_host_refuses_at_commit_is_refused_with_its_words() {
    let scene = Scene::set().await;
    scene
        .database
        .execute(
            "create function late() returns trigger language plpgsql as $$
             begin
               raise exception 'at the end' using errcode = 'PC403', detail = 'for nobody to see';
             end $$;
             create constraint trigger late after insert on messages deferrable initially deferred
               for each row execute function late()",
        )
        .await;
    let refused = scene
        .api()
        .try_send(scene.conversation, ALICE, "late")
        .await;
    assert_eq!(
        refused.json(),
        json!({"statusCode": 403, "error": "Forbidden", "message": "at the end", "code": "refused"})
    );
    assert_eq!(scene.database.count("messages").await, 0);
    assert_no_alarm(&scene);
}

/// A temporary table or view is nobody's but its maker's, unless a trigger takes it for one of its owner's.
#[tokio::test]
async fn what_a_writer_makes_for_a_while_stands_in_for_nothing_of_the_documented_triggers() {
    let scene = Scene::set().await;
    let database = &scene.database;
    with_blocking(&scene, BORIS, ALICE).await;
    block(&scene, CARLA, DAVID).await;
    let answer = documented(include_str!("../../../sql/README.md"), "answer");
    database.execute(answer).await;
    let writer = database.role("writer").await;
    database
        .execute(&format!(
            "grant temporary on database {} to {writer};
             grant insert (conversation_id, sender_id, content) on messages to {writer};
             grant insert (participant1_id, participant2_id) on conversations to {writer};
             create sequence ran; grant usage on ran to {writer}",
            database.name
        ))
        .await;
    let session = database.sql_as(&writer).await;
    // Whether it has run, no rollback takes back.
    session
        .batch_execute(
            "create function pg_temp.nobody() returns uuid language plpgsql volatile as
               $$ begin perform nextval('public.ran'); return null; end $$;
             create view pg_temp.blocked_users as select pg_temp.nobody() as user_id, pg_temp.nobody() as blocked_id;
             create table pg_temp.messages (conversation_id uuid, sender_id uuid, content text);
             grant all on pg_temp.blocked_users, pg_temp.messages to public",
        )
        .await
        .expect("what is temporary");

    let message = |sender, content| {
        let insert = scene.insert(sender, content);
        insert.replace("into messages", "into public.messages")
    };
    let conversation = format!(
        "insert into conversations (participant1_id, participant2_id) values ('{CARLA}', '{DAVID}')"
    );
    for insert in [
        message(ALICE, "are you there?"),
        conversation,
        // Answered in Alice's name, in the chat and nowhere else: that is refused.
        message(BORIS, "opening hours?"),
    ] {
        let Err(refused) = session.batch_execute(&insert).await else {
            panic!("not refused: {insert}");
        };
        let code = refused.as_db_error().map(|error| error.code().code());
        assert_eq!(code, Some("PC403"), "{insert}: {refused:?}");
    }
    assert_eq!(database.count("ran where is_called").await, 0);
}
