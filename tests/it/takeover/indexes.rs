//! What is told of the indexes that are there when tables are taken over.

use super::go_service;

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
             create unique index as_unique on conversations (participant2_id, id);
             alter table conversations add constraint last_once unique (last_message_id)",
        )
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    let mut told: Vec<&str> = outcome
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
    told.sort_unstable();
    let of_constraint = "alter table conversations drop constraint last_once";
    assert!(outcome.stderr.contains(of_constraint), "{outcome:#?}");
    assert_eq!(told, expected, "{outcome:#?}");
}
