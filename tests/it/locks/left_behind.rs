//! A socket that has gone while a command of its waited for a row that another program holds. Its client comes back, repeats the
//! command, and changes the same once more: what was left behind must not undo that.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

use super::PATIENT;
use crate::support::*;

struct Scene {
    database: Database,
    replica: Replica,
    conversation: Uuid,
    message: Uuid,
    /// Holds the message.
    holder: Client,
}

impl Scene {
    async fn set() -> Self {
        Self::with(PATIENT[1]).await
    }

    async fn with(setting: (&str, &str)) -> Self {
        let database = Database::fresh().await;
        let replica = Replica::start(&database, &[setting]).await;
        let conversation = replica.api().open_conversation(ALICE, BORIS).await;
        let message = id_of(&replica.api().send(conversation, ALICE, "hello").await);
        let hold = format!("select from messages where id = '{message}' for update");
        Self {
            holder: database.holding(&hold).await,
            database,
            replica,
            conversation,
            message,
        }
    }

    /// The user's socket sends the command, which waits, and goes.
    async fn leave(&self, user: Uuid, kind: &str, data: Value) {
        let mut socket = Socket::connect(&self.replica, user).await;
        socket.request(kind, data).await;
        self.until_tried(2).await;
        drop(socket);
        let api = self.replica.api();
        eventually("the socket is gone", || async {
            (api.metric("pgchat_connections").await == 0.0).then_some(())
        })
        .await;
    }

    /// Sees so many tries wait for the message, one after the other.
    async fn until_tried(&self, tries: usize) {
        let since = "select xact_start::text from pg_stat_activity
             where datname = current_database() and wait_event in ('tuple', 'transactionid')";
        let sql = self.database.sql().await;
        let mut seen = HashSet::new();
        while seen.len() < tries {
            let next = eventually("another try waits", || async {
                let rows = sql.query(since, &[]).await.expect("the sessions");
                let mut found = rows.iter().map(|row| row.get::<_, String>(0));
                found.find(|try_| !seen.contains(try_))
            });
            let next = next.await;
            seen.insert(next);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_whose_socket_has_gone_does_not_undo_a_later_one() {
    let scene = Scene::set().await;
    let edit = json!({"messageId": scene.message, "content": "one"});
    scene.leave(ALICE, "edit_message", edit).await;
    let mut boris = Socket::connect(&scene.replica, BORIS).await;
    let (api, message) = (scene.replica.api(), scene.message);
    let later = tokio::spawn(async move { api.edit(message, ALICE, "two").await });
    // The first of these may be the one that had begun when the socket went.
    scene.until_tried(3).await;
    scene.holder.batch_execute("commit").await.expect("its end");
    let edited = within("an answer", later).await.expect("an answer").ok(200);
    assert_eq!(edited["content"], "two");
    let seen = boris.expect("message_updated").await;
    assert_eq!(seen["data"]["content"], "two", "the other one was made");
}

/// A paused container, for one: it finds the end of the edit's time and its turn at once, and both behind what its client did elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_whose_time_passed_while_its_replica_stood_still_does_not_undo_a_later_one() {
    const TIME: Duration = Duration::from_secs(6);
    let scene = Scene::with(("DB_TIMEOUT_SECONDS", "6")).await;
    let (database, here) = (&scene.database, &scene.replica);
    let there = Replica::start(database, &[PATIENT[1]]).await;
    let mut alice = Socket::connect(here, ALICE).await;
    let edit = json!({"messageId": scene.message, "content": "one"});
    let request = alice.request("edit_message", edit).await;
    scene.until_tried(2).await;
    let begun = Instant::now();
    let waits = async || database.count(LOCK_WAITERS).await > 0;
    eventually("it stands still between two tries", || async {
        if waits().await {
            return None;
        }
        here.freeze();
        let is_between = !waits().await;
        if !is_between {
            here.thaw();
        }
        is_between.then_some(())
    })
    .await;
    scene.holder.batch_execute("commit").await.expect("its end");
    let edited = there.api().edit(scene.message, ALICE, "two").await;
    assert_eq!(edited.ok(200)["content"], "two");
    // What is waited for is that the edit's time has passed.
    tokio::time::sleep_until((begun + TIME).into()).await;
    here.thaw();
    let answer = alice.answer(&request).await;
    assert_eq!(answer["type"], "error", "{answer}");
    let two = format!(
        "messages where id = '{}' and content = 'two'",
        scene.message
    );
    assert_eq!(database.count(&two).await, 1, "the first one was made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_whose_request_has_gone_is_not_made_later() {
    let scene = Scene::set().await;
    let mut boris = Socket::connect(&scene.replica, BORIS).await;
    let mut caller = Raw::connect(&scene.replica).await;
    let line = format!(
        "PATCH /api/v1/chat/messages/{}?user_id={ALICE}",
        scene.message
    );
    let body = json!({"content": "one"}).to_string();
    let length = format!("content-length: {}", body.len());
    caller
        .request(&line, &["content-type: application/json", &length])
        .await;
    caller.write(body).await;
    scene.until_tried(2).await;
    drop(caller);
    // It is tried when whoever waits ahead of it has gone; the edit's last statement may have begun before.
    let (api, message) = (scene.replica.api(), scene.message);
    let later = tokio::spawn(async move { api.delete_message(message, ALICE).await });
    let waits = |function: &str| format!("{LOCK_WAITERS} and query like '%{function}%'");
    let [edits, deletions] = ["chat_edit_message", "chat_delete_message"].map(waits);
    eventually("only the deletion waits for the message", || async {
        let database = &scene.database;
        (database.count(&edits).await == 0 && database.count(&deletions).await == 1).then_some(())
    })
    .await;
    scene.holder.batch_execute("commit").await.expect("its end");
    let deleted = within("an answer", later).await.expect("an answer");
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let ahead = boris.expect_where("the deletion", |frame| {
        assert_ne!(frame["type"], "message_updated", "the edit was made");
        frame["type"] == "message_deleted"
    });
    ahead.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_of_all_whose_socket_has_gone_covers_nothing_that_came_since() {
    let scene = Scene::set().await;
    let mark = json!({"conversationId": scene.conversation});
    scene.leave(BORIS, "mark_read", mark).await;
    let (api, conversation) = (scene.replica.api(), scene.conversation);
    let later = tokio::spawn(async move { api.mark_read(conversation, BORIS).await });
    scene.until_tried(3).await;
    scene.holder.batch_execute("commit").await.expect("its end");
    let marked = within("an answer", later).await.expect("an answer").ok(200);
    assert_eq!(marked["markedCount"], 1, "the other one was made");
}

/// What it says is the same whenever it is made, and whoever leaves has read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_up_to_a_seq_is_made_though_its_socket_has_gone() {
    let scene = Scene::set().await;
    let mark = json!({"conversationId": scene.conversation, "upToSeq": 1});
    scene.leave(BORIS, "mark_read", mark).await;
    scene.holder.batch_execute("commit").await.expect("its end");
    eventually("it is made", || async {
        (scene.database.count("messages where is_read").await == 1).then_some(())
    })
    .await;
}

/// It waited for others' changes, which take long, and had not begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_whose_socket_went_while_others_were_changing_theirs_is_not_made() {
    let database = Database::fresh().await;
    let function = Function {
        name: "chat_edit_message",
        types: "uuid, uuid, text",
        returns: "table (status text, message text)",
        call: "return query select * from chat_edit_message_at_once($1, $2, $3)",
    };
    let gate = Gate::before(&database, function, "$3 = 'takes long'").await;
    // One change at a time, of the three connections for requests.
    let settings = [PATIENT[0], PATIENT[1], ("DB_POOL_SIZE", "5")];
    let [here, there] = Replica::start_many(&database, &settings).await;
    let conversation = here.api().open_conversation(ALICE, BORIS).await;
    let message = id_of(&here.api().send(conversation, ALICE, "hello").await);
    let of_boris = id_of(&here.api().send(conversation, BORIS, "hi").await);
    let edit_of_boris = |content: &'static str| {
        let api = here.api();
        tokio::spawn(async move { api.edit(of_boris, BORIS, content).await })
    };
    let long = edit_of_boris("takes long");
    until_lock_waiters(&database, 1).await;

    let mut alice = Socket::connect(&here, ALICE).await;
    let edit = json!({"messageId": message, "content": "one"});
    alice.request("edit_message", edit).await;
    // Read behind it.
    alice.send_command("ping", json!({})).await;
    drop(alice);
    until_metric(&here, "pgchat_connections", 0.0).await;
    let edited = there.api().edit(message, ALICE, "two").await.ok(200);
    assert_eq!(edited["content"], "two");
    let behind = edit_of_boris("behind hers");
    gate.open().await;
    for edit in [long, behind] {
        within("an answer", edit).await.expect("an answer").ok(200);
    }
    let two = format!("messages where id = '{message}' and content = 'two'");
    assert_eq!(database.count(&two).await, 1, "the other one was made");
}
