//! A conversation that another program holds locked.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_locked_conversation_delays_no_other() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let locked = api.open_conversation(ALICE, BORIS).await;
    let free = api.open_conversation(ALICE, CARLA).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let stranger = database.sql().await;
    let lock = format!("begin; select from conversations where id = '{locked}' for update");
    stranger.batch_execute(&lock).await.expect("the lock");

    let mut waiting = Vec::new();
    for number in 0..10 {
        let data = json!({"conversationId": locked, "content": format!("waits {number}")});
        waiting.push(alice.request("send_message", data).await);
    }
    let started = Instant::now();
    for number in 0..20 {
        api.send(free, CARLA, &number.to_string()).await;
    }
    let slowest = started.elapsed() / 20;
    assert!(slowest < Duration::from_millis(500), "{slowest:?} each");
    let waited_for = format!("messages where conversation_id = '{locked}'");
    assert_eq!(
        database.count(&waited_for).await,
        0,
        "the lock is held still"
    );

    stranger.batch_execute("commit").await.expect("its end");
    for (number, request) in waiting.iter().enumerate() {
        let answer = alice.answer(request).await;
        assert_eq!(answer["type"], "ack", "{answer}");
        let message = &answer["data"]["message"];
        assert_eq!(message["seq"], number + 1);
        assert_eq!(message["content"], format!("waits {number}"));
    }
}

#[tokio::test]
async fn a_message_that_waits_too_long_is_refused_and_safe_to_repeat() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("WRITE_TIMEOUT_SECONDS", "2")]).await;
    let api = replica.api();
    let locked = api.open_conversation(ALICE, BORIS).await;
    let free = api.open_conversation(ALICE, CARLA).await;
    let stranger = database.sql().await;
    let lock = format!("begin; select from conversations where id = '{locked}' for update");
    stranger.batch_execute(&lock).await.expect("the lock");

    let started = Instant::now();
    let reply = api.send_once(locked, ALICE, "hello", "m-1").await;
    reply.refused(503, "unavailable");
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(1), "given up after {took:?}");
    assert!(took < Duration::from_secs(8), "given up after {took:?}");
    api.send(free, ALICE, "not delayed").await;

    stranger.batch_execute("commit").await.expect("its end");
    let repeat = api.send_once(locked, ALICE, "hello", "m-1").await;
    assert!(matches!(repeat.status, 200 | 201), "{repeat:?}");
    assert_eq!(api.history(locked).await, [repeat.json()]);
}
