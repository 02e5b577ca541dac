//! Commands and their answers.

use super::*;

#[tokio::test]
async fn a_message_is_acknowledged_and_delivered_to_the_senders_socket_too() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut alice_too = Socket::connect(&replica, ALICE).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut carla = Socket::connect(&replica, CARLA).await;

    let ack = alice
        .send_command(
            "send_message",
            json!({"conversationId": conversation, "content": "hello", "messageType": "image",
                   "clientMessageId": "m-1"}),
        )
        .await;

    let sent = &ack["message"];
    assert_message(sent);
    assert_eq!(sent["senderId"], json!(ALICE));
    assert_eq!(sent["messageType"], "image");
    assert_eq!(sent["clientMessageId"], "m-1");
    for socket in [&mut alice, &mut alice_too, &mut boris] {
        let frame = socket.expect("chat_message").await;
        assert_eq!(&frame["data"], sent);
        assert_eq!(frame["userId"], json!(ALICE));
    }
    // Nothing of it reached somebody else.
    let own = replica.api().open_conversation(CARLA, DAVID).await;
    carla.send_message(own, "mine").await;
    let before: Vec<Value> = carla.before_message("mine").await;
    assert!(
        before
            .iter()
            .all(|frame| frame["type"] == "conversation_created"),
        "{before:?}"
    );
}

#[tokio::test]
async fn a_repeat_over_the_socket_is_acknowledged_and_not_delivered_again() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let data = json!({"conversationId": conversation, "content": "once", "clientMessageId": "m-1"});

    let first = alice.send_command("send_message", data.clone()).await;
    let repeat = alice.send_command("send_message", data).await;
    assert_eq!(first["message"], repeat["message"]);
    let other = json!({"conversationId": conversation, "content": "two", "clientMessageId": "m-1"});
    alice
        .refused("send_message", other, "client_message_id_reused")
        .await;
    alice.send_message(conversation, "last").await;

    assert_eq!(boris.collect_messages(1).await[0]["content"], "once");
    assert_eq!(boris.before_message("last").await, Vec::<Value>::new());
}

#[tokio::test]
async fn the_commands_of_one_socket_are_executed_and_answered_in_order() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[("RATE_LIMIT_PER_SECOND", "0")]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    let mut requests = Vec::new();
    for number in 1..=300 {
        let data = json!({"conversationId": conversation, "content": number.to_string()});
        requests.push(alice.request("send_message", data).await);
    }
    for (number, request) in requests.iter().enumerate() {
        let answer = alice.expect("ack").await;
        assert_eq!(answer["data"]["requestId"], json!(request));
        assert_eq!(answer["data"]["message"]["seq"], number + 1);
    }
    for (number, message) in alice.collect_messages(300).await.iter().enumerate() {
        assert_eq!(message["content"], (number + 1).to_string());
    }
}

/// Each of them is a statement of its own, and would overtake the one before it by chance.
#[tokio::test]
async fn commands_of_all_kinds_that_come_at_once_are_executed_and_answered_in_order() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[("RATE_LIMIT_PER_SECOND", "0")]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    for round in 0..10 {
        let id = id_of(&alice.send_message(conversation, "hello").await);
        replica.api().send(conversation, BORIS, "unread").await;
        let edit = |content: &str| {
            let data = json!({"messageId": id, "content": content});
            ("edit_message", data)
        };
        let send = |content: &str| {
            let data = json!({"conversationId": conversation, "content": content});
            ("send_message", data)
        };
        let mark = ("mark_read", json!({"conversationId": conversation}));
        // Changes of one message have an order, and what is done in the conversation has one.
        let (mut changes, mut others) = (Vec::new(), Vec::new());
        for (command, data) in [
            edit("one"),
            send("two"),
            mark.clone(),
            mark,
            edit("three"),
            ("delete_message", json!({"messageId": id})),
            edit("four"),
            send("five"),
        ] {
            let of_the_message = data["messageId"].is_string();
            let request = alice.request(command, data).await;
            match of_the_message {
                true => changes.push(request),
                false => others.push(request),
            }
        }
        let mut told = (Vec::new(), Vec::new());
        for _ in 0..changes.len() + others.len() {
            let is_answer = |frame: &Value| matches!(frame["type"].as_str(), Some("ack" | "error"));
            let mut answer = alice.expect_where("the next answer", is_answer).await;
            let data = answer["data"].take();
            let request = data["requestId"].as_str().expect("a request").to_owned();
            let result = [
                &data["message"]["content"],
                &data["markedCount"],
                &data["code"],
            ]
            .map(Value::clone);
            match changes.contains(&request) {
                true => told.0.push((request, result)),
                false => told.1.push((request, result)),
            }
        }
        let none = Value::Null;
        let of_the_message = [
            [json!("one"), none.clone(), none.clone()],
            [json!("three"), none.clone(), none.clone()],
            [none.clone(), none.clone(), none.clone()],
            [none.clone(), none.clone(), json!("message_not_found")],
        ];
        let of_the_conversation = [
            [json!("two"), none.clone(), none.clone()],
            [none.clone(), json!(1), none.clone()],
            [none.clone(), json!(0), none.clone()],
            [json!("five"), none.clone(), none],
        ];
        let expected = (
            changes.into_iter().zip(of_the_message).collect(),
            others.into_iter().zip(of_the_conversation).collect(),
        );
        assert_eq!(told, expected, "round {round}");
    }
}

/// As a client that counts what it sends may name it.
#[tokio::test]
async fn a_request_id_may_be_a_whole_number_and_comes_back_as_one() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let greatest = 9_007_199_254_740_991_i64;
    for request in [0, 1, -1, greatest, -greatest] {
        let ping = json!({"type": "ping", "requestId": request, "data": {}});
        alice.send_text(&ping.to_string()).await;
        let ack = alice.expect("ack").await;
        assert_eq!(ack["data"], json!({"requestId": request}));
        let malformed = json!({"type": "typing", "requestId": request, "data": {}});
        alice.send_text(&malformed.to_string()).await;
        let error = alice.expect("error").await;
        assert_eq!(error["data"]["requestId"], json!(request), "{error}");
    }
    // What a client in JavaScript could not read back as it was.
    for request in [
        "9007199254740992",
        "-9007199254740992",
        "1.5",
        "1e3",
        "true",
        "[1]",
    ] {
        let ping = format!(r#"{{"type":"ping","requestId":{request},"data":{{}}}}"#);
        alice.send_text(&ping).await;
        let error = alice.expect("error").await;
        assert_eq!(error["data"]["code"], "validation_failed", "{error}");
        assert!(error["data"]["requestId"].is_null(), "{error}");
    }
}

#[tokio::test]
async fn a_ping_is_acknowledged() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    let ack = alice.send_command("ping", json!({})).await;
    assert_eq!(ack, json!({"requestId": "request-1"}), "an ack is flat");

    alice.send_text(r#"{"type":"ping"}"#).await;
    let ack = alice.expect("ack").await;
    assert!(ack["data"]["requestId"].is_null(), "{ack}");
    assert_eq!(ack["userId"], json!(ALICE));
}

#[tokio::test]
async fn marking_read_over_the_socket_answers_flat_and_tells_both() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    for content in ["one", "two", "three"] {
        alice.send_message(conversation, content).await;
    }

    let data = json!({"conversationId": conversation, "upToSeq": 2});
    let ack = boris.send_command("mark_read", data).await;
    assert_eq!(
        ack,
        json!({"requestId": "request-1", "conversationId": conversation, "markedCount": 2, "readSeq": 2})
    );
    let data = json!({"conversationId": conversation});
    let ack = boris.send_command("mark_read", data).await;
    assert_eq!(
        (&ack["markedCount"], &ack["readSeq"]),
        (&json!(1), &json!(3))
    );

    for socket in [&mut alice, &mut boris] {
        for up_to in [2, 3] {
            let frame = socket.expect("messages_read").await;
            assert_eq!(frame["userId"], json!(BORIS));
            assert_eq!(
                frame["data"],
                json!({"conversationId": conversation, "readerId": BORIS, "upToSeq": up_to})
            );
        }
    }
    assert_eq!(replica.api().unread_count(BORIS).await, 0);
}

#[tokio::test]
async fn messages_are_edited_and_deleted_over_the_socket() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let sent = alice.send_message(conversation, "hello").await;

    let data = json!({"messageId": sent["id"], "content": "hallo"});
    let ack = alice.send_command("edit_message", data).await;
    let edited = &ack["message"];
    assert_eq!(edited["content"], "hallo");
    assert_time(edited, "editedAt");
    for socket in [&mut alice, &mut boris] {
        let frame = socket.expect("message_updated").await;
        assert_eq!(&frame["data"], edited);
        assert_eq!(frame["userId"], json!(ALICE));
    }

    let data = json!({"messageId": sent["id"]});
    boris
        .refused("delete_message", data.clone(), "not_the_sender")
        .await;
    for _ in 0..2 {
        let ack = alice.send_command("delete_message", data.clone()).await;
        assert_eq!(ack.as_object().map(|ack| ack.len()), Some(1), "{ack}");
    }
    for socket in [&mut alice, &mut boris] {
        let frame = socket.expect("message_deleted").await;
        assert_message(&frame["data"]);
        assert_eq!(frame["data"]["id"], sent["id"]);
        assert_eq!(frame["data"]["content"], "");
        assert_time(&frame["data"], "deletedAt");
    }
    // The second deletion told nobody.
    alice.send_message(conversation, "last").await;
    boris.before_message("hello").await;
    assert_eq!(boris.before_message("last").await, Vec::<Value>::new());
}
