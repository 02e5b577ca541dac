//! What WebSocket clients get wrong: an `error` frame or a documented close code, nothing stored, and a
//! socket and a service that go on.

mod handshake;

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;

const INVALID: &str = "validation_failed";

#[tokio::test]
async fn malformed_frames_get_an_error_and_the_socket_stays() {
    let database = Database::fresh().await;
    // Before there is a socket that could be told of it.
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let deep = "[".repeat(100_000);

    for text in [
        "",
        " ",
        "hello",
        "{",
        "[]",
        "7",
        "null",
        "{}",
        r#"{"type":7}"#,
        r#"{"type":null,"data":{}}"#,
        r#"{"type":"unknown","data":{}}"#,
        r#"{"type":"chat_message","data":{}}"#,
        r#"{"type":"send_message"}"#,
        r#"{"type":"send_message","data":null}"#,
        r#"{"type":"send_message","data":[]}"#,
        r#"{"type":"send_message","data":"x"}"#,
        r#"{"type":"ping","data":{}} {"type":"ping"}"#,
        r#"{"type":"ping","type":"ping"}"#,
        r#"{"type":"ping","requestId":{}}"#,
        &deep,
    ] {
        alice.send_text(text).await;
        let error = alice.next().await;
        let shown: String = text.chars().take(60).collect();
        assert_eq!(error["type"], "error", "{shown}: {error}");
        assert_eq!(error["data"]["code"], INVALID, "{shown}: {error}");
        assert!(error["data"]["message"].is_string(), "{shown}: {error}");
        assert!(error["data"]["requestId"].is_null(), "{shown}: {error}");
    }
    assert_eq!(database.count("messages").await, 0);
    alice.send_message(conversation, "still here").await;
    assert!(!replica.log().contains("panicked at"));
}

#[tokio::test]
async fn wrong_fields_of_commands_are_named() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    for (field, value) in [
        ("conversationId", json!("x")),
        ("conversationId", json!(7)),
        ("conversationId", Value::Null),
        ("content", json!("")),
        ("content", json!(" \n\t")),
        ("content", json!(7)),
        ("content", Value::Null),
        ("content", json!("x".repeat(65_537))),
        ("content", json!("a\u{0}b")),
        ("messageType", json!("video")),
        ("messageType", json!(1)),
        ("clientMessageId", json!("")),
        ("clientMessageId", json!("x".repeat(65))),
    ] {
        let mut data = json!({"conversationId": conversation, "content": "hello"});
        data[field] = value;
        let message = alice.refused("send_message", data, INVALID).await;
        assert!(message.contains(field), "{field}: {message}");
    }
    for (command, data, field) in [
        ("mark_read", json!({}), "conversationId"),
        (
            "mark_read",
            json!({"conversationId": "x"}),
            "conversationId",
        ),
        (
            "mark_read",
            json!({"conversationId": conversation, "upToSeq": -1}),
            "upToSeq",
        ),
        (
            "mark_read",
            json!({"conversationId": conversation, "upToSeq": "2"}),
            "upToSeq",
        ),
        ("edit_message", json!({"content": "x"}), "messageId"),
        ("edit_message", json!({"messageId": NOBODY}), "content"),
        (
            "edit_message",
            json!({"messageId": NOBODY, "content": " "}),
            "content",
        ),
        (
            "edit_message",
            json!({"messageId": NOBODY, "content": "x".repeat(65_537)}),
            "content",
        ),
        ("delete_message", json!({"messageId": 1}), "messageId"),
    ] {
        let message = alice.refused(command, data, INVALID).await;
        assert!(message.contains(field), "{command} {field}: {message}");
    }
    assert_eq!(database.count("messages").await, 0);
    let longest = json!({
        "conversationId": conversation, "content": "still here", "clientMessageId": "x".repeat(64)
    });
    alice.send_command("send_message", longest).await;
}

/// Ignored as unknown, `up_to_seq` would mark everything as read, and `client_message_id` have a retry stored once more.
#[tokio::test]
async fn a_member_spelt_like_a_parameter_is_refused_by_its_right_name() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    api.send(conversation, BORIS, "one").await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    for (command, data, wrong, right) in [
        (
            "mark_read",
            json!({"conversationId": conversation, "up_to_seq": 0}),
            "up_to_seq",
            "upToSeq",
        ),
        (
            "send_message",
            json!({"conversationId": conversation, "content": "x", "client_message_id": "x"}),
            "client_message_id",
            "clientMessageId",
        ),
    ] {
        let message = alice.refused(command, data, INVALID).await;
        assert_eq!(message, format!("unknown member {wrong}: use {right}"));
    }
    assert_eq!(database.count("messages").await, 1);
    assert_eq!(api.unread_count(ALICE).await, 1, "nothing was marked");
    // What merely resembles one is ignored.
    let data = json!({"conversationId": conversation, "content": "x", "to_seq": 5, "upToSeq": []});
    let frame = json!({"type": "send_message", "requestId": "other", "data": data, "ids": {}});
    alice.send_text(&frame.to_string()).await;
    assert_eq!(alice.answer("other").await["type"], "ack");
}

#[tokio::test]
async fn a_request_id_that_is_too_long_is_refused() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    for (length, answered) in [(128, "ack"), (129, "error")] {
        let request = "q".repeat(length);
        let ping = json!({"type": "ping", "requestId": request, "data": {}});
        alice.send_text(&ping.to_string()).await;
        let answer = alice.next().await;
        assert_eq!(answer["type"], answered, "{length}: {answer}");
        assert_eq!(
            answer["data"]["requestId"] == request.as_str(),
            length == 128
        );
    }
}

/// As JavaScript writes a text that ends within an emoji.
#[tokio::test]
async fn a_text_that_was_cut_within_a_character_is_told_so() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    for cut in [r"\ud83d", r"\ude00", r"\ud83d\ud83d"] {
        let data = format!(r#"{{"conversationId":"{conversation}","content":"hello {cut}"}}"#);
        let frame = format!(r#"{{"type":"send_message","requestId":"cut","data":{data}}}"#);
        alice.send_text(&frame).await;
        let error = alice.answer("cut").await;
        assert_eq!(error["data"]["code"], INVALID, "{error}");
        let message = error["data"]["message"].as_str().unwrap_or_default();
        for word in ["content", "surrogate"] {
            assert!(message.contains(word), "{cut}: {message}");
        }
    }
    assert_eq!(database.count("messages").await, 0);
    let whole = alice.send_message(conversation, "hello \u{1f600}").await;
    assert_eq!(whole["content"], "hello \u{1f600}");
}

#[tokio::test]
async fn commands_on_what_is_not_there_or_not_ones_own_are_refused() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let others = api.open_conversation(BORIS, CARLA).await;
    let theirs = api.send(others, BORIS, "private").await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    for (command, data, code) in [
        (
            "send_message",
            json!({"conversationId": NOBODY, "content": "x"}),
            "conversation_not_found",
        ),
        (
            "send_message",
            json!({"conversationId": others, "content": "x"}),
            "not_a_participant",
        ),
        (
            "mark_read",
            json!({"conversationId": NOBODY}),
            "conversation_not_found",
        ),
        (
            "mark_read",
            json!({"conversationId": others}),
            "not_a_participant",
        ),
        (
            "edit_message",
            json!({"messageId": NOBODY, "content": "x"}),
            "message_not_found",
        ),
        (
            "edit_message",
            json!({"messageId": theirs["id"], "content": "x"}),
            "not_a_participant",
        ),
        (
            "delete_message",
            json!({"messageId": NOBODY}),
            "message_not_found",
        ),
        (
            "delete_message",
            json!({"messageId": theirs["id"]}),
            "not_a_participant",
        ),
    ] {
        let message = alice.refused(command, data, code).await;
        assert!(!message.contains("private"), "{message}");
    }
    assert_eq!(api.history(others).await, [theirs]);
}

#[tokio::test]
async fn a_sender_cannot_be_forged() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    let data = json!({"conversationId": conversation, "content": "hello", "senderId": BORIS});
    let answer = alice.answer_to("send_message", data).await;

    if answer["type"] == "ack" {
        assert_eq!(answer["data"]["message"]["senderId"], json!(ALICE));
    }
    let forged = format!("messages where sender_id = '{BORIS}'");
    assert_eq!(database.count(&forged).await, 0);
}

#[tokio::test]
async fn a_binary_frame_gets_an_error_and_the_socket_stays() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    let binary = Message::binary(br#"{"type":"ping","requestId":"1","data":{}}"#.to_vec());
    alice.send_frame(binary).await;
    let error = alice.next().await;
    assert_eq!(error["type"], "error", "{error}");
    alice.send_command("ping", json!({})).await;
}

#[tokio::test]
async fn a_frame_that_is_too_big_closes_the_socket_with_1009() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut bystander = Socket::connect(&replica, ALICE).await;

    let mut alice = Socket::connect(&replica, ALICE).await;
    let content = "x".repeat(10_000_000);
    let frame = json!({"type": "send_message",
                       "data": {"conversationId": conversation, "content": content}});
    alice.send_unwelcome(Message::text(frame.to_string())).await;
    assert_eq!(alice.closed().await, Some(1009));

    assert_eq!(database.count("messages").await, 0);
    bystander.send_message(conversation, "still here").await;
}

#[tokio::test]
async fn what_breaks_the_protocol_closes_its_socket_only() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let mut bystander = Socket::connect(&replica, ALICE).await;

    for bytes in [
        // Unmasked, as only a server may send.
        &b"\x81\x02{}"[..],
        // Reserved opcode, masked.
        &b"\x83\x80\0\0\0\0"[..],
        // Reserved bits set.
        &b"\xf1\x80\0\0\0\0"[..],
        // Text that is not UTF-8.
        &b"\x81\x82\0\0\0\0\xff\xfe"[..],
        // A continuation of nothing.
        &b"\x80\x80\0\0\0\0"[..],
        // A close frame with a code that no endpoint may send.
        &b"\x88\x82\0\0\0\0\x03\xed"[..],
        // A ping of more than 125 bytes.
        &[&b"\x89\xfe\x00\x7e"[..], &[0; 4 + 126]].concat(),
    ] {
        let mut raw = Raw::upgrade(&replica, BORIS).await;
        raw.write(bytes).await;
        raw.closed().await;
    }
    bystander.send_command("ping", json!({})).await;
    assert!(!replica.log().contains("panicked at"));
}

#[tokio::test]
async fn one_users_sends_are_limited_and_nobody_elses() {
    let database = Database::fresh().await;
    let settings = [("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "3")];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    // Not over HTTP, where it would count.
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    let mut stored = 0;
    let data = json!({"conversationId": conversation, "content": "hello"});
    let error = loop {
        let answer = alice.answer_to("send_message", data.clone()).await;
        if answer["type"] == "error" {
            break answer;
        }
        stored += 1;
        assert!(stored < 100, "no limit");
    };
    assert!(stored >= 3, "the burst passes, not {stored}");
    assert_eq!(error["data"]["code"], "too_many_requests", "{error}");
    let millis = error["data"]["retryAfterMs"].as_u64().expect("when it may");
    assert!((1..=1000).contains(&millis), "{error}");
    api.send(conversation, BORIS, "not limited").await;
    let mut limited = None;
    for _ in 0..100 {
        let reply = api.try_send(conversation, ALICE, "hello").await;
        if reply.status != 201 {
            limited = Some(reply);
            break;
        }
    }
    limited
        .expect("the same limit over HTTP")
        .refused(429, "too_many_requests");
    // It passes again by itself.
    eventually("the limit lets a message pass", || async {
        (api.try_send(conversation, ALICE, "later").await.status == 201).then_some(())
    })
    .await;
}
