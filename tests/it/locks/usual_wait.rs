//! The host's `lock_timeout`, as it is often advised for a role or a database: the service's commits wait their turn for NOTIFY's lock, and
//! a stalled disk is no row that somebody holds.

use crate::support::*;

/// For whoever has no value of its own.
async fn host_waits_three_seconds(database: &Database) {
    let name = &database.name;
    database
        .execute(&format!("alter database {name} set lock_timeout = '3s'"))
        .await;
}

#[tokio::test]
async fn sessions_of_a_replica_have_no_lock_timeout_of_the_hosts() {
    let database = Database::fresh().await;
    host_waits_three_seconds(&database).await;
    let wait = "select setting::bigint from pg_settings where name = ''lock_timeout''";
    database.count_unread_by(wait).await;
    let elsewhere = database.count("chat_unread_count(gen_random_uuid()) where unread = 3000");
    assert_eq!(elsewhere.await, 1, "others have it");
    let replica = Replica::start(&database, &[]).await;
    assert_eq!(replica.api().unread_count(ALICE).await, 0);
}

/// Behind a pooler a session has what its role has.
#[tokio::test]
async fn a_send_with_a_wait_of_its_own_commits_without_the_roles() {
    let database = Database::fresh().await;
    host_waits_three_seconds(&database).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut client = database.sql_as(SERVICE).await;
    let alone = |id: &str, skip_locked: bool, wait: i32| {
        format!(
            "select status from chat_store_message(gen_random_uuid(), '{conversation}', '{ALICE}', 'hello', 'text', '{id}', {skip_locked}, {wait})"
        )
    };
    let batch = |skip_locked: bool, wait: i32| {
        format!(
            "select status from chat_send_messages(array[gen_random_uuid()], array['{conversation}'::uuid], array['{ALICE}'::uuid],
                                array['hello'], array['text'], array[null::text], {skip_locked}, {wait})"
        )
    };
    for (call, expected) in [
        (alone("m-1", true, 100), ("stored", "0")),
        (alone("m-1", true, 100), ("repeated", "0")),
        (alone("m-2", false, 100), ("stored", "0")),
        (batch(true, 100), ("stored", "0")),
        (batch(false, 100), ("stored", "0")),
        // Another program waits as long as it likes.
        (alone("m-3", false, 0), ("stored", "3s")),
        (batch(false, 0), ("stored", "3s")),
    ] {
        let transaction = client.transaction().await.expect("a transaction");
        let row = transaction.query_one(&call, &[]).await.expect("an answer");
        let wait = transaction.query_one("show lock_timeout", &[]).await;
        let wait = wait.expect("a setting");
        assert_eq!((row.get(0), wait.get(0)), expected, "{call}");
        transaction.commit().await.expect("its end");
    }
}
