//! The fuzzer's way into this module.

#![allow(clippy::expect_used)] // a panic is the report

use uuid::Uuid;

use super::protocol::{Frames, parse};
use crate::model::{ConnectionId, UserId};

/// Longest answer to a frame that names nothing that could be run, in bytes: whoever sends nonsense is not sent it back.
const LONGEST_REFUSAL: usize = 2048;

/// A text frame of a client: it is a command, or it is refused with a frame that can be sent.
///
/// # Panics
/// When that does not hold.
pub fn client_frame(text: &str) {
    let frames = Frames {
        user: UserId(Uuid::nil()),
        connection: ConnectionId(Uuid::nil()),
    };
    match parse(text) {
        Ok(request) => {
            assert!(text.trim_start().starts_with('{'), "a frame is an object");
            let answer = frames.answer(&request.id, Ok(super::protocol::Done::Nothing));
            let read: serde_json::Value =
                serde_json::from_str(answer.as_str()).expect("an answer is JSON");
            let id = serde_json::to_value(&request.id).expect("a requestId is JSON");
            assert_eq!(read["data"]["requestId"], id);
            if let Some(number) = id.as_i64() {
                let told_apart = number as f64 as i64 == number;
                assert!(told_apart, "{number} is not one to all clients");
            }
        }
        Err(refused) => {
            let answer = frames.refused(&refused);
            let read: serde_json::Value =
                serde_json::from_str(answer.as_str()).expect("a refusal is JSON");
            assert_eq!(read["type"], "error");
            assert!(!refused.message.is_empty());
            let bytes = answer.as_str().len();
            assert!(bytes <= LONGEST_REFUSAL, "{bytes} bytes");
        }
    }
}
