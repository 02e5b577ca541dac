//! The documented objects: every member there, none of another type.

use serde_json::Value;
use uuid::Uuid;

pub fn id_of(object: &Value) -> Uuid {
    uuid_in(object, "id")
}

pub fn uuid_in(object: &Value, member: &str) -> Uuid {
    object[member]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("{member} is no UUID: {object}"))
}

/// RFC 3339, in UTC with `Z`.
pub fn assert_time(object: &Value, member: &str) {
    let text = object[member].as_str().unwrap_or_default();
    let parsed = chrono::DateTime::parse_from_rfc3339(text);
    assert!(
        parsed.is_ok() && text.ends_with('Z'),
        "{member} is no time in UTC: {object}"
    );
}

fn assert_members(object: &Value, members: &[&str]) {
    let mut found: Vec<&str> = object
        .as_object()
        .unwrap_or_else(|| panic!("no object: {object}"))
        .keys()
        .map(String::as_str)
        .collect();
    let mut wanted = members.to_vec();
    found.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "{object}");
}

pub fn assert_message(message: &Value) {
    assert_members(
        message,
        &[
            "id",
            "conversationId",
            "senderId",
            "content",
            "messageType",
            "isRead",
            "seq",
            "clientMessageId",
            "createdAt",
            "updatedAt",
            "editedAt",
            "deletedAt",
            "sender",
        ],
    );
    for id in ["id", "conversationId", "senderId"] {
        uuid_in(message, id);
    }
    assert!(message["content"].is_string(), "{message}");
    let kind = message["messageType"].as_str();
    assert!(matches!(kind, Some("text" | "image" | "file")), "{message}");
    assert!(message["isRead"].is_boolean(), "{message}");
    assert!(message["seq"].as_i64() > Some(0), "{message}");
    assert_time(message, "createdAt");
    assert_time(message, "updatedAt");
    for time in ["editedAt", "deletedAt"] {
        if !message[time].is_null() {
            assert_time(message, time);
        }
    }
    assert_user_summary(&message["sender"]);
    assert_eq!(message["sender"]["id"], message["senderId"], "{message}");
}

pub fn assert_user_summary(user: &Value) {
    assert_members(user, &["id", "firstName", "lastName", "avatarUrl"]);
    uuid_in(user, "id");
}

pub fn assert_user(user: &Value) {
    assert_members(
        user,
        &[
            "id",
            "firstName",
            "lastName",
            "avatarUrl",
            "role",
            "isActive",
            "isOnline",
            "lastSeenAt",
        ],
    );
    uuid_in(user, "id");
    assert!(user["isActive"].is_boolean(), "{user}");
    assert!(user["isOnline"].is_boolean(), "{user}");
    if !user["lastSeenAt"].is_null() {
        assert_time(user, "lastSeenAt");
    }
}

pub fn assert_conversation(conversation: &Value) {
    assert_members(
        conversation,
        &[
            "id",
            "participant1Id",
            "participant2Id",
            "participant1",
            "participant2",
            "lastMessageId",
            "lastMessage",
            "lastSeq",
            "unreadCount",
            "firstUnreadSeq",
            "createdAt",
            "updatedAt",
        ],
    );
    uuid_in(conversation, "id");
    for (user, id) in [
        ("participant1", "participant1Id"),
        ("participant2", "participant2Id"),
    ] {
        assert_user_summary(&conversation[user]);
        assert_eq!(conversation[user]["id"], conversation[id], "{conversation}");
    }
    if conversation["lastMessage"].is_null() {
        assert!(conversation["lastMessageId"].is_null(), "{conversation}");
    } else {
        assert_message(&conversation["lastMessage"]);
        let id = &conversation["lastMessage"]["id"];
        assert_eq!(id, &conversation["lastMessageId"], "{conversation}");
    }
    assert!(
        conversation["lastSeq"].as_i64() >= Some(0),
        "{conversation}"
    );
    match conversation["unreadCount"].as_i64() {
        Some(0) => assert!(conversation["firstUnreadSeq"].is_null(), "{conversation}"),
        count => assert!(
            count > Some(0) && conversation["firstUnreadSeq"].as_i64() > Some(0),
            "{conversation}"
        ),
    }
    assert_time(conversation, "createdAt");
    assert_time(conversation, "updatedAt");
}
