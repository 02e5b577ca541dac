//! pgchat at a path of the application's own host name, by the snippet of deploy/README.md.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tokio::net::TcpStream;

use super::nginx::{self, Nginx};
use crate::support::*;

#[tokio::test]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn below_a_path_everything_is_served_but_figures_and_probes() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let nginx = Nginx::start_below_a_path(&nginx::program(false), replica.port()).await;
    let status = async |path: &str| {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, nginx.port));
        let mut raw = Raw::over(TcpStream::connect(to).await.expect("a connection"));
        raw.request(&format!("GET {path}"), &[]).await;
        raw.status().await
    };
    for private in [
        "/chat/metrics",
        "/chat/metrics/",
        "/chat/%6detrics",
        "/chat//metrics",
        "/chat/%2Fmetrics",
        "/chat/./metrics",
        "/chat/health",
        "/chat/health/live",
        "/chat/health/ready",
    ] {
        assert_eq!(status(private).await, 404, "{private}");
    }
    let history = format!("/chat/api/v1/chat/conversations/{conversation}/messages");
    for open in [
        "/chat/",
        "/chat/client/pgchat.js",
        "/chat/client/conversation.js",
        "/chat/openapi.json",
        &history,
    ] {
        assert_eq!(status(open).await, 200, "{open}");
    }
    let authority = format!("127.0.0.1:{}", nginx.port);
    let path = format!("/chat/ws?user_id={BORIS}");
    let mut boris = Socket::connect_at(&authority, BORIS, &path).await;
    boris.send_command("ping", json!({})).await;
    replica.api().send(conversation, ALICE, "hello").await;
    let frame = boris.expect("chat_message").await;
    assert_eq!(frame["data"]["content"], "hello");
}
