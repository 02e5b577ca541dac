//! What nginx.conf holds against floods, commented out: its limits by address, and a log that names who calls.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpStream;

use super::nginx::{self, Nginx, Replicas};
use super::{address, started};
use crate::support::*;

/// Their comment signs taken away, with a limit that a test reaches.
const TURNED_ON: [(&str, &str); 5] = [
    ("#limit_", "limit_"),
    ("connections 200;", "connections 3;"),
    ("    access_log off;", ""),
    ("#access_log", "access_log"),
    ("#log_format", "log_format"),
];

#[tokio::test]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn an_address_has_so_many_connections_and_the_log_names_it_and_no_ticket() {
    let database = Database::fresh().await;
    let port = free_port();
    let _replica = started(&database, address(40), port).await;
    let listed = Replicas::Listed(&[address(40)]);
    let program = nginx::program(false);
    let nginx = Nginx::start_with(&program, listed, port, &TURNED_ON).await;
    let handshake = async |path: &str| {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, nginx.port));
        let mut raw = Raw::over(TcpStream::connect(to).await.expect("a connection"));
        raw.write(handshake_text(path)).await;
        let status = raw.status().await;
        (status, raw)
    };
    let path = format!("/ws?user_id={ALICE}");
    let mut open = Vec::new();
    for _ in 0..3 {
        let (status, socket) = handshake(&path).await;
        assert_eq!(status, 101);
        open.push(socket);
    }
    assert_eq!(handshake(&path).await.0, 429);
    drop(open);
    eventually("there is room again", || async {
        (handshake(&path).await.0 == 101).then_some(())
    })
    .await;

    let ticket = "0".repeat(64);
    let (status, _) = handshake(&format!("/ws?ticket={ticket}")).await;
    assert_eq!(status, 401);
    eventually("the log names the caller", || async {
        let line = "127.0.0.1 \"GET /ws\" 401 ";
        nginx.log().contains(line).then_some(())
    })
    .await;
    assert!(!nginx.log().contains(&ticket));
}
