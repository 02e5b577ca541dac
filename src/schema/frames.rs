//! Every frame of the socket: its name, who sends it, and its `data`. The data of those that are made here and not by PostgreSQL are
//! serialised as they are described.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::objects::{Conversation, Message, MessageType, UserSummary};
use super::request_name::RequestName;
use crate::error::ErrorCode;
use crate::frame::{CommandType, FrameType};
use crate::model::{ConnectionId, ConversationId, ReplicaId, Seq, UserId};

/// The schemas that a type refers to, by name.
pub type Named = Vec<(String, RefOr<Schema>)>;

/// One kind of frame.
pub struct FrameKind {
    pub name: &'static str,
    pub summary: &'static str,
    /// The schema of `data`, and those that it refers to.
    pub data: RefOr<Schema>,
    pub named: Named,
    /// An example of `data`.
    pub example: Value,
    pub cursor: CursorUse,
}

/// Whether a frame of the server has a `cursor` beside its `data`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum CursorUse {
    Always,
    Never,
}

fn kind<T: ToSchema>(
    name: &'static str,
    summary: &'static str,
    cursor: CursorUse,
    example: Value,
) -> FrameKind {
    let mut named = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut named);
    FrameKind {
        name,
        summary,
        data: RefOr::Ref(utoipa::openapi::Ref::from_schema_name(T::name())),
        named,
        example,
        cursor,
    }
}

const CONVERSATION: &str = "c0000000-0000-4000-8000-000000000001";
const MESSAGE: &str = "d0000000-0000-4000-8000-000000000001";
const USER: &str = "11111111-1111-4111-8111-111111111111";
const OTHER: &str = "22222222-2222-4222-8222-222222222222";

/// What the server sends.
pub fn from_server() -> Vec<FrameKind> {
    use CursorUse::{Always, Never};
    let message = || example_of::<Message>();
    let changed = |content: &str, when: &str| {
        let mut message = message();
        message["content"] = json!(content);
        message[when] = json!("2026-11-23T21:10:30.120451Z");
        message["updatedAt"] = message[when].clone();
        message
    };
    vec![
        kind::<Connected>(
            FrameType::Connected.name(),
            "The first frame of a socket. If `resumed` is true, everything that was missed follows.",
            Never,
            json!({"connectionId": "0f6c1c9e-4f0a-4f5b-9d7e-0d7c6a1c2b3a", "replicaId": "7a1d1d6c-5f64-4c39-8f0c-6a2f6b3c1d2e",
                   "heartbeatSeconds": 25, "cursor": "1.6b04-4000-1.5c2", "resumed": false, "search": true, "directory": true,
                   "limits": {"maxMessageBytes": 65536, "maxWatchedUsers": 500, "typingSeconds": 6}}),
        ),
        kind::<Message>(
            FrameType::ChatMessage.name(),
            "A new message. To every socket of both participants, the sender's own too.",
            Always,
            message(),
        ),
        kind::<Message>(
            FrameType::MessageUpdated.name(),
            "A message was edited or otherwise changed. To both participants.",
            Always,
            changed("Good morning!", "editedAt"),
        ),
        kind::<Message>(
            FrameType::MessageDeleted.name(),
            "A message was deleted; its content is empty. To both participants.",
            Always,
            changed("", "deletedAt"),
        ),
        kind::<MessagesRead>(
            FrameType::MessagesRead.name(),
            "A participant has read messages. To both participants, the reader's other sockets too.",
            Always,
            json!({"conversationId": CONVERSATION, "readerId": USER, "upToSeq": 4}),
        ),
        kind::<Conversation>(
            FrameType::ConversationCreated.name(),
            "A new conversation, as it was before its first message; after a reconnect, as it is by then. To both participants.",
            Always,
            json!({"id": CONVERSATION, "participant1Id": USER, "participant2Id": OTHER,
                   "participant1": example_of::<UserSummary>(),
                   "participant2": {"id": OTHER, "firstName": "Łukasz", "lastName": "Wiśniewski", "avatarUrl": null},
                   "lastMessageId": null, "lastMessage": null, "lastSeq": 0, "unreadCount": 0, "firstUnreadSeq": null,
                   "createdAt": "2026-11-23T21:09:58.889078Z", "updatedAt": "2026-11-23T21:09:58.889078Z"}),
        ),
        kind::<Typing>(
            FrameType::Typing.name(),
            "The other participant is typing, or has stopped.",
            Never,
            json!({"conversationId": CONVERSATION, "userId": USER, "isTyping": true}),
        ),
        kind::<Presence>(
            FrameType::Presence.name(),
            "The state of a watched user: once when watching begins, then at each change.",
            Never,
            json!({"userId": USER, "isOnline": false, "lastSeenAt": "2026-11-23T21:09:58.889078Z"}),
        ),
        kind::<Ack>(
            FrameType::Ack.name(),
            "A command was carried out.",
            Never,
            json!({"requestId": "r1", "message": message()}),
        ),
        kind::<Failure>(
            FrameType::Error.name(),
            "A command was refused, or a frame could not be read. `retryAfterMs` says when it may be tried again.",
            Never,
            json!({"requestId": "r1", "code": "validation_failed", "message": "content must be a string"}),
        ),
        kind::<ResyncRequired>(
            FrameType::ResyncRequired.name(),
            "What is shown may be wrong, and no event says how: reload over HTTP, then continue with this frame's cursor.",
            Always,
            json!({"reason": "too much has happened since the cursor"}),
        ),
        kind::<TokenExpiring>(
            FrameType::TokenExpiring.name(),
            "The token expires soon: send a new one with `authenticate`, or the socket closes with 4401.",
            Never,
            json!({"expiresAt": "2026-11-23T21:09:58.000000Z"}),
        ),
        kind::<ServerClosing>(
            FrameType::ServerClosing.name(),
            "The replica is about to close the socket with 1012.",
            Never,
            json!({"reconnectAfterMs": 1800}),
        ),
    ]
}

/// What a client sends: commands. Each is answered by `ack` or `error` with its `requestId`.
pub fn from_client() -> Vec<FrameKind> {
    let never = CursorUse::Never;
    vec![
        kind::<SendMessageCommand>(
            CommandType::SendMessage.name(),
            "Send a message; the ack contains it, committed.",
            never,
            json!({"conversationId": CONVERSATION, "content": "Is Friday fine, too?", "clientMessageId": "example-2"}),
        ),
        kind::<EditMessageCommand>(
            CommandType::EditMessage.name(),
            "Replace the content of one of the user's own messages.",
            never,
            json!({"messageId": MESSAGE, "content": "Good morning!"}),
        ),
        kind::<DeleteMessageCommand>(
            CommandType::DeleteMessage.name(),
            "Delete one of the user's own messages.",
            never,
            json!({"messageId": MESSAGE}),
        ),
        kind::<MarkReadCommand>(
            CommandType::MarkRead.name(),
            "Mark the other participant's messages as read.",
            never,
            json!({"conversationId": CONVERSATION, "upToSeq": 4}),
        ),
        kind::<TypingCommand>(
            CommandType::Typing.name(),
            "Tell the other participant that the user is typing, or has stopped.",
            never,
            json!({"conversationId": CONVERSATION, "isTyping": true}),
        ),
        kind::<WatchPresenceCommand>(
            CommandType::WatchPresence.name(),
            "Watch the presence of these users, and no others.",
            never,
            json!({"userIds": [USER]}),
        ),
        kind::<SetActiveCommand>(
            CommandType::SetActive.name(),
            "Say whether this socket makes its user online. Whatever it is sent stays the same.",
            never,
            json!({"active": false}),
        ),
        kind::<AuthenticateCommand>(
            CommandType::Authenticate.name(),
            "Replace the socket's token before it expires.",
            never,
            json!({"token": "eyJhbGciOi…"}),
        ),
        kind::<PingCommand>(
            CommandType::Ping.name(),
            "Ask for an ack.",
            never,
            json!({}),
        ),
    ]
}

fn example_of<T: PartialSchema>() -> Value {
    match T::schema() {
        RefOr::T(Schema::Object(object)) => object.example.unwrap_or_default(),
        _ => Value::Null,
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connected<'a> {
    #[schema(value_type = Uuid)]
    pub connection_id: ConnectionId,
    #[schema(value_type = Uuid)]
    pub replica_id: ReplicaId,
    /// Seconds between two pings of the server.
    #[schema(minimum = 1)]
    pub heartbeat_seconds: u64,
    /// Where this socket starts; keep the last one seen.
    pub cursor: &'a str,
    /// Whether what was missed since the given cursor follows.
    pub resumed: bool,
    pub limits: Limits,
    /// Whether messages can be searched (`SEARCH_LANGUAGE`).
    pub search: bool,
    /// Whether this socket's token allows listing and searching users (`USER_DIRECTORY`); a service token always does.
    pub directory: bool,
}

/// Limits of the service, so that a client can check them before it is refused.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Bytes of a message's content, in UTF-8 (`MAX_MESSAGE_BYTES`).
    #[schema(value_type = u64, minimum = 1)]
    pub max_message_bytes: usize,
    /// Users whose presence one socket may watch (`MAX_WATCHED_USERS`).
    #[schema(value_type = u64, minimum = 1)]
    pub max_watched_users: usize,
    /// Seconds after which typing ends unless it is renewed (`TYPING_SECONDS`).
    #[schema(minimum = 1)]
    pub typing_seconds: u64,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct MessagesRead {
    conversation_id: Uuid,
    reader_id: Uuid,
    #[schema(minimum = 1)]
    up_to_seq: i64,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    #[schema(value_type = Uuid)]
    pub conversation_id: ConversationId,
    #[schema(value_type = Uuid)]
    pub user_id: UserId,
    pub is_typing: bool,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct Presence {
    user_id: Uuid,
    is_online: bool,
    /// When the user's last active socket closed or became inactive; null if none has yet.
    #[schema(required)]
    last_seen_at: Option<DateTime<Utc>>,
}

/// Flat, whatever the command was: `message` for sending and editing; `conversationId`, `markedCount` and `readSeq` for marking as read.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ack<'a> {
    /// The command's; null if it had none.
    #[schema(value_type = RequestName)]
    pub request_id: Option<&'a RequestName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Message>)]
    pub message: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub conversation_id: Option<ConversationId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub marked_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>, minimum = 0)]
    pub read_seq: Option<Seq>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure<'a> {
    #[schema(value_type = RequestName)]
    pub request_id: Option<&'a RequestName>,
    pub code: ErrorCode,
    pub message: &'a str,
    /// Milliseconds to wait before trying again, where HTTP has the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1, nullable = false)]
    pub retry_after_ms: Option<u128>,
}

#[derive(Serialize, ToSchema)]
pub struct ResyncRequired<'a> {
    pub reason: &'a str,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenExpiring {
    #[schema(value_type = DateTime<Utc>)]
    pub expires_at: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerClosing {
    #[schema(minimum = 0)]
    pub reconnect_after_ms: u64,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct SendMessageCommand {
    conversation_id: Uuid,
    /// Counts towards RATE_LIMIT_PER_SECOND once for each begun 4 KiB.
    #[schema(min_length = 1)]
    content: String,
    message_type: Option<MessageType>,
    #[schema(min_length = 1, max_length = 64)]
    client_message_id: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct EditMessageCommand {
    message_id: Uuid,
    /// Counts towards RATE_LIMIT_PER_SECOND once for each begun 4 KiB.
    #[schema(min_length = 1)]
    content: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct DeleteMessageCommand {
    message_id: Uuid,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct MarkReadCommand {
    conversation_id: Uuid,
    /// Default: all messages.
    #[schema(minimum = 0)]
    up_to_seq: Option<i64>,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct TypingCommand {
    conversation_id: Uuid,
    is_typing: bool,
}

#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
struct WatchPresenceCommand {
    /// At most MAX_WATCHED_USERS (500 unless set otherwise). An empty list ends the watching. Counts towards
    /// RATE_LIMIT_PER_SECOND once for each begun 50 users.
    user_ids: Vec<Uuid>,
}

#[derive(ToSchema)]
struct SetActiveCommand {
    active: bool,
}

#[derive(ToSchema)]
struct AuthenticateCommand {
    token: String,
}

#[derive(ToSchema)]
struct PingCommand {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_described_in_its_order() {
        for (names, table) in [
            (&FrameType::ALL.map(FrameType::name)[..], from_server()),
            (&CommandType::ALL.map(CommandType::name)[..], from_client()),
        ] {
            assert!(
                table
                    .iter()
                    .map(|frame| frame.name)
                    .eq(names.iter().copied())
            );
        }
    }
}
