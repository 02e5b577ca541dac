//! What a listener has read from the tables and delivered may be lost by a crash, like what a notification told it.

use std::sync::Arc;

use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

use super::*;

/// A replica with a socket, and a program whose commits are not flushed.
struct Stage {
    cluster: Arc<Cluster>,
    database: Database,
    listens: Proxy,
    asks: Proxy,
    replica: Replica,
    conversation: Uuid,
    boris: Socket,
    program: Client,
}

impl Stage {
    async fn set() -> Self {
        let cluster = Cluster::private();
        let database = Database::fresh_on(&cluster).await;
        let listens = Proxy::before(&database).await;
        let asks = Proxy::before(&database).await;
        let still = [
            ("LISTENER_HEARTBEAT_SECONDS", "60"),
            ("DB_TIMEOUT_SECONDS", "30"),
            ("SEARCH_LANGUAGE", "off"),
        ];
        let replica = Replica::start(
            &database,
            &[&asks.for_all()[..], &listens.for_listener(), &still].concat(),
        )
        .await;
        let conversation = replica.api().open_conversation(ALICE, BORIS).await;
        let mut boris = Socket::connect(&replica, BORIS).await;
        replica.api().send(conversation, ALICE, "kept").await;
        boris.before_message("kept").await;
        let program = database.sql().await;
        let unhurried = "set synchronous_commit = off";
        program.batch_execute(unhurried).await.expect("a setting");
        Self {
            cluster,
            database,
            listens,
            asks,
            replica,
            conversation,
            boris,
            program,
        }
    }

    async fn lock(&self) {
        let lock = "begin; lock table messages in access exclusive mode";
        self.program.batch_execute(lock).await.expect("a lock");
    }

    async fn end_lock(&self) {
        self.program.batch_execute("commit").await.expect("its end");
    }

    async fn crash(&self) {
        self.cluster.crash();
        self.cluster.start();
        self.listens.cut_open();
        self.listens.unmute();
        until_healthy(&self.replica).await;
    }

    async fn assert_reloads(&mut self) {
        let resync = self.boris.expect("resync_required").await;
        let reason = resync["data"]["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("crashed"), "{resync}");
    }

    /// The listener listens, has sent a heartbeat, and cannot read yet. It hears nothing more, and no other heartbeat is flushed.
    async fn until_it_is_to_catch_up(&self) -> Client {
        let waiting = format!("{LOCK_WAITERS} and query like '%chat_changes_exceed%'");
        eventually("it wants to read what it missed", || async {
            (self.database.count(&waiting).await == 1).then_some(())
        })
        .await;
        self.listens.mute_open();
        self.database
            .holding("select from chat_replicas for update")
            .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_catch_up_read_and_a_crash_may_have_lost_makes_clients_reload() {
    let mut stage = Stage::set().await;
    stage.lock().await;
    kill_listeners(&stage.database).await;
    let _beats = stage.until_it_is_to_catch_up().await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{}', '{ALICE}', 'unflushed'); commit",
        stage.conversation
    );
    stage
        .program
        .batch_execute(&insert)
        .await
        .expect("an insert");
    stage.boris.before_message("unflushed").await;
    stage.crash().await;
    stage.assert_reloads().await;
}

/// It had been flushed by the heartbeat with which the catch-up began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_catch_up_read_and_was_flushed_makes_no_client_reload() {
    let mut stage = Stage::set().await;
    stage.listens.refuse();
    kill_listeners(&stage.database).await;
    until_status(&stage.replica, "/health", 503).await;
    let api = stage.replica.api();
    api.send(stage.conversation, ALICE, "missed").await;
    stage.lock().await;
    stage.listens.accept();
    let _beats = stage.until_it_is_to_catch_up().await;
    stage.end_lock().await;
    stage.boris.before_message("missed").await;
    stage.crash().await;
    api.send(stage.conversation, ALICE, "after").await;
    let frames = stage.boris.before_message("after").await;
    assert_eq!(frames, Vec::<serde_json::Value>::new());
}

/// The message itself is flushed, and what it was read back as is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_back_and_a_crash_may_have_lost_makes_clients_reload() {
    const HEARD: &str = "pgchat_listener_notifications_total";
    let mut stage = Stage::set().await;
    stage.listens.mute_open();
    let api = stage.replica.api();
    let long = "long ".repeat(2_000);
    let sent = api.send(stage.conversation, ALICE, long.trim()).await;
    let before = api.metric(HEARD).await;
    stage.asks.mute_open();
    stage.listens.unmute();
    // It is heard of, and asked for.
    until_metric_above(&stage.replica, HEARD, before).await;
    stage.listens.mute_open();
    let id = id_of(&sent);
    let edit = format!("update messages set content = 'unflushed' where id = '{id}'");
    stage.program.batch_execute(&edit).await.expect("an edit");
    stage.asks.unmute();
    stage.boris.before_message("unflushed").await;
    stage.crash().await;
    stage.assert_reloads().await;
}

/// What the replay sent was taken back, and what is under the same revision now is something else. The listener had heard of neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_that_has_the_revision_of_one_that_a_crash_took_back_after_a_replay_is_told() {
    let mut stage = Stage::set().await;
    stage.database.flush_seldom().await;
    let api = stage.replica.api();
    let sent = api.send(stage.conversation, ALICE, "first").await;
    let shown = |content: &'static str| move |frame: &Value| frame["data"]["content"] == content;
    let first = stage.boris.expect_where("it", shown("first")).await;
    let edit = |content: &str| {
        let id = id_of(&sent);
        format!("update messages set content = '{content}' where id = '{id}'")
    };
    stage.listens.mute_open();
    // The numbers behind it are given again as well, so many that the replay is remembered for as long as the test runs.
    let numbers =
        "do $$ begin for n in 1..500 loop perform pg_current_xact_id(); commit; end loop; end $$";
    for statement in [&edit("unflushed"), numbers] {
        stage.program.batch_execute(statement).await.expect("done");
    }
    let mut back = Socket::resume(&stage.replica, BORIS, &cursor_of(&first)).await;
    back.expect_where("the replay", shown("unflushed")).await;
    stage.crash().await;
    let unflushed = "messages where content = 'unflushed'";
    assert_eq!(stage.database.count(unflushed).await, 0, "it was flushed");

    stage.database.execute(&edit("flushed")).await;
    for socket in [&mut stage.boris, &mut back] {
        let told = socket.expect_where("the edit", shown("flushed")).await;
        assert_eq!(told["type"], "message_updated");
        let ahead = socket.arrived();
        assert!(ahead.iter().all(|frame| frame["type"] != "resync_required"));
    }
}
