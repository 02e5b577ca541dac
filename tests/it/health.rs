//! The probes, and a database that goes away and comes back.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::faults::until_heartbeat;
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
    assert_eq!(api.metric("pgchat_ready").await, 1.0);
}

/// Everything but the listener has lost the database, and nobody asks the probes.
#[tokio::test]
async fn a_replica_that_is_not_ready_shows_it_to_prometheus_unasked() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let direct = format!("{}?sslmode=disable", database.url(SERVICE));
    let settings = [("LISTEN_DATABASE_URL", direct.as_str())];
    let replica = Replica::start(&database, &[&proxy.for_all()[..], &settings].concat()).await;
    until_metric(&replica, "pgchat_ready", 1.0).await;
    proxy.refuse();
    proxy.cut_open();
    until_metric(&replica, "pgchat_ready", 0.0).await;
    assert_eq!(replica.api().status("/health/ready").await, Some(503));
    proxy.accept();
    until_metric(&replica, "pgchat_ready", 1.0).await;
}

#[tokio::test]
async fn a_replica_whose_users_table_does_not_fit_any_more_is_not_ready() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("USERS_TABLE_CHECK_SECONDS", "1")]).await;
    assert_eq!(replica.api().metric("pgchat_ready").await, 1.0);
    database.execute("alter table users rename to people").await;
    until_metric(&replica, "pgchat_ready", 0.0).await;
    until_status(&replica, "/health/ready", 503).await;
    database.execute("alter table people rename to users").await;
    until_metric(&replica, "pgchat_ready", 1.0).await;
}

#[tokio::test]
async fn a_database_that_is_stopped_is_told_and_recovered_from() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let quick = [
        ("WRITE_TIMEOUT_SECONDS", "5"),
        ("DB_TIMEOUT_SECONDS", "5"),
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

    until_healthy(&replica).await;
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
        ("WRITE_TIMEOUT_SECONDS", "5"),
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
        until_healthy(replica).await;
    }
    assert_eq!(there.api().history(conversation).await, acked);
    here.api().send(conversation, ALICE, "after").await;
    assert_eq!(boris.collect_messages(20).await, acked);
    assert_eq!(boris.before_message("after").await, Vec::<Value>::new());
}

/// It is not this side that can do something about it: the database's own words say who can.
#[tokio::test]
async fn why_a_database_takes_no_connection_is_in_the_log() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let limit = |connections| {
        format!(
            "alter database {} connection limit {connections}",
            database.name
        )
    };
    database.execute(&limit(0)).await;
    database
        .execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and application_name = 'pgchat pool'",
        )
        .await;
    eventually("it says what the database says", || async {
        api.get("/api/v1/users/").await;
        replica
            .log()
            .contains("database unreachable: too many connections for database")
            .then_some(())
    })
    .await;
    // However many ask meanwhile.
    const ASKED: usize = 100;
    for _ in 0..ASKED {
        let reply = api.get("/api/v1/users/").await;
        reply.refused(503, "unavailable");
    }
    let lines = replica.log().matches("database unreachable").count();
    assert!(lines < ASKED, "{}", replica.log());
    database.execute(&limit(-1)).await;
    eventually("it goes on", || async {
        (api.status("/api/v1/users/").await == Some(200)).then_some(())
    })
    .await;
}

/// Whoever asks needs no token.
#[tokio::test]
async fn however_often_a_probe_fails_one_line_a_second_says_why() {
    const ASKING: Duration = Duration::from_secs(2);
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let replica = Replica::start(&database, &proxy.for_all()).await;
    let api = replica.api();
    proxy.refuse();
    proxy.cut_open();
    until_status(&replica, "/health", 503).await;
    let lines = || {
        let log = replica.log();
        ["database", "listener"].map(|name| log.matches(&format!("health check: {name}: ")).count())
    };
    // The time is from before the first count to after the last.
    let began = Instant::now();
    let before = lines();
    while began.elapsed() < ASKING {
        assert_eq!(api.status("/health").await, Some(503));
    }
    let written: Vec<usize> = lines()
        .iter()
        .zip(before)
        .map(|(all, before)| all - before)
        .collect();
    let seconds = began.elapsed().as_secs() as usize;
    let log = replica.log();
    assert!(
        written.iter().all(|lines| *lines <= seconds + 1),
        "{written:?} in {seconds} s: {log}"
    );
    assert!(written[0] > 0, "{log}");
}

/// The connection over which it was asked is lost late, and the next one is silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_is_repeated_has_no_more_time_for_that() {
    const TIMEOUT: Duration = Duration::from_secs(8);
    /// Less than the 5 s that a connection may take.
    const SOON: Duration = Duration::from_secs(4);
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let timeout = TIMEOUT.as_secs().to_string();
    let timeout = [("DB_TIMEOUT_SECONDS", timeout.as_str())];
    let settings = [&proxy.for_all()[..], &timeout].concat();
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let user = format!("/api/v1/users/{ALICE}");
    api.get(&user).await.ok(200);

    proxy.mute();
    let clock = RunningTime::start();
    let losing = async {
        tokio::time::sleep(TIMEOUT - Duration::from_secs(1)).await;
        proxy.cut_muted();
        clock.elapsed()
    };
    let asked = async { (api.get(&user).await, clock.elapsed()) };
    let ((reply, answered), lost) = tokio::join!(asked, losing);
    reply.refused(503, "unavailable");
    // A second is left; whoever begins anew waits as long as a connection may take.
    let took = answered.saturating_sub(lost);
    assert!(took < SOON, "{took:?}");
}

/// They need no token, and the pool is for those who have one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_many_ask_how_a_replica_is_they_ask_the_database_once() {
    const PROBES: u32 = 60;
    const WAITING: &str = r#"pgchat_pool_waiting{pool="vital"}"#;
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let replica = Replica::start(&database, &proxy.for_all()).await;
    let api = replica.api();

    proxy.mute();
    until_status(&replica, "/health", 503).await;
    // For longer than one answer may be shared.
    let asking = join_all((0..PROBES).map(async |number| {
        tokio::time::sleep(Duration::from_millis(5) * number).await;
        api.status("/health").await
    }));
    let (answers, most) = within("answers", async {
        let mut asking = pin!(asking);
        let mut most = 0.0_f64;
        loop {
            // It is looked at while they ask; how often does not matter.
            let pause = tokio::time::sleep(Duration::from_millis(50));
            tokio::select! {
                answers = &mut asking => return (answers, most),
                () = pause => most = most.max(api.metric(WAITING).await),
            }
        }
    })
    .await;
    assert!(answers.iter().all(|status| *status == Some(503)));
    // One of them, and what a replica asks on its own.
    assert!(most < 10.0, "{most} waited for a connection of the pool");
    // Each of them is told of the outage, and the log in a few lines.
    let lines = replica.log().matches("health check: database").count();
    assert!((1..20).contains(&lines), "{lines}");

    proxy.unmute();
    until_healthy(&replica).await;
}

/// The only connection for requests is taken.
#[tokio::test]
async fn slow_requests_starve_neither_the_listener_nor_the_probes() {
    let database = Database::fresh().await;
    let settings = [("DB_POOL_SIZE", "3"), ("DB_TIMEOUT_SECONDS", "60")];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let slow = "select 7::bigint from (select pg_advisory_xact_lock(815)) held";
    database.count_unread_by(slow).await;
    let holder = database.holding("select pg_advisory_xact_lock(815)").await;
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

    // It does not fit into its notification: the listener reads it.
    let long = "long ".repeat(1_800);
    api.send(conversation, BORIS, &long).await;
    alice.before_message(&long).await;
    // None of them has to wait, or the next one would end the listener.
    for _ in 0..4 {
        until_heartbeat(&database).await;
        assert_eq!(api.status("/health").await, Some(200));
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
    let mut replica = Replica::start(&database, &[("SHUTDOWN_DELAY_SECONDS", "6")]).await;
    let api = replica.api();

    replica.terminate();

    until_status(&replica, "/health/ready", 503).await;
    let ready = api.get("/health/ready").await.ok(503);
    let checks = json!({"database": "ok", "listener": "ok", "draining": true});
    assert_eq!(ready["checks"], checks);
    assert_eq!(api.metric("pgchat_ready").await, 0.0);
    // It answers as well as ever, and is not to be started anew for that.
    for path in ["/health", "/health/live"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    let socket = handshake(&replica, &format!("/ws?user_id={ALICE}"), &[]).await;
    socket.refused(503, "unavailable");
    assert_eq!(replica.ended().await.code(), Some(0));
}

/// As an interrupted `pg_restore --disable-triggers` leaves them. It goes on serving: all replicas have the same triggers.
#[tokio::test]
async fn triggers_that_are_disabled_are_told_in_the_log() {
    let database = Database::fresh().await;
    let settings = [("USERS_TABLE_CHECK_SECONDS", "1")];
    let replica = Replica::start(&database, &settings).await;
    let own = "select tgname::text, tgrelid::regclass::text from pg_trigger where not tgisinternal";
    let own = database
        .sql()
        .await
        .query(own, &[])
        .await
        .expect("triggers");
    assert!(own.len() > 10, "{own:?}");
    // The host's, and off on purpose.
    let audit =
        "create function audit() returns trigger language plpgsql as 'begin return null; end';
        create trigger chat_audit after insert on messages execute function audit();
        alter table messages disable trigger chat_audit";
    database.execute(audit).await;
    let alter = |how: &str| {
        ["messages", "conversations", "chat_replicas"]
            .map(|table| format!("alter table {table} {how} trigger user;"))
            .concat()
    };
    database.execute_as_owner(&alter("disable")).await;
    until_logged(&replica, "triggers of pgchat are disabled").await;
    let log = replica.log();
    for trigger in own {
        let (name, table): (String, String) = (trigger.get(0), trigger.get(1));
        assert!(log.contains(&format!("{name} on {table}")), "{name}: {log}");
    }
    assert!(!log.contains("chat_audit"), "{log}");
    assert_eq!(replica.api().status("/health/ready").await, Some(200));
    let enable = alter("enable") + "alter table messages disable trigger chat_audit";
    database.execute_as_owner(&enable).await;
    until_logged(&replica, "all triggers of pgchat are enabled again").await;
}
