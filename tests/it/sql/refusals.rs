//! What is refused, by the SQLSTATE that `sql/README.md` names: programs decide by it what to do.

use super::Scene;
use crate::support::*;

#[tokio::test]
async fn an_insert_that_breaks_a_rule_is_refused() {
    let mut scene = Scene::set().await;
    let conversation = scene.conversation;
    let insert = scene.insert(CARLA, "not mine");
    let refused = scene.refused("23514", &insert).await;
    assert!(refused.contains("not a participant"), "{refused}");
    scene.refused("23514", &scene.insert(NOBODY, "who?")).await;
    let nowhere = scene
        .insert(ALICE, "nowhere")
        .replace(&conversation.to_string(), &NOBODY.to_string());
    scene.refused("23503", &nowhere).await;
    for (sqlstate, column, value) in [
        ("23514", "client_message_id", "''"),
        ("23514", "client_message_id", "repeat('q', 65)"),
        // As `postgres_fdw` sends columns that are left out.
        ("23502", "id", "null"),
        ("23502", "is_read", "null"),
    ] {
        let insert = format!(
            "insert into messages (conversation_id, sender_id, content, {column})
             values ('{conversation}', '{ALICE}', 'x', {value})"
        );
        scene.refused(sqlstate, &insert).await;
    }
    for column in ["created_at", "updated_at", "edited_at"] {
        for time in ["infinity", "-infinity", "0001-01-01 BC", "10000-01-01Z"] {
            let insert = format!(
                "insert into messages (conversation_id, sender_id, content, {column})
                 values ('{conversation}', '{ALICE}', 'when?', '{time}')"
            );
            let refused = scene.refused("23514", &insert).await;
            assert!(refused.contains("years 1 to 9999"), "{refused}");
        }
    }
    let null = scene.insert(ALICE, "null").replace("'null'", "null");
    scene.refused("23502", &null).await;
    assert_eq!(scene.database.count("messages").await, 0);
    scene.assert_silence().await;
}

#[tokio::test]
async fn a_conversation_that_breaks_a_rule_is_refused() {
    let mut scene = Scene::set().await;
    for (sqlstate, one, other) in [
        ("23514", ALICE, ALICE),
        ("23505", ALICE, BORIS),
        ("23505", BORIS, ALICE),
        ("23503", ALICE, NOBODY),
    ] {
        let insert = format!(
            "insert into conversations (participant1_id, participant2_id) values ('{one}', '{other}')"
        );
        scene.refused(sqlstate, &insert).await;
    }
    assert_eq!(scene.database.count("conversations").await, 1);
    scene.assert_silence().await;
}

/// Lists are sorted by them, and clients get them as RFC 3339. An adopted row that has another goes on.
#[tokio::test]
async fn a_conversation_whose_times_nobody_could_show_is_refused() {
    let scene = Scene::set().await;
    let insert = |columns: &str, values: &str| {
        format!(
            "insert into conversations (participant1_id, participant2_id, {columns}) values ('{ALICE}', '{CARLA}', {values})"
        )
    };
    for time in ["infinity", "-infinity", "0001-01-01 BC", "10000-01-01Z"] {
        let time = format!("'{time}'");
        let inserts = [
            insert("created_at", &time),
            insert("updated_at", &time),
            insert("updated_at, active_at", &format!("{time}, {time}")),
        ];
        let updates = ["created_at", "updated_at"]
            .map(|column| format!("update conversations set {column} = {time}"));
        for statement in inserts.iter().chain(&updates) {
            let refused = scene.refused("23514", statement).await;
            assert!(refused.contains("years 1 to 9999"), "{refused}");
        }
    }
    // Within a minute of each other, as the two may be.
    let at_the_end = insert(
        "updated_at, active_at",
        "'10000-01-01Z', '9999-12-31 23:59:30Z'",
    );
    scene.refused("23514", &at_the_end).await;
    assert_eq!(scene.database.count("conversations").await, 1);
    for time in [
        "0001-01-01 00:00:00+00",
        "9999-12-31 23:59:59.999999+00",
        "2024-05-01",
    ] {
        let both = format!("'{time}', '{time}'");
        let fits = insert("created_at, updated_at", &both);
        scene.database.execute(&fits).await;
        let gone = format!("delete from conversations where participant2_id = '{CARLA}'");
        scene.database.execute(&gone).await;
    }
    scene
        .database
        .execute("set session_replication_role = replica; update conversations set created_at = '-infinity', updated_at = 'infinity'")
        .await;
    scene.api().send(scene.conversation, ALICE, "on").await;
    scene
        .database
        .execute("update conversations set updated_at = now()")
        .await;
}

#[tokio::test]
async fn a_repeated_id_or_client_message_id_is_a_unique_violation() {
    let mut scene = Scene::set().await;
    let conversation = scene.conversation;
    let insert = |id: &str, name: &str| {
        format!(
            "insert into messages (id, conversation_id, sender_id, content, client_message_id)
             values ('{id}', '{conversation}', '{ALICE}', 'once', '{name}')"
        )
    };
    let (one, other) = (NOBODY.to_string(), CARLA.to_string());
    scene.database.execute(&insert(&one, "m-1")).await;
    scene.expect("chat_message").await;
    scene.refused("23505", &insert(&one, "m-2")).await;
    scene.refused("23505", &insert(&other, "m-1")).await;
    assert_eq!(scene.database.count("messages").await, 1);
    scene.assert_silence().await;
}

#[tokio::test]
async fn chat_send_message_says_what_is_wrong() {
    let mut scene = Scene::set().await;
    let api = scene.api();
    let sent = api.send_once(scene.conversation, ALICE, "hello", "m-1");
    sent.await.ok(201);
    scene.expect("chat_message").await;
    let (there, long) = (scene.conversation, "q".repeat(65));
    for (sqlstate, conversation, sender, content, kind, name) in [
        ("23514", there, ALICE, "", "text", "m-2"),
        ("23514", there, ALICE, "hello", "video", "m-2"),
        ("23514", there, ALICE, "hello", "text", ""),
        ("23514", there, ALICE, "hello", "text", &long),
        ("23514", there, CARLA, "hello", "text", "m-2"),
        ("23503", NOBODY, ALICE, "hello", "text", "m-2"),
        ("23503", there, NOBODY, "hello", "text", "m-2"),
        ("23505", there, ALICE, "other", "text", "m-1"),
        ("23505", there, ALICE, "hello", "image", "m-1"),
    ] {
        let send = format!(
            "select chat_send_message('{conversation}', '{sender}', '{content}', '{kind}', '{name}')"
        );
        scene.refused(sqlstate, &send).await;
    }
    assert_eq!(scene.database.count("messages").await, 1);
    scene.assert_silence().await;
}

#[tokio::test]
async fn the_participants_of_a_conversation_cannot_change() {
    let mut scene = Scene::set().await;
    for change in [
        format!("participant1_id = '{CARLA}'"),
        format!("participant2_id = '{CARLA}', active_at = now() - interval '1 day'"),
        "participant1_id = participant2_id, participant2_id = participant1_id".to_owned(),
    ] {
        let update = format!("update conversations set {change}");
        let refused = scene.refused("23514", &update).await;
        assert!(refused.contains("cannot change"), "{refused}");
    }
    // As a program does that saves all of a row.
    let save = "update conversations set participant1_id = participant1_id, participant2_id = participant2_id, updated_at = now()";
    scene.database.execute(save).await;
    let insert = scene.insert(BORIS, "as before");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;
    scene.assert_silence().await;
}

#[tokio::test]
async fn who_has_conversations_cannot_be_deleted() {
    let mut scene = Scene::set().await;
    let delete = format!("delete from users where id = '{ALICE}'");
    scene.refused("23503", &delete).await;
    scene.assert_silence().await;
}

/// Two-phase commit, which PostgreSQL does not offer to who has notified.
#[tokio::test]
async fn a_transaction_that_publishes_cannot_be_prepared() {
    let mut scene = Scene::set().await;
    let client = scene.database.sql().await;
    let begin = format!("begin; {}", scene.insert(ALICE, "in two phases"));
    client.batch_execute(&begin).await.expect("an insert");
    let refused = client.batch_execute("prepare transaction 'two'").await;
    let refused = refused.expect_err("prepared");
    assert_eq!(refused.code().map(|code| code.code()), Some("0A000"));
    // And is rolled back.
    let insert = scene.insert(ALICE, "in one");
    client.batch_execute(&insert).await.expect("an insert");
    let frame = scene.expect("chat_message").await;
    assert_eq!(frame["data"]["content"], "in one");
    scene.assert_silence().await;
}

#[tokio::test]
async fn what_is_stored_beside_a_rule_is_refused() {
    let scene = Scene::set().await;
    for event in ["insert", "update"] {
        let rule = format!(
            "create table host_{event} (id uuid);
             create rule host_{event} as on {event} to messages do also insert into host_{event} values (new.id)"
        );
        scene.database.execute(&rule).await;
        let send = format!(
            "select chat_send_message('{}', '{ALICE}', 'beside a rule')",
            scene.conversation
        );
        scene.refused("0A000", &send).await;
        let api = scene.api();
        let by_the_service = match event {
            "insert" => api.try_send(scene.conversation, ALICE, "x").await,
            _ => api.mark_read(scene.conversation, BORIS).await,
        };
        by_the_service.refused(500, "internal");
        let drop = format!("drop rule host_{event} on messages");
        scene.database.execute(&drop).await;
    }
    assert_eq!(scene.database.count("messages").await, 0);
}

#[tokio::test]
async fn who_writes_by_an_older_snapshot_than_the_last_message_is_to_repeat_it() {
    let mut scene = Scene::set().await;
    for level in ["repeatable read", "serializable"] {
        let writer = scene.database.sql().await;
        let begin = format!("begin isolation level {level}; select from messages");
        writer.batch_execute(&begin).await.expect("a snapshot");
        scene
            .api()
            .send(scene.conversation, BORIS, "meanwhile")
            .await;
        scene.expect("chat_message").await;
        let insert = scene.insert(ALICE, "late");
        let late = writer.batch_execute(&insert).await.expect_err("late");
        assert_eq!(
            late.code().map(|code| code.code()),
            Some("40001"),
            "{level}"
        );
        writer.batch_execute("rollback").await.expect("its end");
        let again = format!("{begin}; {insert}; commit");
        writer.batch_execute(&again).await.expect("repeated");
        let frame = scene.expect("chat_message").await;
        assert_eq!(frame["data"]["content"], "late");
    }
    scene.assert_silence().await;
}
