//! HTTP by hand, for what a proper client refuses to send.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::api::assert_error_body;
use super::handshake::handshake_text;
use super::replica::Replica;
use super::wait::within;

pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

/// The head of an answer, and its body as far as its length says.
#[derive(Debug)]
pub struct RawReply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Raw {
    pub async fn connect(replica: &Replica) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", replica.port()))
            .await
            .expect("a connection");
        Self::over(stream)
    }

    pub fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            received: Vec::new(),
        }
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("a connection that takes bytes");
    }

    /// Sends what the server may cut off half-way.
    pub async fn write_unwelcome(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within(
            "the server reads or closes",
            self.stream.write_all(bytes.as_ref()),
        )
        .await;
    }

    /// The request line and these header lines, with `host`, then the blank line.
    pub async fn request(&mut self, line: &str, headers: &[&str]) {
        let mut head = format!("{line} HTTP/1.1\r\nhost: localhost\r\n");
        for header in headers {
            head = head + header + "\r\n";
        }
        self.write(head + "\r\n").await;
    }

    /// A complete WebSocket handshake; what follows it is read with [`until_closed`](Self::until_closed).
    pub async fn upgrade(replica: &Replica, user: Uuid) -> Self {
        Self::upgrade_to(replica, &format!("/ws?user_id={user}")).await
    }

    pub async fn upgrade_to(replica: &Replica, path: &str) -> Self {
        let mut raw = Self::connect(replica).await;
        raw.write(handshake_text(path)).await;
        let reply = raw.reply().await.expect("an answer");
        assert_eq!(reply.status, 101, "{reply:?}");
        raw
    }

    /// The status of the next answer, of which nothing but the beginning is read.
    pub async fn status(&mut self) -> u16 {
        while self.received.len() < 12 && self.more().await {}
        let line = String::from_utf8_lossy(&self.received);
        let status = line.split_whitespace().nth(1);
        status
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no HTTP answer: {line}"))
    }

    /// The next answer; `None` when the server closes instead.
    pub async fn reply(&mut self) -> Option<RawReply> {
        let head_end = loop {
            if let Some(end) = find(&self.received, b"\r\n\r\n") {
                break end + 4;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&self.received[..head_end]).to_ascii_lowercase();
        let length = head
            .split("content-length:")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.trim().parse::<usize>().ok())
            .unwrap_or(0);
        while self.received.len() < head_end + length {
            if !self.more().await {
                return None;
            }
        }
        let body = String::from_utf8_lossy(&self.received[head_end..head_end + length]).into();
        self.received.drain(..head_end + length);
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or_else(|| panic!("no HTTP answer: {head}"));
        Some(RawReply { status, head, body })
    }

    /// Waits until the server has said this, in whatever frame.
    pub async fn heard(&mut self, text: &str) {
        while find(&self.received, text.as_bytes()).is_none() {
            assert!(self.more().await, "closed before {text}");
        }
    }

    /// Waits until the server ends the connection.
    pub async fn closed(&mut self) {
        while self.more().await {}
    }

    /// What the server says until it ends the connection.
    pub async fn until_closed(mut self) -> Vec<u8> {
        self.closed().await;
        self.received
    }

    /// Whether bytes came; `false` at the end of the connection.
    async fn more(&mut self) -> bool {
        let mut buffer = [0; 4096];
        let read = within(
            "the server answers or closes",
            self.stream.read(&mut buffer),
        )
        .await;
        let count = read.unwrap_or(0);
        self.received.extend_from_slice(&buffer[..count]);
        count > 0
    }
}

impl RawReply {
    pub fn refused(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.head.contains("\r\nx-request-id: "), "{self:?}");
        let body: Value =
            serde_json::from_str(&self.body).unwrap_or_else(|fault| panic!("{fault}: {self:?}"));
        assert_error_body(&body, status, code);
    }
}

/// The code of the close frame at the end of what a server sent: opcode 8, unmasked, the code in its first two
/// bytes. No other frame holds such a byte, as long as all text is ASCII.
pub fn close_code(bytes: &[u8]) -> Option<u16> {
    bytes
        .windows(4)
        .rfind(|window| window[0] == 0x88)
        .map(|window| u16::from_be_bytes([window[2], window[3]]))
}

/// A frame of a client, masked with zeros (RFC 6455 section 5.2). `first` is the opcode, and 0x80 where it ends a message.
pub fn client_frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = vec![first];
    match u16::try_from(payload.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length as u8),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// A whole message.
pub fn text_frame(text: &str) -> Vec<u8> {
    client_frame(0x81, text)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}
