//! What nginx compresses.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpStream;

use super::nginx::{self, Nginx, Replicas};
use super::{address, started};
use crate::support::*;

#[tokio::test]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn what_is_long_is_compressed_and_what_holds_a_ticket_is_not() {
    let database = Database::fresh().await;
    let port = free_port();
    let replica = started(&database, address(30), port).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    for number in 0..10 {
        let content = format!("{number} {}", "x".repeat(200));
        replica.api().send(conversation, ALICE, &content).await;
    }
    let listed = [address(30)];
    let nginx = Nginx::start(&nginx::program(false), Replicas::Listed(&listed), port).await;
    let head_of = async |line: &str, more: &[&str]| {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, nginx.port));
        let stream = TcpStream::connect(to).await.expect("a connection");
        let mut raw = Raw::over(stream);
        let all = [&["Accept-Encoding: gzip", "Connection: close"], more].concat();
        raw.request(line, &all).await;
        let answer = within("an answer", raw.until_closed()).await;
        let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        let (head, _) = answer.split_once("\r\n\r\n").expect("a head");
        head.to_owned()
    };
    let history = format!("GET /api/v1/chat/conversations/{conversation}/messages");
    for long in [
        "GET /",
        "GET /client/pgchat.js",
        "GET /client/conversation.js",
        "GET /client/conversation.d.ts",
        "GET /openapi.json",
        &history,
    ] {
        let head = head_of(long, &[]).await;
        assert!(head.starts_with("http/1.1 200"), "{long}: {head}");
        assert!(head.contains("content-encoding: gzip"), "{long}: {head}");
        assert!(head.contains("vary: accept-encoding"), "{long}: {head}");
    }
    // A browser still asks whether what it has is right.
    let head = head_of("GET /client/pgchat.js", &[]).await;
    let tag = head
        .split("etag: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let has = format!("If-None-Match: {}", tag.expect("a tag").replace("w/", "W/"));
    let head = head_of("GET /client/pgchat.js", &[&has]).await;
    assert!(head.starts_with("http/1.1 304"), "{head}");

    let asked = format!("POST /api/v1/ws/ticket?user_id={ALICE}");
    let ticket = head_of(&asked, &["Content-Length: 0"]).await;
    assert!(ticket.starts_with("http/1.1 201"), "{ticket}");
    assert!(!ticket.contains("content-encoding"), "{ticket}");
}
