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
    let elsewhere =
        database.count("chat_unread_count(gen_random_uuid()) where unread_messages = 3000");
    assert_eq!(elsewhere.await, 1, "others have it");
    let replica = Replica::start(&database, &[]).await;
    assert_eq!(replica.api().unread_count(ALICE).await, 0);
}

/// Behind a pooler a session has what its role has: whatever tells of a change commits without it.
#[tokio::test]
async fn changes_behind_a_pooler_commit_without_the_roles_wait() {
    let database = Database::fresh().await;
    host_waits_three_seconds(&database).await;
    // As it is when the transaction ends.
    let tables = [
        "messages",
        "conversations",
        "chat_replicas",
        "chat_attendance",
    ];
    let notes = tables.map(|table| {
        format!(
            "create constraint trigger note_wait after insert or update on {table} deferrable initially deferred
               for each row execute function note_wait()"
        )
    });
    database
        .execute_as_owner(&format!(
            "create table noted (of text, wait text);
             create function note_wait() returns trigger language plpgsql security definer as $$
             begin
               insert into public.noted values (tg_op || ' ' || tg_table_name, pg_catalog.current_setting('lock_timeout'));
               return null;
             end $$;
             {}",
            notes.join(";")
        ))
        .await;
    let past_the_pooler = database.url(SERVICE);
    let settings = [("LISTEN_DATABASE_URL", past_the_pooler.as_str())];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let message = id_of(&api.send(conversation, ALICE, "hello").await);
    let _boris = Socket::connect(&replica, BORIS).await;
    api.edit(message, ALICE, "edited").await.ok(200);
    api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(api.delete_message(message, ALICE).await.status, 204);
    let expected = [
        "INSERT messages",
        // Edited, marked and deleted.
        "UPDATE messages",
        "INSERT conversations",
        // Heartbeats, and who is there.
        "UPDATE chat_replicas",
        "UPDATE chat_attendance",
    ];
    for of in expected {
        eventually(of, || async {
            let noted = format!("noted where of = '{of}'");
            (database.count(&noted).await > 0).then_some(())
        })
        .await;
    }
    let edited_marked_and_deleted = "noted where of = 'UPDATE messages'";
    assert_eq!(database.count(edited_marked_and_deleted).await, 3);
    let waits = "select distinct of || ': ' || wait from noted where wait <> '0'";
    let rows = database.sql().await.query(waits, &[]).await;
    let others: Vec<String> = rows.expect("rows").iter().map(|row| row.get(0)).collect();
    assert_eq!(others, [""; 0]);
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
