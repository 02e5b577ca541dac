//! chat_conversation(): the conversation of two users, made when there is none.

use tokio_postgres::{Client, Error};
use uuid::Uuid;

use crate::support::*;

/// A role with what sql/README.md says that it needs.
async fn program(database: &Database) -> String {
    let role = database.role("program").await;
    database
        .execute(&format!(
            "grant insert (participant1_id, participant2_id) on conversations to {role};
             grant select on conversations to {role};
             grant execute on function chat_conversation(uuid, uuid) to {role}"
        ))
        .await;
    role
}

async fn open(client: &Client, one: Uuid, other: Uuid) -> Result<Uuid, Error> {
    let call = "select chat_conversation($1, $2)";
    let row = client.query_one(call, &[&one, &other]).await?;
    Ok(row.get(0))
}

async fn refused(client: &Client, one: Option<Uuid>, other: Uuid) -> String {
    let call = "select chat_conversation($1, $2)";
    let refused = client.query_one(call, &[&one, &other]).await;
    let refused = refused.expect_err("refused");
    refused.code().expect("by the database").code().to_owned()
}

#[tokio::test]
async fn a_conversation_is_opened_once_and_found_in_either_order() {
    let database = Database::fresh().await;
    let program = program(&database).await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let client = database.sql_as(&program).await;
    let made = open(&client, ALICE, BORIS).await.expect("a conversation");
    let told = alice.expect("conversation_created").await;
    assert_eq!(id_of(&told["data"]), made);
    for (one, other) in [(ALICE, BORIS), (BORIS, ALICE)] {
        let found = open(&client, one, other).await;
        assert_eq!(found.expect("the same"), made);
    }
    assert_eq!(replica.api().open_conversation(BORIS, ALICE).await, made);
    assert_eq!(database.count("conversations").await, 1);
}

/// As a plain insert would be: no right comes with the function.
#[tokio::test]
async fn what_a_plain_insert_may_not_is_refused() {
    let database = Database::fresh().await;
    let program = program(&database).await;
    let client = database.sql_as(&program).await;
    assert_eq!(refused(&client, Some(ALICE), ALICE).await, "23514");
    assert_eq!(refused(&client, Some(ALICE), NOBODY).await, "23503");
    assert_eq!(refused(&client, None, ALICE).await, "23502");
    let revoke = format!("revoke insert (participant1_id) on conversations from {program}");
    database.execute(&revoke).await;
    assert_eq!(refused(&client, Some(ALICE), BORIS).await, "42501");
    assert_eq!(database.count("conversations").await, 0);
}

#[tokio::test]
async fn one_that_a_trigger_drops_is_an_error_and_asked_for_once() {
    let database = Database::fresh().await;
    let program = program(&database).await;
    database
        .execute(
            "create sequence asked;
             create function host_drops() returns trigger language plpgsql security definer as $$
             begin perform nextval('public.asked'); return null; end $$;
             create trigger host_drops before insert on conversations for each row execute function host_drops()",
        )
        .await;
    let client = database.sql_as(&program).await;
    assert_eq!(refused(&client, Some(ALICE), BORIS).await, "09000");
    let asked = "(select from asked where last_value = 1 and is_called) t";
    assert_eq!(database.count(asked).await, 1);
}

/// Whoever comes second waits, and gets the id of the first one, or makes it where that is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_open_the_same_conversation_at_once_have_one() {
    let database = Database::fresh().await;
    let program = program(&database).await;
    for (end, is_theirs) in [("rollback", false), ("commit", true)] {
        let first = database.sql_as(&program).await;
        first.batch_execute("begin").await.expect("a transaction");
        let theirs = open(&first, ALICE, BORIS).await.expect("a conversation");
        let second = database.sql_as(&program).await;
        second.batch_execute("begin").await.expect("a transaction");
        let waits = tokio::spawn(async move {
            let opened = open(&second, BORIS, ALICE).await;
            let undone = second.batch_execute("rollback").await;
            undone.expect("its end");
            opened
        });
        until_lock_waiters(&database, 1).await;
        first.batch_execute(end).await.expect("its end");
        let opened = within("an answer", waits).await.expect("no panic");
        let opened = opened.expect("a conversation");
        assert_eq!(opened == theirs, is_theirs, "{end}");
    }
    assert_eq!(database.count("conversations").await, 1);
}

/// In a snapshot from before it was made, it can neither be seen nor made again.
#[tokio::test]
async fn an_older_snapshot_fails_and_a_repeat_finds_it() {
    let database = Database::fresh().await;
    let program = program(&database).await;
    let client = database.sql_as(&program).await;
    let begin = "begin isolation level repeatable read; select count(*) from conversations";
    client.batch_execute(begin).await.expect("a snapshot");
    let made = database.conversation(ALICE, BORIS).await;
    assert_eq!(refused(&client, Some(BORIS), ALICE).await, "40001");
    client.batch_execute("rollback").await.expect("its end");
    assert_eq!(open(&client, BORIS, ALICE).await.expect("found"), made);
}
