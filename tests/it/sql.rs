//! The tables as an interface: what other programs write is as good as what came through the service.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

/// Alice and Boris, each with a socket on a replica of their own.
struct Scene {
    database: Database,
    replicas: [Replica; 2],
    conversation: Uuid,
    sockets: [Socket; 2],
}

impl Scene {
    async fn set() -> Self {
        let database = Database::fresh().await;
        let conversation = database.conversation(ALICE, BORIS).await;
        let replicas: [Replica; 2] = Replica::start_many(&database, &[]).await;
        let sockets = [
            Socket::connect(&replicas[0], ALICE).await,
            Socket::connect(&replicas[1], BORIS).await,
        ];
        Self {
            database,
            replicas,
            conversation,
            sockets,
        }
    }

    fn api(&self) -> Api {
        self.replicas[0].api()
    }

    /// `INSERT` with no more than the three columns that it needs.
    fn insert(&self, sender: Uuid, content: &str) -> String {
        format!(
            "insert into messages (conversation_id, sender_id, content) values ('{}', '{sender}', '{content}')",
            self.conversation
        )
    }

    /// The next frame of this type, which is the same on both sockets.
    async fn expect(&mut self, kind: &str) -> Value {
        let [alice, boris] = &mut self.sockets;
        let frame = alice.expect(kind).await;
        assert_eq!(boris.expect(kind).await["data"], frame["data"]);
        frame
    }

    /// Nothing but what was asked for has arrived.
    async fn assert_silence(&mut self) {
        self.api().send(self.conversation, ALICE, "the end").await;
        for socket in &mut self.sockets {
            assert_eq!(socket.before_message("the end").await, Vec::<Value>::new());
        }
    }

    async fn refused(&self, sql: &str) -> String {
        match self.database.sql().await.batch_execute(sql).await {
            Ok(()) => panic!("not refused: {sql}"),
            Err(fault) => fault.as_db_error().expect("an error of SQL").to_string(),
        }
    }
}

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
    if scene.database.psql(&insert).await {
        let frame = scene.expect("chat_message").await;
        assert_eq!(frame["data"]["content"], "by psql");
        assert_eq!(frame["data"]["seq"], 2);
    }

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
async fn an_insert_that_breaks_a_rule_is_refused() {
    let mut scene = Scene::set().await;
    let refused = scene.refused(&scene.insert(CARLA, "not mine")).await;
    assert!(refused.contains("not a participant"), "{refused}");
    scene.refused(&scene.insert(NOBODY, "who?")).await;
    scene
        .refused(&format!(
            "insert into messages (conversation_id, sender_id, content) values ('{NOBODY}', '{ALICE}', 'nowhere')"
        ))
        .await;
    scene
        .refused(&format!(
            "insert into conversations (participant1_id, participant2_id) values ('{ALICE}', '{ALICE}')"
        ))
        .await;
    scene
        .refused(&format!(
            "insert into conversations (participant1_id, participant2_id) values ('{BORIS}', '{ALICE}')"
        ))
        .await;
    scene
        .refused(&format!(
            "insert into conversations (participant1_id, participant2_id) values ('{ALICE}', '{NOBODY}')"
        ))
        .await;
    assert_eq!(scene.database.count("messages").await, 0);
    scene.assert_silence().await;
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
    assert!(send("other", Some("m-1")).await.is_err());
    assert!(send(" \n", None).await.is_err());
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
    let role = format!("crm_{}", scene.database.name);
    scene
        .database
        .execute(&format!(
            "create role {role} login;
             grant insert (conversation_id, sender_id, content) on messages to {role};
             grant insert (participant1_id, participant2_id) on conversations to {role};
             grant execute on function chat_uuid_v7() to {role};
             grant select on conversations, messages to {role};
             grant update (content, is_read, deleted_at) on messages to {role};
             grant delete on messages to {role};
             grant execute on function chat_send_message(uuid, uuid, text, text, text) to {role}"
        ))
        .await;
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

    drop(client);
    scene
        .database
        .execute(&format!("drop owned by {role}; drop role {role}"))
        .await;
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
