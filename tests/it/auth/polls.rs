//! How often a user may ask over HTTP for what they missed: it costs as much as the replay of a socket that comes back.

use serde_json::json;

use super::tokens::token;
use super::{SERVICE_TOKEN, get, replica};
use crate::support::*;

/// Each second there are ten frames more, of which a poll takes all that a second has.
#[tokio::test]
async fn who_polls_without_a_pause_is_refused_for_a_while_and_nobody_else_is() {
    let database = Database::fresh().await;
    let rate = [("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "5")];
    let replica = replica(&database, &rate).await;
    let path = format!("/api/v1/chat/users/{ALICE}/events");
    let answer = get(&replica, &path, &token(ALICE)).await.ok(200);
    let with_cursor = format!("{path}?cursor={}", cursor_of(&answer));
    let mut answered = 0;
    let refused = loop {
        let reply = get(&replica, &with_cursor, &token(ALICE)).await;
        if reply.status != 200 {
            break reply;
        }
        answered += 1;
        assert!(answered < 1000, "never refused");
    };
    assert!(answered >= 5, "{answered}");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(
        refused.refused(429, "too_many_requests"),
        "this user makes too many requests"
    );
    // Nothing is read without a cursor; a server asks for whomever it likes.
    get(&replica, &path, &token(ALICE)).await.ok(200);
    for _ in 0..10 {
        let answer = get(&replica, &with_cursor, SERVICE_TOKEN).await.ok(200);
        assert_eq!(answer["events"], json!([]));
    }
    let others = with_cursor.replace(&ALICE.to_string(), &BORIS.to_string());
    get(&replica, &others, &token(BORIS)).await.ok(200);
}
