//! A listener that lost its connection, in each of the ways in which that happens.

use serde_json::Value;

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
    let impatient = [("WRITE_TIMEOUT_SECONDS", "2"), ("DB_TIMEOUT_SECONDS", "2")];
    let through = quick(&[&proxy.for_all()[..], &impatient].concat());
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

/// Between LISTEN and the catch-up's reading, messages reach the replica on both ways.
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
    pool.unmute();

    here.api().send(conversation, ALICE, "last").await;
    let frames = boris.before_message("last").await;
    assert_eq!(super::ledger::seqs(&frames, conversation), [2, 3, 4, 5, 6]);
    here.api().send(conversation, ALICE, "very last").await;
    let frames = boris.before_message("very last").await;
    assert_eq!(frames, Vec::<Value>::new(), "nothing comes again");
}

/// One replica whose listener goes through a proxy, and a socket of Boris on it.
pub async fn cut_off(more: &[(&str, &str)]) -> (Database, Proxy, Replica, uuid::Uuid, Socket) {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let settings = quick(&[&proxy.for_listener()[..], more].concat());
    let replica = Replica::start(&database, &settings).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    replica.api().send(conversation, ALICE, "before").await;
    boris.before_message("before").await;
    (database, proxy, replica, conversation, boris)
}

pub async fn cut(database: &Database, proxy: &Proxy, replica: &Replica) {
    proxy.refuse();
    kill_listeners(database).await;
    until_status(replica, "/health", 503).await;
}

/// Another transaction holds the horizon back all the while: what clients were told to load anew does not count again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_of_a_catch_up_all_clients_reload_and_go_on() {
    let (database, proxy, replica, conversation, mut boris) =
        cut_off(&[("CATCH_UP_CHANGES", "10")]).await;
    let api = replica.api();
    let _stranger = database.holding("select pg_current_xact_id()").await;

    cut(&database, &proxy, &replica).await;
    for number in 0..11 {
        api.send(conversation, ALICE, &number.to_string()).await;
    }
    proxy.accept();
    until_healthy(&replica).await;
    let resync = boris.next().await;
    assert_eq!(resync["type"], "resync_required", "{resync}");
    assert_eq!(api.history(conversation).await.len(), 12);

    cut(&database, &proxy, &replica).await;
    for number in 11..21 {
        api.send(conversation, ALICE, &number.to_string()).await;
    }
    proxy.accept();
    until_healthy(&replica).await;
    api.send(conversation, ALICE, "last").await;
    let frames = boris.before_message("last").await;
    let expected: Vec<i64> = (13..=22).collect();
    assert_eq!(super::ledger::seqs(&frames, conversation), expected);
    assert_eq!(frames.len(), 10, "{frames:?}");
}

/// A replica that tried for ever would never be live again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_that_cannot_be_read_in_time_is_given_up_and_all_clients_reload() {
    let (database, proxy, replica, conversation, mut boris) =
        cut_off(&[("DB_TIMEOUT_SECONDS", "3")]).await;
    cut(&database, &proxy, &replica).await;
    replica.api().send(conversation, ALICE, "missed").await;
    let holder = database
        .holding("lock table messages in access exclusive mode")
        .await;

    proxy.accept();
    let resync = boris.next().await;
    assert_eq!(resync["type"], "resync_required", "{resync}");
    holder.batch_execute("commit").await.expect("its end");
    until_healthy(&replica).await;
    replica.api().send(conversation, ALICE, "last").await;
    let frames = boris.before_message("last").await;
    assert_eq!(frames, Vec::<Value>::new(), "what was given up is loaded");
}

/// Deletions count as well, and so does what can no longer be read since it was purged meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_deletions_and_what_was_purged_meanwhile_make_clients_reload() {
    let (database, proxy, replica, conversation, mut boris) =
        cut_off(&[("CATCH_UP_CHANGES", "10")]).await;
    let old = format!(
        "insert into messages (conversation_id, sender_id, content, created_at)
         select '{conversation}', '{ALICE}', 'old ' || n, now() - interval '3 days' from generate_series(1, 13) n"
    );
    database.execute(&old).await;
    boris.before_message("old 13").await;
    let deleted =
        "delete from messages where content in (select 'old ' || n from generate_series(1, 11) n)";
    let purged = "update messages set deleted_at = now() where content = 'old 13';
                  delete from messages where content = 'before';
                  select chat_purge(now() - interval '2 days')";
    for change in [deleted, purged] {
        cut(&database, &proxy, &replica).await;
        database.execute(change).await;
        proxy.accept();
        let resync = boris.next().await;
        assert_eq!(resync["type"], "resync_required", "{change}: {resync}");
        until_healthy(&replica).await;
    }
    assert_eq!(database.count("messages").await, 0);
}

/// As in a younger cluster, in which the rows were restored: nothing of them was missed, and they are no reason to reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_transaction_numbers_are_still_to_come_do_not_count_in_a_catch_up() {
    let (database, proxy, replica, conversation, mut boris) =
        cut_off(&[("CATCH_UP_CHANGES", "10")]).await;
    database
        .execute(&format!(
            "set session_replication_role = replica;
             update conversations set create_xid = '1000000000', last_xid = '1000000000';
             insert into messages (conversation_id, sender_id, reader_id, content, seq, create_xid, change_xid)
             select '{conversation}', '{ALICE}', '{BORIS}', 'restored', 1 + n, '1000000000', '1000000000' from generate_series(1, 20) n;
             insert into chat_tombstones (message_id, conversation_id, seq, revision, change_xid, message)
             select gen_random_uuid(), '{conversation}', 22, 1, '1000000000', '{{}}' from generate_series(1, 20);
             update conversations set last_seq = 22"
        ))
        .await;
    cut(&database, &proxy, &replica).await;
    replica.api().send(conversation, ALICE, "missed").await;
    proxy.accept();
    until_healthy(&replica).await;
    replica.api().send(conversation, ALICE, "last").await;
    let frames = boris.before_message("last").await;
    assert_eq!(super::ledger::seqs(&frames, conversation), [23]);
    assert_eq!(frames.len(), 1, "{frames:?}");
}

/// As where the first message of a thread names it. The conversation has been told of, the message has not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_has_the_id_of_its_conversation_is_caught_up_with_as_a_message() {
    let (database, proxy, replica, _, mut boris) = cut_off(&[]).await;
    let _stranger = database.holding("select pg_current_xact_id()").await;
    let opened = replica.api().open_conversation(BORIS, CARLA).await;
    boris.expect("conversation_created").await;
    cut(&database, &proxy, &replica).await;
    let insert = format!(
        "insert into messages (id, conversation_id, sender_id, content) values ('{opened}', '{opened}', '{CARLA}', 'first')"
    );
    database.execute(&insert).await;
    proxy.accept();
    until_healthy(&replica).await;
    assert_eq!(boris.expect("chat_message").await["data"]["seq"], 1);
}
