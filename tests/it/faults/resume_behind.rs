//! A client that comes back to a replica that is behind the one where it was.

use serde_json::Value;

use super::*;

/// Two messages that the client has seen, the first one by a younger transaction than the second: the cursor is below it.
struct Behind {
    database: Database,
    proxy: Proxy,
    here: Replica,
    there: Replica,
    conversation: uuid::Uuid,
    /// Back at the replica that has heard of neither.
    boris: Socket,
    _stranger: tokio_postgres::Client,
}

impl Behind {
    async fn set() -> Self {
        let database = Database::fresh().await;
        let proxy = Proxy::before(&database).await;
        let here = Replica::start(&database, &QUICK).await;
        let there = Replica::start(&database, &quick(&proxy.for_listener())).await;
        let conversation = here.api().open_conversation(ALICE, BORIS).await;
        proxy.refuse();
        kill_listeners(&database).await;
        until_status(&there, "/health", 503).await;

        let earlier = database.holding("select pg_current_xact_id()").await;
        // Holds the cursor between the two.
        let stranger = database.holding("select pg_current_xact_id()").await;
        here.api().send(conversation, ALICE, "one").await;
        let two = format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'two'); commit"
        );
        earlier.batch_execute(&two).await.expect("its end");
        let cursor = settled_cursor(&here, BORIS).await;
        let boris = Socket::resume(&there, BORIS, &cursor).await;
        assert_eq!(boris.connected["data"]["resumed"], true);
        Self {
            database,
            proxy,
            here,
            there,
            conversation,
            boris,
            _stranger: stranger,
        }
    }

    /// What the client is told once the replica has caught up.
    async fn told(&mut self) -> Vec<Value> {
        self.proxy.accept();
        until_healthy(&self.there).await;
        self.here.api().send(self.conversation, ALICE, "last").await;
        self.boris.before_message("last").await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_client_has_seen_does_not_come_again_behind_later_ones() {
    let mut stage = Behind::set().await;
    assert_eq!(stage.told().await, Vec::<Value>::new());
}

/// The replica reads it once, as it is by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_client_has_seen_comes_as_an_update_if_it_was_edited_since() {
    let mut stage = Behind::set().await;
    let edit = "update messages set content = 'one, edited' where content = 'one'";
    stage.database.execute(edit).await;
    let told: Vec<(Value, Value)> = stage
        .told()
        .await
        .iter()
        .map(|frame| (frame["type"].clone(), frame["data"]["content"].clone()))
        .collect();
    assert_eq!(told, [("message_updated".into(), "one, edited".into())]);
}

/// Or whoever is cut off once more would be told again of what they had seen before they came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_missed_takes_it_no_further_back_than_it_was() {
    let stage = Behind::set().await;
    let edit = "update messages set content = 'one, edited' where content = 'one'";
    stage.database.execute(edit).await;
    let cursor = cursor_of(&stage.boris.connected);
    let mut boris = Socket::resume(&stage.there, BORIS, &cursor).await;
    boris.send_command("ping", serde_json::json!({})).await;
    let replay = boris.arrived();
    let last = replay.last().expect("the edit");
    assert_eq!(last["data"]["content"], "one, edited", "{replay:#?}");
    assert_eq!(cursor_of(last), cursor);
}
