//! The room for connections: who is refused, and who keeps a place for how long.

use super::*;

const ONE: ServerLimits = ServerLimits {
    connections: 1,
    ..LIMITS
};

/// One that has room for one connection, and that one.
async fn full_server() -> (Server, TcpStream) {
    let server = server(ONE).await;
    let mut first = server.connect().await;
    first
        .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut first, "fine").await;
    (server, first)
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_a_503_until_one_is_free() {
    let (server, first) = full_server().await;
    let request = "GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let refused = server.says(request).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert_eq!(header(&refused, "retry-after"), Some("1"));
    drop(first);
    let deadline = Instant::now() + PATIENCE;
    while !server.says(request).await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "the place was never free again");
    }
}

#[tokio::test]
async fn only_so_many_are_told_at_a_time_that_there_is_no_room() {
    let (server, _first) = full_server().await;
    let started = Instant::now();
    let mut refused = Vec::new();
    for _ in 0..REFUSALS * 4 {
        refused.push(server.connect().await);
    }
    let mut told = 0;
    for stream in &mut refused {
        let mut byte = [0];
        let read = within("an answer or an end", stream.read(&mut byte)).await;
        told += read.unwrap_or(0);
    }
    // Each of them is waited for a second, since they do not close.
    let rounds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    assert!((REFUSALS..=REFUSALS * rounds).contains(&told), "{told}");
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_place() {
    let server = server(ONE).await;
    let mut socket = server.connect().await;
    let upgrade = "GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    until(&mut socket, "\r\n\r\n").await;
    let refused = server
        .says("GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut_off() {
    let write_stall = Duration::from_millis(200);
    let server = server(ServerLimits {
        write_stall,
        ..LIMITS
    })
    .await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    // There is a connection to wait for.
    until(&mut stream, "\r\n\r\n").await;
    server.until_connections_end().await;
}
