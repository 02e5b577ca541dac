//! The JSON of a notification, as `sql/README.md` documents it. Data stays unparsed.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame::EventType;
use crate::model::{
    Beat, ConversationId, MessageId, ReplicaId, Revision, Seq, UnixMicros, UnixSeconds, UserId,
};
use crate::position::{Horizon, Xid};
use crate::store::RowId;

/// The format that this version reads; a payload of another one is left to the tables.
pub(super) const VERSION: u32 = 1;

/// All that can be told of a payload of another version.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub v: u32,
}

#[derive(Debug, Deserialize)]
pub(super) struct Payload<'a> {
    pub v: u32,
    #[serde(deserialize_with = "xid")]
    pub xid: Xid,
    /// Absent from a transaction whose commit is not flushed.
    #[serde(default, deserialize_with = "horizon")]
    pub horizon: Option<Horizon>,
    /// Just before the commit, by the clock of PostgreSQL's host.
    pub at: UnixSeconds,
    /// The same.
    #[serde(default, rename = "atMicros")]
    pub at_micros: Option<UnixMicros>,
    #[serde(borrow, default)]
    pub events: Vec<PayloadEvent<'a>>,
    #[serde(default)]
    pub heartbeat: Option<Heartbeat>,
    /// The replica that tells of `typing` or `presence`.
    #[serde(default)]
    pub from: Option<ReplicaId>,
    #[serde(default)]
    pub typing: Vec<Typing>,
    /// Who has come or gone.
    #[serde(default)]
    pub presence: Vec<UserId>,
}

/// Who types, or has stopped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Typing {
    pub conversation_id: ConversationId,
    pub user_id: UserId,
    pub to: UserId,
    pub is_typing: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct PayloadEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub event_type: EventType<'a>,
    #[serde(rename = "userId")]
    pub user: UserId,
    pub recipients: [UserId; 2],
    #[serde(default)]
    pub message: Option<MessageId>,
    #[serde(default)]
    pub revision: Revision,
    #[serde(default)]
    pub conversation: Option<ConversationId>,
    /// Absent when it did not fit.
    #[serde(borrow, default)]
    pub data: Option<&'a RawValue>,
    /// The message's, where its data is absent.
    #[serde(default)]
    pub seq: Option<Seq>,
    /// Not in it: whether a recipient had a socket here when it was heard.
    #[serde(skip)]
    pub concerns_sockets: bool,
}

impl PayloadEvent<'_> {
    /// The row that it is about, unless it is about none.
    pub fn row(&self) -> Option<RowId> {
        let conversation = self.conversation.map(RowId::Conversation);
        self.message.map(RowId::Message).or(conversation)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Heartbeat {
    pub replica: ReplicaId,
    pub beat: Beat,
}

/// `data` of a `messages_read` event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReadMark {
    pub conversation_id: ConversationId,
    pub reader_id: UserId,
    pub up_to_seq: Seq,
}

fn xid<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Xid, D::Error> {
    let text = <&str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn horizon<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Horizon>, D::Error> {
    let text = Option::<&str>::deserialize(deserializer)?;
    text.map(|text| text.parse().map(Horizon).map_err(serde::de::Error::custom))
        .transpose()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_event_without_data_and_a_heartbeat_are_read() {
        let text = r#"{"v":1,"xid":"9","horizon":null,"at":5,"events":[{"type":"chat_message",
            "userId":"11111111-1111-4111-8111-111111111111","recipients":["11111111-1111-4111-8111-111111111111",
            "22222222-2222-4222-8222-222222222222"],"message":"33333333-3333-4333-8333-333333333333","revision":2,"seq":5}]}"#;
        let payload: Payload<'_> = serde_json::from_str(text).expect("a payload");
        assert_eq!(
            (payload.xid, payload.horizon, payload.events[0].revision),
            (Xid(9), None, Revision(2))
        );
        assert!(payload.events[0].data.is_none());
        assert_eq!(payload.events[0].seq, Some(Seq(5)));
        let text = r#"{"v":1,"xid":"9","horizon":"7","at":5,"heartbeat":{"replica":"11111111-1111-4111-8111-111111111111","beat":3}}"#;
        let payload: Payload<'_> = serde_json::from_str(text).expect("a payload");
        assert_eq!(
            (payload.horizon, payload.heartbeat.map(|h| h.beat)),
            (Some(Horizon(Xid(7))), Some(Beat(3)))
        );
    }

    /// JSON close to a payload, and wrong in most places.
    fn nearly_a_payload() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just(Value::Null),
            Just(json!("9")),
            Just(json!("11111111-1111-4111-8111-111111111111")),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        let name = prop::sample::select(vec![
            "v",
            "xid",
            "horizon",
            "at",
            "atMicros",
            "events",
            "heartbeat",
            "from",
            "typing",
            "type",
            "userId",
            "recipients",
            "message",
            "revision",
            "data",
            "seq",
            "replica",
            "presence",
            "beat",
        ]);
        leaf.prop_recursive(3, 32, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::hash_map(name.clone(), inner, 0..8).prop_map(|members| {
                    Value::Object(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
                }),
            ]
        })
        .prop_map(|value| value.to_string())
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in prop_oneof!["(?s).*", nearly_a_payload()]) {
            let _ = serde_json::from_str::<Payload<'_>>(&text);
            let _ = serde_json::from_str::<Version>(&text);
            let _ = serde_json::from_str::<ReadMark>(&text);
        }

        #[test]
        fn a_payload_is_read_as_it_was_written(
            xid: u64, horizon: Option<u64>, at: i64, user: u128, to: u128, revision: i64, content: String
        ) {
            let [user, to] = [user, to].map(Uuid::from_u128);
            let data = json!({"id": to, "content": content});
            let text = json!({"v": 1, "xid": xid.to_string(), "horizon": horizon.map(|h| h.to_string()), "at": at,
                "events": [{"type": "chat_message", "userId": user, "recipients": [user, to], "message": to,
                            "revision": revision, "data": data}]}).to_string();
            let payload: Payload<'_> = serde_json::from_str(&text).expect("a payload");
            let horizon = horizon.map(|horizon| Horizon(Xid(horizon)));
            prop_assert_eq!((payload.xid, payload.horizon, payload.at), (Xid(xid), horizon, UnixSeconds(at)));
            let event = &payload.events[0];
            prop_assert_eq!((event.user.0, event.recipients[1].0, event.revision), (user, to, Revision(revision)));
            prop_assert_eq!(event.data.map(RawValue::get), Some(&*data.to_string()));
        }
    }
}
