//! A crash takes back what was delivered: another program commits with `synchronous_commit` off, and PostgreSQL tells of it
//! before it is flushed.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::*;

/// A replica with one socket, and a program whose commits are not flushed; nothing else flushes on the side.
struct Stage {
    cluster: Arc<Cluster>,
    database: Database,
    proxy: Proxy,
    replica: Replica,
    conversation: Uuid,
    kept: Value,
    boris: Socket,
    program: Client,
}

/// A message that Boris has been shown, and an edit of another one.
struct Shown {
    content: String,
    seq: i64,
    xid: i64,
}

impl Stage {
    async fn set() -> Self {
        let cluster = Cluster::private();
        let database = Database::fresh_on(&cluster).await;
        database.flush_seldom().await;
        let proxy = Proxy::before(&database).await;
        // No heartbeat comes between.
        let still = [
            ("LISTENER_HEARTBEAT_SECONDS", "60"),
            ("SEARCH_LANGUAGE", "off"),
        ];
        let settings = quick(&[&proxy.for_all()[..], &still].concat());
        let replica = Replica::start(&database, &settings).await;
        let conversation = replica.api().open_conversation(ALICE, BORIS).await;
        let mut boris = Socket::connect(&replica, BORIS).await;
        let kept = replica.api().send(conversation, ALICE, "kept").await;
        boris.before_message("kept").await;
        let program = database.sql().await;
        program
            .batch_execute("set synchronous_commit = off")
            .await
            .expect("a setting");
        Self {
            cluster,
            database,
            proxy,
            replica,
            conversation,
            kept,
            boris,
            program,
        }
    }

    async fn insert(&self, client: &Client, content: &str) -> Shown {
        let insert = format!(
            "insert into messages (conversation_id, sender_id, content) values ('{}', '{ALICE}', '{content}')
             returning seq, create_xid::text::bigint",
            self.conversation
        );
        let row = client.query_one(&insert, &[]).await.expect("an insert");
        Shown {
            content: content.to_owned(),
            seq: row.get(0),
            xid: row.get(1),
        }
    }

    async fn edit(&self, client: &Client, content: &str) {
        let update = format!(
            "update messages set content = '{content}' where id = {}",
            self.kept["id"].to_string().replace('"', "'")
        );
        client.batch_execute(&update).await.expect("an edit");
    }

    async fn write_unflushed(&mut self, number: usize) -> Shown {
        let shown = self
            .insert(&self.program, &format!("unflushed {number}"))
            .await;
        self.boris.before_message(&shown.content).await;
        self.edit(&self.program, &format!("edit {number}")).await;
        self.boris.expect("message_updated").await;
        shown
    }

    /// Has Boris shown a message and an edit of which PostgreSQL has written nothing to its log, as whole pages are.
    async fn show_what_will_be_lost(&mut self) -> Shown {
        for number in 0..100 {
            let end = "select pg_current_wal_insert_lsn()::text";
            let row = self.program.query_one(end, &[]).await.expect("a place");
            let before: String = row.get(0);
            // So many numbers are to be had again by what comes after the crash, before it comes to those of what was lost.
            for _ in 0..20 {
                let number = "select pg_current_xact_id()";
                self.program.batch_execute(number).await.expect("a number");
            }
            let shown = self.write_unflushed(number).await;
            let unwritten = "select pg_current_wal_lsn() <= $1::text::pg_lsn";
            let row = self.program.query_one(unwritten, &[&before]).await;
            if row.expect("an answer").get(0) {
                return shown;
            }
        }
        panic!("PostgreSQL writes its log at once");
    }

    async fn assert_is_lost(&self, shown: &Shown) {
        let found = format!("messages where content = '{}'", shown.content);
        assert_eq!(self.database.count(&found).await, 0, "it was flushed");
    }

    async fn assert_all_reload(&mut self) {
        let resync = self.boris.expect("resync_required").await;
        let reason = resync["data"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("crashed"), "{resync}");
        let log = self.replica.log();
        assert!(log.contains("the database has crashed"), "{log}");
        until_healthy(&self.replica).await;
        let cursor = cursor_of(&resync);
        Socket::resume(&self.replica, BORIS, &cursor).await;
    }
}

/// Other programs have used up the numbers again before the replica is back: nothing in the tables looks as if something had
/// been lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_shown_and_lost_by_a_crash_makes_clients_reload() {
    let mut stage = Stage::set().await;
    let lost = stage.show_what_will_be_lost().await;
    stage.proxy.refuse();
    stage.cluster.crash();
    stage.cluster.start();
    stage.assert_is_lost(&lost).await;
    let client = stage.database.sql().await;
    let anew = stage.insert(&client, "anew").await;
    // Less than what is known to be unwritten may have been flushed.
    assert!(anew.seq <= lost.seq, "{} after {}", anew.seq, lost.seq);
    assert!(anew.xid <= lost.xid, "{} after {}", anew.xid, lost.xid);
    stage.edit(&client, "edited anew").await;
    use_numbers_up_to(&stage.database, lost.xid + 10).await;

    stage.proxy.accept();
    stage.assert_all_reload().await;
    let api = stage.replica.api();
    api.send(stage.conversation, ALICE, "after").await;
    let frames = stage.boris.before_message("after").await;
    assert_eq!(frames, Vec::<Value>::new());
    let history = api.history(stage.conversation).await;
    assert_eq!(history[0]["content"], "edited anew");
    let newest: Vec<&Value> = history
        .iter()
        .rev()
        .map(|m| &m["content"])
        .take(2)
        .collect();
    assert_eq!(newest, [&json!("after"), &json!("anew")]);
}

/// One of PostgreSQL's processes is killed, for want of memory perhaps: the server recovers as after a crash, without being started
/// anew. What comes then has the numbers of what was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_shown_and_lost_with_one_process_of_the_server_makes_clients_reload() {
    let mut stage = Stage::set().await;
    let victim = stage.database.sql().await;
    let lost = stage.show_what_will_be_lost().await;
    // Another one was shown the same in its replay.
    let cursor = cursor_of(&stage.boris.connected);
    let mut resumed = Socket::resume(&stage.replica, BORIS, &cursor).await;
    resumed
        .expect_where("what will be lost", |frame| {
            frame["data"]["content"] == lost.content.as_str()
        })
        .await;
    stage.database.crash_by(victim).await;
    stage.assert_is_lost(&lost).await;

    stage.assert_all_reload().await;
    let api = stage.replica.api();
    let after = api.send(stage.conversation, ALICE, "after").await;
    assert!(seq_of(&after) <= lost.seq, "{after} after {}", lost.seq);
    let frames = stage.boris.before_message("after").await;
    assert_eq!(frames, Vec::<Value>::new());
    api.edit(id_of(&stage.kept), ALICE, "edited anew")
        .await
        .ok(200);
    for socket in [&mut stage.boris, &mut resumed] {
        socket
            .expect_where("what was edited anew", |frame| {
                frame["type"] == "message_updated" && frame["data"]["content"] == "edited anew"
            })
            .await;
    }
}

/// What is not flushed by itself is with the next commit that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_that_took_nothing_back_makes_no_client_reload() {
    let mut stage = Stage::set().await;
    let api = stage.replica.api();
    stage.write_unflushed(0).await;
    // By reference, and the last before the crash.
    let long = "long ".repeat(2_000);
    api.send(stage.conversation, ALICE, long.trim()).await;
    stage.boris.before_message(long.trim()).await;
    stage.cluster.crash();
    stage.cluster.start();
    until_healthy(&stage.replica).await;

    assert_eq!(stage.database.count("messages").await, 3);
    api.send(stage.conversation, ALICE, "after").await;
    let frames = stage.boris.before_message("after").await;
    assert_eq!(frames, Vec::<Value>::new(), "{}", stage.replica.log());
}

/// Without a crash nothing is lost, flushed or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_makes_no_client_reload_though_nothing_is_flushed() {
    let mut stage = Stage::set().await;
    stage.write_unflushed(0).await;
    let before = stage
        .replica
        .api()
        .metric("pgchat_listener_reconnects_total")
        .await;
    assert_eq!(kill_listeners(&stage.database).await, 1);
    until_metric_above(&stage.replica, "pgchat_listener_reconnects_total", before).await;
    until_healthy(&stage.replica).await;

    let api = stage.replica.api();
    api.send(stage.conversation, ALICE, "after").await;
    let frames = stage.boris.before_message("after").await;
    assert_eq!(frames, Vec::<Value>::new(), "{}", stage.replica.log());
}
