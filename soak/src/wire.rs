//! The service's frames, as a client reads them.

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::model::MessageView;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frame<'a> {
    #[serde(rename = "type")]
    pub kind: &'a str,
    #[serde(borrow)]
    pub data: &'a RawValue,
    pub user_id: Uuid,
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    pub connection_id: String,
    pub heartbeat_seconds: f64,
    pub resumed: bool,
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    pub request_id: Option<String>,
    pub message: Option<MessageView>,
    pub read_seq: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    pub request_id: Option<String>,
    pub code: String,
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Closing {
    pub reconnect_after_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    pub conversation_id: Uuid,
    pub user_id: Uuid,
    pub is_typing: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    pub user_id: Uuid,
    pub is_online: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessagesRead {
    pub conversation_id: Uuid,
    pub reader_id: Uuid,
    pub up_to_seq: i64,
}
