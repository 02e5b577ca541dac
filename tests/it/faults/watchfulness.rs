//! What operators watch: exported, moving, and in the log when it turns bad.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn the_listeners_figures_are_exported_and_move() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let figures = api.get("/metrics").await.text;
    for name in [
        "pgchat_notification_queue_usage_ratio",
        "pgchat_listener_lag_seconds",
        "pgchat_listener_up",
        "pgchat_writer_queue_depth",
        "pgchat_listener_reconnects_total",
        "pgchat_connections",
    ] {
        assert!(
            figures
                .lines()
                .any(|line| line.starts_with(&format!("{name} "))),
            "{name}"
        );
    }

    until_metric_above(&replica, "pgchat_listener_lag_seconds", 0.0).await;
    assert_eq!(api.metric("pgchat_listener_up").await, 1.0);
    assert_eq!(api.metric("pgchat_listener_reconnects_total").await, 0.0);
    assert_eq!(kill_listeners(&database).await, 1);
    until_metric_above(&replica, "pgchat_listener_reconnects_total", 0.0).await;
    let _alice = Socket::connect(&replica, ALICE).await;
    assert_eq!(api.metric("pgchat_connections").await, 1.0);
    until_healthy(&replica).await;
    let log = replica.log();
    let lost = log.lines().find(|line| line.contains("reconnecting"));
    let lost = lost.unwrap_or_else(|| panic!("{log}"));
    // And why.
    assert!(lost.contains("terminating connection due to"), "{lost}");
}

/// The watch looks every ten seconds, so this takes that long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filling_queue_is_seen_and_slow_notifications_are_logged() {
    const DELAY: Duration = Duration::from_millis(1_500);
    // Its queue is the cluster's.
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let proxy = Proxy::before(&database).await;
    let rare = [("LISTENER_HEARTBEAT_SECONDS", "5")];
    let settings = [&proxy.for_listener()[..], &rare].concat();
    let started = Instant::now();
    let replica = Replica::start(&database, &settings).await;
    // A session that LISTENs and does not read: nothing that follows can leave the queue.
    let stuck = database.sql().await;
    for step in ["listen elsewhere", "begin", "select 1"] {
        stuck.batch_execute(step).await.expect("a stuck session");
    }
    database
        .execute(
            "select pg_notify('nobody', repeat('x', 7000) || n) from generate_series(1, 2000) n",
        )
        .await;
    proxy.delay(DELAY);

    until_metric_above(&replica, "pgchat_notification_queue_usage_ratio", 0.0).await;
    until_logged(&replica, "notifications are slow").await;
    let lag = replica.api().metric("pgchat_listener_lag_seconds").await;
    let most = started.elapsed().as_secs_f64();
    assert!(lag >= DELAY.as_secs_f64(), "{lag}");
    assert!(lag < most, "{lag}, and the replica is {most} s old");
}

/// The horizon is the cluster's, and so is whoever holds it.
#[tokio::test]
async fn a_horizon_that_somebody_holds_is_seen_until_they_let_it_go() {
    const FIGURE: &str = "pgchat_horizon_age_seconds";
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let replica = Replica::start(&database, &QUICK).await;
    let holder = database.holding("select pg_current_xact_id()").await;
    // Others write meanwhile, and each heartbeat does.
    let first = until_metric_above(&replica, FIGURE, 2.0).await;
    database.conversation(ALICE, BORIS).await;
    let later = until_metric_above(&replica, FIGURE, first).await;
    holder.batch_execute("commit").await.expect("its end");
    eventually("it moves again", || async {
        (replica.api().metric(FIGURE).await < later).then_some(())
    })
    .await;
}

/// An internal error says no more than that to callers; why, is in the log.
#[tokio::test]
async fn a_listener_that_fails_says_why_in_the_log_and_nowhere_else() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &QUICK).await;
    database
        .execute(r#"select pg_notify('chat_events', '{"v":2}')"#)
        .await;
    until_logged(
        &replica,
        "listener: internal error: a notification of version 2",
    )
    .await;
    until_healthy(&replica).await;

    database
        .execute(&format!(
            "revoke execute on function chat_heartbeat(uuid, bigint) from {SERVICE}"
        ))
        .await;
    let denied = "internal error: permission denied for function chat_heartbeat";
    until_logged(&replica, &format!("heartbeat not sent: {denied}")).await;
    kill_listeners(&database).await;
    until_logged(&replica, &format!("listener: {denied}")).await;
    until_status(&replica, "/health", 503).await;
    until_logged(&replica, &format!("health check: listener: {denied}")).await;
    let told = replica.api().get("/health").await.text;
    assert!(!told.contains("denied"), "{told}");
}
