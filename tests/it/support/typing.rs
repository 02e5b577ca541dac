//! Commands of typing, on a machine that may be busy.

use serde_json::{Value, json};
use uuid::Uuid;

use super::described;
use super::socket::Socket;

impl Socket {
    /// Types, or has stopped: said until it is done.
    pub async fn types(&mut self, conversation: Uuid, is_typing: bool) {
        let data = json!({"conversationId": conversation, "isTyping": is_typing});
        let frame = json!({"type": "typing", "requestId": "request", "data": data});
        described::assert_command(&frame.to_string());
        let request = self.request("typing", data.clone()).await;
        self.typing_is_done(request, &data).await;
    }

    /// Waits for the `ack` to a command of typing. It is said again where the database took longer than half a second to say whom it is for, as
    /// clients do anyway: on a busy machine that is no fault.
    pub async fn typing_is_done(&mut self, request: String, data: &Value) {
        let mut answer = self.answer(&request).await;
        while answer["data"]["code"] == "unavailable" {
            answer = self.answer_to("typing", data.clone()).await;
        }
        assert_eq!(answer["type"], "ack", "{}", self.story());
    }
}
