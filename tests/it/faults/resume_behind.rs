//! A client that comes back to a replica that is behind the one where it was.

use serde_json::Value;

use super::*;

/// A message whose transaction is younger than that of the one behind it: the cursor is below it, though the client has seen both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_client_has_seen_does_not_come_again_behind_later_ones() {
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
    let _stranger = database.holding("select pg_current_xact_id()").await;
    here.api().send(conversation, ALICE, "one").await;
    let two = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'two'); commit"
    );
    earlier.batch_execute(&two).await.expect("its end");
    let cursor = settled_cursor(&here, BORIS).await;
    let mut boris = Socket::resume(&there, BORIS, &cursor).await;
    assert_eq!(boris.connected["data"]["resumed"], true);

    proxy.accept();
    until_healthy(&there).await;
    here.api().send(conversation, ALICE, "last").await;
    assert_eq!(boris.before_message("last").await, Vec::<Value>::new());
}
