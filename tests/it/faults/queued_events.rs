//! Many who do not read: all that waits for them together is bounded, and nobody else pays for it.

use super::*;

/// Whatever waits for one of them alone is far below the bound of one socket (16 MiB).
const ROUNDS: usize = 30;

const SLOW: [uuid::Uuid; 6] = [BORIS, CARLA, DAVID, ELENA, FELIX, GRETA];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_wait_for_many_sockets_take_no_more_than_their_bound_and_those_behind_are_closed()
 {
    let database = Database::fresh().await;
    let settings = [
        ("RATE_LIMIT_PER_SECOND", "0"),
        ("QUEUED_EVENTS_BYTES", "4194304"),
        ("REPLAY_BYTES", "67108864"),
        // Nothing else ends a socket that does not read.
        ("STALL_TIMEOUT_SECONDS", "300"),
        ("HEARTBEAT_SECONDS", "3600"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let mut slow = Vec::new();
    for user in SLOW {
        let conversation = database.conversation(ALICE, user).await;
        let socket = Socket::connect_narrow(&replica, user).await;
        slow.push((conversation, user, socket));
    }
    let quick_one = database.conversation(ALICE, KATIA).await;
    let mut quick = Socket::connect(&replica, KATIA).await;
    // As JSON each of these bytes is six.
    let content = "\u{1}".repeat(65_536);
    let closed = async || {
        let closes = r#"pgchat_socket_closes_total{reason="too_slow"}"#;
        api.metric(closes).await
    };
    let mut rounds = 0;
    while closed().await < SLOW.len() as f64 {
        assert!(rounds < ROUNDS, "{} of them are closed", closed().await);
        rounds += 1;
        for (conversation, _, _) in &slow {
            api.send(*conversation, ALICE, &content).await;
        }
        let sent = api.send(quick_one, ALICE, &content).await;
        let told = quick.expect("chat_message").await;
        assert_eq!(told["data"]["id"], sent["id"]);
    }

    // They have what they missed with their next socket.
    for (_, user, socket) in slow {
        let cursor = cursor_of(&socket.connected);
        drop(socket);
        let mut again = Socket::resume(&replica, user, &cursor).await;
        assert_eq!(again.collect_messages(rounds).await.len(), rounds);
    }
    let last = api.send(quick_one, ALICE, "last").await;
    let told = quick.expect("chat_message").await;
    assert_eq!(told["data"]["id"], last["id"]);
    assert_eq!(closed().await, SLOW.len() as f64);
}
