//! A request's head: how long it may take and how large it may be.

use super::*;

#[tokio::test]
async fn a_half_sent_head_gets_a_408_in_time_however_it_drips() {
    let server = server(LIMITS).await;
    let started = Instant::now();
    let half = "GET /ok HTTP/1.1\r\nhost: x\r\n";
    assert_head_timeout(&server.says(half).await);
    assert!(started.elapsed() >= LIMITS.head);

    let mut second = server.connect().await;
    let whole = format!("{half}\r\n");
    second.write_all(whole.as_bytes()).await.unwrap();
    until(&mut second, "fine").await;
    second.write_all(half.as_bytes()).await.unwrap();
    assert_head_timeout(&rest(&mut second).await);

    let mut stream = server.connect().await;
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        loop {
            if writer.write_all(b"G").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut said = Vec::new();
    tokio::select! {
        _ = tokio::time::timeout(PATIENCE, drip) => {}
        closed = reader.read_to_end(&mut said) => drop(closed),
    }
    assert!(started.elapsed() < PATIENCE);
    assert_head_timeout(&String::from_utf8_lossy(&said));
    // Nobody is waited for who does not close their side.
    server.until_connections_end().await;
    drop((second, stream));
}

fn assert_head_timeout(said: &str) {
    assert!(
        said.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{said}"
    );
    let (_, body) = said.split_once("\r\n\r\n").expect(said);
    assert_eq!(
        body,
        r#"{"statusCode":408,"error":"Request Timeout","message":"the request head did not arrive in time","code":"request_timeout"}"#
    );
    let length = body.len().to_string();
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", &length),
        ("connection", "close"),
    ] {
        assert_eq!(header(said, name), Some(value), "{said}");
    }
    assert_eq!(
        header(said, "x-request-id").map(str::len),
        Some(36),
        "{said}"
    );
}

#[tokio::test]
async fn a_half_sent_head_behind_a_slow_response_gets_its_408_after_that() {
    let server = server(LIMITS).await;
    let mut stream = server.connect().await;
    let whole = b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(whole).await.unwrap();
    until(&mut stream, "\r\n\r\n").await;
    stream.write_all(b"GET /ok").await.unwrap();
    // The response is stuck meanwhile: it is more than the sockets' buffers hold.
    tokio::time::sleep(LIMITS.head * 2).await;
    let said = rest(&mut stream).await;
    let (body, after) = said.split_at(64 << 20);
    assert!(body.bytes().all(|byte| byte == b'x'));
    assert_head_timeout(after);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_heads_limit_and_ends_at_its_own() {
    let idle = LIMITS.head * 15;
    let server = server(ServerLimits { idle, ..LIMITS }).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream
            .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        until(&mut stream, "fine").await;
        tokio::time::sleep(LIMITS.head * 2).await;
    }
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn a_head_in_pieces_is_served_and_so_is_the_next_one() {
    // A pause in it is shorter by more than a loaded machine adds.
    let head = Duration::from_secs(4);
    let server = server(ServerLimits { head, ..LIMITS }).await;
    let mut stream = server.connect().await;
    // Together they take longer than one head may.
    for _ in 0..3 {
        stream.write_all(b"GET /ok HT").await.unwrap();
        tokio::time::sleep(head / 5 * 2).await;
        stream
            .write_all(b"TP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        until(&mut stream, "fine").await;
    }
}

#[tokio::test]
async fn a_head_over_the_limit_is_a_431() {
    let server = server(LIMITS).await;
    let of_bytes = |count: usize| {
        let frame = "GET /ok? HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let query = "q".repeat(count - frame.len());
        frame.replace('?', &format!("?{query}"))
    };
    let response = server.says(&of_bytes(LIMITS.head_bytes)).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let response = server.says(&of_bytes(LIMITS.head_bytes + 1)).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}

#[tokio::test]
async fn a_head_with_too_many_fields_is_a_431() {
    let server = server(LIMITS).await;
    let with_fields = |count: usize| {
        let more: String = (2..count).map(|n| format!("x-{n}: 1\r\n")).collect();
        format!("GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")
    };
    let response = server.says(&with_fields(LIMITS.fields)).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let response = server.says(&with_fields(LIMITS.fields + 1)).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}
