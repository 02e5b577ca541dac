//! Ids, positions and fields that are wrong, or name what is not there.

use reqwest::Method;
use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

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
            format!("/api/v1/chat/users/{id}/conversations"),
            format!("/api/v1/chat/conversations/{id}/messages"),
            format!("/api/v1/chat/users/{id}/unread-count"),
            format!("/api/v1/chat/users/{id}/events"),
            format!("/api/v1/chat/users/{ALICE}/conversations/{id}"),
            format!(
                "/api/v1/chat/users/{id}/conversations/{}",
                scene.conversation
            ),
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

/// Bodies and frames say `upToSeq`. As an unknown parameter it would be ignored, and all would be marked, or searched.
#[tokio::test]
async fn a_parameter_spelt_like_a_member_of_a_body_is_refused_by_its_right_name() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;
    let conversation = scene.conversation;
    let spelt = |reply: Reply, wrong: &str, right: &str| {
        let message = reply.refused(400, "validation_failed");
        let wanted = format!("unknown parameter {wrong}: use {right}");
        assert!(message.contains(&wanted), "{message}");
    };
    let read = format!("/api/v1/chat/conversations/{conversation}/read");
    let marked = api.put(&format!("{read}?user_id={BORIS}&upToSeq=1")).await;
    spelt(marked, "upToSeq", "up_to_seq");
    let marked = api.put(&format!("{read}?userId={BORIS}")).await;
    spelt(marked, "userId", "user_id");
    let search = format!("q=hello&conversationId={conversation}");
    let found = api.search(ALICE, &search).await;
    spelt(found, "conversationId", "conversation_id");
    let socket = handshake(&scene.replica, &format!("/ws?userId={ALICE}"), &[]).await;
    spelt(socket, "userId", "user_id");
    scene.assert_unharmed().await;
}

/// Ignored as unknown, `client_message_id` would have the retry stored once more.
#[tokio::test]
async fn a_member_spelt_like_a_parameter_is_refused_by_its_right_name() {
    let scene = Scene::set(&[]).await;
    let api = &scene.api;
    let spelt = |reply: Reply, wrong: &str, right: &str| {
        let message = reply.refused(400, "validation_failed");
        assert_eq!(message, format!("unknown member {wrong}: use {right}"));
    };
    let mut named = scene.message("sent twice");
    named["client_message_id"] = json!("retry-1");
    for _ in 0..2 {
        spelt(
            api.post_message(&named).await,
            "client_message_id",
            "clientMessageId",
        );
    }
    let mut typed = scene.message("a picture");
    typed["MessageType"] = json!("image");
    spelt(api.post_message(&typed).await, "MessageType", "messageType");
    let users = json!({"user1Id": ALICE, "user2_id": CARLA});
    let opened = api.post("/api/v1/chat/conversations", &users).await;
    spelt(opened, "user2_id", "user2Id");
    scene.assert_unharmed().await;

    // What merely resembles one is ignored.
    let mut other = scene.message("hello");
    other["client_message"] = json!("x");
    other["id"] = json!(7);
    api.post_message(&other).await.ok(201);
}

#[tokio::test]
async fn a_member_given_twice_is_refused() {
    let scene = Scene::set(&[]).await;
    let sent = scene.message("hello").to_string();
    let twice = sent.replacen('{', r#"{"content": "good bye", "#, 1);
    let request = scene.api.request(Method::POST, "/api/v1/chat/messages");
    let request = request
        .header("content-type", "application/json")
        .body(twice);
    let message = Reply::to(request).await.refused(400, "validation_failed");
    assert_eq!(message, "content must be given only once");
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
        format!("/api/v1/chat/users/{NOBODY}/events"),
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
    for (user, conversation, status, code) in [
        (ALICE, NOBODY, 404, "conversation_not_found"),
        (NOBODY, scene.conversation, 404, "user_not_found"),
        (CARLA, scene.conversation, 403, "not_a_participant"),
    ] {
        let path = format!("/api/v1/chat/users/{user}/conversations/{conversation}");
        api.get(&path).await.refused(status, code);
    }
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
            "offset=2147483648",
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
    for path in ["", "active", "role/buyer"] {
        bad.push(format!("/api/v1/users/{path}?limit=1001"));
    }
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
    let reply = api.post(PATH, &json!({})).await;
    reply.refused(400, INVALID);
    assert_each_is_named(&reply, &["user1Id", "user2Id"]);
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
        let reply = api.post_message(&body).await;
        let message = reply.refused(400, INVALID);
        assert!(message.contains(field), "{body}: {message}");
        assert!(reply.json()["message"].is_string(), "{reply:?}");
    }
    let reply = api.post_message(&json!({})).await;
    reply.refused(400, INVALID);
    assert_each_is_named(&reply, &["conversationId", "senderId", "content"]);
    scene.assert_unharmed().await;
    for longest in ["x".repeat(64), "ü".repeat(32)] {
        let mut body = scene.message("hello");
        body["clientMessageId"] = json!(longest);
        api.post_message(&body).await.ok(201);
    }
}

/// Several faults are an array, one for each field.
fn assert_each_is_named(reply: &Reply, fields: &[&str]) {
    let body = reply.json();
    let messages = body["message"].as_array().expect("an array");
    assert_eq!(messages.len(), fields.len(), "{body}");
    for field in fields {
        let named = |message: &&Value| message.as_str().is_some_and(|text| text.contains(field));
        assert_eq!(messages.iter().filter(named).count(), 1, "{field}: {body}");
    }
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
    let sent = scene
        .api
        .send(scene.conversation, ALICE, "1234567890")
        .await;
    // Of an edit as well.
    let id = id_of(&sent);
    let reply = scene.api.edit(id, ALICE, "12345678901").await;
    let message = reply.refused(400, "validation_failed");
    assert!(message.contains("content"), "{message}");
    scene.api.edit(id, ALICE, "0987654321").await.ok(200);
}
