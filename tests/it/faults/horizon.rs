//! Transactions that are open for long, and that commit later than younger ones. Each test has a cluster of its own: the
//! oldest open transaction is the test's, and its number is the horizon itself.

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::ledger::{Scene, gists};
use super::*;

/// A change of each kind, in a transaction that is open still: its number is early, and it commits last. A sequence would be passed over.
pub struct Late {
    conversation: Uuid,
    /// Opened in it.
    opened: Uuid,
    stranger: Client,
}

impl Late {
    pub async fn begin(database: &Database, api: &Api) -> Self {
        let conversation = api.open_conversation(ALICE, BORIS).await;
        for content in ["edited", "read", "deleted"] {
            api.send(conversation, BORIS, content).await;
        }
        let changes = format!(
            "begin;
             insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{BORIS}', 'slow');
             update messages set content = 'slow edit' where content = 'edited';
             update messages set is_read = true where content in ('slow edit', 'read');
             delete from messages where content = 'deleted'"
        );
        let stranger = database.sql().await;
        stranger.batch_execute(&changes).await.expect("changes");
        let open = "insert into conversations (participant1_id, participant2_id) values ($1, $2) returning id";
        let opened = stranger.query_one(open, &[&ALICE, &DAVID]).await;
        Self {
            conversation,
            opened: opened.expect("a conversation").get(0),
            stranger,
        }
    }

    pub async fn commit(&self) {
        self.stranger
            .batch_execute("commit")
            .await
            .expect("its end");
    }

    /// What these frames say of it.
    pub fn told(&self, frames: &[Value]) -> Vec<String> {
        let mut told = gists(frames, self.opened);
        told.extend(gists(frames, self.conversation));
        told
    }
}

pub const LATE: [&str; 5] = [
    "conversation_created",
    "message_updated 1 slow edit",
    "message_deleted 3",
    "chat_message 4 slow",
    "messages_read 2",
];

#[tokio::test]
async fn a_message_that_commits_after_younger_ones_is_not_missed_by_a_resume() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let [here, there] = Replica::start_many(&database, &QUICK).await;
    let fast = here.api().open_conversation(ALICE, CARLA).await;
    let late = Late::begin(&database, &here.api()).await;
    let mut alice = Socket::connect(&here, ALICE).await;

    // Delivered, with cursors, and with heartbeats between.
    for number in 0..3 {
        here.api().send(fast, CARLA, &number.to_string()).await;
        until_heartbeat(&database).await;
    }
    let mut cursors = Vec::new();
    for _ in 0..3 {
        cursors.push(cursor_of(&alice.expect("chat_message").await));
    }
    alice.close().await;
    // A replay ends with a position of its own, which is no later.
    let mut alice = Socket::resume(&there, ALICE, &cursors[0]).await;
    alice.send_command("ping", json!({})).await;
    let replayed = alice.arrived();
    cursors.push(cursor_of(replayed.last().expect("the fast ones")));
    alice.close().await;
    late.commit().await;

    for replica in [&here, &there] {
        for cursor in &cursors {
            let mut alice = Socket::resume(replica, ALICE, cursor).await;
            alice.send_command("ping", json!({})).await;
            let told = late.told(&alice.arrived());
            for wanted in LATE {
                assert!(
                    told.iter().any(|gist| gist.trim_end() == wanted),
                    "{wanted} in {told:#?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_commits_late_is_not_missed_by_a_catch_up() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let proxy = Proxy::before(&database).await;
    let replica = Replica::start(&database, &quick(&proxy.for_listener())).await;
    let api = replica.api();
    let fast = api.open_conversation(ALICE, CARLA).await;
    let late = Late::begin(&database, &api).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    for number in 0..5 {
        api.send(fast, CARLA, &number.to_string()).await;
    }
    // What was made before she came may arrive before it.
    alice.before_message("4").await;

    proxy.refuse();
    kill_listeners(&database).await;
    until_status(&replica, "/health", 503).await;
    late.commit().await;
    api.send(fast, CARLA, "5").await;
    proxy.accept();
    until_healthy(&replica).await;

    api.send(fast, CARLA, "last").await;
    let frames = alice.before_message("last").await;
    assert_eq!(late.told(&frames), LATE);
    assert_eq!(super::ledger::seqs(&frames, fast), [6], "and no repeats");
}

/// Anywhere in the cluster, in a database that has nothing to do with ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_transaction_that_stays_open_costs_no_event() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let elsewhere = Database::empty_on(&cluster).await;
    let stranger = elsewhere.sql().await;
    stranger
        .batch_execute("begin; select pg_current_xact_id()")
        .await
        .expect("a transaction with a number");
    let proxy = Proxy::before(&database).await;
    let here = Replica::start(&database, &QUICK).await;
    // Set before the other replica starts: to that one's sockets it is the past.
    let scene = Scene::set(&here.api()).await;
    let there = Replica::start(&database, &quick(&proxy.for_listener())).await;
    let mut alice = Socket::connect(&there, ALICE).await;
    let mut boris = Socket::connect(&here, BORIS).await;
    here.api().send(scene.with_boris, ALICE, "early 5").await;
    alice.before_message("early 5").await;
    boris.before_message("early 5").await;
    let cursor = cursor_of(&Socket::connect(&here, BORIS).await.connected);
    boris.close().await;

    proxy.refuse();
    kill_listeners(&database).await;
    until_status(&there, "/health", 503).await;
    for number in 6..20 {
        let content = number.to_string();
        here.api().send(scene.with_boris, ALICE, &content).await;
    }
    proxy.accept();
    until_healthy(&there).await;

    // The live socket: each once. The horizon has not moved since the replica's start.
    here.api().send(scene.with_boris, ALICE, "last").await;
    let frames = alice.before_message("last").await;
    let told = super::ledger::seqs(&frames, scene.with_boris);
    assert_eq!(told, (6..20).collect::<Vec<_>>());
    // The client that comes back may be told of the same again, and of all that is new.
    let mut boris = Socket::resume(&there, BORIS, &cursor).await;
    let frames: Vec<Value> = boris.before_message("last").await;
    let told = super::ledger::seqs(&frames, scene.with_boris);
    assert!(told.ends_with(&(6..20).collect::<Vec<_>>()), "{told:?}");
    assert!(told.is_sorted_by(|a, b| a < b), "{told:?}");
}
