//! The WebSocket as a well-behaved client uses it: the first frame, the commands, their answers.

mod commands;

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::*;

#[tokio::test]
async fn a_socket_starts_with_the_connected_frame() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("HEARTBEAT_SECONDS", "17")]).await;
    let other_limits = [
        ("MAX_MESSAGE_BYTES", "700"),
        ("MAX_WATCHED_USERS", "7"),
        ("TYPING_SECONDS", "17"),
        ("SEARCH_LANGUAGE", "off"),
    ];
    let other = Replica::start(&database, &other_limits).await;

    let first = Socket::connect(&replica, ALICE).await;
    let second = Socket::connect(&replica, ALICE).await;

    let frame = &first.connected;
    assert_eq!(frame["userId"], json!(ALICE));
    assert_eq!(frame["data"]["heartbeatSeconds"], 17);
    assert_eq!(frame["data"]["resumed"], false);
    assert!(frame["data"]["cursor"].is_string(), "{frame}");
    uuid_in(&frame["data"], "connectionId");
    uuid_in(&frame["data"], "replicaId");
    assert_ne!(
        frame["data"]["connectionId"],
        second.connected["data"]["connectionId"]
    );
    assert_eq!(
        frame["data"]["replicaId"],
        second.connected["data"]["replicaId"]
    );
    // What a client need not find out by being refused.
    let by_default = json!({"maxMessageBytes": 65_536, "maxWatchedUsers": 500, "typingSeconds": 6});
    assert_eq!(frame["data"]["limits"], by_default);
    assert_eq!(frame["data"]["search"], true);
    assert_eq!(frame["data"]["directory"], true);
    let limited = &Socket::connect(&other, ALICE).await.connected;
    let set = json!({"maxMessageBytes": 700, "maxWatchedUsers": 7, "typingSeconds": 17});
    assert_eq!(limited["data"]["limits"], set);
    assert_eq!(limited["data"]["search"], false);
}

#[tokio::test]
async fn a_handshake_is_answered_by_the_book() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;

    let mut raw = Raw::connect(&replica).await;
    raw.request(
        &format!("GET /ws?user_id={ALICE}"),
        &[
            "connection: keep-alive, Upgrade",
            "upgrade: WebSocket",
            "sec-websocket-version: 13",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-protocol: chat, pgchat.v1",
            "x-request-id: mine",
        ],
    )
    .await;
    let reply = raw.reply().await.expect("an answer");

    assert_eq!(reply.status, 101, "{reply:?}");
    for line in [
        "upgrade: websocket",
        "connection: upgrade",
        // The example of RFC 6455 section 1.3, in lower case.
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: pgchat.v1",
        "x-request-id: mine",
    ] {
        assert!(reply.head.contains(line), "{line}: {reply:?}");
    }
}

#[tokio::test]
async fn a_websocket_ping_gets_its_pong() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    alice
        .send_frame(Message::Ping("are you there".into()))
        .await;
    assert_eq!(alice.pong().await, "are you there".as_bytes());
}

#[tokio::test]
async fn the_server_pings_and_closes_a_socket_that_does_not_answer() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("HEARTBEAT_SECONDS", "5")]).await;
    let mut alive = Socket::connect(&replica, ALICE).await;

    // By hand, for a client that never answers a ping.
    let silent = Raw::upgrade(&replica, BORIS).await;
    // A client answers pings while it reads.
    let reads = async {
        loop {
            alive.send_command("ping", json!({})).await;
        }
    };
    let bytes = tokio::select! {
        bytes = silent.until_closed() => bytes,
        () = reads => Vec::new(),
    };
    assert_eq!(close_code(&bytes), Some(4408));
    // No text holds such a byte, as long as all of it is ASCII.
    let pings = bytes.windows(2).filter(|frame| *frame == [0x89, 0]);
    assert_eq!(pings.count(), 2, "two that were missed");

    alive.send_command("ping", json!({})).await;
}

#[tokio::test]
async fn one_users_sockets_are_limited_and_told_when_to_come_back() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("MAX_CONNECTIONS_PER_USER", "2")]).await;
    let first = Socket::connect(&replica, ALICE).await;
    let _second = Socket::connect(&replica, ALICE).await;

    let path = format!("/ws?user_id={ALICE}");
    let third = handshake(&replica, &path, &[]).await;
    third.refused(429, "too_many_sockets");
    assert_eq!(third.header("retry-after"), "5");
    Socket::connect(&replica, BORIS).await;

    first.close().await;
    eventually("the place of the closed socket is free", || async {
        (handshake(&replica, &path, &[]).await.status == 101).then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_replicas_sockets_are_limited() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("MAX_CONNECTIONS", "2")]).await;
    let _first = Socket::connect(&replica, ALICE).await;
    let _second = Socket::connect(&replica, BORIS).await;

    let third = handshake(&replica, &format!("/ws?user_id={CARLA}"), &[]).await;
    third.refused(503, "unavailable");
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed_before_anything_new() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &[]).await;
    let api = here.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&here, BORIS).await;
    let first = api.send(conversation, ALICE, "seen").await;
    let last_seen = boris.expect("chat_message").await;
    boris.close().await;

    api.edit(id_of(&first), ALICE, "seen, then edited")
        .await
        .ok(200);
    for number in 1..=5 {
        api.send(conversation, ALICE, &format!("missed {number}"))
            .await;
    }
    let mut boris = Socket::resume(&there, BORIS, &cursor_of(&last_seen)).await;
    api.send(conversation, ALICE, "new").await;

    let missed = boris.before_message("new").await;
    let contents: HashSet<_> = missed
        .iter()
        .filter_map(|frame| frame["data"]["content"].as_str())
        .collect();
    assert!(contents.contains("seen, then edited"), "{missed:?}");
    let numbered: Vec<_> = missed
        .iter()
        .filter_map(|frame| frame["data"]["content"].as_str()?.strip_prefix("missed "))
        .collect();
    assert_eq!(numbered, ["1", "2", "3", "4", "5"]);
}
