//! What is left of messages and conversations that were deleted, and goes with the old messages.

use super::{aged, fill, purge, purge_in_steps};
use crate::support::*;

/// Those of messages that were deleted outright, too.
#[tokio::test]
async fn old_tombstones_go_too() {
    let database = Database::fresh().await;
    aged(&database, &[5, 4, 3], true).await;
    database
        .execute(
            "delete from messages where content in ('aged 5', 'aged 4');
             update chat_tombstones set deleted_at = now() - interval '2 years' where seq = 1",
        )
        .await;
    let step = purge(&database, 365, 100, None).await;
    assert_eq!((step.messages, step.tombstones, step.next), (0, 1, None));
    assert_eq!(database.count("chat_tombstones where seq = 2").await, 1);
}

#[tokio::test]
async fn messages_and_tombstones_together_are_no_more_than_a_step_may_remove() {
    let database = Database::fresh().await;
    let conversation = aged(&database, &[900, 899, 5, 4, 3], true).await;
    let other = database.conversation(ALICE, CARLA).await;
    fill(&database, other, &[5, 4], true).await;
    database
        .execute(&format!(
            "delete from messages where content in ('aged 5', 'aged 4') and conversation_id = '{conversation}'
                or content = 'aged 5' and conversation_id = '{other}';
             update chat_tombstones set deleted_at = now() - interval '2 years'"
        ))
        .await;
    let steps = purge_in_steps(&database, 365, 3).await;
    let removed: Vec<i64> = steps
        .iter()
        .map(|step| step.messages + step.tombstones)
        .collect();
    assert_eq!(removed.iter().sum::<i64>(), 5, "{removed:?}");
    assert!(removed.iter().all(|n| *n <= 3), "{removed:?}");
    // Each is noted where it was.
    assert_eq!(database.count("chat_purged").await, 2);
}

/// Nothing else would ever remove them, and a tombstone names the sender.
#[tokio::test]
async fn what_is_left_of_conversations_that_were_deleted_goes_too() {
    let database = Database::fresh().await;
    let deleted = aged(&database, &[900, 5, 4, 3, 2], true).await;
    let kept = database.conversation(ALICE, CARLA).await;
    fill(&database, kept, &[900, 1], true).await;
    purge(&database, 365, 100, None).await;
    assert_eq!(database.count("chat_purged").await, 2);
    database
        .execute(&format!(
            "delete from messages; delete from conversations where id = '{deleted}';
             update chat_purged set purged_at = now() - interval '2 years';
             update chat_conversation_tombstones set deleted_at = now() - interval '2 years';
             update chat_tombstones set deleted_at = now() - interval '2 years' where conversation_id = '{kept}' or seq > 2"
        ))
        .await;
    let steps = purge_in_steps(&database, 365, 2).await;
    let tombstones: Vec<i64> = steps.iter().map(|step| step.tombstones).collect();
    // That of the conversation that is there, then those of the other and its own, two at a time.
    assert_eq!(tombstones.iter().sum::<i64>(), 1 + 3 + 1, "{tombstones:?}");
    assert!(tombstones.iter().all(|n| *n <= 2), "{tombstones:?}");
    assert_eq!(database.count("chat_tombstones").await, 1, "a young one");
    let noted = format!("chat_purged where conversation_id in ('{deleted}', '{kept}')");
    assert_eq!(database.count(&noted).await, 1);
}

/// PostgreSQL plans by how many there were when it looked last, and then joins in another way.
#[tokio::test]
async fn a_step_removes_no_more_tombstones_where_there_were_few_just_now() {
    let database = Database::fresh().await;
    database.without_autovacuum().await;
    let old = |count: i32| {
        format!(
            "insert into chat_tombstones (message_id, conversation_id, sender_id, reader_id, seq, revision, message, deleted_at)
             select gen_random_uuid(), gen_random_uuid(), '{ALICE}', '{BORIS}', n, 2, '{{}}', now() - interval '2 years'
               from generate_series(1, {count}) n"
        )
    };
    database
        .execute(&format!("{}; analyze chat_tombstones; {}", old(1), old(28)))
        .await;
    for left in [24, 19] {
        let step = purge(&database, 365, 5, None).await;
        assert_eq!(step.tombstones, 5);
        assert_eq!(database.count("chat_tombstones").await, left);
    }
}

/// It says whose clients have to reload, and of whom no more is kept than of the others.
#[tokio::test]
async fn old_tombstones_of_conversations_go_too_in_small_steps_and_wait_for_nobody() {
    let database = Database::fresh().await;
    let tombstones = async || database.count("chat_conversation_tombstones").await;
    for user in [BORIS, CARLA, DAVID, ELENA] {
        database.conversation(ALICE, user).await;
    }
    database
        .execute(&format!(
            "delete from conversations where participant2_id <> '{ELENA}';
             update chat_conversation_tombstones set deleted_at = now() - interval '2 years';
             delete from conversations"
        ))
        .await;
    let removed: Vec<i64> = purge_in_steps(&database, 365, 2)
        .await
        .iter()
        .map(|step| step.tombstones)
        .collect();
    assert_eq!(removed.iter().sum::<i64>(), 3, "{removed:?}");
    assert!(removed.iter().all(|n| *n <= 2), "{removed:?}");
    assert_eq!(tombstones().await, 1, "a young one");

    let old = "update chat_conversation_tombstones set deleted_at = now() - interval '2 years'";
    database.execute(old).await;
    // Somebody else holds the row that stands for them, or is about to make it.
    for (first, held) in [
        (
            "",
            "select pg_current_xact_id() from chat_purged for update",
        ),
        (
            "delete from chat_purged",
            "insert into chat_purged (conversation_id) values ('00000000-0000-0000-0000-000000000000')",
        ),
    ] {
        database.execute(first).await;
        let holder = database.holding(held).await;
        let step = purge(&database, 365, 2, None).await;
        assert_eq!((step.tombstones, step.busy, step.next), (0, 1, None));
        holder.batch_execute("rollback").await.expect("unlocked");
    }
    let step = purge(&database, 365, 2, None).await;
    assert_eq!((step.tombstones, step.busy, step.next), (1, 0, None));
    assert_eq!(tombstones().await, 0);
}

/// What the caller's transaction does next waits as long as it would have.
#[tokio::test]
async fn a_step_leaves_the_lock_timeout_of_its_transaction_as_it_was() {
    let database = Database::fresh().await;
    aged(&database, &[], true).await;
    database
        .execute(
            "delete from conversations;
             update chat_conversation_tombstones set deleted_at = now() - interval '2 years'",
        )
        .await;
    let caller = database
        .holding("set lock_timeout = '7s'; select chat_purge(now() - interval '1 year')")
        .await;
    let after = "select current_setting('lock_timeout'), (select count(*) from chat_conversation_tombstones)";
    let row = caller.query_one(after, &[]).await.expect("a row");
    assert_eq!((row.get(0), row.get(1)), ("7s", 0_i64));
}

/// Under repeatable read a row that was changed since cannot be locked: what is left for another time does not fail the others.
#[tokio::test]
async fn a_step_leaves_what_was_changed_since_its_transaction_began() {
    let database = Database::fresh().await;
    aged(&database, &[900, 2], true).await;
    let other = database.conversation(CARLA, DAVID).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content, created_at)
             select '{other}', '{CARLA}', 'old', now() - interval '900 days';
             insert into conversations (participant1_id, participant2_id) values ('{ALICE}', '{DAVID}');
             delete from conversations where participant2_id = '{DAVID}' and participant1_id = '{ALICE}';
             update chat_conversation_tombstones set deleted_at = now() - interval '2 years'"
        ))
        .await;
    let earlier = database.sql().await;
    let begin = "begin isolation level repeatable read; select from messages";
    earlier.batch_execute(begin).await.expect("a beginning");
    let change = "update messages set content = 'changed' where content = 'aged 900';
                  insert into chat_purged (conversation_id) values ('00000000-0000-0000-0000-000000000000')";
    database.execute(change).await;
    let step = "select messages, tombstones, busy from chat_purge(now() - interval '1 year')";
    let row = earlier.query_one(step, &[]).await.expect("a step");
    let (messages, tombstones, busy): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    assert_eq!((messages, tombstones, busy), (1, 0, 2));
    earlier.batch_execute("commit").await.expect("its end");
    assert_eq!(database.count("messages").await, 2);
    // The next one has them.
    let step = purge(&database, 365, 10, None).await;
    assert_eq!((step.messages, step.tombstones, step.busy), (1, 1, 0));
}
