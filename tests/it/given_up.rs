//! Callers who do not wait for their answer.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use crate::support::*;

/// A share of the six connections for requests, where `DB_POOL_SIZE` is eight.
const ROOMY: [(&str, &str); 2] = [("DB_POOL_SIZE", "8"), ("DB_TIMEOUT_SECONDS", "60")];

/// How many callers there are who want the same.
const CALLERS: usize = 16;

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

/// Many come with these requests in turn, and go away one after the other: how many connections for requests they have at a time.
async fn used_while_they_hang_up(replica: &Replica, requests: &[String]) -> f64 {
    let mut callers = Vec::new();
    for request in requests.iter().cycle().take(CALLERS) {
        let mut caller = Raw::connect(replica).await;
        caller.write(request).await;
        callers.push(caller);
    }
    let api = replica.api();
    let used = || api.metric(r#"pgchat_pool_connections{pool="requests",state="used"}"#);
    eventually("the first of them have theirs", || async {
        (used().await > 1.0).then_some(())
    })
    .await;
    let mut most = 0.0_f64;
    for caller in callers {
        drop(caller);
        most = most.max(used().await);
    }
    eventually("all of it has ended", || async {
        (used().await == 0.0).then_some(())
    })
    .await;
    most
}

/// An edit waits for its row here until it is cancelled, a second after its caller has gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_changes_and_hangs_up_has_no_more_connections_than_who_stays() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &ROOMY).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let patient = "alter function chat_edit_message(uuid, uuid, text) set lock_timeout = '60s'";
    database.execute_as_owner(patient).await;
    let mut edits = Vec::new();
    // Each has one of the two turns.
    for editor in [ALICE, BORIS] {
        let message = id_of(&api.send(conversation, editor, "hello").await);
        let body = json!({"content": "hello again"}).to_string();
        edits.push(format!(
            "PATCH /api/v1/chat/messages/{message}?user_id={editor} HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
    }
    let lock = format!("select from messages where conversation_id = '{conversation}' for update");
    let _holder = database.holding(&lock).await;
    let most = used_while_they_hang_up(&replica, &edits).await;
    // A third, and one for rows that are known to be held.
    assert!(most <= 3.0, "{most}");
}

/// They need no credentials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_a_ticket_and_hangs_up_has_no_more_connections_than_who_stays() {
    let database = Database::fresh().await;
    let function = Function {
        name: "chat_redeem_ticket",
        types: "bytea",
        returns: "table (user_id uuid, token_expires bigint)",
        call: "return query select * from chat_redeem_ticket_at_once($1)",
    };
    let _gate = Gate::before(&database, function, "true").await;
    let replica = Replica::start(&database, &ROOMY).await;
    let ticket = handshake_text(&format!("/ws?ticket={}", "0".repeat(64)));
    let most = used_while_they_hang_up(&replica, &[ticket]).await;
    // Half, and one for what the replica asks on its own.
    assert!(most <= 4.0, "{most}");
}
