//! The opening handshake of a WebSocket (RFC 6455 section 4.1), as far as its answer.

use reqwest::Method;

use super::api::Reply;
use super::replica::Replica;

/// What it takes. The key is the RFC's example.
pub const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// With these headers besides. Where the answer is 101, the socket is closed at once.
pub async fn handshake(replica: &Replica, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = replica.api().request(Method::GET, path);
    for (name, value) in HANDSHAKE.iter().chain(headers) {
        request = request.header(*name, *value);
    }
    Reply::to(request).await
}

/// A handshake as it goes over the wire.
pub fn handshake_text(path: &str) -> String {
    let headers = HANDSHAKE.map(|(name, value)| format!("{name}: {value}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\n{}\r\n",
        headers.concat()
    )
}
