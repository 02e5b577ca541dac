//! More sockets and connections than there is room for.

use crate::support::*;

/// As others are, who may be asked about in vain: a second for each, and each holds a connection.
#[tokio::test]
async fn a_handshake_that_finds_no_room_is_not_held() {
    let database = Database::fresh().await;
    let set = [
        ("MAX_CONNECTIONS", "1"),
        ("REFUSED_HANDSHAKES_PER_SECOND", "1"),
    ];
    let replica = Replica::start(&database, &set).await;
    let _socket = Socket::connect(&replica, ALICE).await;
    let path = format!("/ws?user_id={BORIS}");
    within("a hundred refusals", async {
        for _ in 0..100 {
            let refused = handshake(&replica, &path, &[]).await;
            refused.refused(503, "unavailable");
        }
    })
    .await;
    let log = replica.log();
    let lines = log.matches("as many sockets are open as may be").count();
    assert!((1..100).contains(&lines), "{log}");
}

/// A connection that has a place.
async fn served(replica: &Replica) -> Option<Raw> {
    let mut raw = Raw::connect(replica).await;
    raw.request("GET /api/v1/users/active", &[]).await;
    let reply = raw.reply().await;
    reply.filter(|reply| reply.status == 200).map(|_| raw)
}

/// So many of them.
async fn fill(replica: &Replica, room: usize) -> Vec<Raw> {
    let mut open = Vec::new();
    for _ in 0..room {
        // The connection of the probe that saw the replica start may not have been seen to go yet.
        open.push(eventually("a connection is served", || served(replica)).await);
    }
    open
}

#[tokio::test]
async fn sockets_leave_room_for_requests_and_what_is_beyond_it_is_refused() {
    const ROOM: usize = 10;
    let database = Database::fresh().await;
    let set = [
        ("MAX_CONNECTIONS", "2"),
        ("MAX_HTTP_CONNECTIONS", "10"),
        ("LOG_FORMAT", "json"),
    ];
    let replica = Replica::start(&database, &set).await;
    let _sockets = [
        Socket::connect(&replica, ALICE).await,
        Socket::connect(&replica, BORIS).await,
    ];
    // One that became a socket speaks HTTP no more: the one left is the one that asks.
    until_metric(&replica, "pgchat_http_connections", 1.0).await;
    let refusals = "pgchat_connections_refused_total";
    assert_eq!(replica.api().metric(refusals).await, 0.0);
    let served = async || served(&replica).await;
    let open = fill(&replica, ROOM).await;
    // Those that were tried too early are of them.
    let mut counted = replica.api().metric(refusals).await;
    let mut beyond = Raw::connect(&replica).await;
    let refused = beyond.reply().await.expect("an answer");
    refused.refused(503, "unavailable");
    assert!(
        refused.head.to_ascii_lowercase().contains("retry-after"),
        "{}",
        refused.head
    );
    counted += 1.0;
    until_metric(&replica, refusals, counted).await;
    // Who asks how the replica is gets through, each time: an orchestrator would end it, and nobody would see why. It is not ready: a
    // load balancer should send elsewhere what would be refused here.
    for (path, status) in [
        ("/health/live", 200),
        ("/health/ready", 503),
        ("/health", 200),
        ("/metrics", 200),
        ("/api/v1/users/active", 503),
        ("/ws?user_id=11111111-1111-4111-8111-111111111111", 503),
        ("/", 503),
    ] {
        for _ in 0..2 {
            let mut beyond = Raw::connect(&replica).await;
            beyond.request(&format!("GET {path}"), &[]).await;
            assert_eq!(beyond.status().await, status, "{path}");
            counted += f64::from(u8::from(status == 503));
            assert_eq!(replica.api().metric(refusals).await, counted, "{path}");
        }
    }
    // Nor does the image's health check end it.
    let port = replica.port().to_string();
    let here = settings(&database, &[("SERVER_PORT", &port)]);
    pgchat(&["healthcheck", "--live"], &here).await.assert_ok();
    let asked = pgchat(&["healthcheck"], &here).await;
    asked.assert_failed(1, &["/health/ready answers", "503"]);
    let log = replica.log();
    let full = "all 12 connections (MAX_CONNECTIONS and MAX_HTTP_CONNECTIONS together) are open";
    let line = log.lines().find(|line| line.contains(full));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    // What RUST_LOG would call it by.
    assert!(line.contains(r#""target":"pgchat::server""#), "{line}");
    drop((open, beyond));
    eventually("there is room again", &served).await;
    assert!(replica.api().metric(refusals).await >= counted);
    let mut ready = Raw::connect(&replica).await;
    ready.request("GET /health/ready", &[]).await;
    assert_eq!(ready.status().await, 200);
    drop(ready);
    until_metric(&replica, "pgchat_http_connections", 1.0).await;
}

/// A browser shows a page nothing of an answer, not even its status, that does not name the page's origin; nor does it send what it
/// was not allowed to in answer to its preflight.
#[tokio::test]
async fn a_page_can_read_that_there_is_no_room() {
    const PAGE: &str = "https://app.example.com";
    let database = Database::fresh().await;
    let set = [
        ("MAX_CONNECTIONS", "1"),
        ("MAX_HTTP_CONNECTIONS", "10"),
        ("ALLOWED_ORIGINS", PAGE),
    ];
    let replica = Replica::start(&database, &set).await;
    let _open = fill(&replica, 11).await;
    let ask = async |line: &str, headers: &[&str]| {
        let mut beyond = Raw::connect(&replica).await;
        beyond.request(line, headers).await;
        beyond.reply().await.expect("an answer")
    };
    let origin = format!("origin: {PAGE}");
    let allowed = format!("\r\naccess-control-allow-origin: {PAGE}\r\n");
    let messages = "/api/v1/chat/messages";
    let about_post = "access-control-request-method: POST";

    let preflight = ask(&format!("OPTIONS {messages}"), &[&origin, about_post]).await;
    assert_eq!(preflight.status, 204, "{preflight:?}");
    let methods = "\r\naccess-control-allow-methods: post, options\r\n";
    assert!(preflight.head.contains(&allowed), "{preflight:?}");
    assert!(preflight.head.contains(methods), "{preflight:?}");

    let refused = ask(&format!("POST {messages}"), &[&origin]).await;
    refused.refused(503, "unavailable");
    assert!(refused.head.contains(&allowed), "{refused:?}");
    let exposed = "access-control-expose-headers: x-request-id, retry-after";
    assert!(refused.head.contains(exposed), "{refused:?}");

    // Neither is there more for OPTIONS alone, nor for another page.
    let plain = ask(&format!("OPTIONS {messages}"), &[&origin]).await;
    assert_eq!(plain.status, 503);
    let other = ["origin: https://evil.example", about_post];
    let other = ask(&format!("OPTIONS {messages}"), &other).await;
    assert!(!other.head.contains("access-control"), "{other:?}");
}
