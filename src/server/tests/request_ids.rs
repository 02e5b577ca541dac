//! The `x-request-id` of each response.

use super::*;

#[tokio::test]
async fn every_response_carries_a_request_id() {
    let server = server(LIMITS).await;
    for path in ["ok", "fails", "no-such-route", "json"] {
        let request = format!("GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let response = server.says(&request).await;
        let id = header(&response, "x-request-id").expect(&response);
        assert_eq!(id.len(), 36, "{response}");
    }
    let named = "GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: abc-1\r\n\r\n";
    assert_eq!(
        header(&server.says(named).await, "x-request-id"),
        Some("abc-1")
    );
}

#[tokio::test]
async fn an_upgrade_reaches_its_handler_and_carries_the_request_id() {
    let server = server(LIMITS).await;
    let mut stream = server.connect().await;
    let request = "GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\nx-request-id: u1\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(header(&head, "x-request-id"), Some("u1"));
    // Longer than a head may take: the limits of HTTP don't hold for what comes after it.
    stream.write_all(b"pi").await.unwrap();
    tokio::time::sleep(LIMITS.head * 2).await;
    stream.write_all(b"ng").await.unwrap();
    assert_eq!(until(&mut stream, "ping").await, "ping");
}
