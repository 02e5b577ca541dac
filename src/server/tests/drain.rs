//! What a drain finishes, and what it does not wait for.

use std::io::Write;

use super::*;

#[tokio::test]
async fn a_drain_finishes_the_requests_in_flight_and_answers_probes_until_its_end() {
    let server = server(LIMITS).await;
    let mut busy = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut idle, "fine").await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    server.is_busy().await;

    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    assert_eq!(rest(&mut idle).await, "");
    let mut probe = server.connect().await;
    probe
        .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut probe).await;
    assert!(answer.ends_with("fine"), "{answer}");
    server.release.notify_one();
    let response = rest(&mut busy).await;
    assert!(response.ends_with("done"), "{response}");
    assert_eq!(header(&response, "connection"), Some("close"));
    server.until_connections_end().await;
    server.lifecycle.stopping.cancel();
    server.until_refusing().await;
}

#[tokio::test]
async fn while_draining_new_connections_are_served_and_closed_after_one_answer() {
    let server = server(LIMITS).await;
    server.lifecycle.draining.cancel();
    let response = server.says("GET /ok HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(response.ends_with("fine"), "{response}");
    assert_eq!(header(&response, "connection"), Some("close"));
}

// One thread, which this test does not let go while the connections come: the accept loop has not seen them.
#[tokio::test]
async fn those_that_wait_to_be_accepted_at_the_end_are_answered() {
    let server = server(LIMITS).await;
    tokio::task::yield_now().await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        stream
            .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        stream.set_nonblocking(true).unwrap();
        waiting.push(TcpStream::from_std(stream).unwrap());
    }
    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    server.lifecycle.refusing.cancel();
    for stream in &mut waiting {
        let answer = rest(stream).await;
        assert!(answer.ends_with("fine"), "{answer:?}");
    }
    server.lifecycle.late.close();
    within("the end of the late ones", server.lifecycle.late.wait()).await;
    server.until_refusing().await;
}

#[tokio::test]
async fn a_connection_that_comes_late_and_asks_nothing_does_not_hold_the_drain_up() {
    let server = server(LIMITS).await;
    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn a_connection_opened_just_before_the_drain_closes_has_its_request_answered() {
    let server = server(LIMITS).await;
    let mut asking = server.connect().await;
    let mut silent = server.connect().await;
    let both = async {
        while server.lifecycle.connections.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    within("both connections", both).await;
    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    // Time enough to close it over its request.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let request = b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n";
    asking.write_all(request).await.unwrap();
    let answer = rest(&mut asking).await;
    assert!(answer.ends_with("fine"), "{answer:?}");
    assert_eq!(header(&answer, "connection"), Some("close"));
    // One that asks for nothing does not hold it up.
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn what_is_left_at_the_end_of_the_drain_is_dropped() {
    let server = server(LIMITS).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    server.is_busy().await;
    server.lifecycle.closing.cancel();
    server.lifecycle.stopping.cancel();
    assert_eq!(rest(&mut busy).await, "");
    server.until_connections_end().await;
}

/// What is read of a body behind its answer belongs to the connection: the drain waits for that, and nothing is left of it afterwards.
#[tokio::test]
async fn the_rest_of_a_refused_body_is_read_to_its_end_in_a_drain_and_no_longer_than_that() {
    let server = server(LIMITS).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let until_there_are = async |count| {
        let there_are = async {
            while tasks() != count {
                tokio::task::yield_now().await;
            }
        };
        within(&format!("{count} tasks"), there_are).await;
    };
    let before = tasks();
    let head = "POST /fails HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\n";
    let (mut slow, mut stuck) = (server.connect().await, server.connect().await);
    for stream in [&mut slow, &mut stuck] {
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(b"half").await.unwrap();
        until(stream, "}").await;
    }
    assert_eq!(tasks(), before + 4, "a connection and the rest of its body");
    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    server.lifecycle.connections.close();
    slow.write_all(b"half").await.unwrap();
    let end = within("the end of its connection", slow.read(&mut [0])).await;
    assert_eq!(end.unwrap(), 0, "no reset");
    until_there_are(before + 2).await;
    assert_eq!(server.lifecycle.connections.len(), 1, "it is waited for");
    server.lifecycle.stopping.cancel();
    server.until_connections_end().await;
    server.until_refusing().await;
    // Without the accept loop.
    until_there_are(before - 1).await;
    assert_eq!(rest(&mut stuck).await, "");
}
