//! How much one answer may hold of what happened since a cursor, and from where one goes on at a replica that is behind.

use serde_json::{Value, json};
use uuid::Uuid;

use super::*;

/// What is told since a cursor, and the next one.
async fn told(replica: &Replica, user: Uuid, cursor: &str) -> (Vec<Value>, String) {
    let answer = replica.api().events(user, Some(cursor)).await.ok(200);
    let events = answer["events"].as_array().expect("events").clone();
    (events, cursor_of(&answer))
}

fn types(events: &[Value]) -> Vec<&str> {
    let types = events.iter().map(|event| event["type"].as_str());
    types.map(|kind| kind.expect("a type")).collect()
}

/// So many of Alice's, each of so many letters, in one transaction.
fn many(conversation: Uuid, count: i32, letters: i32) -> String {
    format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{conversation}', '{ALICE}', repeat('x', {letters}) from generate_series(1, {count})"
    )
}

#[tokio::test]
async fn an_answer_has_as_many_events_as_it_may_and_one_more_is_a_reload() {
    const MOST: usize = 20;
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let replica = Replica::start(&database, &quick(&[("REPLAY_EVENTS", "20")])).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    database.execute(&many(conversation, 20, 1)).await;
    let (events, _) = told(&replica, BORIS, &cursor).await;
    assert_eq!(types(&events), ["chat_message"; MOST]);
    database.execute(&many(conversation, 1, 1)).await;
    let (events, _) = told(&replica, BORIS, &cursor).await;
    assert_eq!(types(&events), ["resync_required"]);
}

#[tokio::test]
async fn an_answer_has_as_many_bytes_as_it_may_and_one_more_is_a_reload() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let first = Replica::start(&database, &QUICK).await;
    let conversation = first.api().open_conversation(ALICE, BORIS).await;
    let cursor = settled_cursor(&first, BORIS).await;
    database.execute(&many(conversation, 10, 8_000)).await;
    let (_, horizon) = cursor.rsplit_once('.').expect("its horizon");
    let horizon = u64::from_str_radix(horizon, 16).expect("a number");
    let bytes = format!(
        "select sum(octet_length(data)) from chat_missed('{BORIS}', '{horizon}', 100, 1000000)"
    );
    let bytes = database.sql().await.query_one(&bytes, &[]).await;
    let bytes: i64 = bytes.expect("a number").get(0);
    for (most, expected) in [
        (bytes, vec!["chat_message"; 10]),
        (bytes - 1, vec!["resync_required"]),
    ] {
        let settings = [("REPLAY_BYTES", &*most.to_string())];
        let replica = Replica::start(&database, &quick(&settings)).await;
        let (events, _) = told(&replica, BORIS, &cursor).await;
        assert_eq!(types(&events), expected, "{most} of {bytes}");
    }
}

/// Or it would be told of what it has seen once more, each time that it asks there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_a_replica_that_is_behind_has_no_cursor_from_before_the_one_that_was_asked() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let proxy = Proxy::before(&database).await;
    let here = Replica::start(&database, &QUICK).await;
    let there = Replica::start(&database, &quick(&proxy.for_listener())).await;
    let conversation = here.api().open_conversation(ALICE, BORIS).await;
    proxy.refuse();
    kill_listeners(&database).await;
    until_status(&there, "/health", 503).await;
    here.api().send(conversation, ALICE, "seen").await;
    let cursor = settled_cursor(&here, BORIS).await;
    let behind = cursor_of(&there.api().events(BORIS, None).await.ok(200));
    assert_ne!(behind, cursor);
    let (events, next) = told(&there, BORIS, &cursor).await;
    assert_eq!(events, Vec::<Value>::new());
    assert_eq!(next, cursor);
    here.api().send(conversation, ALICE, "more").await;
    let (events, _) = told(&there, BORIS, &next).await;
    assert_eq!(events.len(), 1, "{events:#?}");
    assert_eq!(events[0]["data"]["content"], json!("more"));
}
