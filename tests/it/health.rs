//! The probes, and a database that goes away and comes back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::*;

#[tokio::test]
async fn a_healthy_replica_says_so() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("SERVICE_NAME", "chat-eu")]).await;
    let api = replica.api();

    let health = api.get("/health").await.ok(200);
    assert_eq!(health, json!({"status": "ok", "service": "chat-eu"}));
    assert_eq!(api.get("/health/live").await.status, 200);
    assert_eq!(api.get("/health/ready").await.status, 200);
}

#[tokio::test]
async fn a_database_that_is_stopped_is_told_and_recovered_from() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let quick = [
        ("WRITE_TIMEOUT_SECONDS", "2"),
        ("DB_TIMEOUT_SECONDS", "2"),
        ("LISTENER_HEARTBEAT_SECONDS", "1"),
    ];
    database.migrate(&[]).await.assert_ok();
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &quick).await;
    let api = replica.api();
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    alice.send_message(conversation, "before").await;
    boris.expect("chat_message").await;

    cluster.stop();

    for _ in 0..2 {
        let health = api.get("/health").await;
        let body = health.ok(503);
        assert_eq!(body["status"], "unavailable");
        assert_eq!(body["service"], "pgchat");
        assert!(body["checks"].is_object(), "{body}");
        assert!(!health.header("retry-after").is_empty(), "{health:?}");
        let ready = api.get("/health/ready").await;
        assert_eq!(ready.status, 503, "{ready:?}");
        assert_eq!(
            api.get("/health/live").await.status,
            200,
            "the process runs"
        );

        let reply = api.send_once(conversation, ALICE, "during", "m-1").await;
        reply.refused(503, "unavailable");
        for path in [
            format!("/api/v1/chat/conversations/{ALICE}"),
            format!("/api/v1/chat/conversations/{conversation}/messages"),
            format!("/api/v1/chat/users/{ALICE}/unread-count"),
            "/api/v1/users".to_owned(),
        ] {
            let message = api.get(&path).await.refused(503, "unavailable");
            assert!(
                !message.contains("127.0.0.1"),
                "no inward detail: {message}"
            );
        }
        let data = json!({"conversationId": conversation, "content": "during"});
        alice.refused("send_message", data, "unavailable").await;
        alice.send_command("ping", json!({})).await;
    }

    cluster.start();

    eventually("the replica is healthy again", || async {
        (api.status("/health").await == Some(200)).then_some(())
    })
    .await;
    let repeat = api.send_once(conversation, ALICE, "during", "m-1").await;
    assert!(matches!(repeat.status, 200 | 201), "{repeat:?}");
    api.send(conversation, ALICE, "after").await;
    // The sockets have stayed, and the listener is live again.
    for socket in [&mut boris, &mut alice] {
        let frames: Vec<Value> = socket.before_message("after").await;
        let during = frames
            .iter()
            .filter(|frame| frame["data"]["clientMessageId"] == "m-1")
            .count();
        assert_eq!(during, 1, "{frames:?}");
    }
    assert!(!replica.log().contains("panicked at"));
}

#[tokio::test]
async fn a_database_that_crashes_is_recovered_from_without_loss() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let quick = [
        ("WRITE_TIMEOUT_SECONDS", "2"),
        ("LISTENER_HEARTBEAT_SECONDS", "1"),
    ];
    database.migrate(&[]).await.assert_ok();
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &quick).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    let mut acked = Vec::new();
    for number in 0..20 {
        let sent = here
            .api()
            .send(conversation, ALICE, &number.to_string())
            .await;
        acked.push(sent);
    }

    cluster.crash();
    cluster.start();

    for replica in [&here, &there] {
        eventually("the replica is healthy again", || async {
            (replica.api().status("/health").await == Some(200)).then_some(())
        })
        .await;
    }
    assert_eq!(there.api().history(conversation).await, acked);
    here.api().send(conversation, ALICE, "after").await;
    assert_eq!(boris.collect_messages(20).await, acked);
    assert_eq!(boris.before_message("after").await, Vec::<Value>::new());
}

/// They need no token, and the pool is for those who have one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_ask_how_a_replica_is_they_ask_the_database_once() {
    const PROBES: u32 = 60;
    const WAITING: &str = r#"pgchat_pool_waiting{pool="vital"}"#;
    let database = Database::fresh().await;
    let proxy = Proxy::to(database.cluster.port).await;
    let port = proxy.port.to_string();
    let settings = [("DB_PORT", &*port), ("DB_SSL_MODE", "disable")];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();

    proxy.mute();
    eventually("the database is silent", || async {
        (api.status("/health").await == Some(503)).then_some(())
    })
    .await;
    let refused = async || {
        let name = r#"pgchat_http_request_duration_seconds_count{method="GET",route="/health",status="503"}"#;
        api.metric(name).await
    };
    let before = refused().await;
    // For longer than one answer may be shared.
    let asking = join_all((0..PROBES).map(async |number| {
        tokio::time::sleep(Duration::from_millis(5) * number).await;
        api.status("/health").await
    }));
    let counting = async {
        let mut most = 0.0_f64;
        loop {
            most = most.max(api.metric(WAITING).await);
            if refused().await == before + f64::from(PROBES) {
                return most;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let (answers, most) = within("answers", async { tokio::join!(asking, counting) }).await;
    assert!(answers.iter().all(|status| *status == Some(503)));
    // One of them, and what a replica asks on its own.
    assert!(most < 10.0, "{most} waited for a connection of the pool");
    // Each of them is told of the outage, and the log in a few lines.
    let lines = replica.log().matches("health check: database").count();
    assert!((1..20).contains(&lines), "{lines}");

    proxy.unmute();
    eventually("the replica is healthy again", || async {
        (api.status("/health").await == Some(200)).then_some(())
    })
    .await;
}

/// The only connection for requests is taken.
#[tokio::test]
async fn slow_requests_starve_neither_the_listener_nor_the_probes() {
    let database = Database::fresh().await;
    let settings = [
        ("DB_POOL_SIZE", "3"),
        ("DB_TIMEOUT_SECONDS", "60"),
        ("LISTENER_HEARTBEAT_SECONDS", "1"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    database
        .execute_as_owner(
            "drop function chat_unread_count(uuid);
             create function chat_unread_count(user_id uuid) returns table (unread bigint)
                 language sql volatile security definer set search_path from current
                 as 'select 7::bigint from (select pg_advisory_xact_lock(815)) held';
             grant execute on function chat_unread_count(uuid) to pgchat_service;",
        )
        .await;
    let holder = database.sql().await;
    let lock = "begin; select pg_advisory_xact_lock(815)";
    holder.batch_execute(lock).await.expect("the lock");
    let mut slow = JoinSet::new();
    for _ in 0..2 {
        let api = replica.api();
        slow.spawn(async move { api.unread_count(BORIS).await });
    }
    eventually("a request waits for another", || async {
        let waiting = api.metric(r#"pgchat_pool_waiting{pool="requests"}"#).await;
        (waiting > 0.0).then_some(())
    })
    .await;

    let started = Instant::now();
    // It does not fit into its notification: the listener reads it.
    let long = "long ".repeat(1_800);
    api.send(conversation, BORIS, &long).await;
    alice.before_message(&long).await;
    let took = started.elapsed();
    assert!(took < Duration::from_secs(3), "delivered after {took:?}");
    // For longer than a heartbeat may stay away.
    while started.elapsed() < Duration::from_secs(5) {
        assert_eq!(api.status("/health").await, Some(200));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(api.metric("pgchat_listener_reconnects_total").await, 0.0);
    assert!(slow.try_join_next().is_none());

    holder.batch_execute("commit").await.expect("its end");
    while let Some(count) = within("an answer", slow.join_next()).await {
        assert_eq!(count.expect("a count"), 7);
    }
}

#[tokio::test]
async fn a_draining_replica_is_alive_but_not_ready() {
    let database = Database::fresh().await;
    let mut replica = Replica::start(&database, &[("SHUTDOWN_DELAY_SECONDS", "3")]).await;
    let api = replica.api();

    replica.terminate();

    eventually("the replica is not ready", || async {
        (api.status("/health/ready").await == Some(503)).then_some(())
    })
    .await;
    assert_eq!(api.get("/health/live").await.status, 200);
    let request = api
        .request(reqwest::Method::GET, &format!("/ws?user_id={ALICE}"))
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    Reply::to(request).await.refused(503, "unavailable");
    assert_eq!(replica.ended().await.code(), Some(0));
}

#[tokio::test]
async fn metrics_are_text_that_prometheus_reads() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    api.send(conversation, ALICE, "hello").await;
    boris.expect("chat_message").await;

    let metrics = api.get("/metrics").await;

    assert_eq!(metrics.status, 200, "{metrics:?}");
    const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(metrics.header("content-type"), PLAIN);
    let types = metrics
        .text
        .lines()
        .filter(|line| line.starts_with("# TYPE"));
    for line in types {
        let known = [" counter", " gauge", " histogram"]
            .iter()
            .any(|kind| line.ends_with(kind));
        assert!(known, "the older format has no other: {line}");
    }
    let samples: Vec<&str> = metrics
        .text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert!(!samples.is_empty(), "{metrics:?}");
    for sample in samples {
        let value = sample.rsplit(' ').next().map(str::parse::<f64>);
        let readable = sample.starts_with("pgchat_") && matches!(value, Some(Ok(_)));
        assert!(readable, "{sample}");
    }

    const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (accept, content_type) in [
        (
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPEN,
        ),
        ("text/plain;q=0.5, Application/OpenMetrics-Text", OPEN),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", PLAIN),
        ("*/*", PLAIN),
    ] {
        let request = api
            .request(Method::GET, "/metrics")
            .header("accept", accept);
        let metrics = Reply::to(request).await;
        assert_eq!(metrics.header("content-type"), content_type, "{accept}");
        assert!(metrics.text.ends_with("# EOF\n"), "{metrics:?}");
    }
}

#[tokio::test]
async fn requests_and_frames_are_counted_by_route_and_type_and_never_by_user() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let message = boris.send_message(conversation, "one").await;
    assert_eq!(message["content"], "one");
    boris.expect("chat_message").await;
    boris.send_command("ping", json!({})).await;
    boris.send_text("no JSON").await;
    boris.expect("error").await;
    api.messages(conversation, "limit=1").await.ok(200);
    api.messages(BORIS, "limit=x")
        .await
        .refused(400, "validation_failed");
    api.get("/nowhere/at/all")
        .await
        .refused(404, "route_not_found");

    for (figure, count) in [
        (
            r#"frames_total{direction="received",type="send_message"}"#,
            1.0,
        ),
        (r#"frames_total{direction="received",type="ping"}"#, 1.0),
        (r#"frames_total{direction="received",type="other"}"#, 1.0),
        (
            r#"frames_total{direction="received",type="edit_message"}"#,
            0.0,
        ),
        (r#"frames_total{direction="sent",type="connected"}"#, 1.0),
        (r#"frames_total{direction="sent",type="chat_message"}"#, 1.0),
        (r#"frames_total{direction="sent",type="ack"}"#, 2.0),
        (r#"frames_total{direction="sent",type="error"}"#, 1.0),
        (
            r#"http_request_duration_seconds_count{method="GET",route="/api/v1/chat/conversations/{conversation_id}/messages",status="200"}"#,
            1.0,
        ),
        (
            r#"http_request_duration_seconds_count{method="GET",route="/api/v1/chat/conversations/{conversation_id}/messages",status="400"}"#,
            1.0,
        ),
        (
            r#"http_request_duration_seconds_count{method="GET",route="/ws",status="101"}"#,
            1.0,
        ),
        (
            r#"http_request_duration_seconds_count{method="GET",route="other",status="404"}"#,
            1.0,
        ),
    ] {
        assert_eq!(
            api.metric(&format!("pgchat_{figure}")).await,
            count,
            "{figure}"
        );
    }
    // A message is accepted once, however often it is sent; another program's row is none that this replica accepted.
    let again = api
        .send_once(conversation, ALICE, "two", "the-same")
        .await
        .ok(201);
    let repeated = api
        .send_once(conversation, ALICE, "two", "the-same")
        .await
        .ok(200);
    assert_eq!(again["id"], repeated["id"]);
    api.try_send(conversation, CARLA, "not hers")
        .await
        .refused(403, "not_a_participant");
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'of another program')"
        ))
        .await;
    boris.expect("chat_message").await;
    boris.expect("chat_message").await;
    for (protocol, stored, repeats) in [("http", 1.0, 1.0), ("websocket", 1.0, 0.0)] {
        for (result, count) in [("stored", stored), ("repeated", repeats)] {
            let figure = format!(
                r#"pgchat_messages_accepted_total{{protocol="{protocol}",result="{result}"}}"#
            );
            assert_eq!(api.metric(&figure).await, count, "{figure}");
        }
    }
    for figure in [
        "delivery_latency_seconds_count",
        "delivery_latency_seconds_sum",
        "writer_batch_size_sum",
        "writer_wait_seconds_count",
    ] {
        let value = api.metric(&format!("pgchat_{figure}")).await;
        assert!(value > 0.0 && value < 60.0, "{figure} {value}");
    }
    let text = api.get("/metrics").await.text;
    for id in [ALICE, BORIS, conversation] {
        assert!(!text.contains(&id.to_string()), "{text}");
    }
}
