//! What is told of the indexes that are there when tables are taken over.

use super::go_service;
use crate::support::*;

/// Each costs every message something, and the host may not know.
#[tokio::test]
async fn indexes_that_are_better_dropped_are_told_and_no_others() {
    let database = go_service(300).await;
    database
        .execute_as_owner(
            "create index by_time on conversations (updated_at desc);
             create index unread on conversations (id) where last_message_id is not null;
             create index by_creation on conversations (created_at);
             create index by_content on messages (md5(content));
             create index by_time_there on messages (conversation_id, created_at);
             create unique index as_unique on conversations (participant2_id, id)",
        )
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    let told: Vec<&str> = outcome
        .stderr
        .lines()
        .filter_map(|line| line.split_once("drop index concurrently public."))
        .map(|(_, name)| name)
        .collect();
    let expected = [
        "by_time",
        "idx_conversations_participant1_id",
        "idx_conversations_participant2_id",
        "idx_messages_conversation_id",
        "unread",
    ];
    let mut sorted = told.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "{outcome:#?}");

    // As they say: what a message changes of its conversation's row is in no index any more.
    for name in told {
        let drop = format!("drop index concurrently {name}");
        database.execute(&drop).await;
    }
    let client = database.sql().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'x')"
    );
    client.batch_execute("begin").await.expect("a transaction");
    // A page may be full, but not again for the next ones.
    for _ in 0..10 {
        client.batch_execute(&insert).await.expect("stored");
    }
    let hot = "select pg_stat_get_xact_tuples_updated('conversations'::regclass), pg_stat_get_xact_tuples_hot_updated('conversations'::regclass)";
    let row = client.query_one(hot, &[]).await.expect("counted");
    let (updated, hot): (i64, i64) = (row.get(0), row.get(1));
    assert!(updated >= 10 && hot > 0, "{updated} {hot}");
}
