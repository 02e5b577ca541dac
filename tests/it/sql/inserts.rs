//! Messages that other programs insert.

use serde_json::json;
use uuid::Uuid;

use super::Scene;
use crate::support::*;

#[tokio::test]
async fn a_plain_insert_is_completed_and_delivered() {
    let mut scene = Scene::set().await;

    let insert = scene.insert(ALICE, "by hand");
    scene.database.execute(&insert).await;
    let frame = scene.expect("chat_message").await;
    assert_message(&frame["data"]);
    assert_eq!(frame["userId"], json!(ALICE));
    assert_eq!(frame["data"]["content"], "by hand");
    assert_eq!(frame["data"]["seq"], 1);

    let insert = scene.insert(BORIS, "by psql");
    scene.database.psql(&insert).await;
    let frame = scene.expect("chat_message").await;
    assert_eq!(frame["data"]["content"], "by psql");
    assert_eq!(frame["data"]["seq"], 2);

    let history = scene.api().history(scene.conversation).await;
    assert_eq!(history[0]["content"], "by hand");
    let conversation = scene.api().conversations(ALICE).await.remove(0);
    assert_eq!(
        &conversation["lastMessage"],
        history.last().expect("messages")
    );
    assert_eq!(conversation["lastSeq"], history.len());
    scene.assert_silence().await;
}

/// The functions of a Message run with the settings of whoever inserts.
#[tokio::test]
async fn whatever_a_session_has_set_its_messages_look_like_all_others() {
    let mut scene = Scene::set().await;
    let insert = scene.insert(ALICE, r#"100 %s of "it""#);
    let session = format!(
        "set standard_conforming_strings = off; set timezone = 'Asia/Kolkata'; set datestyle = 'German'; \
         set extra_float_digits = -15; {insert}"
    );
    scene.database.execute(&session).await;
    let frame = scene.expect("chat_message").await;
    assert_message(&frame["data"]);
    assert_eq!(frame["data"]["content"], r#"100 %s of "it""#);
    let history = scene.api().history(scene.conversation).await;
    assert_eq!(history, [frame["data"].clone()]);
}

#[tokio::test]
async fn a_session_that_fills_a_young_database_does_not_read_it_from_end_to_end() {
    let scene = Scene::set().await;
    let client = scene.database.sql().await;
    let insert = |rows: usize| {
        format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{}', '{ALICE}', 'message ' || n from generate_series(1, {rows}) n",
            scene.conversation
        )
    };
    // The planner is told that the tables are small, then so many that its plans are kept.
    let few = vec![insert(1); 10].join(";");
    let all = format!(
        "begin; {few}; analyze messages; analyze conversations; {few}; {}",
        insert(2_000)
    );
    client.batch_execute(&all).await.expect("inserted");
    let read = "select seq_tup_read from pg_stat_xact_user_tables where relname = 'messages'";
    let row = client.query_one(read, &[]).await.expect("what was read");
    let read: i64 = row.get(0);
    // One of these is the reading of "analyze".
    assert!(read < 100, "{read} rows were read by sequential scans");
    client.batch_execute("commit").await.expect("committed");
    assert_eq!(scene.database.count("messages").await, 2_020);
}

#[tokio::test]
async fn what_an_insert_gives_is_kept() {
    let mut scene = Scene::set().await;
    let id = Uuid::new_v4();
    scene
        .database
        .execute(&format!(
            "insert into messages (id, conversation_id, sender_id, content, message_type, created_at)
             values ('{id}', '{}', '{BORIS}', 'p.png', 'image', '2020-02-02T02:02:02Z')",
            scene.conversation
        ))
        .await;
    let frame = scene.expect("chat_message").await;
    assert_eq!(frame["data"]["id"], json!(id));
    assert_eq!(frame["data"]["messageType"], "image");
    let created = frame["data"]["createdAt"].as_str().expect("a time");
    assert!(created.starts_with("2020-02-02T02:02:02"), "{created}");
}

#[tokio::test]
async fn a_time_that_cannot_be_shown_is_refused_and_one_of_a_conversation_hinders_nobody() {
    let mut scene = Scene::set().await;
    let insert = scene.insert(ALICE, "in time");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;
    let refused = scene
        .refused("23514", "update messages set created_at = 'infinity'")
        .await;
    assert!(refused.contains("years 1 to 9999"), "{refused}");
    // A conversation's may be anything.
    scene
        .database
        .execute("update conversations set updated_at = '294276-12-31 23:59:59.999999Z', active_at = '294276-12-31 23:59:59.999999Z'")
        .await;
    assert_eq!(scene.api().found(ALICE, "q=time").await, ["in time"]);
    let insert = scene.insert(ALICE, "and again");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;
}

#[tokio::test]
async fn many_rows_of_one_statement_arrive_in_order() {
    let mut scene = Scene::set().await;
    scene
        .database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{}', '{ALICE}', case when n % 100 = 0 then repeat('x', 20000) || n else n::text end
               from generate_series(1, 500) n",
            scene.conversation
        ))
        .await;
    for socket in &mut scene.sockets {
        for (number, message) in socket.collect_messages(500).await.iter().enumerate() {
            let number = number + 1;
            assert_eq!(message["seq"], number);
            let content = message["content"].as_str().expect("content");
            assert_eq!(content.trim_start_matches('x'), number.to_string());
        }
    }
    scene.assert_silence().await;
}

#[tokio::test]
async fn one_transaction_over_several_conversations_arrives_whole() {
    let mut scene = Scene::set().await;
    let other = scene.api().open_conversation(CARLA, BORIS).await;
    scene.sockets[1].expect("conversation_created").await;
    let to_other = scene
        .insert(CARLA, "from Carla")
        .replace(&scene.conversation.to_string(), &other.to_string());
    let script = [
        "begin".to_owned(),
        scene.insert(ALICE, "one"),
        to_other.clone(),
        scene.insert(BORIS, "two"),
        scene.insert(ALICE, "one"),
        "savepoint s".to_owned(),
        scene.insert(ALICE, "taken back"),
        "rollback to s".to_owned(),
        to_other,
        "commit".to_owned(),
    ];
    scene.database.execute(&script.join(";")).await;

    let received = scene.sockets[1].collect_messages(5).await;
    let of = |conversation: Uuid| -> Vec<(String, i64)> {
        received
            .iter()
            .filter(|message| message["conversationId"] == json!(conversation))
            .map(|message| {
                (
                    message["content"].as_str().expect("content").into(),
                    seq_of(message),
                )
            })
            .collect()
    };
    let expected = [
        ("one".to_owned(), 1),
        ("two".to_owned(), 2),
        ("one".to_owned(), 3),
    ];
    assert_eq!(of(scene.conversation), expected);
    let expected = [("from Carla".to_owned(), 1), ("from Carla".to_owned(), 2)];
    assert_eq!(of(other), expected);
    scene.sockets[0].collect_messages(3).await;
    scene.assert_silence().await;
}

#[tokio::test]
async fn what_is_rolled_back_was_never_there() {
    let mut scene = Scene::set().await;
    let script = format!("begin; {}; rollback", scene.insert(ALICE, "no"));
    scene.database.execute(&script).await;
    // A row that another one stands in the way of leaves no gap either.
    let id = Uuid::new_v4();
    for _ in 0..2 {
        scene
            .database
            .execute(&format!(
                "insert into messages (id, conversation_id, sender_id, content)
                 values ('{id}', '{}', '{ALICE}', 'once') on conflict do nothing",
                scene.conversation
            ))
            .await;
    }
    assert_eq!(scene.expect("chat_message").await["data"]["seq"], 1);
    let next = scene.api().send(scene.conversation, ALICE, "next").await;
    assert_eq!(next["seq"], 2);
    scene.expect("chat_message").await;
    scene.assert_silence().await;
}

/// The mark by which pgchat leaves its own inserts to itself is of no use to anybody else.
#[tokio::test]
async fn no_program_can_insert_without_it_being_told() {
    let mut scene = Scene::set().await;
    let role = scene.database.role("sly").await;
    let grant = format!("grant {INTEGRATOR} to {role}");
    scene.database.execute(&grant).await;
    let sly = scene.database.sql_as(&role).await;
    for depth in ["0", "1", "-1", "x", ""] {
        let insert = scene.insert(ALICE, &format!("at {depth}"));
        sly.batch_execute(&format!("set pgchat.batch = '{depth}'; {insert}"))
            .await
            .expect("inserted");
        let frame = scene.expect("chat_message").await;
        assert_eq!(frame["data"]["content"], format!("at {depth}"));
    }
    scene.assert_silence().await;
}

/// What triggers and the search index's expression name is not looked for where the program that writes looks.
#[tokio::test]
async fn no_name_of_a_programs_own_stands_in_the_way_of_its_insert() {
    let mut scene = Scene::set().await;
    let role = scene.database.role("named").await;
    let grant = format!("grant {INTEGRATOR} to {role}");
    scene.database.execute(&grant).await;
    let program = scene.database.sql_as(&role).await;
    let insert = scene
        .insert(ALICE, "hello")
        .replace("into messages", "into public.messages");
    program
        .batch_execute(&format!(
            "create temp table text (id int); create temp table users (id int);
             create temp table conversations (id int); create temp table messages (id int);
             set search_path = pg_temp, public; {insert}"
        ))
        .await
        .expect("inserted");
    assert_eq!(
        scene.expect("chat_message").await["data"]["content"],
        "hello"
    );
}

#[tokio::test]
async fn inserts_and_sends_at_once_share_one_gapless_order() {
    let scene = Scene::set().await;
    let Scene {
        database,
        replicas,
        conversation,
        mut sockets,
    } = scene;
    let by_sql = async {
        let client = database.sql().await;
        for number in 0..100 {
            client
                .execute(
                    "insert into messages (conversation_id, sender_id, content) values ($1, $2, $3)",
                    &[&conversation, &ALICE, &format!("sql {number}")],
                )
                .await
                .expect("an insert");
        }
    };
    let (one, other) = (replicas[0].api(), replicas[1].api());
    let by_http = |api: Api, sender: Uuid| async move {
        for number in 0..50 {
            api.send(conversation, sender, &format!("http {number}"))
                .await;
        }
    };
    tokio::join!(by_sql, by_http(one, ALICE), by_http(other, BORIS));
    for socket in &mut sockets {
        let seqs: Vec<_> = socket
            .collect_messages(200)
            .await
            .iter()
            .map(seq_of)
            .collect();
        assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
    }
}

/// `MAX_MESSAGE_BYTES` binds the service's own callers, not other programs.
#[tokio::test]
async fn a_row_far_over_the_limit_of_the_service_is_delivered_and_replayed() {
    let mut scene = Scene::set().await;
    scene.api().send(scene.conversation, ALICE, "before").await;
    let cursor = cursor_of(&scene.expect("chat_message").await);
    scene
        .database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             values ('{}', '{ALICE}', repeat('x', 1000000))",
            scene.conversation
        ))
        .await;
    let frame = scene.expect("chat_message").await;
    assert_eq!(
        frame["data"]["content"].as_str().map(str::len),
        Some(1_000_000)
    );
    scene.api().send(scene.conversation, ALICE, "after").await;
    assert_eq!(
        scene.expect("chat_message").await["data"]["content"],
        "after"
    );

    let mut back = Socket::resume(&scene.replicas[1], BORIS, &cursor).await;
    loop {
        let frame = back.expect("chat_message").await;
        if frame["data"]["content"] == "after" {
            break;
        }
    }
}
