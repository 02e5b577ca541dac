use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::*;
use crate::frame::Frame;
use crate::model::ConnectionId;

pub(super) const ID: &str = "018f4b1e-7b1a-7c3d-8e2f-0123456789ab";

pub(super) fn uuid() -> Uuid {
    ID.parse().unwrap()
}

pub(super) fn read(frame: &Frame) -> Value {
    let mut value: Value = serde_json::from_str(frame.as_str()).unwrap();
    let members = value.as_object_mut().unwrap();
    assert_eq!(members["userId"], ID);
    let timestamp = members.remove("timestamp").unwrap().as_u64().unwrap();
    assert!((1_600_000_000..10_000_000_000).contains(&timestamp));
    members.remove("userId");
    value
}

pub(super) fn named(id: &str) -> RequestId {
    Some(RequestName::Text(id.to_owned()))
}

/// JSON close to what a client sends, and wrong in most places.
fn nearly_a_frame() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(json!(null)),
        Just(json!(ID)),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let member = prop::sample::select(vec![
        "conversationId",
        "messageId",
        "content",
        "messageType",
        "clientMessageId",
        "upToSeq",
    ]);
    let data = prop::collection::vec((member, leaf.clone()), 0..5).prop_map(|members| {
        Value::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
    });
    let kind = prop::sample::select(vec![
        "send_message",
        "edit_message",
        "delete_message",
        "mark_read",
        "typing",
        "ping",
        "other",
    ]);
    (kind, leaf.clone(), prop_oneof![data, leaf]).prop_map(|(kind, id, data)| {
        json!({"type": kind, "requestId": id, "data": data}).to_string()
    })
}

proptest! {
    #[test]
    fn any_text_is_a_command_or_a_refusal_that_can_be_sent(
        text in prop_oneof![any::<String>(), nearly_a_frame(), "[{}\\[\\]\",:a-z0-9\\\\]{0,60}"]
    ) {
        if let Err(refused) = parse(&text) {
            prop_assert!(!refused.message.is_empty());
            let frame = Frames { user: UserId(uuid()), connection: ConnectionId(Uuid::nil()) }.refused(&refused);
            prop_assert_eq!(&read(&frame)["type"], &json!("error"));
        }
    }

    #[test]
    fn a_request_id_comes_back_as_it_was(id in "\\PC{0,30}") {
        let text = json!({"type": "ping", "requestId": id}).to_string();
        let request = parse(&text).unwrap();
        let frames = Frames { user: UserId(uuid()), connection: ConnectionId(Uuid::nil()) };
        let ack = frames.answer(&request.id, Ok(Done::Nothing));
        prop_assert_eq!(&read(&ack)["data"]["requestId"], &json!(id));
    }

    #[test]
    fn a_number_for_a_request_id_comes_back_as_it_was_or_is_refused(
        id in prop_oneof![any::<i64>(), -RequestName::GREATEST - 2..=-RequestName::GREATEST + 1, RequestName::GREATEST - 1..=RequestName::GREATEST + 2, -9..9_i64]
    ) {
        let text = json!({"type": "ping", "requestId": id}).to_string();
        let taken = parse(&text).map(|request| request.id);
        if id.abs_diff(0) <= RequestName::GREATEST.abs_diff(0) {
            let frames = Frames { user: UserId(uuid()), connection: ConnectionId(Uuid::nil()) };
            let ack = frames.answer(&taken.unwrap(), Ok(Done::Nothing));
            prop_assert_eq!(&read(&ack)["data"]["requestId"], &json!(id));
        } else {
            prop_assert_eq!(taken.unwrap_err().id, None);
        }
    }
}
