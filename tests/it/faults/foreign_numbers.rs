//! Transaction numbers of another cluster, which are taken from the rows that were restored from it: which ones those are, and how many
//! at a time.

use tokio_postgres::Client;

use super::*;

/// One row of each table but messages with a number of its own, and a message.
const RESTORED: &str = "
    set local session_replication_role = replica;
    update conversations set create_xid = '$1';
    update messages set create_xid = '$1', change_xid = '$1';
    insert into chat_tombstones (message_id, conversation_id, sender_id, reader_id, seq, revision, change_xid, message)
    select gen_random_uuid(), id, participant1_id, participant2_id, 22, 1, '$1', '{}' from conversations;
    insert into chat_conversation_tombstones (conversation_id, participant1_id, participant2_id, change_xid)
    select gen_random_uuid(), participant1_id, participant2_id, '$1' from conversations;
    insert into chat_purged (conversation_id, change_xid) select id, '$1' from conversations;
    set local session_replication_role = origin";

const OTHERS: &str = "chat_forget_foreign_numbers(100)";
const MESSAGES: &str = "(chat_forget_foreign_numbers_of_messages(100, 0)).forgotten";

async fn number(client: &Client, expression: &str) -> i64 {
    let row = client.query_one(&format!("select {expression}"), &[]).await;
    row.expect("a number").get(0)
}

async fn with_a_message() -> Database {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'hello')"
    );
    database.execute(&insert).await;
    database
}

/// The next number is given to no transaction that a statement could see.
#[tokio::test]
async fn a_number_is_foreign_from_the_next_one_on_and_the_last_one_is_not() {
    let database = with_a_message().await;
    for (distance, rows) in [(0, [4, 1]), (-1, [0, 0])] {
        let client = database.sql().await;
        // In which one snapshot is what all statements go by.
        let begin = "begin isolation level repeatable read";
        client.batch_execute(begin).await.expect("a transaction");
        let next = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
        let restored = number(&client, next).await + distance;
        // Somebody else gets that number: a transaction's own is none of another cluster.
        let taken = "select pg_current_xact_id()";
        database.execute(taken).await;
        let restored = RESTORED.replace("$1", &restored.to_string());
        client.batch_execute(&restored).await.expect("rows");
        for (call, expected) in [OTHERS, MESSAGES].into_iter().zip(rows) {
            assert_eq!(number(&client, call).await, expected, "{distance}: {call}");
            assert_eq!(number(&client, call).await, 0, "{distance}: {call} again");
        }
        client.batch_execute("rollback").await.expect("its end");
    }
}

#[tokio::test]
async fn rows_that_somebody_holds_keep_their_numbers_until_another_time_and_nobody_waits() {
    let database = with_a_message().await;
    let restored = RESTORED.replace("$1", "1000000000");
    database
        .execute(&format!("begin; {restored}; commit"))
        .await;
    for (table, call, others) in [("conversations", OTHERS, 3), ("messages", MESSAGES, 0)] {
        let holder = database
            .holding(&format!("select from {table} for update"))
            .await;
        let client = database.sql().await;
        let impatient = "set lock_timeout = '1ms'";
        client.batch_execute(impatient).await.expect("a setting");
        assert_eq!(number(&client, call).await, others, "{table}");
        holder.batch_execute("commit").await.expect("its end");
        assert_eq!(number(&client, call).await, 1, "{table}");
    }
}

/// Else the cluster might come to the numbers before they are all forgotten.
#[tokio::test]
async fn more_rows_than_one_step_takes_lose_their_numbers_at_one_look() {
    let database = Database::fresh().await;
    let restored = format!(
        "insert into chat_conversation_tombstones (conversation_id, participant1_id, participant2_id, change_xid)
         select gen_random_uuid(), '{ALICE}', '{BORIS}', '1000000000' from generate_series(1, 2500)"
    );
    database.execute(&restored).await;
    let _replica = Replica::start(&database, &[]).await;
    let foreign = "chat_conversation_tombstones where change_xid = '1000000000'";
    eventually("all are forgotten", || async {
        (database.count(foreign).await == 0).then_some(())
    })
    .await;
}
