//! The HTTP side as a caller uses it. Every reply is checked for what all replies promise.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use super::described;
use super::shape::id_of;
use super::wait::{DEADLINE, eventually};

/// A setting for replicas whose searches are to be answered however slow the machine is.
pub const UNHURRIED_SEARCH: (&str, &str) = ("SEARCH_TIMEOUT_SECONDS", "60");

/// For an answer. Tests hold what a message waits for, and let hundreds of them wait.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
}

impl Api {
    pub fn new(base: &str) -> Self {
        let client = Client::builder()
            .no_proxy()
            .timeout(PATIENCE)
            .build()
            .expect("an HTTP client");
        Self {
            client,
            base: base.to_owned(),
        }
    }

    /// A request to be refined by the test, for [`Reply::to`].
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    pub async fn get(&self, path: &str) -> Reply {
        Reply::to(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        Reply::to(self.request(Method::POST, path).json(body)).await
    }

    pub async fn put(&self, path: &str) -> Reply {
        Reply::to(self.request(Method::PUT, path)).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        Reply::to(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        Reply::to(self.request(Method::DELETE, path)).await
    }

    /// The bare status; `None` when nobody answers.
    pub async fn status(&self, path: &str) -> Option<u16> {
        let request = self.request(Method::GET, path);
        let reply = request.timeout(DEADLINE).send().await.ok()?;
        Some(reply.status().as_u16())
    }

    /// One figure of `/metrics`. A counter with labels may not be there before something was counted: then it is 0.
    pub async fn metric(&self, name: &str) -> f64 {
        let figures = self.get("/metrics").await;
        let counter = name
            .split_once('{')
            .map(|(family, _)| format!("# TYPE {family} counter"));
        let mut samples = figures.text.lines().filter_map(|line| line.split_once(' '));
        match samples.find(|(found, _)| *found == name) {
            Some((_, value)) => value.parse().expect("a number"),
            None if counter.is_some_and(|kind| figures.text.lines().any(|line| line == kind)) => {
                0.0
            }
            None => panic!("{name} is not exported:\n{}", figures.text),
        }
    }

    pub async fn open_conversation(&self, user1: Uuid, user2: Uuid) -> Uuid {
        let reply = self.try_open_conversation(user1, user2).await;
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        id_of(&reply.json())
    }

    pub async fn try_open_conversation(&self, user1: Uuid, user2: Uuid) -> Reply {
        let body = json!({"user1Id": user1, "user2Id": user2});
        self.post("/api/v1/chat/conversations", &body).await
    }

    /// The stored message.
    pub async fn send(&self, conversation: Uuid, sender: Uuid, content: &str) -> Value {
        self.try_send(conversation, sender, content).await.ok(201)
    }

    pub async fn try_send(&self, conversation: Uuid, sender: Uuid, content: &str) -> Reply {
        let body = json!({"conversationId": conversation, "senderId": sender, "content": content});
        self.post_message(&body).await
    }

    /// With a `clientMessageId`, by which a repeat is recognised.
    pub async fn send_once(
        &self,
        conversation: Uuid,
        sender: Uuid,
        content: &str,
        client_message_id: &str,
    ) -> Reply {
        let body = json!({
            "conversationId": conversation,
            "senderId": sender,
            "content": content,
            "clientMessageId": client_message_id,
        });
        self.post_message(&body).await
    }

    pub async fn post_message(&self, body: &Value) -> Reply {
        self.post("/api/v1/chat/messages", body).await
    }

    /// `query` is what follows the question mark.
    pub async fn messages(&self, conversation: Uuid, query: &str) -> Reply {
        self.get(&format!(
            "/api/v1/chat/conversations/{conversation}/messages?{query}"
        ))
        .await
    }

    /// The whole history, oldest first, page by page.
    pub async fn history(&self, conversation: Uuid) -> Vec<Value> {
        let mut history: Vec<Value> = Vec::new();
        loop {
            let after = history.last().map_or(0, seq_of);
            let page = self
                .messages(conversation, &format!("after={after}&limit=200"))
                .await
                .ok(200);
            history.extend_from_slice(page["messages"].as_array().expect("messages"));
            if page["hasMore"] == false {
                return history;
            }
        }
    }

    pub async fn conversations(&self, user: Uuid) -> Vec<Value> {
        let reply = self
            .get(&format!("/api/v1/chat/conversations/{user}"))
            .await;
        let page = reply.ok(200);
        page["conversations"]
            .as_array()
            .expect("conversations")
            .clone()
    }

    /// A User, by id.
    pub async fn user(&self, user: Uuid) -> Value {
        self.get(&format!("/api/v1/users/{user}")).await.ok(200)
    }

    pub async fn mark_read(&self, conversation: Uuid, user: Uuid) -> Reply {
        self.put(&format!(
            "/api/v1/chat/conversations/{conversation}/read?user_id={user}"
        ))
        .await
    }

    pub async fn unread_count(&self, user: Uuid) -> i64 {
        let path = format!("/api/v1/chat/users/{user}/unread-count");
        let answer = self.get(&path).await.ok(200);
        assert_eq!(answer["userId"], json!(user));
        answer["unreadCount"].as_i64().expect("a number")
    }

    /// Conversations with messages that the user has not read.
    pub async fn unread_conversations(&self, user: Uuid) -> i64 {
        let path = format!("/api/v1/chat/users/{user}/unread-count");
        let answer = self.get(&path).await.ok(200);
        answer["unreadConversations"].as_i64().expect("a number")
    }

    /// What has happened to the user since a cursor, or where they are.
    pub async fn events(&self, user: Uuid, cursor: Option<&str>) -> Reply {
        let query = cursor.map(|cursor| format!("?cursor={cursor}"));
        let path = format!("/api/v1/chat/users/{user}/events");
        self.get(&(path + &query.unwrap_or_default())).await
    }

    /// `query` is the whole query string.
    pub async fn search(&self, user: Uuid, query: &str) -> Reply {
        let path = format!("/api/v1/chat/users/{user}/search?{query}");
        self.get(&path).await
    }

    /// What is answered as soon as the index is there. Any other refusal is the answer, that of a search which takes too long too
    /// ([`UNHURRIED_SEARCH`]).
    pub async fn search_once_indexed(&self, user: Uuid, query: &str) -> Reply {
        eventually("the search index is complete", || async {
            let reply = self.search(user, query).await;
            let is_refused = reply.status == 503 && reply.json()["code"] == "unavailable";
            (!is_refused).then_some(reply)
        })
        .await
    }

    /// The contents of what is found, as soon as the index is there.
    pub async fn found(&self, user: Uuid, query: &str) -> Vec<String> {
        let reply = self.search_once_indexed(user, query).await;
        let messages = reply.ok(200)["messages"].take();
        let messages = messages.as_array().expect("messages");
        let content = |message: &Value| message["content"].as_str().expect("text").to_owned();
        messages.iter().map(content).collect()
    }

    pub async fn message(&self, message: Uuid, query: &str) -> Reply {
        let path = format!("/api/v1/chat/messages/{message}?{query}");
        self.get(&path).await
    }

    pub async fn edit(&self, message: Uuid, user: Uuid, content: &str) -> Reply {
        self.patch(
            &format!("/api/v1/chat/messages/{message}?user_id={user}"),
            &json!({"content": content}),
        )
        .await
    }

    pub async fn delete_message(&self, message: Uuid, user: Uuid) -> Reply {
        self.delete(&format!("/api/v1/chat/messages/{message}?user_id={user}"))
            .await
    }
}

pub fn seq_of(message: &Value) -> i64 {
    message["seq"].as_i64().expect("a seq")
}

/// A complete answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub async fn to(request: RequestBuilder) -> Self {
        let (client, request) = request.build_split();
        let request = request.expect("a request");
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let answered = async {
            let response = client.execute(request).await?;
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            Ok::<_, reqwest::Error>((status, headers, response.text().await?))
        };
        let (status, headers, text) = answered.await.expect("an answer");
        let reply = Self {
            status,
            headers,
            text,
        };
        assert!(!reply.header("x-request-id").is_empty(), "{reply:?}");
        let kind = reply.header("content-type");
        described::assert_answer(&method, &path, status, kind, &reply.text);
        reply
    }

    /// Empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        assert!(
            self.header("content-type").starts_with("application/json"),
            "{self:?}"
        );
        serde_json::from_str(&self.text).unwrap_or_else(|fault| panic!("{fault}: {self:?}"))
    }

    /// The body of an answer that is expected.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// An error in the documented shape; the answer is its message, several lines joined.
    pub fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_error_body(&self.json(), status, code);
        if matches!(status, 429 | 503) {
            let seconds = self.header("retry-after").parse::<u32>();
            assert!(seconds.is_ok(), "Retry-After in seconds: {self:?}");
        }
        message_of(&self.json())
    }
}

/// The shape of section "HTTP errors": four members, each of its type, agreeing with the status line.
pub fn assert_error_body(body: &Value, status: u16, code: &str) {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    assert_eq!(body["statusCode"], status, "{body}");
    assert_eq!(body["error"].as_str(), reason, "{body}");
    assert_eq!(body["code"], code, "{body}");
    assert!(!message_of(body).is_empty(), "{body}");
}

fn message_of(body: &Value) -> String {
    match &body["message"] {
        Value::String(message) => message.clone(),
        Value::Array(messages) => messages
            .iter()
            .map(|message| message.as_str().expect("an array of strings"))
            .collect::<Vec<_>>()
            .join("\n"),
        _ => panic!("message is a string or an array of strings: {body}"),
    }
}
