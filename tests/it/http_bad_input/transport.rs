//! Requests that are wrong before any field is looked at.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

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

/// Whoever closes over what is on its way resets the connection, and the caller may never see the answer.
#[tokio::test]
async fn who_is_refused_before_their_body_is_read_can_send_it_to_its_end() {
    let database = Database::fresh().await;
    let secret = ("JWT_SECRET", "a secret of these tests, of 32 bytes or more");
    let replica = Replica::start(&database, &[secret]).await;
    let body = "x".repeat(1024 * 1024);
    for (line, kind, status, code) in [
        (
            "POST /api/v1/chat/messages",
            "application/json",
            401,
            "unauthorized",
        ),
        ("POST /nothing", "application/json", 404, "route_not_found"),
        (
            "POST /api/v1/users",
            "application/json",
            405,
            "method_not_allowed",
        ),
        ("POST /api/v1/ws/ticket", "text/plain", 401, "unauthorized"),
    ] {
        let mut raw = Raw::connect(&replica).await;
        let headers = [
            format!("content-type: {kind}"),
            format!("content-length: {}", body.len()),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
        raw.request(line, &headers).await;
        raw.write(&body).await;
        let reply = raw.reply().await.expect("an answer");
        reply.refused(status, code);
    }
}

/// Whether the body comes or not has nothing to do with the answer.
#[tokio::test]
async fn who_is_refused_before_their_body_is_read_is_told_so_before_they_send_it() {
    let database = Database::fresh().await;
    let secret = ("JWT_SECRET", "a secret of these tests, of 32 bytes or more");
    let replica = Replica::start(&database, &[secret]).await;
    let body = "x".repeat(1024 * 1024);
    let mut raw = Raw::connect(&replica).await;
    for _ in 0..3 {
        let length = format!("content-length: {}", body.len());
        let headers = ["content-type: application/json", &length];
        raw.request("POST /api/v1/chat/messages", &headers).await;
        let reply = raw.reply().await.expect("an answer");
        reply.refused(401, "unauthorized");
        // It is read all the same, and the next request behind it.
        raw.write(&body).await;
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
        let told = reply.refused(405, "method_not_allowed");
        assert!(told.contains("Allow"), "where to look: {told}");
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
    let scene = Scene::set(&[("BODY_TIMEOUT_SECONDS", "3")]).await;

    let started = Instant::now();
    let mut raw = Raw::connect(&scene.replica).await;
    let headers = ["content-type: application/json", "content-length: 500"];
    raw.request("POST /api/v1/chat/messages", &headers).await;
    raw.write("{\"conversationId\"").await;
    let reply = raw.reply().await.expect("an answer");
    reply.refused(408, "request_timeout");
    raw.closed().await;
    assert!(
        started.elapsed() < Duration::from_secs(20),
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
    let reply = half.reply().await.expect("an answer");
    reply.refused(408, "request_timeout");
    let told = json!({
        "statusCode": 408,
        "error": "Request Timeout",
        "message": "the request head did not arrive in time",
        "code": "request_timeout",
    });
    let body: Value = serde_json::from_str(&reply.body).expect("JSON");
    assert_eq!(body, told);
    for header in ["content-type: application/json", "connection: close"] {
        assert!(reply.head.contains(header), "{reply:?}");
    }
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

/// Where a body ends must not be a matter of opinion (RFC 9112 section 6.3): a proxy in front that thinks otherwise would take
/// what is behind it for another user's request.
#[tokio::test]
async fn a_request_with_two_lengths_is_refused_and_nothing_behind_it_is_read() {
    let scene = Scene::set(&[]).await;
    let hidden = "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n";
    for (lengths, body) in [
        (
            "content-length: 50\r\ntransfer-encoding: chunked",
            "2\r\n{}\r\n0\r\n\r\n",
        ),
        ("content-length: 2\r\ncontent-length: 7", "{}"),
        ("content-length: 2, 2", "{}"),
        ("content-length: +2", "{}"),
        ("content-length : 2", "{}"),
        ("transfer-encoding: xchunked", "2\r\n{}\r\n0\r\n\r\n"),
        (
            "transfer-encoding: chunked, identity",
            "2\r\n{}\r\n0\r\n\r\n",
        ),
        ("transfer-encoding: chunked", "0x2\r\n{}\r\n0\r\n\r\n"),
    ] {
        let mut raw = Raw::connect(&scene.replica).await;
        let head =
            "POST /api/v1/chat/messages HTTP/1.1\r\nhost: x\r\ncontent-type: application/json";
        raw.write_unwelcome(format!("{head}\r\n{lengths}\r\n\r\n{body}{hidden}"))
            .await;
        let answers = String::from_utf8_lossy(&raw.until_closed().await).into_owned();
        assert!(answers.starts_with("HTTP/1.1 400 "), "{lengths}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    }
    scene.assert_unharmed().await;
}

#[tokio::test]
async fn a_request_for_two_hosts_is_refused() {
    let scene = Scene::set(&[]).await;
    let mut raw = Raw::connect(&scene.replica).await;
    // One is there already.
    raw.request("GET /health/live", &["host: localhost"]).await;
    let reply = raw.reply().await.expect("an answer");
    reply.refused(400, "validation_failed");
    raw.request("GET /health/live", &[]).await;
    assert_eq!(raw.reply().await.expect("an answer").status, 200);
}

/// RFC 9112 section 3.2 asks for a refusal. But nginx leaves it out where its own caller named none, as one of HTTP/1.0 may.
#[tokio::test]
async fn a_request_for_no_host_is_served() {
    let scene = Scene::set(&[]).await;
    let mut raw = Raw::connect(&scene.replica).await;
    raw.write("GET /health/live HTTP/1.1\r\n\r\n").await;
    assert_eq!(raw.reply().await.expect("an answer").status, 200);
}

/// Forms of a request's target that only a proxy serves (RFC 9112 section 3.2.3). The connection goes on.
#[tokio::test]
async fn a_target_that_is_no_path_is_refused() {
    let scene = Scene::set(&[]).await;
    let mut raw = Raw::connect(&scene.replica).await;
    for line in ["CONNECT example.com:80", "OPTIONS example.com", "GET x"] {
        raw.request(line, &[]).await;
        let reply = raw.reply().await.expect("an answer");
        reply.refused(400, "validation_failed");
        assert!(
            reply
                .head
                .contains("\r\nx-content-type-options: nosniff\r\n")
        );
    }
    raw.request("GET http://example.com/health/live", &[]).await;
    assert_eq!(raw.reply().await.expect("an answer").status, 200);
    scene.assert_unharmed().await;
    assert!(
        !scene.replica.log().contains("panic"),
        "{}",
        scene.replica.log()
    );
}
