//! What nginx.conf holds against floods: its limits by address, and a log that names who calls.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpStream;

use super::nginx::{self, Nginx, Replicas};
use super::{address, started};
use crate::support::*;

#[tokio::test]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn an_address_has_so_many_connections_and_the_log_names_it_and_no_ticket() {
    let database = Database::fresh().await;
    let port = free_port();
    let _replica = started(&database, address(40), port).await;
    let nginx = limited(address(40), port, &[("callers 1000;", "callers 3;")]).await;
    let path = format!("/ws?user_id={ALICE}");
    let mut open = Vec::new();
    for _ in 0..3 {
        let (status, socket) = handshake(&nginx, &path).await;
        assert_eq!(status, 101);
        open.push(socket);
    }
    let ticket = "0".repeat(64);
    let with_ticket = format!("/ws?ticket={ticket}");
    assert_eq!(handshake(&nginx, &with_ticket).await.0, 429);
    drop(open);
    eventually("there is room again", || async {
        (handshake(&nginx, &with_ticket).await.0 == 401).then_some(())
    })
    .await;

    for status in [429, 401] {
        eventually("the log names the caller", || async {
            let line = format!("127.0.0.1 \"GET /ws\" {status} ");
            nginx.log().contains(&line).then_some(())
        })
        .await;
    }
    assert!(!nginx.log().contains(&ticket), "{}", nginx.log());
}

#[tokio::test]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn an_address_has_so_many_handshakes_a_second_and_everything_else_goes_on() {
    let database = Database::fresh().await;
    let port = free_port();
    let _replica = started(&database, address(41), port).await;
    // One at once, and two ahead of their time: the next is due in a minute.
    let changes = [("rate=100r/s", "rate=1r/m"), ("burst=500", "burst=2")];
    let nginx = limited(address(41), port, &changes).await;
    let ticket = "0".repeat(64);
    for expected in [401, 401, 401, 429] {
        let (status, _) = handshake(&nginx, &format!("/ws?ticket={ticket}")).await;
        assert_eq!(status, expected);
    }
    nginx.api().get("/api/v1/users/active").await.ok(200);
    eventually("the log has the refusal", || async {
        let line = "127.0.0.1 \"GET /ws\" 429 ";
        nginx.log().contains(line).then_some(())
    })
    .await;
    assert!(!nginx.log().contains(&ticket), "{}", nginx.log());
}

/// With limits that a test reaches.
async fn limited(replica: Ipv4Addr, port: u16, changes: &[(&str, &str)]) -> Nginx {
    let listed = Replicas::Listed(&[replica]);
    Nginx::start_with(&nginx::program(false), listed, port, changes).await
}

/// The status, and what holds the connection open.
async fn handshake(nginx: &Nginx, path: &str) -> (u16, Raw) {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, nginx.port));
    let mut raw = Raw::over(TcpStream::connect(to).await.expect("a connection"));
    raw.write(handshake_text(path)).await;
    (raw.status().await, raw)
}
