//! The service's HTTP routes, as a client calls them.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::checker::ConversationView;
use crate::model::MessageView;

/// Longest wait for anything that has no deadline of its own.
const TIMEOUT: Duration = Duration::from_secs(8);

/// Why a call did not succeed.
#[derive(Debug)]
pub enum Miss {
    /// 408, 429, 503, no answer in time, or a broken connection: to be tried again.
    Retry(String),
    /// An answer that a valid call may never get.
    Refused(String),
}

pub struct Api {
    http: reqwest::Client,
    base: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessagePage {
    pub messages: Vec<MessageView>,
    pub has_more: bool,
}

/// Which part of a conversation.
pub enum Page {
    Newest,
    Before(u32),
    After(u32),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marked {
    read_seq: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Unread {
    unread_count: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    pub is_online: bool,
    pub last_seen_at: Option<String>,
}

#[derive(Deserialize)]
struct Made {
    id: Uuid,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: Uuid,
    last_seq: i64,
    last_message_id: Option<Uuid>,
    unread_count: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    conversations: Vec<Listed>,
    has_more: bool,
}

impl Api {
    /// `base` is `http://HOST:PORT`.
    pub fn new(base: String) -> reqwest::Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            // Short, so that connections spread over the replicas again after a fault.
            .pool_idle_timeout(Duration::from_secs(2))
            .build()?;
        Ok(Self { http, base })
    }

    pub async fn make_conversation(&self, one: Uuid, other: Uuid) -> Result<Uuid, Miss> {
        let body = json!({"user1Id": one, "user2Id": other});
        let call = self.http.post(self.url("conversations")).json(&body);
        let (_, made): (_, Made) = answer(call, TIMEOUT).await?;
        Ok(made.id)
    }

    /// The status with the message: 201 or 200. `request_id` is for the replicas' logs.
    pub async fn send_message(
        &self,
        body: &Value,
        request_id: &str,
        timeout: Duration,
    ) -> Result<(u16, MessageView), Miss> {
        let call = self
            .http
            .post(self.url("messages"))
            .header("x-request-id", request_id)
            .json(body);
        answer(call, timeout).await
    }

    pub async fn messages(
        &self,
        conversation: Uuid,
        page: Page,
        limit: u32,
    ) -> Result<MessagePage, Miss> {
        let bound = match page {
            Page::Newest => String::new(),
            Page::Before(seq) => format!("&before={seq}"),
            Page::After(seq) => format!("&after={seq}"),
        };
        let path = format!("conversations/{conversation}/messages?limit={limit}{bound}");
        let (_, page) = answer(self.http.get(self.url(&path)), TIMEOUT).await?;
        Ok(page)
    }

    /// Up to where the user has read now.
    pub async fn mark_read(&self, conversation: Uuid, user: Uuid, up_to: u32) -> Result<i64, Miss> {
        let path = format!("conversations/{conversation}/read?user_id={user}&up_to_seq={up_to}");
        let (_, marked): (_, Marked) = answer(self.http.put(self.url(&path)), TIMEOUT).await?;
        Ok(marked.read_seq)
    }

    /// The message as it is then.
    pub async fn edit(
        &self,
        message: Uuid,
        user: Uuid,
        content: &str,
    ) -> Result<MessageView, Miss> {
        let url = self.url(&format!("messages/{message}?user_id={user}"));
        let call = self.http.patch(url).json(&json!({"content": content}));
        let (_, view) = answer(call, TIMEOUT).await?;
        Ok(view)
    }

    pub async fn delete(&self, message: Uuid, user: Uuid) -> Result<(), Miss> {
        let url = self.url(&format!("messages/{message}?user_id={user}"));
        let call = self.http.delete(url).timeout(TIMEOUT);
        let response = call.send().await.map_err(broken)?;
        match response.status().as_u16() {
            204 => Ok(()),
            status @ (408 | 429 | 503) => Err(Miss::Retry(status.to_string())),
            status => {
                let body = response.bytes().await.map_err(broken)?;
                Err(Miss::Refused(format!("{status}: {}", text(&body))))
            }
        }
    }

    /// Messages of a user's conversations, or of one of them, that hold a word.
    pub async fn search(
        &self,
        user: Uuid,
        conversation: Option<Uuid>,
        word: &str,
    ) -> Result<MessagePage, Miss> {
        let within = conversation.map(|id| format!("&conversation_id={id}"));
        let within = within.unwrap_or_default();
        let path = format!("users/{user}/search?q={word}&limit=200{within}");
        let (_, page) = answer(self.http.get(self.url(&path)), TIMEOUT).await?;
        Ok(page)
    }

    pub async fn unread_count(&self, user: Uuid) -> Result<u64, Miss> {
        let path = format!("users/{user}/unread-count");
        let (_, unread): (_, Unread) = answer(self.http.get(self.url(&path)), TIMEOUT).await?;
        Ok(unread.unread_count)
    }

    /// Whether a user is there, and when they were seen last.
    pub async fn standing(&self, user: Uuid) -> Result<Standing, Miss> {
        let call = self.http.get(format!("{}/api/v1/users/{user}", self.base));
        let (_, found) = answer(call, TIMEOUT).await?;
        Ok(found)
    }

    /// All conversations of a user, page by page.
    pub async fn conversations(&self, user: Uuid) -> Result<Vec<ConversationView>, Miss> {
        let mut all = Vec::new();
        loop {
            let path = format!("conversations/{user}?limit=100&offset={}", all.len());
            let (_, list): (_, List) = answer(self.http.get(self.url(&path)), TIMEOUT).await?;
            let more = list.has_more && !list.conversations.is_empty();
            all.extend(
                list.conversations
                    .into_iter()
                    .map(|listed| ConversationView {
                        id: listed.id,
                        last_seq: listed.last_seq,
                        last_message_id: listed.last_message_id,
                        unread: listed.unread_count,
                    }),
            );
            if !more {
                return Ok(all);
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/chat/{path}", self.base)
    }
}

async fn answer<T: DeserializeOwned>(
    call: reqwest::RequestBuilder,
    timeout: Duration,
) -> Result<(u16, T), Miss> {
    let response = call.timeout(timeout).send().await.map_err(broken)?;
    let status = response.status().as_u16();
    let body = response.bytes().await.map_err(broken)?;
    match status {
        200 | 201 => match serde_json::from_slice(&body) {
            Ok(value) => Ok((status, value)),
            Err(error) => Err(Miss::Refused(format!(
                "{status} with a body that is not understood, {error}: {}",
                text(&body)
            ))),
        },
        408 | 429 | 503 => Err(Miss::Retry(status.to_string())),
        _ => Err(Miss::Refused(format!("{status}: {}", text(&body)))),
    }
}

/// The kind only: texts with addresses would be too many different notes.
fn broken(error: reqwest::Error) -> Miss {
    let note = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "connection lost"
    };
    Miss::Retry(note.to_owned())
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}
