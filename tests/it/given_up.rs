//! Callers who do not wait for their answer.

use std::collections::HashSet;
use std::time::Duration;

use crate::support::*;

/// A statement that runs when its caller goes away ends by itself, as a rule, and its connection goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_given_up_cost_no_connections() {
    const REQUESTS: u64 = 150;
    /// `DB_POOL_SIZE`, what the replica has beside it, and a few for statements that were cancelled, and their connections with
    /// them, because the machine stood still for a second. Where requests cost a connection each there are a hundred.
    const CONNECTIONS: usize = 8 + 2 + 15;
    let database = Database::fresh().await;
    // Long enough for callers to go away while it runs.
    let slow = "select 7::bigint from pg_sleep(0.05)";
    database.count_unread_by(slow).await;
    let replica = Replica::start(&database, &[]).await;
    let sql = database.sql().await;
    let mut sessions = HashSet::new();
    let line = format!("GET /api/v1/chat/users/{ALICE}/unread-count");
    for number in 0..REQUESTS {
        let mut caller = Raw::connect(&replica).await;
        caller.request(&line, &[]).await;
        // At any moment of the request: on its way, while it is prepared, while it runs.
        tokio::time::sleep(Duration::from_millis(number % 30)).await;
        drop(caller);
        let rows = sql
            .query(
                "select pid from pg_stat_activity
                  where datname = current_database() and application_name = 'pgchat pool'",
                &[],
            )
            .await
            .expect("the sessions");
        sessions.extend(rows.iter().map(|row| row.get::<_, i32>(0)));
    }
    assert!(
        sessions.len() <= CONNECTIONS,
        "{} sessions for {REQUESTS} requests",
        sessions.len()
    );
    assert_eq!(replica.api().unread_count(ALICE).await, 7);
}

#[tokio::test]
async fn a_statement_that_does_not_end_is_cancelled_when_its_caller_has_gone() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("DB_TIMEOUT_SECONDS", "60")]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let holder = database
        .holding("lock table messages in access exclusive mode")
        .await;
    let mut caller = Raw::connect(&replica).await;
    let line = format!("GET /api/v1/chat/conversations/{conversation}/messages");
    caller.request(&line, &[]).await;
    eventually("its statement waits", || async {
        (database.count(LOCK_WAITERS).await == 1).then_some(())
    })
    .await;
    drop(caller);
    eventually("its statement has ended", || async {
        (database.count(LOCK_WAITERS).await == 0).then_some(())
    })
    .await;
    holder.batch_execute("commit").await.expect("its end");
    replica.api().messages(conversation, "").await.ok(200);
}
