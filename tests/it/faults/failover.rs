//! The primary dies, or is gone without a word, and its standby is promoted.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::*;

/// The database as the standby has it.
fn at(standby: &Arc<Cluster>, database: &Database) -> Database {
    Database {
        name: database.name.clone(),
        cluster: standby.clone(),
        served_by: database.served_by,
    }
}

/// Promotes the standby of a primary that lives on, once it has all that the primary has.
pub(super) async fn promote(standby: &Arc<Cluster>, database: &Database) -> Database {
    let sent = "pg_stat_replication where replay_lsn = pg_current_wal_lsn()";
    eventually("the standby has it", || async {
        (database.count(sent).await == 1).then_some(())
    })
    .await;
    let promoted = at(standby, database);
    promoted.execute("select pg_promote()").await;
    promoted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_and_clients_go_on_at_the_promoted_standby() {
    let primary = Cluster::private();
    let database = Database::fresh_on(&primary).await;
    let standby = Cluster::standby_of(&primary);
    for setting in [
        "alter system set synchronous_standby_names = '*'",
        "select pg_reload_conf()",
    ] {
        database.execute(setting).await;
    }
    eventually("the standby is synchronous", || async {
        let synchronous = database.count("pg_stat_replication where sync_state = 'sync'");
        (synchronous.await == 1).then_some(())
    })
    .await;
    let promoted = at(&standby, &database);
    let way = Proxy::before(&promoted).await;
    // The first of them takes no writes until it is promoted.
    let ports = format!("{},{}", way.port, primary.port);
    let two_hosts = quick(&[("DB_HOST", "127.0.0.1,127.0.0.1"), ("DB_PORT", &ports)]);
    let [here, there] = Replica::start_many(&database, &two_hosts).await;
    let conversation = here.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let watched = json!({"userIds": [ALICE]});
    boris.send_command("watch_presence", watched).await;
    boris
        .expect_where("Alice is there", |frame| {
            frame["type"] == "presence" && frame["data"]["isOnline"] == true
        })
        .await;
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let content = number.to_string();
        acknowledged.push(here.api().send(conversation, ALICE, &content).await);
    }
    let mut cursor = String::new();
    for _ in 0..20 {
        cursor = cursor_of(&boris.expect("chat_message").await);
    }
    alice.collect_messages(20).await;
    // The conversation, too, where a replica heard of it after the socket had come.
    for socket in [&mut boris, &mut alice] {
        socket.arrived();
    }

    way.refuse();
    primary.crash();
    for replica in [&here, &there] {
        until_status(replica, "/health/ready", 503).await;
    }
    let refused = here
        .api()
        .send_once(conversation, ALICE, "during", "m-1")
        .await;
    refused.refused(503, "unavailable");
    promoted.execute("select pg_promote()").await;
    // Nobody is left to wait for.
    promoted
        .execute("alter system reset synchronous_standby_names")
        .await;
    promoted.execute("select pg_reload_conf()").await;
    let missed = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'missed')"
    );
    promoted.execute(&missed).await;
    way.accept();
    for replica in [&here, &there] {
        until_healthy(replica).await;
    }

    assert_eq!(there.api().history(conversation).await[..20], acknowledged);
    for socket in [&mut boris, &mut alice] {
        let resync = socket.expect("resync_required").await;
        // What was missed is in what they load: its numbers and revisions may have been another message's.
        let ahead = socket.arrived();
        assert!(
            ahead.iter().all(|frame| frame["type"] == "presence"),
            "{ahead:?}"
        );
        assert!(resync["data"]["reason"].is_string(), "{resync}");
        Socket::resume(&there, BORIS, &cursor_of(&resync)).await;
    }
    // What was shown before counts no more.
    boris
        .expect_where("Alice is still there", |frame| {
            frame["type"] == "presence" && frame["data"]["isOnline"] == true
        })
        .await;
    for replica in [&here, &there] {
        let (_boris, resync) = Socket::resume_refused(replica, BORIS, &cursor).await;
        Socket::resume(replica, BORIS, &cursor_of(&resync)).await;
    }

    let repeat = there
        .api()
        .send_once(conversation, ALICE, "during", "m-1")
        .await;
    assert!(matches!(repeat.status, 200 | 201), "{repeat:?}");
    there.api().send(conversation, ALICE, "after").await;
    for socket in [&mut boris, &mut alice] {
        let frames = socket.before_message("after").await;
        let during = frames
            .iter()
            .filter(|frame| frame["data"]["clientMessageId"] == json!("m-1"));
        assert_eq!(during.count(), 1, "{frames:?}");
    }
    let history = here.api().history(conversation).await;
    let seqs: Vec<i64> = history.iter().map(seq_of).collect();
    assert_eq!(seqs, (1..=23).collect::<Vec<_>>());
}

/// As when its machine is off, or its disk hangs: nobody refuses a connection, and nobody answers one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_goes_on_at_the_standby_when_the_primary_is_silent() {
    let primary = Cluster::private();
    let database = Database::fresh_on(&primary).await;
    let standby = Cluster::standby_of(&primary);
    let way = Proxy::before(&database).await;
    let ports = format!("{},{}", way.port, standby.port);
    let two_hosts = quick(&[("DB_HOST", "127.0.0.1,127.0.0.1"), ("DB_PORT", &ports)]);
    let replica = Replica::start(&database, &two_hosts).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;

    way.mute();
    until_status(&replica, "/health/ready", 503).await;
    promote(&standby, &database).await;
    until_healthy(&replica).await;

    let mut boris = Socket::connect(&replica, BORIS).await;
    let sent = replica.api().send(conversation, ALICE, "hello").await;
    assert_eq!(boris.expect("chat_message").await["data"], sent);
}

/// Its listener is at the new primary, and its pool is still at the former one, which lives, and does not say on which timeline it is: what
/// that one knows is not all that was missed. Nobody is told to load it, either, until both are at the new one; then all are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_would_read_at_the_former_primary_lets_nobody_resume() {
    let primary = Cluster::private();
    let database = Database::fresh_on(&primary).await;
    database
        .execute(&format!(
            "revoke execute on function pg_control_system() from public;
             grant execute on function pg_control_system() to {OWNER}"
        ))
        .await;
    let standby = Cluster::standby_of(&primary);
    let way = Proxy::before(&database).await;
    let pools_way = Proxy::before(&database).await;
    let (role, name) = (database.served_by, &database.name);
    let listen = format!(
        "postgres://{role}@127.0.0.1:{},127.0.0.1:{}/{name}?sslmode=disable",
        way.port, standby.port
    );
    let ports = format!("{},{}", pools_way.port, standby.port);
    // Nothing comes back through the queue; that is noticed only after the test.
    let split = [
        ("DB_HOST", "127.0.0.1,127.0.0.1"),
        ("DB_PORT", &ports),
        ("LISTEN_DATABASE_URL", listen.as_str()),
        ("LISTENER_HEARTBEAT_SECONDS", "120"),
    ];
    let torn = Replica::start(&database, &split).await;
    let conversation = torn.api().open_conversation(ALICE, BORIS).await;
    let promoted = promote(&standby, &database).await;
    let whole = Replica::start(&promoted, &QUICK).await;
    let mut boris = Socket::connect(&torn, BORIS).await;
    way.refuse();
    // Whatever the former primary goes on to: its numbers say nothing of what the listener hears.
    use_numbers_up_to(&database, 5_000).await;
    kill_listeners(&database).await;
    until_status(&torn, "/health/ready", 503).await;
    until_logged(&torn, "at another database server").await;
    whole.api().send(conversation, ALICE, "missed").await;

    let cursor = settled_cursor(&whole, BORIS).await;
    whole.api().send(conversation, ALICE, "missed, too").await;
    // The former primary's numbers go on as well: the cursor is not from its future.
    let (_, horizon) = cursor.rsplit_once('.').expect("the parts of a cursor");
    let horizon = i64::from_str_radix(horizon, 16).expect("a number");
    use_numbers_up_to(&database, horizon).await;
    let path = format!("/ws?user_id={BORIS}&cursor={cursor}");
    let said = Raw::upgrade_to(&torn, &path).await.until_closed().await;
    assert_eq!(close_code(&said), Some(1013));
    let mut resumed = Socket::resume(&whole, BORIS, &cursor).await;
    resumed.before_message("missed, too").await;
    boris.send_command("ping", json!({})).await;
    assert_eq!(boris.arrived(), Vec::<serde_json::Value>::new());

    pools_way.refuse();
    pools_way.cut_open();
    until_healthy(&torn).await;
    boris.expect("resync_required").await;
    whole.api().send(conversation, ALICE, "after").await;
    boris.before_message("after").await;
}

/// One connection is in use whenever somebody looks for idle ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_writer_leaves_a_former_primary_that_lives_on() {
    const SENDERS: [Uuid; 4] = [ALICE, CARLA, ELENA, GRETA];
    let primary = Cluster::private();
    let database = Database::fresh_on(&primary).await;
    database
        .execute_as_owner(
            "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(0.02); return null; end $$;
             create trigger slow after insert on messages for each statement execute function slow()",
        )
        .await;
    let standby = Cluster::standby_of(&primary);
    let way = Proxy::before(&database).await;
    let ports = format!("{},{}", way.port, standby.port);
    let two_hosts = quick(&[
        ("DB_HOST", "127.0.0.1,127.0.0.1"),
        ("DB_PORT", &ports),
        ("RATE_LIMIT_PER_SECOND", "0"),
    ]);
    let replica = Replica::start(&database, &two_hosts).await;
    let conversation = replica.api().open_conversation(BORIS, DAVID).await;
    let mut busy = JoinSet::new();
    for sender in SENDERS {
        let (api, with_boris) = (replica.api(), database.conversation(sender, BORIS).await);
        busy.spawn(async move {
            loop {
                // What becomes of it while the two servers part, nobody knows.
                api.try_send(with_boris, sender, "busy").await;
            }
        });
    }
    let promoted = promote(&standby, &database).await;
    let at_the_former = "messages where content = 'busy'";
    // New connections lead to the new primary, and whoever has one stays.
    way.refuse();
    kill_listeners(&database).await;
    eventually("the listener is at the new one", || async {
        let listeners = "pg_stat_activity where datname = current_database() and application_name = 'pgchat listener'";
        (promoted.count(listeners).await == 1).then_some(())
    })
    .await;
    until_healthy(&replica).await;
    for number in 0..20 {
        let content = format!("after {number}");
        replica.api().send(conversation, BORIS, &content).await;
    }
    let after = "messages where content like 'after %'";
    assert_eq!(promoted.count(after).await, 20);
    assert_eq!(database.count(after).await, 0);
    assert!(database.count(at_the_former).await > 0);
    assert!(busy.try_join_next().is_none(), "the senders went on");
    busy.abort_all();
}
