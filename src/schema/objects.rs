//! The objects of the HTTP API, and the `data` of durable events.

use chrono::{DateTime, Utc};
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use crate::error::ErrorCode;
use crate::frame::FrameType;
use crate::model;

/// A user as part of another object.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "id": "11111111-1111-4111-8111-111111111111",
    "firstName": "Amélie", "lastName": "Dubois", "avatarUrl": null
}))]
pub struct UserSummary {
    id: Uuid,
    #[schema(required)]
    first_name: Option<String>,
    #[schema(required)]
    last_name: Option<String>,
    #[schema(required)]
    avatar_url: Option<String>,
}

/// A user of the application beside pgchat.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "id": "11111111-1111-4111-8111-111111111111",
    "firstName": "Amélie", "lastName": "Dubois", "avatarUrl": null,
    "role": "buyer", "isActive": true, "isOnline": false, "lastSeenAt": null
}))]
pub struct User {
    id: Uuid,
    #[schema(required)]
    first_name: Option<String>,
    #[schema(required)]
    last_name: Option<String>,
    #[schema(required)]
    avatar_url: Option<String>,
    /// Whatever text your application has there, such as `buyer`.
    #[schema(required)]
    role: Option<String>,
    is_active: bool,
    /// Whether the user has an active socket to any replica, or had one until a moment ago (PRESENCE_GRACE_SECONDS).
    is_online: bool,
    /// When the user's last active socket closed or became inactive; null if none has yet.
    #[schema(required)]
    last_seen_at: Option<DateTime<Utc>>,
}

/// The type of a message to send.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum MessageType {
    Text,
    Image,
    File,
}

/// The type of a stored message.
pub struct StoredMessageType;

/// A message.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "id": "d0000000-0000-4000-8000-000000000001",
    "conversationId": "c0000000-0000-4000-8000-000000000001",
    "senderId": "11111111-1111-4111-8111-111111111111",
    "content": "Hello! Is the two-bedroom flat on Marszałkowska still available?",
    "messageType": "text", "isRead": false, "seq": 1, "clientMessageId": null,
    "createdAt": "2026-11-23T21:09:58.889078Z", "updatedAt": "2026-11-23T21:09:58.889078Z",
    "editedAt": null, "deletedAt": null,
    "sender": {"id": "11111111-1111-4111-8111-111111111111",
               "firstName": "Amélie", "lastName": "Dubois", "avatarUrl": null}
}))]
pub struct Message {
    id: Uuid,
    conversation_id: Uuid,
    sender_id: Uuid,
    /// Empty once the message is deleted.
    content: String,
    message_type: StoredMessageType,
    /// Whether the other participant has read it.
    is_read: bool,
    /// Counts 1, 2, 3 … without gaps in each conversation, in commit order.
    #[schema(minimum = 1)]
    seq: i64,
    /// The sender's own id for the message, by which a repeated send is recognised.
    #[schema(required, min_length = 1)]
    client_message_id: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[schema(required)]
    edited_at: Option<DateTime<Utc>>,
    #[schema(required)]
    deleted_at: Option<DateTime<Utc>>,
    sender: UserSummary,
}

/// A conversation of two users.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Conversation {
    id: Uuid,
    participant1_id: Uuid,
    participant2_id: Uuid,
    participant1: UserSummary,
    participant2: UserSummary,
    #[schema(required)]
    last_message_id: Option<Uuid>,
    #[schema(required)]
    last_message: Option<Message>,
    /// `seq` of the newest message; 0 before the first.
    #[schema(minimum = 0)]
    last_seq: i64,
    /// Messages of the other participant that the reading user has not read; deleted ones do not count.
    #[schema(minimum = 0)]
    unread_count: i64,
    /// `seq` of the first of them; null if there are none.
    #[schema(required, minimum = 1)]
    first_unread_seq: Option<i64>,
    created_at: DateTime<Utc>,
    /// Moves with each message.
    updated_at: DateTime<Utc>,
}

/// A page of conversations, most recently active first.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Conversations {
    conversations: Vec<Conversation>,
    /// Whether more follow.
    has_more: bool,
}

/// A page of messages.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Messages {
    messages: Vec<Message>,
    /// Whether more follow in the direction of the page.
    has_more: bool,
}

/// A message that was found.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct FoundMessage {
    id: Uuid,
    conversation_id: Uuid,
    sender_id: Uuid,
    content: String,
    message_type: StoredMessageType,
    /// Whether the other participant has read it.
    is_read: bool,
    #[schema(minimum = 1)]
    seq: i64,
    #[schema(required, min_length = 1)]
    client_message_id: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    #[schema(required)]
    edited_at: Option<DateTime<Utc>>,
    /// Always null: a deleted message is not found.
    #[schema(required)]
    deleted_at: Option<DateTime<Utc>>,
    sender: UserSummary,
    /// The user at the other end of that conversation.
    other_participant: UserSummary,
    /// The text around the matches, in parts to be joined. Only with `snippets=true`.
    #[schema(nullable = false)]
    snippet: Option<Vec<SnippetPart>>,
}

/// A part of a snippet: plain text, not markup.
#[derive(ToSchema)]
pub struct SnippetPart {
    text: String,
    /// Whether this part is a match.
    #[schema(rename = "match")]
    is_match: bool,
}

/// A page of what was found.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct SearchResults {
    messages: Vec<FoundMessage>,
    /// Whether more follow.
    has_more: bool,
}

/// What a user has missed since a cursor.
#[derive(ToSchema)]
#[schema(example = json!({
    "events": [{
        "type": "messages_read",
        "data": {"conversationId": "c0000000-0000-4000-8000-000000000001", "readerId": "22222222-2222-4222-8222-222222222222", "upToSeq": 3},
        "userId": "22222222-2222-4222-8222-222222222222", "timestamp": 1_795_469_162
    }],
    "cursor": "1.6b04-4000-1.5c2"
}))]
pub struct Events {
    /// In the order in which they may be applied: each changed row once, as it is now, and a conversation's messages by `seq`.
    events: Vec<Event>,
    /// Opaque: the position after these events. Keep it once you have applied them; a socket accepts it, too.
    cursor: String,
}

/// One event, as the socket's frame of that type, without its cursor.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Event {
    #[schema(rename = "type")]
    event_type: EventName,
    /// The `data` of the frame of this type in asyncapi.json: a Message for the first three.
    #[schema(value_type = Object)]
    data: serde_json::Value,
    /// Who acted, as in the socket's frame; of `resync_required` the user whose events these are.
    user_id: Uuid,
    /// Unix seconds of this answer.
    #[schema(minimum = 0)]
    timestamp: i64,
}

/// The type of an event.
pub struct EventName;

/// A page of users, by last name, first name and id.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct Users {
    users: Vec<User>,
    /// Whether more follow.
    has_more: bool,
}

/// The roles that have a route of their own.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Role {
    Buyer,
    Developer,
    Broker,
    Admin,
}

/// The two users of a conversation to open, in either order.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct OpenConversation {
    user1_id: Uuid,
    user2_id: Uuid,
}

/// Not only white space and invisible characters, such as U+200B; without U+0000; at most `MAX_MESSAGE_BYTES` (64 KiB) of UTF-8.
/// Counts towards `RATE_LIMIT_PER_SECOND` once for each begun 4 KiB.
// The pattern has `is_invisible()` of the model but for what is beyond U+FFFF, which not all languages write there in one way.
#[derive(ToSchema)]
#[schema(
    min_length = 1,
    pattern = r"^[^\u0000]*[^\u0000\u0009-\u000d\u0020\u0085\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8][^\u0000]*$"
)]
pub struct Content(String);

/// A message to send.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub struct SendMessage {
    conversation_id: Uuid,
    /// One of the two participants.
    sender_id: Uuid,
    #[schema(inline)]
    content: Content,
    /// Default: `text`.
    message_type: Option<MessageType>,
    /// 1 to 64 bytes chosen by the sender, without U+0000: repeating it stores nothing twice.
    #[schema(min_length = 1, max_length = 64, pattern = r"^[^\u0000]*$")]
    client_message_id: Option<String>,
}

/// A message's new content.
#[derive(ToSchema)]
pub struct EditMessage {
    #[schema(inline)]
    content: Content,
}

/// Beside the schema of a text: which there are now, of an enumeration that later versions may add to.
const KNOWN_TEXTS: &str = "x-extensible-enum";

/// The pattern of an id, or of `me` in its place. As one text: of a choice of schemas, generators of clients make a class that neither fits.
pub const ID_OR_ME: &str = "^(me|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$";

impl ToSchema for ErrorCode {}

impl PartialSchema for ErrorCode {
    fn schema() -> RefOr<Schema> {
        any_text(
            "What went wrong: stable, for programs. Those of this version are in `x-extensible-enum`; later ones may add some.",
            &ErrorCode::ALL.map(ErrorCode::name),
        )
    }
}

impl ToSchema for StoredMessageType {}

impl PartialSchema for StoredMessageType {
    fn schema() -> RefOr<Schema> {
        any_text(
            "What the message holds. Those of this version are in `x-extensible-enum`; later ones may add some: show a message of a type that you do not know as text.",
            &model::MessageType::NAMES,
        )
    }
}

impl ToSchema for EventName {}

impl PartialSchema for EventName {
    fn schema() -> RefOr<Schema> {
        any_text(
            "What happened. Those of this version are in `x-extensible-enum`; later ones may add some: ignore an event of a type that you do not know.",
            &[
                FrameType::ChatMessage,
                FrameType::MessageUpdated,
                FrameType::MessageDeleted,
                FrameType::MessagesRead,
                FrameType::ConversationCreated,
                FrameType::ResyncRequired,
            ]
            .map(FrameType::name),
        )
    }
}

/// A text that is one of these now. An enum would be closed, and what is generated from it would fail at a text of a later version; of an
/// enum or any other text generators make a class that no text fits.
fn any_text(description: &str, known: &[&str]) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .extensions(Some(Extensions::from_iter([(KNOWN_TEXTS, json!(known))])))
        .into()
}
