//! Tables that somebody else holds for long, while a replica starts or serves: what it can do without is done later.

use crate::support::*;

/// An index that is built concurrently, a `vacuum` of the host's or one to prevent wraparound holds a table in this mode.
#[tokio::test]
async fn a_replica_starts_though_maintenance_holds_conversations_with_unchecked_rows() {
    let mut database = Database::fresh().await;
    database.served_by = OWNER;
    let key = "chat_conversations_participant1_id_fkey";
    database
        .execute_as_owner(&format!(
            "alter table conversations drop constraint {key},
                add constraint {key} foreign key (participant1_id) references users (id) not valid"
        ))
        .await;
    let holder = database
        .holding("lock table conversations in share update exclusive mode")
        .await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;
    let told = format!("its foreign key {key} was not checked");
    assert!(replica.log().contains(&told), "{}", replica.log());

    holder.batch_execute("rollback").await.expect("it ended");
    database.migrate(&[]).await.assert_ok();
    let unchecked = format!("pg_constraint where conname = '{key}' and not convalidated");
    assert_eq!(database.count(&unchecked).await, 0);
}
