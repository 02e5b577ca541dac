//! `/metrics`: a text that Prometheus reads, and what is counted by what. Whether each figure is shown and explained is `watched`'s.

use std::collections::BTreeMap;
use std::time::Instant;

use reqwest::Method;
use serde_json::json;

use crate::support::*;
use crate::watched::figures::OURS;
use crate::watched::used_replica;

#[tokio::test]
async fn metrics_are_text_that_prometheus_reads() {
    let database = Database::fresh().await;
    let replica = used_replica(&database).await;
    let api = replica.api();

    let metrics = api.get("/metrics").await;

    assert_eq!(metrics.status, 200, "{metrics:?}");
    const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(metrics.header("content-type"), PLAIN);
    let told = |what: &str| -> BTreeMap<&str, &str> {
        let lines = metrics.text.lines();
        lines
            .filter_map(|line| line.strip_prefix(what)?.split_once(' '))
            .collect()
    };
    let (types, helps) = (told("# TYPE "), told("# HELP "));
    for (name, kind) in &types {
        let known = ["counter", "gauge", "histogram"].contains(kind);
        assert!(known, "the older format has no other: {name} {kind}");
    }
    let samples: Vec<&str> = metrics
        .text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert!(!samples.is_empty(), "{metrics:?}");
    for sample in samples {
        let value = sample.rsplit(' ').next().map(str::parse::<f64>);
        let is_ours = OURS.iter().any(|ours| sample.starts_with(ours));
        let readable = is_ours && matches!(value, Some(Ok(_)));
        assert!(readable, "{sample}");
        // In the older format the type of a counter stands under all of its name.
        let name = sample.split(['{', ' ']).next().unwrap_or_default();
        let histogram = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|end| name.strip_suffix(end))
            .filter(|bare| types.get(bare) == Some(&"histogram"));
        let family = histogram.unwrap_or(name);
        assert!(types.contains_key(family), "of no type: {sample}");
        assert!(helps.contains_key(family), "not explained: {sample}");
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
        // OpenMetrics has it under the name without the end.
        let name = match content_type {
            OPEN => "pgchat_writer_messages",
            _ => "pgchat_writer_messages_total",
        };
        let kind = format!("\n# TYPE {name} counter\n");
        assert!(metrics.text.contains(&kind), "{accept}: {kind}");
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
        r#"http_request_duration_seconds_sum{method="POST",route="/api/v1/chat/messages",status="201"}"#,
    ] {
        let value = api.metric(&format!("pgchat_{figure}")).await;
        assert!(value > 0.0 && value < 60.0, "{figure} {value}");
    }
    let text = api.get("/metrics").await.text;
    for id in [ALICE, BORIS, conversation] {
        assert!(!text.contains(&id.to_string()), "{text}");
    }
}

/// A trigger of the host's fails for messages that say "refused".
async fn have_some_refused(database: &Database) {
    database
        .execute(
            "create function host_refusal() returns trigger language plpgsql as $$
             begin
               raise 'no';
             end $$;
             create trigger host_refusal before insert on messages for each row
               when (new.content = 'refused') execute function host_refusal()",
        )
        .await;
}

/// What is bisected because one of them fails, and what waits beside the others: each transaction, with what is in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transaction_of_the_writer_is_counted_with_its_messages() {
    let database = Database::fresh().await;
    have_some_refused(&database).await;
    let proxy = Proxy::before(&database).await;
    let replica = Replica::start(&database, &proxy.for_all()).await;
    let api = replica.api();
    let conversation = database.conversation(ALICE, BORIS).await;
    let holder = database.holding_conversation(conversation).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut requests = Vec::new();
    for content in ["one", "refused", "two", "three"] {
        let data = json!({"conversationId": conversation, "content": content});
        requests.push(alice.request("send_message", data).await);
    }
    until_metric(&replica, "pgchat_writer_held", 4.0).await;
    holder.batch_execute("commit").await.expect("its end");
    for request in &requests {
        alice.answer(request).await;
    }

    let figure = async |name: &str| api.metric(&format!("pgchat_writer_{name}")).await;
    let (prepared, round_trips) =
        proxy.round_trips(&["chat_send_messages(", "chat_store_message("]);
    let transactions = (round_trips - prepared) as f64;
    assert_eq!(figure("batches_total").await, transactions);
    assert_eq!(figure("batch_size_count").await, transactions);
    let messages = figure("messages_total").await;
    assert_eq!(figure("batch_size_sum").await, messages);
    assert!(messages > 4.0, "{messages}, some of them in vain");
    assert_eq!(figure("wait_seconds_count").await, 4.0);
}

/// A trigger of the host's refuses some messages, and another program holds a conversation for longer than a message may wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_over_a_socket_is_counted_by_how_it_ended_and_its_failures_do_not_fill_the_log()
 {
    const FAILURES: usize = 30;
    let database = Database::fresh().await;
    have_some_refused(&database).await;
    let settings = [
        ("WRITE_TIMEOUT_SECONDS", "5"),
        ("RATE_LIMIT_PER_SECOND", "0"),
        ("LOG_LEVEL", "info"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = database.conversation(ALICE, BORIS).await;
    let strangers = database.conversation(BORIS, CARLA).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let data =
        |conversation, content: &str| json!({"conversationId": conversation, "content": content});
    alice.send_message(conversation, "fine").await;
    let started = Instant::now();
    for _ in 0..FAILURES {
        let refused = data(conversation, "refused");
        alice.refused("send_message", refused, "internal").await;
    }
    let took = started.elapsed();
    let stranger = data(strangers, "x");
    alice
        .refused("send_message", stranger, "not_a_participant")
        .await;
    let empty = data(conversation, "");
    alice
        .refused("send_message", empty, "validation_failed")
        .await;
    api.try_send(conversation, ALICE, "refused")
        .await
        .refused(500, "internal");
    let holder = database.holding_conversation(conversation).await;
    let late = data(conversation, "late");
    alice.refused("send_message", late, "unavailable").await;
    holder.batch_execute("commit").await.expect("its end");
    alice.send_command("ping", json!({})).await;
    alice.send_text("no JSON").await;
    alice.expect("error").await;

    let failures = FAILURES as f64;
    for (figure, count) in [
        (
            r#"ws_commands_total{type="send_message",outcome="ok"}"#,
            1.0,
        ),
        (
            r#"ws_commands_total{type="send_message",outcome="internal"}"#,
            failures,
        ),
        (
            r#"ws_commands_total{type="send_message",outcome="unavailable"}"#,
            1.0,
        ),
        (
            r#"ws_commands_total{type="send_message",outcome="refused"}"#,
            2.0,
        ),
        (
            r#"ws_commands_total{type="send_message",outcome="limited"}"#,
            0.0,
        ),
        (r#"ws_commands_total{type="ping",outcome="ok"}"#, 1.0),
        (r#"ws_commands_total{type="other",outcome="refused"}"#, 1.0),
        (r#"ws_send_duration_seconds_count{outcome="ok"}"#, 1.0),
        (
            r#"ws_send_duration_seconds_count{outcome="internal"}"#,
            failures,
        ),
        (
            r#"messages_failed_total{protocol="websocket",reason="internal"}"#,
            failures,
        ),
        (
            r#"messages_failed_total{protocol="websocket",reason="unavailable"}"#,
            1.0,
        ),
        // What is not valid does not get so far.
        (
            r#"messages_failed_total{protocol="websocket",reason="refused"}"#,
            1.0,
        ),
        (
            r#"messages_failed_total{protocol="http",reason="internal"}"#,
            1.0,
        ),
        (
            r#"messages_failed_total{protocol="http",reason="unavailable"}"#,
            0.0,
        ),
    ] {
        let found = api.metric(&format!("pgchat_{figure}")).await;
        assert_eq!(found, count, "{figure}");
    }
    // It waited for five seconds to be stored, and a little for the answer.
    let waited = r#"pgchat_ws_send_duration_seconds_sum{outcome="unavailable"}"#;
    let waited = api.metric(waited).await;
    assert!((4.5..60.0).contains(&waited), "{waited}");

    let log = replica.log();
    let lines = log.lines().filter(|line| line.contains(" failed, socket "));
    let most = took.as_secs() as usize + 2;
    assert!((1..=most).contains(&lines.count()), "one a second: {log}");
}

#[tokio::test]
async fn the_ends_of_sockets_are_counted_by_their_reason() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let closes = |reason| format!("pgchat_socket_closes_total{{reason=\"{reason}\"}}");
    for reason in ["client", "lost", "invalid_text", "restart"] {
        assert_eq!(replica.api().metric(&closes(reason)).await, 0.0);
    }
    Socket::connect(&replica, ALICE).await.close().await;
    until_metric(&replica, &closes("client"), 1.0).await;
    drop(Socket::connect(&replica, ALICE).await);
    until_metric(&replica, &closes("lost"), 1.0).await;
    let mut raw = Raw::upgrade(&replica, ALICE).await;
    raw.write(client_frame(0x81, [0xff])).await;
    until_metric(&replica, &closes("invalid_text"), 1.0).await;
    assert_eq!(replica.api().metric(&closes("client")).await, 1.0);
    assert_eq!(replica.api().metric(&closes("too_slow")).await, 0.0);
}

#[tokio::test]
async fn the_process_tells_what_it_has_open_and_when_it_started() {
    let database = Database::with_users().await;
    // Held up long before it has figures.
    let other = database.sql().await;
    let lock = "select pg_advisory_lock(1885562997, 0)";
    other.batch_execute(lock).await.expect("the lock");
    let now = || chrono::Utc::now().timestamp_micros() as f64 / 1e6;
    let before = now();
    let mut replica = Replica::launch(&database, &[]);
    let waits = async || replica.log().contains("waiting for another").then_some(());
    eventually("it waits", waits).await;
    let after = now();
    drop(other);
    replica.until_ready().await;
    let api = replica.api();
    let started = api.metric("process_start_time_seconds").await;
    assert!((before..=after).contains(&started), "{started}");
    let resident = api.metric("process_resident_memory_bytes").await;
    let most = replica.most_resident_kib().expect("its memory") as f64 * 1024.0;
    assert!(resident > 1e6 && resident <= most, "{resident} of {most}");
    let open = api.metric("process_open_fds").await;
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(Socket::connect(&replica, ALICE).await);
    }
    assert!(api.metric("process_open_fds").await >= open + 5.0);
    assert!(api.metric("process_max_fds").await > open);
    assert_eq!(api.metric("process_start_time_seconds").await, started);
}
