//! A WebSocket client that remembers every frame it saw, to tell the story when a test fails.

use std::collections::VecDeque;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};
use uuid::Uuid;

use super::described;
use super::replica::Replica;
use super::wait::DEADLINE;

pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The frame that every connection starts with.
    pub connected: Value,
    user: Uuid,
    /// Arrived, and not asked for yet.
    waiting: VecDeque<Value>,
    seen: Vec<String>,
    requests: u64,
}

impl Socket {
    /// Connected, and live: the `connected` frame has arrived.
    pub async fn connect(replica: &Replica, user: Uuid) -> Self {
        Self::connect_to(replica, user, &format!("/ws?user_id={user}")).await
    }

    pub async fn connect_to(replica: &Replica, user: Uuid, path: &str) -> Self {
        Self::connect_at(&format!("127.0.0.1:{}", replica.port()), user, path).await
    }

    /// By way of something that stands in front of the replicas.
    pub async fn connect_at(authority: &str, user: Uuid, path: &str) -> Self {
        let url = format!("ws://{authority}{path}");
        let (stream, _) = match tokio::time::timeout(DEADLINE, connect_async(&url)).await {
            Ok(Ok(connected)) => connected,
            Ok(Err(fault)) => panic!("{url}: {fault:?}"),
            Err(_) => panic!("{url}: no answer"),
        };
        Self::greeted(stream, user).await
    }

    /// By a token in the header `Authorization`.
    pub async fn connect_by(replica: &Replica, user: Uuid, token: &str) -> Self {
        let path = format!("/ws?user_id={user}");
        Self::connect_by_to(replica, user, token, &path).await
    }

    pub async fn connect_by_to(replica: &Replica, user: Uuid, token: &str, path: &str) -> Self {
        let url = format!("ws://127.0.0.1:{}{path}", replica.port());
        let mut request = url.as_str().into_client_request().expect("a request");
        let bearer = format!("Bearer {token}").parse().expect("a header");
        request.headers_mut().insert("authorization", bearer);
        match tokio::time::timeout(DEADLINE, connect_async(request)).await {
            Ok(Ok((stream, _))) => Self::greeted(stream, user).await,
            Ok(Err(fault)) => panic!("{url}: {fault:?}"),
            Err(_) => panic!("{url}: no answer"),
        }
    }

    /// With receive and send buffers as small as the system allows, so that not reading is felt soon.
    pub async fn connect_narrow(replica: &Replica, user: Uuid) -> Self {
        Self::connect_narrow_to(replica, user, &format!("/ws?user_id={user}")).await
    }

    pub async fn connect_narrow_to(replica: &Replica, user: Uuid, path: &str) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("its buffer");
        socket.set_send_buffer_size(4096).expect("its buffer");
        let address = ([127, 0, 0, 1], replica.port()).into();
        let stream = socket.connect(address).await.expect("a connection");
        let url = format!("ws://127.0.0.1:{}{path}", replica.port());
        let (stream, _) = client_async(&url, MaybeTlsStream::Plain(stream))
            .await
            .expect("a handshake");
        Self::greeted(stream, user).await
    }

    async fn greeted(stream: WebSocketStream<MaybeTlsStream<TcpStream>>, user: Uuid) -> Self {
        let mut socket = Self {
            stream,
            connected: Value::Null,
            user,
            waiting: VecDeque::new(),
            seen: Vec::new(),
            requests: 0,
        };
        socket.connected = socket.next().await;
        assert_eq!(socket.connected["type"], "connected");
        socket
    }

    /// The local port of the connection.
    pub fn port(&self) -> u16 {
        match self.stream.get_ref() {
            MaybeTlsStream::Plain(stream) => stream.local_addr().expect("an address").port(),
            _ => panic!("the tests speak plain TCP"),
        }
    }

    /// The next frame, of whatever type.
    pub async fn next(&mut self) -> Value {
        if let Some(frame) = self.waiting.pop_front() {
            return frame;
        }
        self.receive("a frame").await
    }

    /// The next frame, or the close code when there is none before the end (`None`: cut without one).
    pub async fn next_or_end(&mut self) -> Result<Value, Option<u16>> {
        if let Some(frame) = self.waiting.pop_front() {
            return Ok(frame);
        }
        let deadline = deadline();
        loop {
            match tokio::time::timeout_at(deadline, self.stream.next()).await {
                Err(_) => panic!("neither a frame nor an end\n{}", self.story()),
                Ok(Some(Ok(Message::Text(text)))) => {
                    self.seen.push(text.to_string());
                    return Ok(self.understood(&text));
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    return Err(frame.map(|frame| u16::from(frame.code)));
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return Err(None),
            }
        }
    }

    /// The next frame of this type; others that come before it stay for later.
    pub async fn expect(&mut self, kind: &str) -> Value {
        self.expect_where(kind, |frame| frame["type"] == kind).await
    }

    pub async fn expect_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.waiting.iter().position(&wanted) {
            return self.waiting.remove(found).expect("it was just found");
        }
        loop {
            let frame = self.receive(what).await;
            if wanted(&frame) {
                return frame;
            }
            self.waiting.push_back(frame);
        }
    }

    /// The `data` of the next `count` frames of type `chat_message`, in the order of their arrival.
    pub async fn collect_messages(&mut self, count: usize) -> Vec<Value> {
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            messages.push(self.expect("chat_message").await["data"].take());
        }
        messages
    }

    /// Everything that arrived ahead of the message with this content, and was not asked for: what a test
    /// that expects silence sends last, down the same way, to know that the silence was one.
    pub async fn before_message(&mut self, content: &str) -> Vec<Value> {
        self.expect_where(content, |frame| {
            frame["type"] == "chat_message" && frame["data"]["content"] == content
        })
        .await;
        self.waiting.drain(..).collect()
    }

    /// What has arrived and was not asked for, in order.
    pub fn arrived(&mut self) -> Vec<Value> {
        self.waiting.drain(..).collect()
    }

    /// Sends a command and waits for its `ack`, whose `data` is the answer.
    pub async fn send_command(&mut self, kind: &str, data: Value) -> Value {
        let frame = json!({"type": kind, "requestId": "request", "data": data});
        described::assert_command(&frame.to_string());
        let answer = self.answer_to(kind, data).await;
        assert_eq!(answer["type"], "ack", "{}", self.story());
        answer["data"].clone()
    }

    /// Sends a command that must get an `error` with this code; the answer is its message.
    pub async fn refused(&mut self, kind: &str, data: Value, code: &str) -> String {
        let answer = self.answer_to(kind, data).await;
        assert_eq!(answer["type"], "error", "{}", self.story());
        assert_eq!(answer["data"]["code"], code, "{}", self.story());
        let message = answer["data"]["message"].as_str();
        message.expect("a message").to_owned()
    }

    /// Sends a command over a connection that may have ended, which the next read tells.
    pub async fn try_request(&mut self, kind: &str, data: Value) {
        self.requests += 1;
        let request = format!("request-{}", self.requests);
        let frame = json!({"type": kind, "requestId": request, "data": data});
        let _ = self.stream.send(Message::text(frame.to_string())).await;
    }

    /// The `data` of the `ack` to a command, or the close code when the server closes instead.
    pub async fn until_closing(&mut self, kind: &str, data: Value) -> Result<Value, Option<u16>> {
        self.requests += 1;
        let request = format!("request-{}", self.requests);
        let frame = json!({"type": kind, "requestId": request, "data": data});
        // A connection that has ended is noticed below.
        let _ = self.stream.send(Message::text(frame.to_string())).await;
        let deadline = deadline();
        loop {
            match tokio::time::timeout_at(deadline, self.stream.next()).await {
                Err(_) => panic!("no answer and no end\n{}", self.story()),
                Ok(Some(Ok(Message::Text(text)))) => {
                    self.seen.push(text.to_string());
                    let mut frame = self.understood(&text);
                    if frame["type"] == "ack" && frame["data"]["requestId"] == request.as_str() {
                        return Ok(frame["data"].take());
                    }
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    return Err(frame.map(|frame| u16::from(frame.code)));
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return Err(None),
            }
        }
    }

    /// The frame that answers a command, `ack` or `error`.
    pub async fn answer_to(&mut self, kind: &str, data: Value) -> Value {
        let request = self.request(kind, data).await;
        self.answer(&request).await
    }

    /// Sends a command and does not wait; the answer is asked for by what this returns.
    pub async fn request(&mut self, kind: &str, data: Value) -> String {
        self.requests += 1;
        let request = format!("request-{}", self.requests);
        let frame = json!({"type": kind, "requestId": request, "data": data});
        self.send_text(&frame.to_string()).await;
        request
    }

    pub async fn answer(&mut self, request: &str) -> Value {
        self.expect_where(&format!("the answer to {request}"), |frame| {
            matches!(frame["type"].as_str(), Some("ack" | "error"))
                && frame["data"]["requestId"] == request
        })
        .await
    }

    pub async fn send_message(&mut self, conversation: Uuid, content: &str) -> Value {
        let data = json!({"conversationId": conversation, "content": content});
        let mut ack = self.send_command("send_message", data).await;
        ack["message"].take()
    }

    pub async fn send_text(&mut self, text: &str) {
        self.send_frame(Message::text(text)).await;
    }

    pub async fn send_frame(&mut self, frame: Message) {
        if let Err(fault) = self.stream.send(frame).await {
            panic!("sending: {fault:?}\n{}", self.story());
        }
    }

    /// Sends what the server may cut off half-way.
    pub async fn send_unwelcome(&mut self, frame: Message) {
        let _ = tokio::time::timeout(DEADLINE, self.stream.send(frame)).await;
    }

    /// The payload of the next pong.
    pub async fn pong(&mut self) -> Vec<u8> {
        let deadline = deadline();
        loop {
            match tokio::time::timeout_at(deadline, self.stream.next()).await {
                Ok(Some(Ok(Message::Pong(payload)))) => return payload.to_vec(),
                Ok(Some(Ok(Message::Text(text)))) => self.seen.push(text.to_string()),
                Ok(Some(Ok(_))) => {}
                other => panic!("{other:?} while waiting for a pong\n{}", self.story()),
            }
        }
    }

    /// Reads to the end: the close code of the server, `None` when the connection was cut without one.
    pub async fn closed(&mut self) -> Option<u16> {
        let deadline = deadline();
        loop {
            match tokio::time::timeout_at(deadline, self.stream.next()).await {
                Err(_) => panic!("the socket is not closed\n{}", self.story()),
                Ok(Some(Ok(Message::Close(frame)))) => {
                    return frame.map(|frame| u16::from(frame.code));
                }
                Ok(Some(Ok(Message::Text(text)))) => self.seen.push(text.to_string()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(_)) | None) => return None,
            }
        }
    }

    /// Leaves in good order.
    pub async fn close(mut self) {
        let _ = self.stream.close(None).await;
        self.closed().await;
    }

    async fn receive(&mut self, what: &str) -> Value {
        let deadline = deadline();
        loop {
            match tokio::time::timeout_at(deadline, self.stream.next()).await {
                Err(_) => panic!("not within {DEADLINE:?}: {what}\n{}", self.story()),
                Ok(None) => panic!("closed while waiting for {what}\n{}", self.story()),
                Ok(Some(Ok(Message::Text(text)))) => {
                    self.seen.push(text.to_string());
                    return self.understood(&text);
                }
                Ok(Some(Ok(Message::Close(frame)))) => {
                    panic!(
                        "closed with {frame:?} while waiting for {what}\n{}",
                        self.story()
                    )
                }
                Ok(Some(Ok(Message::Binary(_)))) => {
                    panic!("a binary frame: all frames are text\n{}", self.story())
                }
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(Error::ConnectionClosed | Error::AlreadyClosed))) => {
                    panic!("closed while waiting for {what}\n{}", self.story())
                }
                Ok(Some(Err(fault))) => {
                    panic!("{fault:?} while waiting for {what}\n{}", self.story())
                }
            }
        }
    }

    /// Checks what all frames promise.
    fn understood(&self, text: &str) -> Value {
        let frame: Value = serde_json::from_str(text)
            .unwrap_or_else(|fault| panic!("{fault}: {text}\n{}", self.story()));
        described::assert_frame(text);
        let kind = frame["type"].as_str();
        let durable = matches!(
            kind,
            Some(
                "chat_message"
                    | "message_updated"
                    | "message_deleted"
                    | "messages_read"
                    | "conversation_created"
            )
        );
        let complete = kind.is_some()
            && frame["data"].is_object()
            && frame["userId"]
                .as_str()
                .is_some_and(|id| id.parse::<Uuid>().is_ok())
            && frame["timestamp"]
                .as_i64()
                .is_some_and(|seconds| (1_500_000_000..20_000_000_000).contains(&seconds))
            && (!durable || frame["cursor"].is_string());
        assert!(
            complete,
            "not {{type, data, userId, timestamp}} and on durable events cursor: {text}\n{}",
            self.story()
        );
        frame
    }

    /// All text frames that arrived, a line each.
    pub fn story(&self) -> String {
        let mut story = format!("frames that {} saw:", self.user);
        for text in &self.seen {
            let shown: String = text.chars().take(600).collect();
            story = story + "\n  " + &shown;
        }
        story
    }
}

/// Of all that is waited through for something: a client that is served well gets pings more often than that.
fn deadline() -> tokio::time::Instant {
    tokio::time::Instant::now() + DEADLINE
}
