//! What is there beside the tables: the function, the channel, the grants.

use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

/// As HTTP does: every character that Unicode calls white space.
#[tokio::test]
async fn chat_send_message_refuses_what_http_refuses_as_white_space() {
    let database = Database::fresh().await;
    let _replica = Replica::start(&database, &[]).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let sql = database.sql().await;
    let send = async |content: &str| {
        let statement = "select chat_send_message($1, $2, $3)::text";
        sql.query(statement, &[&conversation, &ALICE, &content])
            .await
    };
    let white: String = ('\0'..=char::MAX).filter(|c| c.is_whitespace()).collect();
    assert_eq!(white.chars().count(), 25);
    for space in white.chars() {
        let refused = send(&space.to_string()).await.expect_err("white space");
        let code = refused.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("23514"), "U+{:04X}", space as u32);
    }
    send(&white).await.expect_err("white space");
    for seen in ["v", "\u{3000}\u{e9}\u{a0}", "\u{a0}x"] {
        send(seen).await.expect(seen);
    }
}

#[tokio::test]
async fn chat_send_message_sends_once() {
    let mut scene = Scene::set().await;
    let client = scene.database.sql().await;
    let conversation = scene.conversation;
    let send = async |content: &str, name: Option<&str>| {
        client
            .query_one(
                "select chat_send_message($1, $2, $3, 'text', $4)::text",
                &[&conversation, &ALICE, &content, &name],
            )
            .await
            .map(|row| serde_json::from_str::<Value>(row.get(0)).expect("JSON"))
    };

    let first = send("hello", Some("m-1")).await.expect("a message");
    assert_message(&first);
    assert_eq!(first["clientMessageId"], "m-1");
    assert_eq!(scene.expect("chat_message").await["data"], first);
    let repeat = send("hello", Some("m-1")).await.expect("the same message");
    assert_eq!(repeat, first);
    for (content, name, sqlstate) in [("other", Some("m-1"), "23505"), (" \n", None, "23514")] {
        let refused = send(content, name).await.expect_err("refused");
        let code = refused.code().map(|code| code.code());
        assert_eq!(code, Some(sqlstate), "{refused:?}");
    }
    let over_http = scene
        .api()
        .send_once(conversation, ALICE, "hello", "m-1")
        .await;
    assert_eq!(over_http.ok(200), first, "one name space for both ways");
    scene.assert_silence().await;
}

#[tokio::test]
async fn notifications_are_json_under_eight_thousand_bytes() {
    let scene = Scene::set().await;
    let mut notifications = scene.database.listen("chat_events").await;
    for length in [1, 7_000, 8_000, 65_536] {
        let content = "\"".repeat(length);
        let sent = scene.api().send(scene.conversation, ALICE, &content).await;
        let payload = notifications.about(&id_of(&sent).to_string()).await;
        assert!(payload.len() < 8_000, "{} bytes", payload.len());
        let parsed: Value = serde_json::from_str(&payload).expect("JSON");
        let event = &parsed["events"][0];
        assert_eq!(event["type"], "chat_message");
        assert_eq!(event["recipients"], json!([ALICE, BORIS]));
    }
}

#[tokio::test]
async fn a_program_needs_no_rights_but_those_that_are_documented() {
    let mut scene = Scene::set().await;
    let role = scene.database.role("crm").await;
    let documented = sql_block(include_str!("../../../sql/README.md"), |block| {
        block.contains("grant insert (conversation_id, sender_id, content) on messages to crm;")
    });
    let grants = documented.replace("to crm;", &format!("to {role};"));
    scene.database.execute(&grants).await;
    let client = scene.database.sql_as(&role).await;

    let insert = scene.insert(ALICE, "from the CRM");
    client.batch_execute(&insert).await.expect("an insert");
    let frame = scene.expect("chat_message").await;
    let id = id_of(&frame["data"]);
    let update = format!("update messages set content = 'mended' where id = '{id}'");
    client.batch_execute(&update).await.expect("an update");
    scene.expect("message_updated").await;
    let delete = format!("delete from messages where id = '{id}'");
    client.batch_execute(&delete).await.expect("a delete");
    scene.expect("message_deleted").await;
    let send = format!(
        "select chat_send_message('{}', '{BORIS}', 'by function')",
        scene.conversation
    );
    client.batch_execute(&send).await.expect("a message");
    scene.expect("chat_message").await;
    let forge = scene
        .insert(ALICE, "x")
        .replace("content)", "content, seq)");
    let forge = forge.replace("'x')", "'x', 99)");
    let refused = client.batch_execute(&forge).await.expect_err("no right");
    assert_eq!(refused.code().map(|code| code.code()), Some("42501"));
    let open = format!(
        "insert into conversations (participant1_id, participant2_id) values ('{ALICE}', '{DAVID}')"
    );
    client.batch_execute(&open).await.expect("a conversation");
    scene.sockets[0].expect("conversation_created").await;
    // With all that is in it, locked as sql/README.md says.
    let delete = "begin; select from conversations order by id for update; delete from messages; delete from conversations; commit";
    client.batch_execute(delete).await.expect("a deletion");
    scene.sockets[0].expect("resync_required").await;
}

#[tokio::test]
async fn a_notification_that_is_none_of_the_services_is_passed_over() {
    let mut scene = Scene::set().await;
    let client = scene.database.sql().await;
    for payload in [
        "",
        "x",
        "{}",
        "[]",
        "null",
        r#"{"v":1}"#,
        r#"{"v":1,"xid":"1","horizon":"2","at":1,"events":[{}]}"#,
        r#"{"v":1,"xid":"x","horizon":"y","at":-1,"events":[{"type":"chat_message","recipients":[1]}]}"#,
        &"[".repeat(7_999),
    ] {
        let notify = "select pg_notify('chat_events', $1)";
        let notified = client.execute(notify, &[&payload]).await;
        notified.expect("a notification");
    }
    scene.assert_silence().await;
    for replica in &scene.replicas {
        assert_eq!(replica.api().status("/health").await, Some(200));
    }
}

/// A subtransaction for each would make a transaction with thousands of them take minutes.
#[tokio::test]
async fn chat_send_message_needs_no_subtransaction() {
    let scene = Scene::set().await;
    let sends = format!(
        "do $$ begin
           for n in 1..3 loop
             perform chat_send_message('{}', '{ALICE}', 'number ' || n, client_message_id => 'n-' || n);
           end loop;
           assert (select count(*) from messages where xmin = pg_current_xact_id()::xid) = 3;
         end $$",
        scene.conversation
    );
    scene.database.execute(&sends).await;
    // Where its last_seq is behind, one is, and it recovers.
    scene
        .database
        .execute("update conversations set last_seq = 0")
        .await;
    let again = sends.replace("n-", "m-").replace("assert", "perform");
    scene.database.execute(&again).await;
    let conversation = scene.api().conversations(ALICE).await.remove(0);
    assert_eq!(conversation["lastSeq"], 6);
}
