//! Triggers of the host's that change, drop or move what pgchat stores, edits and deletes.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

#[tokio::test]
async fn a_repeat_of_a_message_that_a_trigger_has_changed_is_no_conflict() {
    let scene = Scene::set().await;
    let body = "new.content := 'censored'; new.message_type := 'file'; return new;";
    scene.with_trigger("before insert on messages", body).await;
    let api = scene.api();
    let first = api
        .send_once(scene.conversation, ALICE, "rude", "m-1")
        .await
        .ok(201);
    let again = api
        .send_once(scene.conversation, ALICE, "rude", "m-1")
        .await
        .ok(200);
    assert_eq!(first["content"], "censored");
    assert_eq!(again, first);
    let other = api.open_conversation(ALICE, CARLA).await;
    api.send_once(other, ALICE, "rude", "m-1")
        .await
        .refused(409, "client_message_id_reused");
    // One that is off has changed nothing.
    let off = "alter table messages disable trigger meddle";
    scene.database.execute(off).await;
    for (content, status) in [("polite", 201), ("rude", 409)] {
        let sent = api.send_once(scene.conversation, ALICE, content, "m-2");
        assert_eq!(sent.await.status, status, "{content}");
    }
}

#[tokio::test]
async fn an_edit_or_a_deletion_that_a_trigger_drops_is_not_acknowledged() {
    let scene = Scene::set().await;
    let api = scene.api();
    let sent = id_of(&api.send(scene.conversation, ALICE, "kept").await);
    scene
        .with_trigger("before update on messages", "return null;")
        .await;
    api.edit(sent, ALICE, "changed")
        .await
        .refused(500, "internal");
    api.delete_message(sent, ALICE)
        .await
        .refused(500, "internal");
    assert_eq!(api.history(scene.conversation).await[0]["content"], "kept");
}

/// The caller learns no more than that; whoever looks into the log finds it by the request's id.
#[tokio::test]
async fn why_a_trigger_refused_a_message_stands_in_the_log_under_the_requests_id() {
    let scene = Scene::set().await;
    scene
        .with_trigger("before insert on messages", "raise 'no, says the host';")
        .await;
    let body = json!({"conversationId": scene.conversation, "senderId": ALICE, "content": "hello"});
    let request = scene.api().request(Method::POST, "/api/v1/chat/messages");
    let request = request.header("x-request-id", "asked-7").json(&body);
    let message = Reply::to(request).await.refused(500, "internal");
    assert_eq!(message, "internal error");
    let log = scene.replicas[0].log();
    let told = |line: &str| line.contains("asked-7") && line.contains("no, says the host");
    assert!(log.lines().any(told), "{log}");
}

/// By its content a message says what the trigger does to it.
#[tokio::test]
async fn a_message_that_a_trigger_makes_another_one_is_refused_and_leaves_nothing() {
    let mut scene = Scene::set().await;
    let other = scene.api().open_conversation(ALICE, CARLA).await;
    let body = format!(
        "case new.content
           when 'id' then new.id := gen_random_uuid();
           when 'conversation' then new.conversation_id := '{other}';
           when 'sender' then new.sender_id := new.reader_id;
           when 'reader' then new.reader_id := new.sender_id;
           when 'seq' then new.seq := new.seq + 1;
           else null;
         end case;
         return new;"
    );
    scene.with_trigger("before insert on messages", &body).await;
    let (api, conversation) = (scene.api(), scene.conversation);
    let moved = ["id", "conversation", "sender", "reader", "seq"];
    // Alone, and among others in a batch.
    for content in moved {
        api.try_send(conversation, ALICE, content)
            .await
            .refused(500, "internal");
    }
    let sends = moved.iter().flat_map(|content| ["fine", content, "fine"]);
    let answers = join_all(
        sends.map(async |content| (content, api.try_send(conversation, ALICE, content).await)),
    )
    .await;
    let mut seqs = Vec::new();
    for (content, answer) in answers {
        match content {
            "fine" => seqs.push(seq_of(&answer.ok(201))),
            _ => drop(answer.refused(500, "internal")),
        }
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=10).collect::<Vec<_>>());
    assert_eq!(scene.database.count("messages").await, 10);
    for socket in &mut scene.sockets {
        socket.collect_messages(10).await;
    }
    scene.sockets[0].expect("conversation_created").await;
    scene.assert_silence().await;
}

#[tokio::test]
async fn a_message_whose_conversation_a_trigger_keeps_as_it_was_is_refused() {
    let mut scene = Scene::set().await;
    scene
        .with_trigger("before update on conversations", "return null;")
        .await;
    let (api, conversation) = (scene.api(), scene.conversation);
    for answer in join_all((0..4).map(|_| api.try_send(conversation, ALICE, "kept out"))).await {
        answer.refused(500, "internal");
    }
    let dropped = scene
        .refused("09000", &scene.insert(ALICE, "kept out"))
        .await;
    assert!(
        dropped.contains("dropped the change of a conversation"),
        "{dropped}"
    );
    assert_eq!(scene.database.count("messages").await, 0);
    scene
        .database
        .execute("drop trigger meddle on conversations")
        .await;
    scene.assert_silence().await;
}

/// As many hosts have one, for all of their tables. now() is when the transaction began.
#[tokio::test]
async fn of_two_states_the_later_one_has_the_later_time_whatever_a_trigger_sets() {
    let mut scene = Scene::set().await;
    let api = scene.api();
    let sent = id_of(&api.send(scene.conversation, ALICE, "first").await);
    let body = "new.updated_at := now(); return new;";
    scene.with_trigger("before update on messages", body).await;
    let early = scene.database.holding("select pg_current_xact_id()").await;
    api.edit(sent, ALICE, "second").await.ok(200);
    let edit = format!("update messages set content = 'third' where id = '{sent}'; commit");
    early.batch_execute(&edit).await.expect("an edit");
    let second = scene.expect("message_updated").await;
    let third = scene.expect("message_updated").await;
    assert_eq!(third["data"]["content"], "third");
    let at = |frame: &Value| {
        frame["data"]["updatedAt"]
            .as_str()
            .expect("a time")
            .to_owned()
    };
    assert!(at(&second) < at(&third), "{second} {third}");
}

/// A trigger that notes something about a few messages, and one that takes some away again.
#[tokio::test]
async fn what_a_trigger_does_to_some_of_a_batch_changes_no_order() {
    let mut scene = Scene::set().await;
    scene
        .database
        .execute("alter table messages add column note text")
        .await;
    let body = "case new.content
                  when 'note' then update messages set note = 'seen' where id = new.id;
                  when 'remove' then delete from messages where id = new.id;
                  else null;
                end case;
                return null;";
    scene.with_trigger("after insert on messages", body).await;
    let conversation = scene.conversation;
    let contents = ["one", "note", "two", "remove", "three", "note", "remove"];
    let columns = |each: &str| vec![each; contents.len()].join(", ");
    scene
        .database
        .execute(&format!(
            "select * from chat_send_messages(array[{}], array[{}]::uuid[], array[{}]::uuid[], array['{}'], array[{}], array[{}]::text[])",
            columns("gen_random_uuid()"),
            columns(&format!("'{conversation}'")),
            columns(&format!("'{ALICE}'")),
            contents.join("', '"),
            columns("'text'"),
            columns("null"),
        ))
        .await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{conversation}', '{BORIS}', c from unnest(array['{}']) c",
        contents.join("', '")
    );
    scene.database.execute(&insert).await;
    for socket in &mut scene.sockets {
        let seqs: Vec<i64> = socket
            .collect_messages(14)
            .await
            .iter()
            .map(seq_of)
            .collect();
        assert_eq!(seqs, (1..=14).collect::<Vec<_>>());
    }
    let shown = scene.api().conversations(ALICE).await.remove(0);
    assert_eq!(shown["lastSeq"], 14);
    assert_eq!(shown["lastMessage"]["seq"], 13);
    let next = scene.api().send(conversation, ALICE, "next").await;
    assert_eq!(seq_of(&next), 15);
}

/// No trigger: a function that is called for the rows that a statement inserts, before anybody is told of these.
#[tokio::test]
async fn what_a_function_sends_for_the_rows_of_a_statement_arrives_behind_them() {
    let mut scene = Scene::set().await;
    scene
        .database
        .execute(
            "create function answer(conversation uuid, sender uuid) returns text language sql volatile as $$
               insert into messages (conversation_id, sender_id, content) values (conversation, sender, 'answer') returning content
             $$",
        )
        .await;
    let calls = [
        "answer(conversation_id, reader_id)",
        "chat_send_message(conversation_id, reader_id, 'answer')",
    ];
    for (place, call) in calls.into_iter().enumerate() {
        let insert = scene.insert(ALICE, "question");
        let sql = format!("with q as ({insert} returning *) select {call} from q");
        scene.database.execute(&sql).await;
        for socket in &mut scene.sockets {
            let messages = socket.collect_messages(2).await;
            assert_eq!(messages[0]["content"], "question", "{call}");
            let seqs: Vec<i64> = messages.iter().map(seq_of).collect();
            let first = 2 * place as i64 + 1;
            assert_eq!(seqs, [first, first + 1], "{call}");
        }
    }
    scene.assert_silence().await;
}

/// PostgreSQL refuses that of several messages together, in one statement with what is pgchat's own.
#[tokio::test]
async fn a_trigger_that_notes_each_message_at_its_conversation_beforehand_only_costs_time() {
    let mut scene = Scene::set().await;
    scene
        .database
        .execute("alter table conversations add column note text")
        .await;
    let body =
        "update conversations set note = new.content where id = new.conversation_id; return new;";
    scene.with_trigger("before insert on messages", body).await;
    let (api, conversation) = (scene.api(), scene.conversation);
    let answers = join_all((0..20).map(|_| api.try_send(conversation, ALICE, "noted"))).await;
    let mut seqs: Vec<i64> = answers
        .into_iter()
        .map(|answer| seq_of(&answer.ok(201)))
        .collect();
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    for socket in &mut scene.sockets {
        let told: Vec<i64> = socket
            .collect_messages(20)
            .await
            .iter()
            .map(seq_of)
            .collect();
        assert_eq!(told, seqs);
    }
    let shown = scene.api().conversations(ALICE).await.remove(0);
    assert_eq!(shown["lastSeq"], 20);
    assert_eq!(shown["lastMessage"]["seq"], 20);
}
