//! What is true only for the moment: shown at once on all replicas, ended by itself.

mod active;
mod presence;
mod presence_faults;
mod rolls;
mod storm;
mod two_replicas;
mod typing;

use serde_json::Value;
use uuid::Uuid;

use crate::support::*;

/// Too many of a command in a conversation of Alice's with Boris are refused, and her sends are not.
async fn assert_limited_apart(command: &str, data: impl Fn(Uuid) -> Value) {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let slow = [("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "3")];
    let replica = Replica::start(&database, &slow).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    // All on their way at once: no token comes back between two of them.
    let mut requests = Vec::new();
    for _ in 0..20 {
        requests.push(alice.request(command, data(conversation)).await);
    }
    let mut refused = 0;
    for request in &requests {
        let answer = alice.answer(request).await;
        if answer["type"] == "error" {
            assert_eq!(answer["data"]["code"], "too_many_requests");
            refused += 1;
        }
    }
    assert!(refused > 0);
    alice.send_message(conversation, "still welcome").await;
}
