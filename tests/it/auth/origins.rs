//! `ALLOWED_ORIGINS`: what a browser is told before a page from elsewhere may call.

use reqwest::Method;
use serde_json::json;

use super::replica;
use super::tokens::token;
use crate::support::*;

const PAGE: &str = "https://app.example.com";

async fn ask(replica: &Replica, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = replica.api().request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Reply::to(request).await
}

#[tokio::test]
async fn a_preflight_is_answered_with_the_methods_of_the_route() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("ALLOWED_ORIGINS", PAGE)]).await;
    let message = format!("/api/v1/chat/messages/{NOBODY}");
    for (path, methods) in [
        ("/api/v1/chat/messages", "POST, OPTIONS"),
        (&*message, "GET, HEAD, PATCH, DELETE, OPTIONS"),
        ("/api/v1/ws/ticket", "POST, OPTIONS"),
        // No browser asks before it opens a socket; a page that calls it by mistake does.
        ("/ws", "GET, OPTIONS"),
    ] {
        let headers = [
            ("origin", PAGE),
            ("access-control-request-method", "POST"),
            (
                "access-control-request-headers",
                "authorization,content-type",
            ),
        ];
        let reply = ask(&replica, Method::OPTIONS, path, &headers).await;
        assert_eq!(reply.status, 204, "{path}: no token is needed to ask");
        assert_eq!(reply.header("access-control-allow-origin"), PAGE);
        assert_eq!(reply.header("access-control-allow-methods"), methods);
        let headers = reply.header("access-control-allow-headers");
        assert!(headers.contains("authorization") && headers.contains("content-type"));
        assert!(!reply.header("access-control-max-age").is_empty());
        assert_eq!(reply.header("access-control-allow-credentials"), "");
    }
}

/// What a page can do is what it is told before: each method of each route, and each header that the client sets or reads.
#[tokio::test]
async fn every_method_of_every_route_is_allowed_to_a_listed_page() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("ALLOWED_ORIGINS", PAGE)]).await;
    let operations = described::operations(NOBODY, NOBODY);
    for (method, path) in &operations {
        let headers = [
            ("origin", PAGE),
            ("access-control-request-method", method.as_str()),
            (
                "access-control-request-headers",
                "authorization,baggage,content-type,sentry-trace,traceparent,tracestate,x-request-id",
            ),
        ];
        let reply = ask(&replica, Method::OPTIONS, path, &headers).await;
        assert_eq!(reply.status, 204, "{method} {path}");
        let list = |name: &str| -> Vec<String> {
            let items = reply.header(name).split(',');
            items.map(|item| item.trim().to_owned()).collect()
        };
        let methods = list("access-control-allow-methods");
        assert!(methods.contains(&method.to_string()), "{method} {path}");
        assert_eq!(
            list("access-control-allow-headers"),
            [
                "authorization",
                "content-type",
                "x-request-id",
                "traceparent",
                "tracestate",
                "baggage",
                "sentry-trace"
            ]
        );
        assert_eq!(
            list("access-control-expose-headers"),
            ["x-request-id", "retry-after", "www-authenticate"]
        );
    }
    assert!(operations.len() > super::table::routes().len());
    // OPTIONS alone is no preflight, and another page is told of no method.
    let path = "/api/v1/chat/messages";
    let plain = ask(&replica, Method::OPTIONS, path, &[("origin", PAGE)]).await;
    assert_eq!(plain.header("allow"), "POST, OPTIONS");
    assert_eq!(plain.header("access-control-allow-methods"), "");
    let post = ("access-control-request-method", "POST");
    let evil = [("origin", "https://evil.example"), post];
    let other = ask(&replica, Method::OPTIONS, path, &evil).await;
    assert_eq!(other.header("access-control-allow-methods"), "");
    // Nor is a GET one that says so.
    let get = ask(&replica, Method::GET, path, &[("origin", PAGE), post]).await;
    assert_eq!(get.status, 405);
    assert_eq!(get.header("access-control-allow-methods"), "");
}

#[tokio::test]
async fn an_origin_is_listed_by_its_scheme_its_whole_host_and_its_port() {
    let database = Database::fresh().await;
    let list = format!("{PAGE}, http://localhost:3000");
    let replica = replica(&database, &[("ALLOWED_ORIGINS", &list)]).await;
    for (origin, listed) in [
        (PAGE, true),
        ("HTTPS://App.Example.com", true),
        ("http://localhost:3000", true),
        ("http://app.example.com", false),
        ("https://app.example.com:8443", false),
        ("https://www.app.example.com", false),
        ("https://example.com", false),
        ("https://app.example.com.evil.example", false),
        ("https://evil.example/https://app.example.com", false),
        ("http://localhost", false),
        ("http://localhost:30000", false),
        ("null", false),
        ("*", false),
        ("", false),
    ] {
        let told = ask(&replica, Method::GET, "/health", &[("origin", origin)]).await;
        let told = told.header("access-control-allow-origin") == origin;
        assert_eq!(told && !origin.is_empty(), listed, "{origin}");
        let socket = handshake(&replica, "/ws", &[("origin", origin)]).await;
        match listed {
            true => socket.refused(401, "unauthorized"),
            false => socket.refused(403, "origin_not_allowed"),
        };
    }
}

#[tokio::test]
async fn answers_and_errors_tell_a_listed_origin_and_no_other() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("ALLOWED_ORIGINS", PAGE)]).await;
    for path in ["/health", "/api/v1/users", "/nothing"] {
        let listed = ask(&replica, Method::GET, path, &[("origin", PAGE)]).await;
        assert_eq!(listed.header("access-control-allow-origin"), PAGE, "{path}");
        let exposed = listed.header("access-control-expose-headers");
        assert!(exposed.contains("x-request-id"), "{path}");
        for headers in [
            &[("origin", "https://evil.example")][..],
            &[("origin", "null")],
            &[],
        ] {
            let other = ask(&replica, Method::GET, path, headers).await;
            assert_eq!(other.header("access-control-allow-origin"), "", "{path}");
            assert_eq!(other.status, listed.status);
            assert_eq!(other.header("vary"), "origin", "{path}");
        }
    }
    let evil = [("origin", "https://evil.example")];
    handshake(&replica, "/ws", &evil)
        .await
        .refused(403, "origin_not_allowed");
    // From there credentials are looked at.
    handshake(&replica, "/ws", &[("origin", PAGE)])
        .await
        .refused(401, "unauthorized");
}

#[tokio::test]
async fn a_star_lets_every_page_call_and_open_sockets() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("ALLOWED_ORIGINS", "*")]).await;
    let token = format!("Bearer {}", token(ALICE));
    for page in [PAGE, "http://localhost:3000", "null"] {
        let headers = [("origin", page), ("authorization", &token)];
        let reply = ask(&replica, Method::GET, "/api/v1/users", &headers).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("access-control-allow-origin"), page);
        let socket = handshake(&replica, &format!("/ws?user_id={ALICE}"), &headers).await;
        assert_eq!(socket.status, 101, "{page}: {socket:?}");
    }
}

#[tokio::test]
async fn without_the_setting_nothing_is_told() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let reply = ask(&replica, Method::GET, "/health", &[("origin", PAGE)]).await;
    assert_eq!(reply.header("access-control-allow-origin"), "");
    assert_eq!(reply.header("vary"), "");
    assert_eq!(reply.json()["status"], json!("ok"));
}
