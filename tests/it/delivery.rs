//! From a sender on one replica to the sockets on all others: everything, once, in order, at any size.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::faults::kill_listeners;
use crate::support::*;

/// PostgreSQL refuses a notification of 8,000 bytes and more.
const LONGEST_PAYLOAD: usize = 7_999;

#[tokio::test]
async fn sender_and_receiver_may_be_on_different_replicas() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &[]).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    let there_and = alice.send_message(conversation, "there").await;
    assert_eq!(boris.expect("chat_message").await["data"], there_and);
    let back = boris.send_message(conversation, "and back").await;
    alice.before_message("there").await;
    assert_eq!(alice.expect("chat_message").await["data"], back);
    let by_http = there.api().send(conversation, BORIS, "by HTTP").await;
    assert_eq!(alice.expect("chat_message").await["data"], by_http);
}

#[tokio::test]
async fn every_socket_of_both_participants_gets_a_message_once() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replicas: [Replica; 3] = Replica::start_many(&database, &[]).await;
    let mut sockets = Vec::new();
    for replica in &replicas {
        for user in [ALICE, BORIS, BORIS] {
            sockets.push(Socket::connect(replica, user).await);
        }
    }

    let sent = replicas[1].api().send(conversation, ALICE, "once").await;
    replicas[2].api().send(conversation, ALICE, "last").await;

    for socket in &mut sockets {
        assert_eq!(socket.expect("chat_message").await["data"], sent);
        assert_eq!(socket.before_message("last").await, Vec::<Value>::new());
    }
}

#[tokio::test]
async fn twenty_senders_on_three_replicas_reach_every_socket_once_and_in_order() {
    const SENDERS: usize = 20;
    const EACH: i64 = 50;
    let database = Database::fresh().await;
    let senders = database.add_users(20).await;
    let conversations = database.conversations(ALICE, &senders).await;
    let replicas: [Replica; 3] = Replica::start_many(&database, &[]).await;

    let mut receivers = JoinSet::new();
    for replica in &replicas {
        let mut socket = Socket::connect(replica, ALICE).await;
        let all = SENDERS * usize::try_from(EACH).expect("a count");
        receivers.spawn(async move { (socket.collect_messages(all).await, socket) });
    }
    let mut sends = JoinSet::new();
    for (number, (sender, conversation)) in senders.into_iter().zip(&conversations).enumerate() {
        let conversation = *conversation;
        let replica = &replicas[number % 3];
        let api = replica.api();
        let mut socket = Socket::connect(replica, sender).await;
        sends.spawn(async move {
            for count in 0..EACH {
                let content = count.to_string();
                // Half of them over HTTP, half over the socket.
                if number % 2 == 0 {
                    api.send(conversation, sender, &content).await;
                } else {
                    socket.send_message(conversation, &content).await;
                }
            }
            let own = socket
                .collect_messages(usize::try_from(EACH).expect("a count"))
                .await;
            let seqs: Vec<_> = own.iter().map(seq_of).collect();
            assert_eq!(
                seqs,
                (1..=EACH).collect::<Vec<_>>(),
                "the sender's own socket"
            );
        });
    }
    while let Some(done) = sends.join_next().await {
        done.expect("a sender");
    }

    let mut sockets = Vec::new();
    while let Some(done) = receivers.join_next().await {
        let (messages, socket) = done.expect("a receiver");
        for conversation in &conversations {
            let of_one = messages
                .iter()
                .filter(|message| message["conversationId"] == json!(conversation));
            let seqs: Vec<_> = of_one.clone().map(seq_of).collect();
            assert_eq!(seqs, (1..=EACH).collect::<Vec<_>>());
            let contents: Vec<_> = of_one.map(|message| message["content"].clone()).collect();
            let sent: Vec<_> = (0..EACH).map(|count| json!(count.to_string())).collect();
            assert_eq!(contents, sent, "in the order in which they were sent");
        }
        sockets.push(socket);
    }
    replicas[0]
        .api()
        .send(conversations[0], ALICE, "last")
        .await;
    for mut socket in sockets {
        assert_eq!(socket.before_message("last").await, Vec::<Value>::new());
    }
}

/// What fits into a notification travels in it; what does not is read back by each replica. Nobody may be able
/// to tell, least of all at the limit.
#[tokio::test]
async fn messages_of_every_size_around_the_limit_of_a_notification_arrive() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &[]).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    let mut notifications = database.listen("chat_events").await;

    // How long a notification is around one byte of content.
    let probe = here.api().send(conversation, ALICE, "x").await;
    let payload = notifications.about(&id_of(&probe).to_string()).await;
    let around = payload.len() - 1;
    boris.expect("chat_message").await;

    let mut longest = 0;
    let mut by_reference = 0;
    for distance in -4_i64..=4 {
        let length = i64::try_from(LONGEST_PAYLOAD - around).expect("a length") + distance;
        let length = usize::try_from(length).expect("a length");
        // Two bytes of UTF-8, and what takes two bytes in JSON, beside plain letters.
        for unit in ["x", "é", "\"", "\\"] {
            let wide = if unit == "x" { 0 } else { length / 2 };
            let content = "x".repeat(length - 2 * wide) + &unit.repeat(wide);
            let sent = here.api().send(conversation, ALICE, &content).await;
            assert!(sent["content"] == content.as_str(), "stored as it was");
            let payload = notifications.about(&id_of(&sent).to_string()).await;
            assert!(payload.len() <= LONGEST_PAYLOAD, "{} bytes", payload.len());
            if payload.len() < length {
                by_reference += 1;
            } else {
                longest = longest.max(payload.len());
            }
            let frame = boris.expect("chat_message").await;
            assert!(frame["data"] == sent, "delivered as it was stored");
        }
        // Nobody repeats for another program what PostgreSQL refuses.
        let content = "x".repeat(length);
        let send = format!("select chat_send_message('{conversation}', '{ALICE}', '{content}')");
        database.execute(&send).await;
        let frame = boris.expect("chat_message").await;
        assert!(frame["data"]["content"] == content.as_str(), "delivered");
    }
    assert_eq!(longest, LONGEST_PAYLOAD, "the limit itself was reached");
    assert!(by_reference > 0, "and passed");
}

#[tokio::test]
async fn a_small_message_does_not_overtake_a_huge_one() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // As fast as she can.
    let settings = [("RATE_LIMIT_PER_SECOND", "0")];
    let [here, there] = Replica::start_many(&database, &settings).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    let huge = [
        "x".repeat(60_000),
        "ß日".repeat(12_000),
        "\"\\\u{1}\n".repeat(15_000),
        "👩‍👩‍👧‍👦".repeat(2_400),
    ];

    let mut sent = Vec::new();
    for round in 0..5 {
        for content in &huge {
            for content in [content.clone(), format!("small {round}")] {
                let data = json!({"conversationId": conversation, "content": content});
                alice.request("send_message", data).await;
                sent.push(content);
            }
        }
    }

    for socket in [&mut boris, &mut alice] {
        for (number, message) in socket.collect_messages(sent.len()).await.iter().enumerate() {
            assert_eq!(message["seq"], number + 1);
            let same = message["content"] == sent[number].as_str();
            assert!(same, "message {} arrived as it was sent", number + 1);
        }
    }
}

#[tokio::test]
async fn read_marks_reach_both_and_marking_twice_tells_nobody() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &[]).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    here.api().send(conversation, ALICE, "one").await;
    here.api().send(conversation, ALICE, "two").await;
    for socket in [&mut alice, &mut boris] {
        socket.collect_messages(2).await;
    }

    there.api().mark_read(conversation, BORIS).await.ok(200);
    there.api().mark_read(conversation, BORIS).await.ok(200);
    there.api().send(conversation, BORIS, "last").await;

    for socket in [&mut alice, &mut boris] {
        let frames = socket.before_message("last").await;
        assert_eq!(frames.len(), 1, "{frames:?}");
        assert_eq!(frames[0]["type"], "messages_read");
        assert_eq!(frames[0]["userId"], json!(BORIS));
        let data = json!({"conversationId": conversation, "readerId": BORIS, "upToSeq": 2});
        assert_eq!(frames[0]["data"], data);
    }
}

#[tokio::test]
async fn a_new_conversation_is_announced_to_both_once() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &[]).await;
    let mut alice = Socket::connect(&there, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    let opened = here.api().try_open_conversation(ALICE, BORIS).await.ok(201);
    here.api().try_open_conversation(BORIS, ALICE).await.ok(200);
    here.api().send(id_of(&opened), ALICE, "last").await;

    for socket in [&mut alice, &mut boris] {
        let frames = socket.before_message("last").await;
        assert_eq!(frames.len(), 1, "{frames:?}");
        assert_eq!(frames[0]["type"], "conversation_created");
        assert_conversation(&frames[0]["data"]);
        assert_eq!(frames[0]["data"], opened);
    }
}

#[tokio::test]
async fn edits_and_deletions_over_http_are_live() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &[]).await;
    let api = here.api();
    let mut boris = Socket::connect(&there, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    let huge = "ü".repeat(30_000);

    for content in ["hallo", huge.as_str()] {
        let edited = api.edit(id_of(&sent), ALICE, content).await.ok(200);
        let frame = boris.expect("message_updated").await;
        assert!(frame["data"] == edited, "{} bytes", content.len());
    }
    api.delete_message(id_of(&sent), ALICE).await;
    let frame = boris.expect("message_deleted").await;
    assert_eq!(frame["data"]["id"], sent["id"]);
    assert_eq!(frame["data"]["content"], "");
}

#[tokio::test]
async fn the_clients_of_a_killed_replica_go_on_at_another() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [mut here, there] = Replica::start_many(&database, &[]).await;
    let mut boris = Socket::connect(&here, BORIS).await;
    there.api().send(conversation, ALICE, "seen").await;
    let last_seen = boris.expect("chat_message").await;

    here.kill();
    assert_eq!(boris.closed().await, None, "cut without a close frame");
    let missed = there.api().send(conversation, ALICE, "missed").await;
    let mut boris = Socket::resume(&there, BORIS, &cursor_of(&last_seen)).await;

    boris
        .expect_where("the missed message", |frame| frame["data"] == missed)
        .await;
}

#[tokio::test]
async fn a_replica_that_stood_still_delivers_what_was_sent_meanwhile() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &[]).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    there.freeze();
    for number in 0..20 {
        here.api()
            .send(conversation, ALICE, &number.to_string())
            .await;
    }
    there.thaw();

    let seqs: Vec<_> = boris
        .collect_messages(20)
        .await
        .iter()
        .map(seq_of)
        .collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
}

/// An open transaction anywhere in the cluster holds the horizon back, so a listener that comes back reads more than
/// it has missed. What was committed before a socket was there is still none of its business.
#[tokio::test]
async fn a_socket_starts_live_though_its_listener_is_cut_later() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    database.migrate(&[]).await.assert_ok();
    let _stranger = database.holding("select pg_current_xact_id()").await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', 'old ' || n from generate_series(1, 3) n"
        ))
        .await;
    let proxy = Proxy::before(&database).await;
    let replica = Replica::start(&database, &proxy.for_listener()).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    replica.api().send(conversation, ALICE, "first").await;
    assert_eq!(boris.before_message("first").await, Vec::<Value>::new());

    proxy.refuse();
    kill_listeners(&database).await;
    until_status(&replica, "/health", 503).await;
    database
        .execute("update messages set content = 'edited' where content = 'old 1'")
        .await;
    replica.api().send(conversation, ALICE, "second").await;
    proxy.accept();

    // The change is news; the message itself is not.
    let frames = boris.before_message("second").await;
    assert_eq!(frames.len(), 1, "{frames:?}");
    assert_eq!(frames[0]["type"], "message_updated");
    assert_eq!(frames[0]["data"]["content"], "edited");
}
