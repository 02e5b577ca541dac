use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::model::{ConversationId, MessageId};
use crate::ws::protocol::tests::{ID, named, uuid};

fn frame(kind: &str, data: Value) -> String {
    json!({"type": kind, "requestId": "r1", "data": data}).to_string()
}

fn parsed(kind: &str, data: Value) -> Command {
    let request = parse(&frame(kind, data)).unwrap();
    assert_eq!(request.id, named("r1"));
    request.command
}

#[test]
fn every_command_is_understood() {
    assert_eq!(
        parsed(
            "send_message",
            json!({"conversationId": ID, "content": "hi"})
        ),
        Command::SendMessage(Draft {
            conversation: ConversationId(uuid()),
            content: "hi".to_owned(),
            message_type: None,
            client_message_id: None,
        })
    );
    assert_eq!(
        parsed(
            "send_message",
            json!({"conversationId": ID, "content": "\u{1F600}", "messageType": "image", "clientMessageId": "c"})
        ),
        Command::SendMessage(Draft {
            conversation: ConversationId(uuid()),
            content: "\u{1F600}".to_owned(),
            message_type: Some("image".to_owned()),
            client_message_id: Some("c".to_owned()),
        })
    );
    assert_eq!(
        parsed("edit_message", json!({"messageId": ID, "content": "x"})),
        Command::Row(RowCommand::EditMessage {
            message: MessageId(uuid()),
            content: "x".to_owned()
        })
    );
    assert_eq!(
        parsed("delete_message", json!({"messageId": ID})),
        Command::Row(RowCommand::DeleteMessage {
            message: MessageId(uuid())
        })
    );
    assert_eq!(
        parsed("mark_read", json!({"conversationId": ID})),
        Command::Row(RowCommand::MarkRead {
            conversation: ConversationId(uuid()),
            up_to: None
        })
    );
    assert_eq!(
        parsed("mark_read", json!({"conversationId": ID, "upToSeq": 7})),
        Command::Row(RowCommand::MarkRead {
            conversation: ConversationId(uuid()),
            up_to: Some(Seq(7))
        })
    );
    assert_eq!(
        parsed("typing", json!({"conversationId": ID, "isTyping": true})),
        Command::Row(RowCommand::Typing {
            conversation: ConversationId(uuid()),
            is_typing: true
        })
    );
    let users = vec![UserId(uuid()), UserId(Uuid::nil())];
    assert_eq!(
        parsed("watch_presence", json!({"userIds": [ID, Uuid::nil()]})),
        Command::WatchPresence { users }
    );
    for is_active in [true, false] {
        assert_eq!(
            parsed("set_active", json!({"active": is_active})),
            Command::SetActive { is_active }
        );
    }
    assert_eq!(parsed("ping", json!({})), Command::Ping);
}

#[test]
fn absent_null_and_unknown_members_are_no_fault() {
    for text in [
        r#"{"type":"ping"}"#,
        r#"{"type":"ping","requestId":null,"data":null}"#,
        r#"{"userId":"x","timestamp":5,"type":"ping","data":{"more":[1]}}"#,
    ] {
        let request = parse(text).unwrap();
        assert_eq!(request.id, None, "{text}");
        assert_eq!(request.command, Command::Ping, "{text}");
    }
}

/// Ignored as unknown, `up_to_seq` would mark everything as read.
#[test]
fn a_member_in_another_spelling_is_refused_by_its_right_name() {
    let table = [
        ("mark_read", "up_to_seq", "upToSeq"),
        ("mark_read", "Conversation_Id", "conversationId"),
        ("send_message", "client_message_id", "clientMessageId"),
        ("send_message", "messagetype", "messageType"),
        ("edit_message", "Content", "content"),
        ("delete_message", "MessageID", "messageId"),
        ("typing", "is-typing", "isTyping"),
        ("watch_presence", "user_ids", "userIds"),
        ("set_active", "Active", "active"),
        ("authenticate", "TOKEN", "token"),
    ];
    for (command, key, name) in table {
        let refused = parse(&frame(command, json!({key: "x"}))).unwrap_err();
        assert_eq!(refused.message, format!("unknown member {key}: use {name}"));
        assert_eq!(refused.id, named("r1"));
    }
    for (key, name) in [
        ("Type", "type"),
        ("request_id", "requestId"),
        ("DATA", "data"),
    ] {
        let mut frame = json!({"type": "ping", "requestId": "r1"});
        frame[key] = json!({});
        let refused = parse(&frame.to_string()).unwrap_err();
        let fault = format!("unknown member {key}: use {name}");
        assert!(refused.message.ends_with(&fault), "{}", refused.message);
    }
}

#[test]
fn members_of_other_commands_are_unknown_ones() {
    let data = json!({"conversationId": ID, "content": 7, "client_message_id": "c", "userIds": 1});
    assert_eq!(
        parsed("mark_read", data),
        Command::Row(RowCommand::MarkRead {
            conversation: ConversationId(uuid()),
            up_to: None
        })
    );
}

#[test]
fn a_member_given_twice_is_refused() {
    let text = r#"{"type":"mark_read","requestId":"r1","data":{"upToSeq":1,"upToSeq":2}}"#;
    let refused = parse(text).unwrap_err();
    assert_eq!(refused.message, "upToSeq must be given only once");
    let refused = parse(r#"{"type":"ping","data":null,"data":{}}"#).unwrap_err();
    assert!(refused.message.ends_with("data must be given only once"));
}

#[test]
fn the_longest_request_id_and_the_least_seq_are_taken() {
    let longest = "x".repeat(RequestName::MAX_BYTES);
    let request = parse(&json!({"type": "ping", "requestId": longest}).to_string()).unwrap();
    assert_eq!(request.id, named(&longest));
    // Before the first message: nothing is read.
    assert_eq!(
        parsed("mark_read", json!({"conversationId": ID, "upToSeq": 0})),
        Command::Row(RowCommand::MarkRead {
            conversation: ConversationId(uuid()),
            up_to: Some(Seq(0))
        })
    );
}

#[test]
fn a_malformed_frame_is_refused_with_a_reason() {
    let long = "x".repeat(RequestName::MAX_BYTES + 1);
    let table = [
        ("", "must be a JSON object"),
        ("{", "must be a JSON object"),
        ("[1]", "must be a JSON object"),
        (r#"["ping",null,{}]"#, "must be a JSON object"),
        ("null", "must be a JSON object"),
        (r#"{"type":"ping"} x"#, "must be a JSON object"),
        (r#"{"type":"ping","type":"ping"}"#, "must be a JSON object"),
        ("{}", "type must be a string"),
        (r#"{"type":5}"#, "type must be a string"),
        (r#"{"type":"dance"}"#, "type must be one of send_message"),
        (
            r#"{"type":"dance","data":[]}"#,
            "type must be one of send_message",
        ),
        (r#"{"type":"authenticate"}"#, "token must be a string"),
        (
            r#"{"type":"authenticate","data":{"token":5}}"#,
            "token must be a string",
        ),
        (r#"{"type":"ping","requestId":5.5}"#, "requestId must be"),
        (r#"{"type":"ping","requestId":true}"#, "requestId must be"),
        (r#"{"type":"ping","data":[]}"#, "data must be an object"),
        (r#"{"type":"ping","data":"x"}"#, "data must be an object"),
        (
            r#"{"type":"send_message","data":{"content":1,"messageType":2}}"#,
            "conversationId must be a UUID; content must be a string; messageType must be a string",
        ),
        (
            r#"{"type":"send_message","data":{"content":"\ud800","conversationId":"018f4b1e-7b1a-7c3d-8e2f-0123456789ab"}}"#,
            "content is no text: it holds half of a surrogate pair",
        ),
        (
            r#"{"type":"mark_read","data":{"conversationId":"018f4b1e-7b1a-7c3d-8e2f-0123456789ab","upToSeq":-1}}"#,
            "upToSeq must be a whole number",
        ),
        (
            r#"{"type":"mark_read","data":{"conversationId":"018f4b1e-7b1a-7c3d-8e2f-0123456789ab","upToSeq":1.5}}"#,
            "upToSeq must be a whole number",
        ),
        (
            &format!(r#"{{"type":"ping","requestId":"{long}"}}"#),
            "requestId must be",
        ),
    ];
    for (text, reason) in table {
        let refused = parse(text).unwrap_err();
        assert!(
            refused.message.contains(reason),
            "{text}: {}",
            refused.message
        );
    }
}

#[test]
fn a_refusal_carries_the_request_id_where_there_was_one() {
    let refused = parse(r#"{"type":"dance","requestId":"r7"}"#).unwrap_err();
    assert_eq!(refused.id, named("r7"));
    let refused = parse(&frame("watch_presence", json!({}))).unwrap_err();
    assert_eq!(refused.id, named("r1"));
    assert_eq!(refused.message, "userIds must be an array of UUIDs");
}

#[test]
fn whoever_sends_nonsense_is_not_sent_it_back() {
    let long = "x".repeat(100_000);
    for text in [
        json!(long).to_string(),
        json!({"type": long}).to_string(),
        json!({"type": "ping", "data": long}).to_string(),
        json!({"type": "typing", "data": {"conversationId": long, "isTyping": long}}).to_string(),
        json!({"type": "mark_read", "data": {"conversationId": ID, "upToSeq": long}}).to_string(),
        json!({long.as_str(): 1, "type": "dance"}).to_string(),
        json!({format!("type{}", "_".repeat(100_000)): 1}).to_string(),
        format!("{{\"{long}"),
    ] {
        let refused = parse(&text).unwrap_err();
        assert!(refused.message.len() < 1000, "{}", refused.message.len());
    }
}

#[test]
fn deep_nesting_does_not_exhaust_the_stack() {
    let deep = "[".repeat(1_000_000);
    for text in [
        deep.clone(),
        format!(r#"{{"type":"ping","data":{deep}"#),
        format!(
            r#"{{"type":"ping","data":{{"content":{}{}}}}}"#,
            deep,
            "]".repeat(1_000_000)
        ),
    ] {
        // A member that `ping` does not read may hold anything.
        let _ = parse(&text);
    }
}
