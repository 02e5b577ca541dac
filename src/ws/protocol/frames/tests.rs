use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::*;
use crate::error::Denial;
use crate::model::ReplicaId;
use crate::schema::frames::Limits;
use crate::ws::protocol::tests::{ID, named, read, uuid};

#[test]
fn answers_are_flat_and_carry_the_request_id() {
    let frames = Frames {
        user: UserId(uuid()),
        connection: ConnectionId(Uuid::nil()),
    };
    let id = named("r\"1");
    let message = RawValue::from_string(r#"{"id":1,  "content":"as it is"}"#.to_owned()).unwrap();
    let sent = frames.answer(&id, Ok(Done::Message(message)));
    assert!(
        sent.as_str()
            .contains(r#""message":{"id":1,  "content":"as it is"}"#)
    );
    assert_eq!(
        read(&sent),
        json!({"type": "ack", "data": {"requestId": "r\"1", "message": {"id": 1, "content": "as it is"}}})
    );
    let marked = Done::Marked {
        conversation: ConversationId(uuid()),
        marked_count: 3,
        read_seq: Seq(9),
    };
    assert_eq!(
        read(&frames.answer(&None, Ok(marked))),
        json!({"type": "ack", "data": {"requestId": null, "conversationId": ID, "markedCount": 3, "readSeq": 9}})
    );
    assert_eq!(
        read(&frames.answer(&id, Ok(Done::Nothing))),
        json!({"type": "ack", "data": {"requestId": "r\"1"}})
    );
    assert_eq!(
        read(&frames.answer(&id, Err(Error::Forbidden(Denial::NotAParticipant)))),
        json!({"type": "error", "data": {"requestId": "r\"1", "code": "not_a_participant",
               "message": "the user is not a participant of this conversation"}})
    );
    let refused = Refused {
        id,
        message: "type must be a string".to_owned(),
    };
    assert_eq!(
        read(&frames.refused(&refused)),
        json!({"type": "error", "data": {"requestId": "r\"1", "code": "validation_failed", "message": "type must be a string"}})
    );
}

#[test]
fn what_may_be_tried_again_says_when_in_milliseconds_and_never_at_once() {
    let frames = Frames {
        user: UserId(uuid()),
        connection: ConnectionId(Uuid::nil()),
    };
    for (micros, millis) in [(0, 1), (200, 1), (1_000, 1), (1_001, 2), (5_000_000, 5_000)] {
        let error = Error::TooManyRequests {
            message: "slow down".to_owned(),
            retry_after: Duration::from_micros(micros),
        };
        assert_eq!(
            read(&frames.answer(&None, Err(error))),
            json!({"type": "error", "data": {"requestId": null, "code": "too_many_requests", "message": "slow down",
                   "retryAfterMs": millis}})
        );
    }
    let busy = read(&frames.answer(&None, Err(Error::unavailable("busy"))));
    assert_eq!(busy["data"]["retryAfterMs"], 1000);
}

#[test]
fn an_internal_cause_is_not_sent() {
    let frames = Frames {
        user: UserId(uuid()),
        connection: ConnectionId(Uuid::nil()),
    };
    let frame = frames.answer(&None, Err(Error::Internal("password=secret".into())));
    assert!(!frame.as_str().contains("secret"));
}

#[test]
fn only_resync_required_has_a_cursor_on_the_frame() {
    let frames = Frames {
        user: UserId(uuid()),
        connection: ConnectionId(Uuid::nil()),
    };
    assert_eq!(
        read(&frames.resync_required("too old", "c9")),
        json!({"type": "resync_required", "data": {"reason": "too old"}, "cursor": "c9"})
    );
    let connected = frames.connected(&Connected {
        connection_id: ConnectionId(uuid()),
        replica_id: ReplicaId(uuid()),
        heartbeat_seconds: 25,
        cursor: "c1",
        resumed: false,
        limits: Limits {
            max_message_bytes: 65_536,
            max_watched_users: 500,
            typing_seconds: 6,
        },
        search: true,
        directory: false,
    });
    assert_eq!(
        read(&connected),
        json!({"type": "connected", "data": {"connectionId": ID, "replicaId": ID, "heartbeatSeconds": 25,
               "cursor": "c1", "resumed": false, "search": true, "directory": false,
               "limits": {"maxMessageBytes": 65_536, "maxWatchedUsers": 500, "typingSeconds": 6}}})
    );
    assert_eq!(
        read(&frames.server_closing(500)),
        json!({"type": "server_closing", "data": {"reconnectAfterMs": 500}})
    );
}
