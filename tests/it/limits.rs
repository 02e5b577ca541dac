//! Every limit is a setting: what is within it passes, what is beyond it is refused in its own way.

mod connections;
mod table;
mod weights;

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::support::*;

/// A request's status, and how long its head was.
async fn status_of(replica: &Replica, head: &str) -> u16 {
    let mut raw = Raw::connect(replica).await;
    raw.write_unwelcome(head).await;
    raw.reply().await.expect("an answer").status
}

/// A head of exactly so many bytes, with so many fields.
fn head_of(bytes: usize, fields: usize) -> String {
    let more: String = (1..fields).map(|n| format!("x-{n}: 1\r\n")).collect();
    let frame = format!("GET /health/live? HTTP/1.1\r\nhost: x\r\n{more}\r\n");
    let query = "q".repeat(bytes.saturating_sub(frame.len()));
    frame.replace('?', &format!("?{query}"))
}

#[tokio::test]
async fn a_requests_head_may_have_so_many_bytes_and_fields_and_no_more() {
    let database = Database::fresh().await;
    let set = [("MAX_HEADER_BYTES", "4096"), ("MAX_HEADERS", "20")];
    let (by_default, set) = (
        Replica::start(&database, &[]).await,
        Replica::start(&database, &set).await,
    );
    for (replica, bytes, fields) in [(&by_default, 16_384, 100), (&set, 4096, 20)] {
        assert_eq!(status_of(replica, &head_of(bytes, 2)).await, 200);
        assert_eq!(status_of(replica, &head_of(bytes + 1, 2)).await, 431);
        assert_eq!(status_of(replica, &head_of(0, fields)).await, 200);
        assert_eq!(status_of(replica, &head_of(0, fields + 1)).await, 431);
    }
}

#[tokio::test]
async fn a_query_may_have_so_many_bytes_and_no_more() {
    let database = Database::fresh().await;
    let by_default = Replica::start(&database, &[]).await;
    let set = Replica::start(&database, &[("MAX_QUERY_BYTES", "8")]).await;
    for (replica, bytes) in [(&by_default, 256), (&set, 8)] {
        let api = replica.api();
        let of = |count: usize| "q".repeat(count);
        for path in [
            format!("/api/v1/chat/users/{ALICE}/search"),
            format!("/api/v1/chat/users/{ALICE}/conversations"),
            "/api/v1/users/".to_owned(),
            "/api/v1/users/active".to_owned(),
            "/api/v1/users/role/buyer".to_owned(),
        ] {
            let ask = async |count| api.get(&format!("{path}?q={}", of(count))).await;
            ask(bytes).await.ok(200);
            let message = ask(bytes + 1).await.refused(400, "validation_failed");
            assert_eq!(
                message,
                format!("q must be at most {bytes} bytes"),
                "{path}"
            );
        }
        let ask = async |count| api.get(&format!("/api/v1/users?role={}", of(count))).await;
        ask(bytes).await.ok(200);
        let message = ask(bytes + 1).await.refused(400, "validation_failed");
        assert_eq!(message, format!("role must be 1 to {bytes} bytes"));
    }
}

#[tokio::test]
async fn a_body_and_a_frame_may_have_so_many_bytes_and_no_more() {
    let database = Database::fresh().await;
    let set = [("MAX_BODY_BYTES", "2048"), ("MAX_MESSAGE_BYTES", "1024")];
    let replica = Replica::start(&database, &set).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let padded = |bytes: usize, text: String| format!("{text}{}", " ".repeat(bytes - text.len()));
    let post = async |bytes: usize| {
        let body = padded(
            bytes,
            json!({"conversationId": conversation, "senderId": ALICE, "content": "x"}).to_string(),
        );
        let request = replica
            .api()
            .request(Method::POST, "/api/v1/chat/messages")
            .header("content-type", "application/json")
            .body(body);
        Reply::to(request).await
    };
    post(2048).await.ok(201);
    post(2049).await.refused(413, "payload_too_large");

    let ping = r#"{"type":"ping","requestId":"r","data":{}}"#.to_owned();
    let mut socket = Socket::connect(&replica, ALICE).await;
    socket.send_text(&padded(2048, ping.clone())).await;
    socket.expect("ack").await;
    socket.send_text(&padded(2049, ping)).await;
    assert_eq!(socket.closed().await, Some(1009));
}

/// Where the bytes of a body are not chosen: they follow.
#[tokio::test]
async fn a_content_of_the_most_bytes_is_taken_however_its_json_is_spelled_and_none_of_one_more() {
    const MOST: usize = 1_000_000;
    let database = Database::fresh().await;
    let most = MOST.to_string();
    let settings = [
        ("MAX_MESSAGE_BYTES", most.as_str()),
        // What is large counts for as much as may come at once.
        ("RATE_LIMIT_PER_SECOND", "0"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let members = |bytes: usize| {
        let content = "\\u0041".repeat(bytes);
        format!(r#""conversationId": "{conversation}", "content": "{content}""#)
    };
    let post = async |bytes: usize| {
        let body = format!(r#"{{"senderId": "{ALICE}", {}}}"#, members(bytes));
        let request = replica
            .api()
            .request(Method::POST, "/api/v1/chat/messages")
            .header("content-type", "application/json")
            .body(body);
        Reply::to(request).await
    };
    let sent = post(MOST).await.ok(201);
    assert_eq!(sent["content"].as_str().map(str::len), Some(MOST));
    post(MOST + 1).await.refused(400, "validation_failed");

    let mut socket = Socket::connect(&replica, ALICE).await;
    for (bytes, kind) in [(MOST, "ack"), (MOST + 1, "error")] {
        let members = members(bytes);
        let frame =
            format!(r#"{{"type": "send_message", "requestId": "{bytes}", "data": {{{members}}}}}"#);
        socket.send_text(&frame).await;
        let answer = socket.answer(&bytes.to_string()).await;
        assert_eq!(answer["type"], kind);
    }
    assert_eq!(database.count("messages").await, 2);
}

/// Masked with zeros, as all of a client's frames are (RFC 6455 section 5.2): nothing of what it announces need come.
#[tokio::test]
async fn a_frame_counts_by_what_it_announces_and_a_message_by_all_its_frames() {
    let database = Database::fresh().await;
    let set = [("MAX_BODY_BYTES", "2048"), ("MAX_MESSAGE_BYTES", "1024")];
    let replica = Replica::start(&database, &set).await;
    let frame = |first: u8, announced: u16, payload: usize| {
        let mut frame = vec![first, 0x80 | 126];
        frame.extend(announced.to_be_bytes());
        frame.resize(frame.len() + 4, 0);
        frame.resize(frame.len() + payload, b' ');
        frame
    };
    let (text, beginning, end) = (0x81, 0x01, 0x80);
    let announced_only = frame(text, 2049, 0);
    let in_parts = [frame(beginning, 1500, 1500), frame(end, 1500, 1500)].concat();
    for sent in [announced_only, in_parts] {
        let mut raw = Raw::upgrade(&replica, ALICE).await;
        raw.write(&sent).await;
        assert_eq!(close_code(&raw.until_closed().await), Some(1009));
    }
}

const BEGINNING: u8 = 0x01;
const CONTINUATION: u8 = 0x00;
const END: u8 = 0x80;

#[tokio::test]
async fn a_message_that_is_never_finished_is_given_up_in_time_though_pings_are_answered() {
    let database = Database::fresh().await;
    let set = [("BODY_TIMEOUT_SECONDS", "3"), ("HEARTBEAT_SECONDS", "2")];
    let replica = Replica::start(&database, &set).await;
    let fragment = |text: &str, kind, last| {
        let text = text.to_owned().into_bytes();
        Message::Frame(Frame::message(text, OpCode::Data(kind), last))
    };
    let mut socket = Socket::connect(&replica, ALICE).await;
    // One that is finished in time is none.
    let (begin, end) = r#"{"type":"ping","requestId":"r","data":{}}"#.split_at(10);
    socket.send_frame(fragment(begin, Data::Text, false)).await;
    socket.send_frame(fragment(end, Data::Continue, true)).await;
    socket.expect("ack").await;

    let started = Instant::now();
    socket.send_frame(fragment(begin, Data::Text, false)).await;
    // Reading answers the pings.
    let code = within("the socket is closed", socket.closed()).await;
    assert_eq!(code, Some(1013));
    assert!(started.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn a_message_has_a_bounded_number_of_frames_and_each_of_them_counts() {
    let database = Database::fresh().await;
    let rate = [("RATE_LIMIT_PER_SECOND", "10"), ("RATE_LIMIT_BURST", "10")];
    let replica = Replica::start(&database, &rate).await;
    let mut raw = Raw::upgrade(&replica, ALICE).await;
    let flood = client_frame(CONTINUATION, "").repeat(100_000);
    raw.write_unwelcome([client_frame(BEGINNING, "{"), flood].concat())
        .await;
    assert_eq!(close_code(&raw.until_closed().await), Some(1009));

    // A hundred frames are read in a second, and as many at once.
    let mut raw = Raw::upgrade(&replica, BORIS).await;
    let started = Instant::now();
    let in_parts = |id: usize| {
        [
            client_frame(BEGINNING, "{"),
            client_frame(CONTINUATION, "").repeat(98),
            client_frame(
                END,
                format!(r#""type":"ping","requestId":"r{id}","data":{{}}}}"#),
            ),
        ]
        .concat()
    };
    for id in 0..5 {
        raw.write(in_parts(id)).await;
    }
    raw.heard("\"requestId\":\"r4\"").await;
    // Those before the last message: 400 frames.
    assert!(started.elapsed() >= Duration::from_millis(2500));
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_in_time() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("IDLE_TIMEOUT_SECONDS", "3")]).await;
    let mut never_asked = Raw::connect(&replica).await;
    let mut served = Raw::connect(&replica).await;
    served.request("GET /health/live", &[]).await;
    assert_eq!(served.reply().await.expect("an answer").status, 200);
    never_asked.closed().await;
    served.closed().await;
    // A socket is no idle connection.
    let mut socket = Socket::connect(&replica, ALICE).await;
    Raw::connect(&replica).await.closed().await;
    socket.send_command("ping", json!({})).await;
}

#[tokio::test]
async fn a_limit_of_zero_is_none() {
    const SOCKETS: usize = 25;
    const SENDS: usize = 300;
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let none = [
        ("MAX_CONNECTIONS", "0"),
        // Of no effect then.
        ("MAX_HTTP_CONNECTIONS", "10"),
        ("MAX_CONNECTIONS_PER_USER", "0"),
        ("RATE_LIMIT_PER_SECOND", "0"),
    ];
    let replica = Replica::start(&database, &none).await;
    // More than a user may have, and than they may send at once, by default.
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        sockets.push(Socket::connect(&replica, ALICE).await);
    }
    let mut requests = Vec::new();
    for number in 0..SENDS {
        let data = json!({"conversationId": conversation, "content": number.to_string()});
        requests.push(sockets[0].request("send_message", data).await);
    }
    for request in &requests {
        let answer = sockets[0].answer(request).await;
        assert_eq!(answer["type"], "ack", "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_in_time() {
    let database = Database::fresh().await;
    let set = [
        ("STALL_TIMEOUT_SECONDS", "1"),
        ("SOCKET_QUEUE", "65536"),
        ("RATE_LIMIT_PER_SECOND", "0"),
        ("HEARTBEAT_SECONDS", "3600"),
    ];
    let replica = Replica::start(&database, &set).await;
    let by_default = Replica::start(&database, &set[1..]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let _slow = Socket::connect_narrow(&replica, BORIS).await;
    let _as_slow = Socket::connect_narrow(&by_default, BORIS).await;
    let content = "x".repeat(60_000);
    // It is not its queue that ends it: that has room for all of them.
    eventually("the socket is gone", || async {
        api.send(conversation, ALICE, &content).await;
        (api.metric("pgchat_connections").await == 0.0).then_some(())
    })
    .await;
    // Nor the default.
    let there = by_default.api().metric("pgchat_connections").await;
    assert_eq!(there, 1.0);
}

#[tokio::test]
async fn what_writes_or_searches_is_limited_like_sends() {
    let database = Database::fresh().await;
    // One at once, and the next one after a whole second: each of these takes the only one.
    let set = [("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "1")];
    let replica = Replica::start(&database, &set).await;
    let api = replica.api();
    let conversation = database.conversation(ALICE, BORIS).await;
    let message = eventually("a message", || async {
        let reply = api.try_send(conversation, ALICE, "hello").await;
        (reply.status == 201).then(|| id_of(&reply.json()))
    })
    .await;
    let mut socket = Socket::connect(&replica, ALICE).await;
    let refused = async |reply: Reply| -> Option<()> {
        (reply.status == 429).then(|| {
            reply.refused(429, "too_many_requests");
        })
    };
    // Whatever passes in between, the next one at once does not.
    eventually("an edit is refused", || async {
        refused(api.edit(message, ALICE, "x").await).await
    })
    .await;
    eventually("a deletion is refused", || async {
        refused(api.delete_message(message, ALICE).await).await
    })
    .await;
    eventually("a mark is refused", || async {
        refused(api.mark_read(conversation, ALICE).await).await
    })
    .await;
    eventually("a conversation is refused", || async {
        refused(api.try_open_conversation(ALICE, CARLA).await).await
    })
    .await;
    eventually("a search is refused", || async {
        refused(api.search(ALICE, "q=x").await).await
    })
    .await;
    let ticket = format!("/api/v1/ws/ticket?user_id={ALICE}");
    eventually("a ticket is refused", || async {
        let request = api.request(Method::POST, &ticket);
        refused(Reply::to(request).await).await
    })
    .await;
    for (kind, data) in [
        ("mark_read", json!({"conversationId": conversation})),
        (
            "edit_message",
            json!({"messageId": message, "content": "y"}),
        ),
        ("delete_message", json!({"messageId": message})),
        ("authenticate", json!({"token": "of nobody"})),
    ] {
        let started = Instant::now();
        while socket.answer_to(kind, data.clone()).await["data"]["code"] != "too_many_requests" {
            assert!(started.elapsed() < DEADLINE, "{kind} is not limited");
        }
    }
    // Reading is free, and so is everybody else.
    for _ in 0..5 {
        api.messages(conversation, "").await.ok(200);
    }
    api.mark_read(conversation, BORIS).await.ok(200);
}
