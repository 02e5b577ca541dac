//! Large bodies and WebSocket messages that are begun and never finished, or wait when they are.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::auth::tokens;
use crate::support::*;

/// The largest there may be, of which a caller has room for eight.
const LARGEST: usize = 1024 * 1024;
const SHARE: usize = 8;
const TOO_MANY: usize = SHARE + 4;

/// Nobody answers a ping here.
const NO_PINGS: (&str, &str) = ("HEARTBEAT_SECONDS", "3600");

const PATIENT: [(&str, &str); 2] = [("BODY_TIMEOUT_SECONDS", "120"), NO_PINGS];

/// With its envelope it is larger than what is not counted.
fn longest() -> String {
    "x".repeat(65_536)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_finishes_none_of_their_large_messages_leaves_the_others_their_room() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &PATIENT).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let message = |content: &str| json!({"conversationId": conversation, "content": content});
    // Masked with zeros, as all of a client's frames are (RFC 6455 section 5.2).
    let mut head = vec![0x81, 0x80 | 127];
    head.extend((LARGEST as u64).to_be_bytes());
    head.extend([0; 4 + 100]);
    let mut open = JoinSet::new();
    for _ in 0..TOO_MANY {
        let mut raw = Raw::upgrade(&replica, ALICE).await;
        raw.write(&head).await;
        open.spawn(async move { close_code(&raw.until_closed().await) });
    }
    for _ in SHARE..TOO_MANY {
        let code = within("one too many is closed", open.join_next()).await;
        assert_eq!(code.expect("a socket").expect("its end"), Some(1013));
    }
    assert!(open.try_join_next().is_none());

    let mut alice = Socket::connect(&replica, ALICE).await;
    let small = alice.request("send_message", message("small")).await;
    assert_eq!(alice.answer(&small).await["type"], "ack");
    let mut boris = Socket::connect(&replica, BORIS).await;
    let large = boris.request("send_message", message(&longest())).await;
    assert_eq!(boris.answer(&large).await["type"], "ack");
    let closed = alice.until_closing("send_message", message(&longest()));
    assert_eq!(closed.await, Err(Some(1013)));

    drop(open);
    eventually("there is room again", || async {
        let mut alice = Socket::connect(&replica, ALICE).await;
        let sent = alice.until_closing("send_message", message(&longest()));
        sent.await.ok()
    })
    .await;
}

/// All edits wait for a row, and what comes behind one waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_whose_large_messages_wait_for_slow_commands_leaves_the_others_their_room() {
    let database = Database::fresh().await;
    let longest_content = LARGEST - 1024;
    let bytes = longest_content.to_string();
    let settings = [
        ("DB_TIMEOUT_SECONDS", "120"),
        ("MAX_MESSAGE_BYTES", bytes.as_str()),
        // What is large counts for as much as may come at once.
        ("RATE_LIMIT_PER_SECOND", "0"),
        NO_PINGS,
    ];
    let replica = Replica::start(&database, &settings).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let sent = replica.api().send(conversation, ALICE, "first").await;
    let id = id_of(&sent);
    let holder = database
        .holding(&format!(
            "select from messages where id = '{id}' for update"
        ))
        .await;
    let edit = |content: &str| {
        let data = json!({"messageId": id, "content": content});
        json!({"type": "edit_message", "requestId": content.len().to_string(), "data": data})
    };
    let slow = text_frame(&edit("slow").to_string());
    let large = text_frame(&edit(&"x".repeat(longest_content)).to_string());
    let mut open = JoinSet::new();
    for number in 0..TOO_MANY {
        let mut raw = Raw::upgrade(&replica, ALICE).await;
        if number % 2 == 0 {
            raw.write(&slow).await;
        }
        let large = large.clone();
        open.spawn(async move {
            raw.write_unwelcome(&large).await;
            close_code(&raw.until_closed().await)
        });
    }
    for _ in SHARE..TOO_MANY {
        let code = within("one too many is closed", open.join_next()).await;
        assert_eq!(code.expect("a socket").expect("its end"), Some(1013));
    }
    assert!(open.try_join_next().is_none());
    let large = json!({"conversationId": conversation, "content": longest()});
    let mut boris = Socket::connect(&replica, BORIS).await;
    boris.send_command("send_message", large.clone()).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let closed = alice.until_closing("send_message", large.clone());
    assert_eq!(closed.await, Err(Some(1013)));

    holder.batch_execute("commit").await.expect("its end");
    eventually("there is room again", || async {
        let mut alice = Socket::connect(&replica, ALICE).await;
        let sent = alice.until_closing("send_message", large.clone());
        sent.await.ok()
    })
    .await;
}

/// Of what waits for a row, and behind that, a socket keeps so much; the rest is left to TCP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_large_commands_behind_a_held_one_is_not_read() {
    let database = Database::fresh().await;
    let settings = [("DB_TIMEOUT_SECONDS", "120"), NO_PINGS];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = database.conversation(ALICE, BORIS).await;
    let id = id_of(&api.send(conversation, ALICE, "first").await);
    let holder = database
        .holding(&format!(
            "select from messages where id = '{id}' for update"
        ))
        .await;
    // The answers are small.
    let edit = |number: usize, padding: &str| {
        let data = json!({"messageId": id, "content": "edited", "padding": padding});
        let request = format!("edit-{number}");
        text_frame(&json!({"type": "edit_message", "requestId": request, "data": data}).to_string())
    };
    let mut raw = Raw::upgrade(&replica, ALICE).await;
    raw.write(&edit(0, "")).await;
    let padding = "x".repeat(LARGEST - 1024);
    let flood: Vec<_> = (1..=TOO_MANY)
        .map(|number| edit(number, &padding))
        .collect();
    let flood = tokio::spawn(async move {
        for frame in flood {
            raw.write(&frame).await;
        }
        raw
    });
    let edits = "pgchat_frames_total{direction=\"received\",type=\"edit_message\"}";
    until_metric_above(&replica, edits, 1.0).await;
    // The sender's other sockets have their room meanwhile.
    let mut alice = Socket::connect(&replica, ALICE).await;
    for _ in 0..TOO_MANY {
        let data = json!({"conversationId": conversation, "content": longest()});
        alice.send_command("send_message", data).await;
    }
    assert_eq!(
        api.metric(edits).await,
        2.0,
        "the held one and the next one"
    );

    holder.batch_execute("commit").await.expect("its end");
    let mut raw = within("all are sent", flood).await.expect("a flood");
    for number in 0..=TOO_MANY {
        raw.heard(&format!("\"edit-{number}\"")).await;
    }
}

/// Most sockets only listen for most of the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_has_sent_something_large_holds_no_more_than_another_afterwards() {
    const SOCKETS: usize = 100;
    let database = Database::fresh().await;
    let settings = [("MAX_CONNECTIONS_PER_USER", "0"), NO_PINGS];
    let replica = Replica::start(&database, &settings).await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(Socket::connect(&replica, ALICE).await);
    }
    let before = replica.resident_kib();
    let padding = "x".repeat(LARGEST - 1024);
    for socket in &mut sockets {
        let data = json!({"padding": padding});
        assert_eq!(socket.answer_to("ping", data).await["type"], "ack");
    }
    let now = replica.resident_kib();
    let kib = now
        .zip(before)
        .map_or(0, |(now, before)| now.saturating_sub(before));
    assert!(kib < 16 * 1024, "{kib} KiB");
}

/// In trusted mode who sends is named in the body: all callers over HTTP have one share, but for edits, whose address names the user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_that_are_never_finished_leave_small_ones_and_sockets_their_room() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &PATIENT).await;
    let api = replica.api();
    let conversation = database.conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "to be edited").await;
    let mut open = JoinSet::new();
    for _ in 0..TOO_MANY {
        let mut raw = Raw::connect(&replica).await;
        let length = format!("content-length: {LARGEST}");
        let headers = ["content-type: application/json", &length];
        raw.request("POST /api/v1/chat/messages", &headers).await;
        raw.write(format!("{{\"content\":\"{}", longest())).await;
        open.spawn(async move { raw.reply().await });
    }
    for _ in SHARE..TOO_MANY {
        let reply = within("one too many is refused", open.join_next()).await;
        let reply = reply.expect("a request").expect("its end");
        let reply = reply.expect("an answer");
        reply.refused(503, "unavailable");
        assert!(reply.head.contains("\r\nretry-after: 1\r\n"), "{reply:?}");
    }
    assert!(open.try_join_next().is_none());

    let large = api.try_send(conversation, ALICE, &longest()).await;
    large.refused(503, "unavailable");
    api.send(conversation, ALICE, "small").await;
    api.edit(id_of(&sent), ALICE, &longest()).await.ok(200);
    let mut boris = Socket::connect(&replica, BORIS).await;
    let data = json!({"conversationId": conversation, "content": longest()});
    let large = boris.request("send_message", data).await;
    assert_eq!(boris.answer(&large).await["type"], "ack");

    drop(open);
    eventually("there is room again", || async {
        let reply = api.try_send(conversation, ALICE, &longest()).await;
        (reply.status == 201).then_some(())
    })
    .await;
}

/// Where callers are known, each of them has a share of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_finishes_none_of_their_bodies_leaves_the_others_their_room() {
    let database = Database::fresh().await;
    let jwt = [("JWT_SECRET", tokens::SECRET), ("SERVER_HOST", "127.0.0.1")];
    let replica = Replica::start(&database, &[&PATIENT[..], &jwt].concat()).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let ask = async |method: Method, path: &str, body: &Value| {
        let request = replica.api().request(method, path).json(body);
        Reply::to(request.bearer_auth(tokens::token(BORIS))).await
    };
    let message = json!({"conversationId": conversation, "content": longest()});
    let pair = json!({"user1Id": ALICE, "user2Id": BORIS, "padding": longest()});
    let (messages, conversations) = ("/api/v1/chat/messages", "/api/v1/chat/conversations");
    let sent = id_of(&ask(Method::POST, messages, &message).await.ok(201));
    for (user, method, path, body, status) in [
        (ALICE, Method::POST, messages.to_owned(), &message, 201),
        (CARLA, Method::POST, conversations.to_owned(), &pair, 200),
        (
            DAVID,
            Method::PATCH,
            format!("{messages}/{sent}"),
            &message,
            200,
        ),
    ] {
        let mut open = JoinSet::new();
        for _ in 0..TOO_MANY {
            let mut raw = Raw::connect(&replica).await;
            let headers = [
                "content-type: application/json".to_owned(),
                format!("content-length: {LARGEST}"),
                format!("authorization: Bearer {}", tokens::token(user)),
            ];
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            raw.request(&format!("{method} {path}"), &headers).await;
            raw.write(format!("{{\"content\":\"{}", longest())).await;
            open.spawn(async move { raw.reply().await });
        }
        for _ in SHARE..TOO_MANY {
            let reply = within("one too many is refused", open.join_next()).await;
            let reply = reply.expect("a request").expect("its end");
            reply.expect("an answer").refused(503, "unavailable");
        }
        let reply = ask(method.clone(), &path, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        assert!(open.try_join_next().is_none());
    }
}

/// Read into values of their own, each of these few bytes would take thirty.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_takes_no_more_memory_than_its_bytes_whatever_is_in_it() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = database.conversation(ALICE, BORIS).await;
    api.send(conversation, ALICE, &longest()).await;
    let before = replica.most_resident_kib();
    let zeros = |bytes: usize| vec![0; bytes / 2];
    let names = (0..LARGEST / 11 - 200).map(|number| (format!("{number:06}"), json!(0)));
    let names: serde_json::Map<_, _> = names.collect();
    for body in [
        json!({"content": zeros(LARGEST - 100)}),
        json!({"content": 7, "unknown": zeros(LARGEST - 100)}),
        names.into(),
    ] {
        let message = format!("/api/v1/chat/messages/{NOBODY}?user_id={ALICE}");
        api.patch(&message, &body)
            .await
            .refused(400, "validation_failed");
        api.post_message(&body)
            .await
            .refused(400, "validation_failed");
    }
    let most = replica.most_resident_kib();
    let kib = most
        .zip(before)
        .map_or(0, |(most, before)| most.saturating_sub(before));
    assert!(kib < 8 * 1024, "{kib} KiB");
}
