//! A listener that lost its connection, in each of the ways in which that happens.

use serde_json::{Value, json};

use super::cut_off::CutOff;
use super::ledger::Scene;
use super::*;

/// Two replicas; the listener of the second one, and nothing else of it, goes through the proxy.
struct Stage {
    database: Database,
    proxy: Proxy,
    here: Replica,
    there: Replica,
    scene: Scene,
    sockets: Vec<(uuid::Uuid, Socket)>,
}

impl Stage {
    async fn set(database: Database) -> Self {
        Self::set_with(database, &[]).await
    }

    async fn set_with(database: Database, more: &[(&str, &str)]) -> Self {
        let proxy = Proxy::before(&database).await;
        let here = Replica::start(&database, &QUICK).await;
        let settings = quick(&[&proxy.for_listener()[..], more].concat());
        let there = Replica::start(&database, &settings).await;
        let mut sockets = Vec::new();
        for user in [ALICE, BORIS, BORIS] {
            sockets.push((user, Socket::connect(&there, user).await));
        }
        let scene = Scene::set(&here.api()).await;
        for (_, socket) in &mut sockets {
            socket.collect_messages(4).await;
            socket.expect("conversation_created").await;
        }
        sockets[0].1.expect("conversation_created").await;
        Self {
            database,
            proxy,
            here,
            there,
            scene,
            sockets,
        }
    }

    /// Every socket was told of each missed event once and in order, and is live.
    async fn assert_caught_up(mut self, opened: uuid::Uuid) {
        let api = self.here.api();
        api.send(self.scene.with_boris, ALICE, "last").await;
        for (user, socket) in &mut self.sockets {
            let frames = socket.before_message("last").await;
            self.scene.assert_caught_up(&frames, opened, *user);
        }
        api.send(self.scene.with_boris, ALICE, "very last").await;
        for (_, socket) in &mut self.sockets {
            let frames = socket.before_message("very last").await;
            assert_eq!(frames, Vec::<Value>::new(), "nothing comes again");
        }
    }

    /// The number of the next heartbeat of the replica whose listener goes through the proxy.
    async fn next_heartbeat(&self) -> i64 {
        let replica = &self.sockets[0].1.connected["data"]["replicaId"];
        let mut notifications = self.database.listen("chat_events").await;
        loop {
            let payload = notifications.next().await;
            let payload: Value = serde_json::from_str(&payload).expect("JSON");
            let heartbeat = &payload["heartbeat"];
            if heartbeat["replica"] == *replica {
                return heartbeat["beat"].as_i64().expect("a number");
            }
        }
    }

    async fn until_listener_down(&self) {
        until_status(&self.there, "/health", 503).await;
        until_status(&self.there, "/health/ready", 503).await;
        let health = self.there.api().get("/health").await.ok(503);
        let checks = json!({"database": "ok", "listener": "unavailable"});
        assert_eq!(health["checks"], checks);
        assert_eq!(self.there.api().get("/health/live").await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_listener_catches_up_with_every_event_once_and_in_order() {
    // The end of its connection tells it, and no heartbeat that is late on a slow machine makes it reconnect once more.
    let rare = [("LISTENER_HEARTBEAT_SECONDS", "30")];
    let stage = Stage::set_with(Database::fresh().await, &rare).await;

    let reconnects = "pgchat_listener_reconnects_total";
    let before = stage.there.api().metric(reconnects).await;
    stage.proxy.refuse();
    assert_eq!(kill_listeners(&stage.database).await, 2);
    stage.until_listener_down().await;
    eventually("two tries in vain", || async {
        let log = stage.there.log();
        (log.matches("cannot connect").count() > 1).then_some(())
    })
    .await;
    let opened = stage.scene.play(&stage.database, &stage.here.api()).await;
    // Its pool is well, so it serves what needs no listener, and says that it is not ready.
    let history = stage.there.api().history(stage.scene.with_boris).await;
    assert_eq!(history.len(), 6, "{history:?}");
    assert_eq!(stage.there.api().status("/health").await, Some(503));

    stage.proxy.accept();
    until_healthy(&stage.there).await;
    assert_eq!(stage.there.api().metric(reconnects).await, before + 1.0);
    stage.assert_caught_up(opened).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_restarted_in_immediate_mode_is_caught_up_with() {
    let cluster = Cluster::private();
    let stage = Stage::set(Database::fresh_on(&cluster).await).await;

    stage.proxy.refuse();
    cluster.crash();
    cluster.start();
    until_healthy(&stage.here).await;
    stage.until_listener_down().await;
    let opened = stage.scene.play(&stage.database, &stage.here.api()).await;

    stage.proxy.accept();
    until_healthy(&stage.there).await;
    stage.assert_caught_up(opened).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_noticed_within_two_heartbeats_and_caught_up_with() {
    // Longer than this machine needs from a heartbeat to what follows here.
    let heartbeat = [("LISTENER_HEARTBEAT_SECONDS", "10")];
    let stage = Stage::set_with(Database::fresh().await, &heartbeat).await;
    let api = stage.there.api();
    let before = api.metric("pgchat_listener_reconnects_total").await;

    let last = stage.next_heartbeat().await;

    stage.proxy.mute_open();
    let opened = stage.scene.play(&stage.database, &stage.here.api()).await;
    until_metric_above(&stage.there, "pgchat_listener_reconnects_total", before).await;
    let log = stage.there.log();
    let missed = [last, last + 1]
        .map(|number| format!("heartbeat {number} did not come back"))
        .into_iter()
        .any(|said| log.contains(&said));
    assert!(
        missed,
        "neither heartbeat {last} nor the next is missed: {log}"
    );

    until_healthy(&stage.there).await;
    stage.assert_caught_up(opened).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_mute_listener_gets_late_is_not_delivered_again() {
    let stage = Stage::set(Database::fresh().await).await;
    let before = stage
        .there
        .api()
        .metric("pgchat_listener_reconnects_total")
        .await;

    stage.proxy.mute_open();
    let opened = stage.scene.play(&stage.database, &stage.here.api()).await;
    until_metric_above(&stage.there, "pgchat_listener_reconnects_total", before).await;
    until_healthy(&stage.there).await;
    stage.proxy.unmute();
    stage.assert_caught_up(opened).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_proxy_before_the_whole_database_is_told_and_recovered_from() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let here = Replica::start(&database, &QUICK).await;
    let through = quick(&proxy.for_all());
    // Set before the other replica starts: to that one's sockets it is the past.
    let scene = Scene::set(&here.api()).await;
    let there = Replica::start(&database, &through).await;
    let mut alice = Socket::connect(&there, ALICE).await;

    proxy.mute();
    until_status(&there, "/health", 503).await;
    until_status(&there, "/health/ready", 503).await;
    let unheard = there
        .api()
        .send_once(scene.with_carla, ALICE, "unheard", "m-1")
        .await;
    unheard.refused(503, "unavailable");
    let opened = scene.play(&database, &here.api()).await;

    // What hangs is cut, as a router does at last; new connections pass.
    proxy.cut_open();
    proxy.unmute();
    until_healthy(&there).await;
    here.api().send(scene.with_boris, ALICE, "last").await;
    let frames = alice.before_message("last").await;
    scene.assert_caught_up(&frames, opened, ALICE);
    let repeat = there
        .api()
        .send_once(scene.with_carla, ALICE, "unheard", "m-1")
        .await;
    assert!(matches!(repeat.status, 200 | 201), "{repeat:?}");
    let stored = database.count("messages where client_message_id = 'm-1'");
    assert_eq!(stored.await, 1);
}

#[tokio::test]
async fn idle_session_timeout_does_not_end_a_listener() {
    let database = Database::fresh().await;
    database
        .execute(&format!(
            "alter database {} set idle_session_timeout = '1s'",
            database.name
        ))
        .await;
    // Nothing but the first heartbeat is sent during the test.
    let replica = Replica::start(&database, &[("LISTENER_HEARTBEAT_SECONDS", "60")]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;

    // Two others, one after the other, that are idle and are ended for it.
    for _ in 0..2 {
        let witness = database.sql().await;
        eventually("an idle session is ended", || async {
            witness.is_closed().then_some(())
        })
        .await;
    }

    assert_eq!(api.metric("pgchat_listener_reconnects_total").await, 0.0);
    until_healthy(&replica).await;
    api.send(conversation, ALICE, "hello").await;
    assert_eq!(boris.collect_messages(1).await[0]["content"], "hello");
    assert_eq!(api.metric("pgchat_listener_reconnects_total").await, 0.0);
}

/// Between LISTEN and the catch-up's reading, events reach the replica on both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_while_a_listener_starts_is_delivered_once() {
    let database = Database::fresh().await;
    let pool = Proxy::before(&database).await;
    let direct = Proxy::before(&database).await;
    let here = Replica::start(&database, &[]).await;
    // No heartbeat of its own but the first.
    let rare = [("LISTENER_HEARTBEAT_SECONDS", "60")];
    let settings = [&pool.for_all()[..], &direct.for_listener(), &rare].concat();
    let there = Replica::start(&database, &settings).await;
    let conversation = here.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    here.api().send(conversation, ALICE, "before").await;
    boris.before_message("before").await;

    // The listener may come back, and cannot ask the tables.
    pool.mute();
    let listens = "pg_stat_activity where datname = current_database()
        and application_name = 'pgchat listener' and state = 'idle' and query ilike 'listen %'";
    assert_eq!(kill_listeners(&database).await, 2);
    eventually("both listen again", || async {
        (database.count(listens).await == 2).then_some(())
    })
    .await;
    for number in 0..5 {
        here.api()
            .send(conversation, ALICE, &number.to_string())
            .await;
    }
    here.api().mark_read(conversation, BORIS).await.ok(200);
    pool.unmute();

    here.api().send(conversation, ALICE, "last").await;
    let mut frames = boris.before_message("last").await;
    assert_eq!(super::ledger::seqs(&frames, conversation), [2, 3, 4, 5, 6]);
    here.api().send(conversation, ALICE, "very last").await;
    // The mark is behind "last" where the catch-up has read that, too.
    frames.extend(boris.before_message("very last").await);
    let count = |kind: &str| frames.iter().filter(|frame| frame["type"] == kind).count();
    assert_eq!(count("messages_read"), 1, "{frames:#?}");
    assert_eq!(count("chat_message"), 5, "nothing comes again");
    assert_eq!(frames.len(), 6, "{frames:#?}");
}

/// As where the first message of a thread names it. The conversation has been told of, the message has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_has_the_id_of_its_conversation_is_caught_up_with_as_a_message() {
    let mut stage = CutOff::set(&[]).await;
    let _stranger = stage.database.holding("select pg_current_xact_id()").await;
    let opened = stage.replica.api().open_conversation(BORIS, CARLA).await;
    stage.boris.expect("conversation_created").await;
    stage.cut().await;
    let insert = format!(
        "insert into messages (id, conversation_id, sender_id, content) values ('{opened}', '{opened}', '{CARLA}', 'first')"
    );
    stage.database.execute(&insert).await;
    stage.comes_back().await;
    assert_eq!(stage.boris.expect("chat_message").await["data"]["seq"], 1);
}

/// Too long for its notification, which waits behind the catch-up that has read it: by then it is edited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_huge_message_that_a_catch_up_has_told_is_told_once_though_it_was_edited_since() {
    // Longer than the test: nothing but the test is to end what the listener waits for.
    let mut stage = CutOff::set(&[("DB_TIMEOUT_SECONDS", "300")]).await;
    let read_back = stage.database.hold_read_backs().await;
    let gate = stage.gate_catch_ups(false).await;
    kill_listeners(&stage.database).await;
    until_a_lock_is_waited_for(&stage.database, "the listener asks how much it missed").await;
    let huge = "huge ".repeat(2_000);
    stage.send(huge.trim()).await;
    gate.batch_execute("commit").await.expect("its end");
    stage.boris.expect("chat_message").await;
    let edit = "update messages set content = 'edited' where seq = 2";
    stage.database.execute(edit).await;
    read_back.batch_execute("commit").await.expect("its end");

    let edited = stage.boris.next().await;
    assert_eq!(edited["type"], "message_updated", "{edited}");
    assert_eq!(edited["data"]["content"], "edited");
    assert_eq!(stage.told_until_now().await, [0i64; 0]);
}
