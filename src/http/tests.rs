//! What no single resource owns, over real sockets: methods, unknown routes, and the limits of a body.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::body::{Body, BodyLimits, body};
use super::extract::Segment;
use super::methods::{get, methods, post};
use super::*;
use crate::config::AuthMode;
use crate::lifecycle::Lifecycle;
use crate::limits::{Holder, MemoryBudget};
use crate::metrics::ConnectionCounts;
use crate::reply::json_response;
use crate::server::{ServerLimits, serve};

const LIMITS: BodyLimits = BodyLimits {
    bytes: 100,
    time: Duration::from_millis(300),
};

async fn store(body: Body) -> Result<Response, Error> {
    let body = body.json(Holder::Anybody).await?;
    let content = body.fields(&["content"])?.text("content");
    let content = content.map_err(Error::Validation)?;
    Ok(json_response(
        StatusCode::CREATED,
        &json!({ "content": content }),
    ))
}

async fn start() -> SocketAddr {
    let thing = "PATCH, DELETE, OPTIONS";
    let table = any_of([
        route(
            warp::path!("things")
                .and(post())
                .and(body(LIMITS, MemoryBudget::new(0)))
                .then(store),
        ),
        route(
            warp::path!("things" / "best")
                .and(get())
                .map(|| "the best one"),
        ),
        route(
            warp::path!("things" / Segment)
                .and(methods(|method| method == Method::PATCH, thing))
                .map(|_| "patched"),
        ),
        route(
            warp::path!("things" / Segment)
                .and(methods(|method| method == Method::DELETE, thing))
                .map(|_| "deleted"),
        ),
        docs::routes(AuthMode::Trusted),
    ]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = ServerLimits {
        connections: None,
        head_bytes: 16 * 1024,
        fields: 100,
        head: Duration::from_secs(10),
        idle: Duration::from_secs(10),
        write_stall: Duration::from_secs(10),
    };
    let all = answered(table);
    let routes = Routes {
        without_room: all.clone(),
        all,
    };
    tokio::spawn(serve(
        listener,
        routes,
        limits,
        Lifecycle::default(),
        ConnectionCounts::default(),
    ));
    address
}

/// Sends `request` as it stands, and reads the answer until the server closes.
async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut all = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut all)).await;
    read.expect("no end of the answer").unwrap();
    String::from_utf8(all).unwrap()
}

async fn line(address: SocketAddr, line: &str) -> String {
    ask(
        address,
        format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
    )
    .await
}

fn post_with(headers: &str, body: &str) -> Vec<u8> {
    format!(
        "POST /things HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}\r\n\r\n{body}"
    )
    .into_bytes()
}

fn error(response: &str) -> Value {
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).expect(response)
}

#[tokio::test]
async fn a_wrong_method_is_a_405_that_lists_the_right_ones() {
    let address = start().await;
    for (request, allow) in [
        ("GET /things", "POST, OPTIONS"),
        ("PUT /things/7", "PATCH, DELETE, OPTIONS"),
        ("TRACE /things/7/", "PATCH, DELETE, OPTIONS"),
    ] {
        let response = line(address, request).await;
        assert!(response.starts_with("HTTP/1.1 405"), "{response}");
        assert!(
            response.contains(&format!("allow: {allow}\r\n")),
            "{response}"
        );
        assert_eq!(error(&response)["code"], "method_not_allowed");
    }
    let options = line(address, "OPTIONS /things/7").await;
    assert!(options.starts_with("HTTP/1.1 204"), "{options}");
    assert!(
        options.contains("allow: PATCH, DELETE, OPTIONS\r\n"),
        "{options}"
    );
}

#[tokio::test]
async fn an_unknown_route_is_a_404_that_names_it() {
    let address = start().await;
    for path in ["/", "/thing", "/things/7/parts", "//things", "/things//"] {
        let response = line(address, &format!("GET {path}?q=secret")).await;
        assert!(response.starts_with("HTTP/1.1 404"), "{response}");
        let error = error(&response);
        assert_eq!(error["code"], "route_not_found");
        assert_eq!(
            error["message"],
            format!("route GET {path:?} does not exist")
        );
    }
    assert!(line(address, "OPTIONS *").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_404_names_the_beginning_of_a_long_path() {
    let address = start().await;
    let long = "x".repeat(10_000);
    for path in [format!("/{long}"), format!("/docs/{long}")] {
        let error = error(&line(address, &format!("GET {path}")).await);
        assert_eq!(error["code"], "route_not_found");
        assert_eq!(
            error["message"],
            format!("route GET {:?}… does not exist", &path[..64])
        );
    }
}

#[tokio::test]
async fn a_trailing_slash_is_accepted_and_head_has_no_body() {
    let address = start().await;
    for request in ["DELETE /things/7", "DELETE /things/7/"] {
        assert!(line(address, request).await.ends_with("\r\n\r\ndeleted"));
    }
    let head = line(address, "HEAD /things/best/").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-length: 12\r\n"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn a_body_is_read_with_a_length_and_in_chunks() {
    let address = start().await;
    let whole = post_with("content-length: 16", r#"{"content":"hi"}"#);
    assert!(ask(address, &whole).await.ends_with(r#"{"content":"hi"}"#));
    let chunks = "8\r\n{\"conten\r\n8\r\nt\":\"hi\"}\r\n0\r\n\r\n";
    let chunked = post_with("transfer-encoding: chunked", chunks);
    assert!(
        ask(address, &chunked)
            .await
            .ends_with(r#"{"content":"hi"}"#)
    );
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413_that_the_sender_gets_to_see() {
    let address = start().await;
    // More than the sockets' buffers hold: unread, it would be answered by a reset.
    let size = 8 << 20;
    let body = " ".repeat(size);
    let announced = post_with(&format!("content-length: {size}"), &body);
    let chunks = format!("{size:x}\r\n{body}\r\n0\r\n\r\n");
    let chunked = post_with("transfer-encoding: chunked", &chunks);
    for request in [announced, chunked] {
        let response = ask(address, &request).await;
        assert!(response.starts_with("HTTP/1.1 413"), "{response}");
        assert_eq!(
            error(&response)["message"],
            "the request body must be at most 100 bytes"
        );
    }
}

#[tokio::test]
async fn who_waits_for_a_continue_is_refused_before_the_body() {
    let address = start().await;
    let request = post_with("content-length: 999999\r\nexpect: 100-continue", "");
    let response = ask(address, &request).await;
    assert!(response.starts_with("HTTP/1.1 413"), "{response}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_a_408() {
    let address = start().await;
    for headers in ["content-length: 16", "transfer-encoding: chunked"] {
        let response = ask(address, &post_with(headers, "")).await;
        assert!(response.starts_with("HTTP/1.1 408"), "{response}");
        assert_eq!(error(&response)["code"], "request_timeout");
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_a_415() {
    let address = start().await;
    let request = b"POST /things HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\n{}";
    let response = ask(address, request).await;
    assert!(response.starts_with("HTTP/1.1 415"), "{response}");
}
