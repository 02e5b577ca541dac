//! Clients that mean no good, by hand: no library would send this.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use uuid::Uuid;

use crate::support::*;

/// A connection on which a request has begun and does not end.
pub async fn slow_head(port: u16) -> TcpStream {
    let mut stream = connect(port).await;
    // A server that is full may have closed it already.
    let _ = stream
        .write_all(b"GET /api/v1/users HTTP/1.1\r\nhost: ")
        .await;
    stream
}

/// Goes on with it for ever: a byte a second, and another connection when one is cut off.
pub async fn always_slow(port: u16, mut stream: TcpStream) {
    loop {
        while stream.write_all(b"x").await.is_ok() {
            // The attack: a head that never ends and always goes on.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        stream = slow_head(port).await;
    }
}

/// Handshakes without a pause. The sockets that it gets are kept, and read by nobody.
pub async fn always_handshakes(port: u16, user: Uuid) {
    let mut kept = Vec::new();
    loop {
        let (status, stream) = handshake(port, user).await;
        if status == 101 {
            kept.push(stream);
        }
    }
}

/// A handshake: its status, and the connection behind its head.
pub async fn handshake(port: u16, user: Uuid) -> (u16, TcpStream) {
    handshake_to(port, &format!("/ws?user_id={user}")).await
}

/// Comes back to this path and hangs up at once, for ever.
pub async fn comes_and_goes(port: u16, path: String) {
    loop {
        drop(handshake_to(port, &path).await);
    }
}

/// Comes back to this path and goes again as soon as it has been read for, for ever.
pub async fn comes_back(port: u16, path: String) {
    loop {
        let (status, mut stream) = handshake_to(port, &path).await;
        if status == 101 {
            // The first frame, or the end.
            let _ = stream.read(&mut [0; 64]).await;
        }
    }
}

async fn handshake_to(port: u16, path: &str) -> (u16, TcpStream) {
    let mut stream = connect(port).await;
    let head = handshake_text(path);
    stream.write_all(head.as_bytes()).await.expect("a request");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("an answer"));
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    (status.expect("a status"), stream)
}

/// Takes whatever a socket gets, and says now and then that it is there, for ever.
pub async fn stays(stream: TcpStream) {
    /// Masked, and empty (RFC 6455 section 5.5.3).
    const PONG: [u8; 6] = [0x8a, 0x80, 0, 0, 0, 0];
    let (mut read, mut write) = stream.into_split();
    let pongs = async {
        loop {
            // More often than the server pings, whose pings it never answers.
            tokio::time::sleep(Duration::from_secs(10)).await;
            write.write_all(&PONG).await.expect("an open socket");
        }
    };
    let reading = async {
        let mut buffer = [0; 16 * 1024];
        while read.read(&mut buffer).await.expect("frames") > 0 {}
    };
    tokio::select! {
        () = reading => panic!("the socket was closed"),
        () = pongs => unreachable!("it has no end"),
    }
}

/// Reads what a socket gets until `end` was in it.
pub async fn read_until(mut stream: impl AsyncRead + Unpin, end: &str) {
    let mut received = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.expect("frames");
        assert!(count > 0, "closed before {end}");
        received.extend_from_slice(&buffer[..count]);
        let (found, seen) = occurrences(&received, end.as_bytes());
        if found > 0 {
            return;
        }
        received.drain(..seen);
    }
}

/// Sends so many frames as fast as they are taken, some that cost little and some that are refused; how many were answered.
pub async fn flood(stream: TcpStream, conversation: Uuid, frames: usize) -> usize {
    flood_of(stream, frames, |number, id| match number % 4 {
        0 => json!({"type": "send_message", "requestId": id,
                    "data": {"conversationId": conversation, "content": "flood"}}),
        1 => json!({"type": "ping", "requestId": id}),
        2 => json!({"type": "typing", "requestId": id,
                    "data": {"conversationId": conversation, "isTyping": true}}),
        _ => json!({"type": "nonsense", "requestId": id}),
    })
    .await
}

/// Sends the longest messages as fast as they are taken, for ever.
pub async fn always_long(stream: TcpStream, conversation: Uuid) {
    let content = longest();
    flood_of(stream, usize::MAX, |_, id| {
        json!({"type": "send_message", "requestId": id,
               "data": {"conversationId": conversation, "content": content}})
    })
    .await;
}

/// Makes the first of these messages as long as may be, marks the conversation as read, and deletes the others, as fast as it is taken, for
/// ever.
pub async fn always_changes(stream: TcpStream, conversation: Uuid, messages: &[Uuid]) {
    let (edited, deleted) = messages.split_first().expect("messages");
    let mut deleted = deleted.iter();
    let content = longest();
    flood_of(stream, usize::MAX, |number, id| {
        let (kind, data) = match number % 3 {
            0 => {
                // Another one each time.
                let content = format!("{id}{}", &content[id.len()..]);
                (
                    "edit_message",
                    json!({"messageId": edited, "content": content}),
                )
            }
            1 if let Some(message) = deleted.next() => {
                ("delete_message", json!({"messageId": message}))
            }
            _ => ("mark_read", json!({"conversationId": conversation})),
        };
        json!({"type": kind, "requestId": id, "data": data})
    })
    .await;
}

/// As long as `MAX_MESSAGE_BYTES` allows, by default.
fn longest() -> String {
    let mut content = "long ".repeat(65_536 / 5 + 1);
    content.truncate(65_536);
    content
}

/// Sends so many frames as fast as they are taken, each with the id that it is given; how many were answered.
async fn flood_of(
    stream: TcpStream,
    frames: usize,
    mut frame: impl FnMut(usize, &str) -> Value,
) -> usize {
    let (mut read, mut write) = stream.into_split();
    let sending = async {
        for number in 0..frames {
            let frame = frame(number, &format!("n{number}"));
            write
                .write_all(&text_frame(&frame.to_string()))
                .await
                .expect("an open socket");
        }
    };
    let reading = async {
        let mut answered = 0;
        let mut seen = Vec::new();
        let mut buffer = [0; 16 * 1024];
        while answered < frames {
            let count = read.read(&mut buffer).await.expect("answers");
            if count == 0 {
                break;
            }
            seen.extend_from_slice(&buffer[..count]);
            let (found, end) = occurrences(&seen, br#""requestId":"n"#);
            answered += found;
            seen.drain(..end);
        }
        answered
    };
    let ((), answered) = tokio::join!(sending, reading);
    answered
}

/// How often it is there, and where what was not looked at yet begins.
fn occurrences(bytes: &[u8], word: &[u8]) -> (usize, usize) {
    let (mut found, mut at) = (0, 0);
    while let Some(next) = bytes[at..].windows(word.len()).position(|w| w == word) {
        found += 1;
        at += next + word.len();
    }
    (found, at.max(bytes.len().saturating_sub(word.len() - 1)))
}

/// What waits to be sent is on the attackers' machines, which here is this one: filling megabytes of buffers would take its
/// processors for seconds.
const SEND_BUFFER: u32 = 16 * 1024;

async fn connect(port: u16) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .set_send_buffer_size(SEND_BUFFER)
        .expect("its buffer");
    let address = ([127, 0, 0, 1], port).into();
    socket.connect(address).await.expect("a connection")
}
