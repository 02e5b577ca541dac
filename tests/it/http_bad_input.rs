//! What HTTP callers get wrong: each time the documented error, nothing stored, and a service that goes on.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

/// A conversation of Alice and Boris on a replica, and the proof afterwards that nothing else came of it.
struct Scene {
    database: Database,
    replica: Replica,
    api: Api,
    conversation: Uuid,
}

impl Scene {
    async fn set(settings: &[(&str, &str)]) -> Self {
        let database = Database::fresh().await;
        let replica = Replica::start(&database, settings).await;
        let api = replica.api();
        let conversation = api.open_conversation(ALICE, BORIS).await;
        Self {
            database,
            replica,
            api,
            conversation,
        }
    }

    async fn assert_unharmed(&self) {
        assert_eq!(self.database.count("messages").await, 0);
        assert_eq!(self.database.count("conversations").await, 1);
        let sent = self.api.send(self.conversation, ALICE, "still here").await;
        assert_eq!(sent["seq"], 1);
        assert!(!self.replica.log().contains("panicked at"));
    }

    fn message(&self, content: impl Into<Value>) -> Value {
        json!({"conversationId": self.conversation, "senderId": ALICE, "content": content.into()})
    }
}

#[tokio::test]
async fn malformed_ids_in_paths_are_refused() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;
    const INVALID: &str = "validation_failed";

    let long = "9".repeat(2_000);
    for id in [
        "1",
        "not-a-uuid",
        "%00",
        "%27%3B--",
        "a0000000-0000-4000-8000-00000000000g",
        &long,
    ] {
        for path in [
            format!("/api/v1/users/{id}"),
            format!("/api/v1/chat/conversations/{id}"),
            format!("/api/v1/chat/conversations/{id}/messages"),
            format!("/api/v1/chat/users/{id}/unread-count"),
        ] {
            api.get(&path).await.refused(400, INVALID);
        }
        let path = format!("/api/v1/chat/conversations/{id}/read?user_id={ALICE}");
        api.put(&path).await.refused(400, INVALID);
        let path = format!("/api/v1/chat/messages/{id}?user_id={ALICE}");
        api.delete(&path).await.refused(400, INVALID);
    }
    let path = format!("/api/v1/chat/conversations/{}/read", scene.conversation);
    api.put(&path).await.refused(400, INVALID);
    for user in ["", "1", "not-a-uuid"] {
        let path = format!("{path}?user_id={user}");
        api.put(&path).await.refused(400, INVALID);
    }
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn what_a_path_names_must_exist() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;

    for path in [
        format!("/api/v1/users/{NOBODY}"),
        format!("/api/v1/chat/conversations/{NOBODY}"),
        format!("/api/v1/chat/users/{NOBODY}/unread-count"),
    ] {
        let message = api.get(&path).await.refused(404, "user_not_found");
        assert!(message.contains(&NOBODY.to_string()), "{message}");
    }
    api.messages(NOBODY, "")
        .await
        .refused(404, "conversation_not_found");
    api.mark_read(NOBODY, ALICE)
        .await
        .refused(404, "conversation_not_found");
    api.mark_read(scene.conversation, NOBODY)
        .await
        .refused(404, "user_not_found");
    api.mark_read(scene.conversation, CARLA)
        .await
        .refused(403, "not_a_participant");
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn page_positions_must_be_numbers_in_range() {
    let scene = Scene::set(&[]).await;
    let messages = format!("/api/v1/chat/conversations/{}/messages", scene.conversation);
    let conversations = format!("/api/v1/chat/conversations/{ALICE}");

    let mut bad = Vec::new();
    for path in [
        &messages,
        &conversations,
        "/api/v1/users/",
        "/api/v1/users/active",
    ] {
        for query in [
            "limit=-1",
            "limit=0",
            "limit=abc",
            "limit=",
            "limit=1.5",
            "limit=1e2",
            "limit=99999999999999999999",
            "offset=-1",
            "offset=abc",
            "offset=99999999999999999999",
        ] {
            bad.push(format!("{path}?{query}"));
        }
    }
    for query in [
        "limit=201",
        "before=abc",
        "after=-1",
        "after=",
        "before=99999999999999999999",
        "before=5&after=2",
        "before=5&offset=0",
        "after=2&offset=10",
    ] {
        bad.push(format!("{messages}?{query}"));
    }
    bad.push(format!("{conversations}?limit=201"));
    bad.push("/api/v1/users/?limit=1001".to_owned());
    bad.push(format!(
        "/api/v1/chat/conversations/{}/messages?limit=abc&offset=-1",
        scene.conversation
    ));
    for path in bad {
        let message = scene.api.get(&path).await.refused(400, "validation_failed");
        let named = ["limit", "offset", "before", "after"];
        assert!(
            named.iter().any(|name| message.contains(name)),
            "{path}: {message}"
        );
    }

    for path in [
        format!("{messages}?limit=200"),
        format!("{messages}?limit=1&offset=2147483647"),
        format!("{messages}?before=9223372036854775807"),
        format!("{messages}?after=9223372036854775807"),
        format!("{conversations}?limit=200"),
        "/api/v1/users/?limit=1000".to_owned(),
    ] {
        scene.api.get(&path).await.ok(200);
    }
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn conversations_are_opened_by_two_different_known_users() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;
    const PATH: &str = "/api/v1/chat/conversations";
    const INVALID: &str = "validation_failed";

    api.try_open_conversation(ALICE, ALICE)
        .await
        .refused(400, INVALID);
    api.try_open_conversation(ALICE, NOBODY)
        .await
        .refused(404, "user_not_found");
    api.try_open_conversation(NOBODY, ALICE)
        .await
        .refused(404, "user_not_found");
    for body in [
        json!({}),
        json!([]),
        json!(null),
        json!("text"),
        json!({"user1Id": ALICE}),
        json!({"user1Id": ALICE, "user2Id": null}),
        json!({"user1Id": ALICE, "user2Id": 7}),
        json!({"user1Id": ALICE, "user2Id": "x"}),
        json!({"user1Id": ALICE, "user2Id": [BORIS]}),
    ] {
        api.post(PATH, &body).await.refused(400, INVALID);
    }
    let message = api.post(PATH, &json!({})).await.refused(400, INVALID);
    assert!(
        message.contains("user1Id") && message.contains("user2Id"),
        "every wrong field is named: {message}"
    );
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn messages_with_wrong_fields_are_refused() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;
    const INVALID: &str = "validation_failed";

    for content in [
        json!(""),
        json!(" \t\r\n"),
        json!("\u{2003}\u{a0}"),
        json!(null),
        json!(7),
        json!(["a"]),
        json!({"a": 1}),
        json!("a\u{0}b"),
    ] {
        let body = scene.message(content.clone());
        let message = api.post_message(&body).await.refused(400, INVALID);
        assert!(message.contains("content"), "{content}: {message}");
    }
    for (field, value) in [
        ("conversationId", json!("x")),
        ("conversationId", json!(null)),
        ("conversationId", json!(7)),
        ("senderId", json!("x")),
        ("senderId", json!({})),
        ("messageType", json!("video")),
        ("messageType", json!("Text")),
        ("messageType", json!("")),
        ("messageType", json!(1)),
        ("clientMessageId", json!("")),
        ("clientMessageId", json!(5)),
        ("clientMessageId", json!("x".repeat(65))),
        ("clientMessageId", json!("ü".repeat(33))),
        ("clientMessageId", json!("a\u{0}b")),
    ] {
        let mut body = scene.message("hello");
        body[field] = value;
        let message = api.post_message(&body).await.refused(400, INVALID);
        assert!(message.contains(field), "{body}: {message}");
    }
    let reply = api.post_message(&json!({})).await;
    let message = reply.refused(400, INVALID);
    for field in ["conversationId", "content"] {
        assert!(
            message.contains(field),
            "every wrong field is named: {message}"
        );
    }
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn senders_must_be_known_participants() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;

    api.try_send(scene.conversation, NOBODY, "hello")
        .await
        .refused(404, "user_not_found");
    api.try_send(scene.conversation, CARLA, "hello")
        .await
        .refused(403, "not_a_participant");
    let message = api
        .try_send(NOBODY, ALICE, "hello")
        .await
        .refused(404, "conversation_not_found");
    assert!(message.contains(&NOBODY.to_string()), "{message}");
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn a_message_may_have_65536_bytes_and_no_more() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;
    let two_bytes_each = "é".repeat(32_768);

    for over in ["x".repeat(65_537), two_bytes_each.clone() + "x"] {
        let reply = api.try_send(scene.conversation, ALICE, &over).await;
        let message = reply.refused(400, "validation_failed");
        assert!(message.contains("65536"), "{message}");
    }
    scene.assert_unharmed().await;

    for longest in ["x".repeat(65_536), two_bytes_each, "\u{1}".repeat(65_536)] {
        let sent = api.send(scene.conversation, ALICE, &longest).await;
        assert!(sent["content"] == longest.as_str(), "65,536 bytes are kept");
    }
}

#[tokio::test]
async fn the_longest_message_is_a_setting() {
    let scene = Scene::set(&[("MAX_MESSAGE_BYTES", "10")]).await;
    let reply = scene.api.try_send(scene.conversation, ALICE, "12345678901");
    reply.await.refused(400, "validation_failed");
    scene.assert_unharmed().await;
    scene
        .api
        .send(scene.conversation, ALICE, "1234567890")
        .await;
}

#[tokio::test]
async fn a_body_over_the_transport_limit_is_refused() {
    let scene = Scene::set(&[]).await;

    let body = scene.message("x".repeat(1024 * 1024));
    scene
        .api
        .post_message(&body)
        .await
        .refused(413, "payload_too_large");

    // Without a length that could be refused up front.
    let mut raw = Raw::connect(&scene.replica).await;
    let headers = [
        "content-type: application/json",
        "transfer-encoding: chunked",
    ];
    raw.request("POST /api/v1/chat/messages", &headers).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..16 {
        raw.write(&chunk).await;
    }
    raw.write("1\r\n \r\n").await;
    let reply = raw.reply().await.expect("an answer");
    reply.refused(413, "payload_too_large");

    // A length alone is enough: the body need not be sent.
    let mut raw = Raw::connect(&scene.replica).await;
    let headers = ["content-type: application/json", "content-length: 1048577"];
    raw.request("POST /api/v1/chat/messages", &headers).await;
    let reply = raw.reply().await.expect("an answer");
    reply.refused(413, "payload_too_large");
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn bodies_must_be_json() {
    let scene = Scene::set(&[]).await;
    let complete = scene.message("hello").to_string();
    let nested = "[".repeat(100_000);

    for body in [
        "",
        "{",
        "}",
        "nonsense",
        &complete[..complete.len() - 1],
        &nested,
        "{} {}",
    ] {
        for path in ["/api/v1/chat/messages", "/api/v1/chat/conversations"] {
            let request = scene.api.request(Method::POST, path);
            let request = request
                .header("content-type", "application/json")
                .body(body.to_owned());
            Reply::to(request).await.refused(400, "validation_failed");
        }
    }
    let mut not_utf8 = complete.clone().into_bytes();
    let place = complete.find("hello").expect("the content");
    not_utf8[place] = 0xff;
    let request = scene.api.request(Method::POST, "/api/v1/chat/messages");
    let request = request
        .header("content-type", "application/json")
        .body(not_utf8);
    Reply::to(request).await.refused(400, "validation_failed");
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn the_content_type_must_be_json() {
    let scene = Scene::set(&[]).await;
    let complete = scene.message("hello").to_string();
    let post = |content_type: Option<&'static str>| {
        let request = scene.api.request(Method::POST, "/api/v1/chat/messages");
        let request = match content_type {
            Some(content_type) => request.header("content-type", content_type),
            None => request,
        };
        Reply::to(request.body(complete.clone()))
    };

    for wrong in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some("application/jsonp"),
        Some(""),
    ] {
        post(wrong).await.refused(415, "unsupported_media_type");
    }
    scene.assert_unharmed().await;
    for right in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=UTF-8",
    ] {
        post(Some(right)).await.ok(201);
    }
}

#[tokio::test]
async fn unknown_routes_and_methods_are_told_apart() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;

    for path in [
        "/nothing",
        "/api/v1",
        "/api/v2/users",
        "/api/v1/chat",
        "/api/v1/users/role/buyer/x",
        "/health/other",
        "/wsx",
    ] {
        api.get(path).await.refused(404, "route_not_found");
    }
    for (method, path) in [
        (Method::DELETE, "/api/v1/users".to_owned()),
        (Method::POST, "/api/v1/users/active".to_owned()),
        (Method::GET, "/api/v1/chat/messages".to_owned()),
        (Method::PUT, "/api/v1/chat/conversations".to_owned()),
        (Method::POST, format!("/api/v1/chat/conversations/{ALICE}")),
        (
            Method::GET,
            format!("/api/v1/chat/conversations/{}/read", scene.conversation),
        ),
        (Method::POST, "/health".to_owned()),
        (Method::POST, "/ws".to_owned()),
    ] {
        let reply = Reply::to(api.request(method.clone(), &path)).await;
        reply.refused(405, "method_not_allowed");
        assert!(
            !reply.header("allow").is_empty(),
            "{method} {path}: {reply:?}"
        );
    }
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    let scene = Scene::set(&[]).await;
    let ask = |path: &str, id: &str| {
        let request = scene.api.request(Method::GET, path);
        Reply::to(request.header("x-request-id", id.to_owned()))
    };

    for path in ["/health", "/api/v1/users", "/nothing", "/api/v1/users/x"] {
        let given = ask(path, "caller-7.b").await;
        assert_eq!(given.header("x-request-id"), "caller-7.b", "{path}");
        let made = scene.api.get(path).await;
        let other = scene.api.get(path).await;
        assert_ne!(made.header("x-request-id"), other.header("x-request-id"));
    }
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let scene = Scene::set(&[("BODY_TIMEOUT_SECONDS", "1")]).await;

    let started = Instant::now();
    let mut raw = Raw::connect(&scene.replica).await;
    let headers = ["content-type: application/json", "content-length: 500"];
    raw.request("POST /api/v1/chat/messages", &headers).await;
    raw.write("{\"conversationId\"").await;
    if let Some(reply) = raw.reply().await {
        reply.refused(408, "request_timeout");
    }
    raw.closed().await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "given up in time"
    );
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn a_header_that_never_ends_is_given_up() {
    let scene = Scene::set(&[("HEADER_TIMEOUT_SECONDS", "1")]).await;

    let started = Instant::now();
    let mut half = Raw::connect(&scene.replica).await;
    half.write("GET /health HTTP/1.1\r\nhost: local").await;
    half.closed().await;
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "given up in time"
    );
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn what_is_no_http_is_closed() {
    let scene = Scene::set(&[]).await;

    let huge_header = format!(
        "GET /health HTTP/1.1\r\nx: {}\r\n\r\n",
        "y".repeat(2_000_000)
    );
    for bytes in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /health HTTP/9.9\r\n\r\n".to_vec(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
        huge_header.into_bytes(),
    ] {
        let mut raw = Raw::connect(&scene.replica).await;
        raw.write_unwelcome(&bytes).await;
        raw.closed().await;
    }
    scene.assert_unharmed().await;
}
