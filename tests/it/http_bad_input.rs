//! What HTTP callers get wrong: each time the documented error, nothing stored, and a service that goes on.

mod fields;
mod transport;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

/// A conversation of Alice and Boris on a replica, and the proof afterwards that nothing else came of it.
struct Scene {
    database: Database,
    replica: Replica,
    api: Api,
    conversation: Uuid,
}

impl Scene {
    async fn set(settings: &[(&str, &str)]) -> Self {
        let database = Database::fresh().await;
        let replica = Replica::start(&database, settings).await;
        let api = replica.api();
        let conversation = api.open_conversation(ALICE, BORIS).await;
        Self {
            database,
            replica,
            api,
            conversation,
        }
    }

    async fn assert_unharmed(&self) {
        assert_eq!(self.database.count("messages").await, 0);
        assert_eq!(self.database.count("conversations").await, 1);
        let sent = self.api.send(self.conversation, ALICE, "still here").await;
        assert_eq!(sent["seq"], 1);
        assert!(!self.replica.log().contains("panicked at"));
    }

    fn message(&self, content: impl Into<Value>) -> Value {
        json!({"conversationId": self.conversation, "senderId": ALICE, "content": content.into()})
    }
}
