//! Which replicas run: known from their sessions with the database, not from a timer.

use uuid::Uuid;

use super::*;

async fn until_registered(database: &Database, count: i64) {
    eventually(&format!("{count} replicas are registered"), || async {
        (database.count("chat_replicas").await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_killed_replica_leaves_the_registry() {
    let database = Database::fresh().await;
    let [mut dying, other] = Replica::start_many(&database, &QUICK).await;
    until_registered(&database, 2).await;
    let left = Socket::connect(&other, ALICE).await.connected["data"]["replicaId"].clone();

    dying.kill();

    until_registered(&database, 1).await;
    let id = left.as_str().expect("an id");
    assert_eq!(
        database
            .count(&format!("chat_replicas where id = '{id}'"))
            .await,
        1
    );
}

#[tokio::test]
async fn a_replica_that_stops_in_good_order_leaves_the_registry_at_once() {
    let database = Database::fresh().await;
    // No heartbeat of the other one sweeps it during the test.
    let slow = [("LISTENER_HEARTBEAT_SECONDS", "60")];
    let [mut leaving, _other] = Replica::start_many(&database, &slow).await;
    until_registered(&database, 2).await;

    leaving.terminate();
    assert_eq!(leaving.ended().await.code(), Some(0));

    assert_eq!(database.count("chat_replicas").await, 1);
}

/// Between a sweep's look at the locks and the removal. A lock of another database is none of this one's, and who sweeps lives.
#[tokio::test]
async fn a_sweep_spares_a_replica_that_comes_back_at_the_last_moment() {
    let database = Database::fresh().await;
    let elsewhere = Database::fresh().await;
    let [sweeper, back, dead] = [(); 3].map(|()| Uuid::new_v4());
    for id in [sweeper, back, dead] {
        let register = format!("insert into chat_replicas (id) values ('{id}')");
        database.execute(&register).await;
    }
    let take = |id: Uuid| format!("select chat_try_replica('{id}')");
    let stranger = elsewhere.sql().await;
    stranger.batch_execute(&take(dead)).await.expect("a lock");

    // Who reads the registry passes; who removes from it waits.
    let holder = database
        .holding("lock table chat_replicas in share mode")
        .await;
    let session = database.sql().await;
    let sweeping = async {
        let sweep = format!("select chat_sweep_replicas('{sweeper}')");
        database.execute(&sweep).await;
    };
    let coming_back = async {
        until_a_lock_is_waited_for(&database, "the sweep knows whom to remove").await;
        session.batch_execute(&take(back)).await.expect("its lock");
        holder.batch_execute("commit").await.expect("its end");
    };
    tokio::join!(sweeping, coming_back);
    assert_eq!(database.count("chat_replicas").await, 2);
    let spared = format!("chat_replicas where id in ('{sweeper}', '{back}')");
    assert_eq!(database.count(&spared).await, 2);
}

/// The lock of a session that the server has not yet noticed to be gone must not keep the new one from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_listener_reconnected_stays_registered() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let _other = Replica::start(&database, &QUICK).await;
    let replica = Replica::start(&database, &quick(&proxy.for_listener())).await;
    until_registered(&database, 2).await;
    let api = replica.api();
    let connected = Socket::connect(&replica, ALICE).await.connected;
    let id = connected["data"]["replicaId"]
        .as_str()
        .expect("an id")
        .to_owned();

    let before = api.metric("pgchat_listener_reconnects_total").await;
    proxy.mute_open();
    until_metric_above(&replica, "pgchat_listener_reconnects_total", before).await;
    until_healthy(&replica).await;
    // The server notices nothing by itself: the former connection stays open, and silent.

    let listening = "pg_stat_activity where datname = current_database() and application_name = 'pgchat listener'";
    eventually("the former session has ended", || async {
        (database.count(listening).await == 2).then_some(())
    })
    .await;
    let holds = "pg_locks where locktype = 'advisory' and granted and classid = 1885562996
        and database = (select oid from pg_database where datname = current_database())";
    eventually("both replicas hold their locks", || async {
        (database.count(holds).await == 2).then_some(())
    })
    .await;
    for _ in 0..4 {
        until_heartbeat(&database).await;
        let own = format!("chat_replicas where id = '{id}'");
        assert_eq!(database.count(&own).await, 1, "it lives");
    }
}

/// Whoever holds it, and whether it can be ended or not: messages do not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_takes_its_lock_when_another_session_lets_go_of_it() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    // It connects anew when it is cut off, and not because a heartbeat was late.
    let still = [("LISTENER_HEARTBEAT_SECONDS", "60")];
    let settings = [&proxy.for_listener()[..], &still].concat();
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let id = uuid_in(&boris.connected["data"], "replicaId");
    let holder = format!(
        "pg_locks l join pg_stat_activity a using (pid)
          where l.locktype = 'advisory' and l.granted and a.datname = current_database()
            and l.classid = chat_replica_lock_class()::bigint::oid and l.objid = chat_replica_lock_key('{id}')
            and a.application_name "
    );
    let held_by_replica = format!("{holder} = 'pgchat listener'");
    let held_by_stranger = format!("{holder} <> 'pgchat listener'");
    eventually("it holds its lock", || async {
        (database.count(&held_by_replica).await == 1).then_some(())
    })
    .await;

    proxy.refuse();
    kill_listeners(&database).await;
    until_status(&replica, "/health", 503).await;
    // A superuser's, whose sessions the service may not end.
    let stranger = database.sql().await;
    let lock = format!(
        "select pg_advisory_lock(chat_replica_lock_class(), hashtext(chat_schema() || '{id}'))"
    );
    stranger.batch_execute(&lock).await.expect("the lock");
    proxy.accept();
    until_healthy(&replica).await;
    let reconnects = api.metric("pgchat_listener_reconnects_total").await;
    api.send(conversation, ALICE, "meanwhile").await;
    boris.before_message("meanwhile").await;
    assert_eq!(database.count(&held_by_stranger).await, 1);
    assert_eq!(database.count(&held_by_replica).await, 0);

    drop(stranger);
    eventually("the replica holds its lock", || async {
        (database.count(&held_by_replica).await == 1).then_some(())
    })
    .await;
    let log = replica.log();
    assert!(log.contains("is held by another session"), "{log}");
    // It is told on, and the lock was not had by another session of the listener's.
    api.send(conversation, ALICE, "after").await;
    let frames = boris.before_message("after").await;
    assert!(frames.is_empty(), "{frames:?}");
    assert_eq!(
        api.metric("pgchat_listener_reconnects_total").await,
        reconnects
    );
}
