//! Read marks of more messages than one transaction takes.

use serde_json::json;

use crate::support::*;

/// Each is written anew: of very many that takes longer than a statement may, and would be undone each time.
#[tokio::test]
async fn thousands_of_messages_are_marked_as_read_in_several_transactions() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', 'number ' || n from generate_series(1, 20500) n"
        ))
        .await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let api = replica.api();
    let marked = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(
        (&marked["markedCount"], &marked["readSeq"]),
        (&json!(20_500), &json!(20_500))
    );
    assert_eq!(api.unread_count(BORIS).await, 0);
    for up_to in [10_000, 20_000, 20_500] {
        let read = alice.expect("messages_read").await;
        assert_eq!(read["data"]["upToSeq"], up_to);
    }
    let transactions = "(select read_xid from messages group by 1 having count(*) <= 10000) t";
    assert_eq!(database.count(transactions).await, 3);
}

/// The time is that of the whole call, however many transactions it takes.
#[tokio::test]
async fn marking_read_ends_in_time_and_a_repeat_goes_on_from_there() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', 'number ' || n from generate_series(1, 25) n"
        ))
        .await;
    // In each of three transactions, so that two of them take longer than a statement may.
    database
        .execute_as_owner(
            "do $$ begin
               execute replace(pg_get_functiondef('chat_mark_read'::regproc), '10000', '10');
             end $$;
             create function host_is_slow() returns trigger language plpgsql as $$
             begin
               perform pg_sleep(8);
               return null;
             end $$;
             create trigger host_is_slow after update on messages for each statement execute function host_is_slow()",
        )
        .await;
    let replica = Replica::start(&database, &[("DB_TIMEOUT_SECONDS", "15")]).await;
    let api = replica.api();
    for marked in [10, 20] {
        let late = api.mark_read(conversation, BORIS).await;
        late.refused(503, "unavailable");
        assert_eq!(late.header("retry-after"), "1");
        assert_eq!(api.unread_count(BORIS).await, 25 - marked);
    }
    let rest = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(
        (&rest["markedCount"], &rest["readSeq"]),
        (&json!(5), &json!(25))
    );
    assert_eq!(api.unread_count(BORIS).await, 0);
}

/// The words of each go into the search index once more, which takes 18 ms for 64 KiB: a portion ends by bytes, too.
#[tokio::test]
async fn long_messages_are_marked_as_read_in_several_transactions() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // One that is longer than a portion, what fills one, and one more.
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', repeat('x', case n when 1 then 5000000 else 65536 end) from generate_series(1, 66) n"
        ))
        .await;
    let replica = Replica::start(&database, &[]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let api = replica.api();
    let marked = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(
        (&marked["markedCount"], &marked["readSeq"]),
        (&json!(66), &json!(66))
    );
    assert_eq!(api.unread_count(BORIS).await, 0);
    for up_to in [1, 65, 66] {
        let read = alice.expect("messages_read").await;
        assert_eq!(read["data"]["upToSeq"], up_to);
    }
    let transactions = "(select distinct read_xid from messages) t";
    assert_eq!(database.count(transactions).await, 3);
}
