//! From the signal to the exit: nothing in flight is dropped, and not everybody comes back at the same moment.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use chrono::{DateTime, FixedOffset};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::replay_permits::{holding_replays, until_replays_wait};
use super::*;

/// What a busy machine adds to a time that somebody waits on purpose.
const SLACK: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_loses_nothing_and_spreads_the_reconnects() {
    const SOCKETS: i32 = 30;
    // Each look at it may take the 2 s that the database is waited for.
    const DELAY: Duration = Duration::from_secs(10);
    const GRACE: Duration = Duration::from_secs(25);
    let database = Database::fresh().await;
    let settings = quick(&[
        ("SHUTDOWN_DELAY_SECONDS", "10"),
        ("SHUTDOWN_GRACE_SECONDS", "25"),
        ("RATE_LIMIT_PER_SECOND", "0"),
        ("RATE_LIMIT_BURST", "0"),
        // It says when each socket ends.
        ("LOG_FORMAT", "json"),
        ("LOG_LEVEL", "debug"),
    ]);
    let [mut leaving, other] = Replica::start_many(&database, &settings).await;
    let users = database.add_users(SOCKETS).await;
    let mut listeners = JoinSet::new();
    let mut senders = JoinSet::new();
    for (number, user) in users.into_iter().enumerate() {
        let conversation = other.api().open_conversation(ALICE, user).await;
        let mut socket = Socket::connect(&leaving, user).await;
        if number % 3 == 0 {
            // Sends over its socket until that is closed.
            senders.spawn(async move {
                let mut acked = Vec::new();
                loop {
                    let content = format!("{}", acked.len());
                    let data = json!({"conversationId": conversation, "content": content});
                    match socket.until_closing("send_message", data).await {
                        Ok(ack) => acked.push(ack["message"].clone()),
                        Err(_) => return (conversation, acked),
                    }
                }
            });
        } else {
            listeners.spawn(async move {
                let connection = uuid_in(&socket.connected["data"], "connectionId");
                let closing = socket.expect("server_closing").await;
                (closing, socket.closed().await, connection)
            });
        }
        if number % 3 == 1 {
            // Sends over HTTP until it is refused, or nobody answers.
            let api = leaving.api();
            senders.spawn(async move {
                let mut acked = Vec::new();
                loop {
                    let body = json!({
                        "conversationId": conversation, "senderId": user, "content": acked.len().to_string()
                    });
                    let request = api.request(reqwest::Method::POST, "/api/v1/chat/messages");
                    match request.json(&body).send().await {
                        Ok(reply) if reply.status().as_u16() == 201 => {
                            acked.push(reply.json::<Value>().await.expect("a whole answer"));
                        }
                        Ok(reply) => {
                            assert_eq!(reply.status().as_u16(), 503);
                            return (conversation, acked);
                        }
                        Err(_) => return (conversation, acked),
                    }
                }
            });
        }
    }
    until_metric_above(&leaving, "pgchat_writer_messages_total", 200.0).await;

    leaving.terminate();
    let signalled = Instant::now();
    until_status(&leaving, "/health/ready", 503).await;
    let noticed = signalled.elapsed();
    assert!(noticed < DELAY, "not ready after {noticed:?}");
    assert_eq!(leaving.ended().await.code(), Some(0), "{}", leaving.log());
    assert!(signalled.elapsed() < GRACE + SLACK);

    let ends = ends_of_sockets(&leaving);
    let (mut moments, mut pauses) = (Vec::new(), BTreeSet::new());
    while let Some(done) = listeners.join_next().await {
        let (closing, code, connection) = done.expect("a listener");
        pauses.insert(closing["data"]["reconnectAfterMs"].as_u64().expect("ms"));
        assert_eq!(code, Some(1012));
        moments.push(ends[&connection.to_string()]);
    }
    assert!(pauses.len() > 1, "all come back after {pauses:?} ms");
    moments.sort_unstable();
    let spread = moments[moments.len() - 1] - moments[0];
    assert!(spread.num_milliseconds() > 300, "all within {spread}");

    let mut all = 0;
    while let Some(done) = senders.join_next().await {
        let (conversation, acked) = done.expect("a sender");
        let history = other.api().history(conversation).await;
        assert!(history.starts_with(&acked), "acknowledged, and not stored");
        assert!(
            history.len() <= acked.len() + 1,
            "one may be stored without an answer"
        );
        all += acked.len();
    }
    assert!(all >= 200, "{all} were acknowledged");
}

/// By connection id, when the replica ended it: not when a client came to know, on a machine that has no time for it.
fn ends_of_sockets(replica: &Replica) -> HashMap<String, DateTime<FixedOffset>> {
    let mut ends = HashMap::new();
    for line in replica.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        if let (Some(connection), Some(_)) =
            (line["connectionId"].as_str(), line["seconds"].as_f64())
        {
            let time = line["time"].as_str().expect("a time");
            let time = DateTime::parse_from_rfc3339(time).expect("a time");
            ends.insert(connection.to_owned(), time);
        }
    }
    ends
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_end() {
    let database = Database::fresh().await;
    let patient = [("WRITE_TIMEOUT_SECONDS", "60")];
    let mut replica = Replica::start(&database, &patient).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let stranger = database.holding_conversation(conversation).await;
    let over_http = {
        let api = api.clone();
        tokio::spawn(async move { api.send(conversation, ALICE, "over HTTP").await })
    };
    let data = json!({"conversationId": conversation, "content": "over the socket"});
    let request = boris.request("send_message", data).await;
    // Both are there, or wait for one that is.
    until_metric_above(&replica, "pgchat_writer_slow_lane_total", 1.0).await;

    replica.terminate();
    until_status(&replica, "/health/ready", 503).await;
    stranger.batch_execute("commit").await.expect("its end");

    let sent = over_http.await.expect("an answer");
    let answer = boris.answer(&request).await;
    assert_eq!(answer["type"], "ack", "{answer}");
    boris.expect("server_closing").await;
    assert_eq!(boris.closed().await, Some(1012));
    assert_eq!(replica.ended().await.code(), Some(0));
    assert_eq!(sent["content"], "over HTTP");
    assert_eq!(database.count("messages").await, 2);
}

#[tokio::test]
async fn what_the_delay_leaves_of_the_grace_is_enough_for_the_sockets() {
    let database = Database::fresh().await;
    let settings = [
        ("SHUTDOWN_DELAY_SECONDS", "7"),
        ("SHUTDOWN_GRACE_SECONDS", "15"),
    ];
    let mut replica = Replica::start(&database, &settings).await;
    let mut sockets = Vec::new();
    for user in database.add_users(20).await {
        sockets.push(Socket::connect(&replica, user).await);
    }
    let signalled = Instant::now();
    replica.terminate();
    for mut socket in sockets {
        socket.expect("server_closing").await;
        assert_eq!(socket.closed().await, Some(1012));
    }
    assert_eq!(replica.ended().await.code(), Some(0));
    let took = signalled.elapsed();
    assert!(took >= Duration::from_secs(7), "ended after {took:?}");
    assert!(
        took < Duration::from_secs(15) + SLACK,
        "ended after {took:?}"
    );
    let log = replica.log();
    assert!(!log.contains("were still open"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let database = Database::fresh().await;
    let slow = [
        ("SHUTDOWN_DELAY_SECONDS", "300"),
        ("SHUTDOWN_GRACE_SECONDS", "600"),
    ];
    let mut replica = Replica::start(&database, &slow).await;

    replica.terminate();
    until_status(&replica, "/health/ready", 503).await;
    replica.terminate();

    assert_eq!(replica.ended().await.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_within_its_grace_when_the_database_is_silent() {
    const GRACE: Duration = Duration::from_secs(3);
    const SENT: usize = 20;
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    // Whatever waits for the database's answer, and not for the grace, waits for longer than the test does.
    let times = [
        ("SHUTDOWN_GRACE_SECONDS", "3"),
        ("DB_TIMEOUT_SECONDS", "300"),
        ("WRITE_TIMEOUT_SECONDS", "300"),
    ];
    let settings = quick(&[&proxy.for_all()[..], &times].concat());
    let mut replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut socket = Socket::connect(&replica, ALICE).await;

    proxy.mute();
    for number in 0..SENT {
        let data = json!({"conversationId": conversation, "content": number.to_string()});
        socket.request("send_message", data).await;
    }
    // Read behind them.
    socket.send_command("ping", json!({})).await;
    let unanswered = tokio::spawn(async move {
        let body = json!({"conversationId": conversation, "senderId": ALICE, "content": "hello"});
        let request = api.request(reqwest::Method::POST, "/api/v1/chat/messages");
        request
            .json(&body)
            .send()
            .await
            .map(|reply| reply.status().as_u16())
    });
    until_status(&replica, "/health", 503).await;
    let signalled = Instant::now();
    replica.terminate();

    assert_eq!(replica.ended().await.code(), Some(0));
    let took = signalled.elapsed();
    assert!(took < GRACE + SLACK, "ended after {took:?}");
    // Wherever they were, in a batch that was on its way or behind it; the request's own, too, if it was read before the end.
    let log = replica.log();
    let told = |number: usize| log.contains(&format!(" {number} messages were not answered"));
    assert!(told(SENT) || told(SENT + 1), "{log}");
    // Refused or cut, and in no case acknowledged.
    let answer = unanswered.await.expect("a request");
    assert!(matches!(answer, Ok(503) | Err(_)), "{answer:?}");
}

/// The replay alone would keep the replica until the end of the grace, which is longer than a test waits.
#[tokio::test]
async fn a_drain_does_not_wait_for_what_is_read_for_a_client_that_came_back() {
    let database = Database::fresh().await;
    let times = [
        ("SHUTDOWN_GRACE_SECONDS", "300"),
        ("DB_TIMEOUT_SECONDS", "300"),
    ];
    let mut replica = Replica::start(&database, &quick(&times)).await;
    let cursor = settled_cursor(&replica, BORIS).await;
    let _holder = holding_replays(&database).await;
    let path = format!("/ws?user_id={BORIS}&cursor={cursor}");
    let coming = Raw::upgrade_to(&replica, &path).await;
    until_replays_wait(&database, 1).await;

    replica.terminate();

    let said = within("it is let go", coming.until_closed()).await;
    assert_eq!(close_code(&said), Some(1012));
    assert_eq!(replica.ended().await.code(), Some(0));
    let log = replica.log();
    assert!(!log.contains("were still open"), "{log}");
}
