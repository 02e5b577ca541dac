//! A cursor of another database, with which all clients come back after a restore or a failover that lost commits.

use super::*;

#[tokio::test]
async fn with_a_cursor_of_another_database_a_client_reloads_and_nothing_is_read_for_it() {
    let database = Database::fresh().await;
    let elsewhere = Database::fresh().await;
    let other = Replica::start(&elsewhere, &QUICK).await;
    let foreign = cursor_of(&Socket::connect(&other, ALICE).await.connected);
    let function = Function {
        name: "chat_missed",
        types: "uuid, xid8, bigint, bigint",
        returns: "setof chat_change",
        call: "return query select * from chat_missed_at_once($1, $2, $3, $4)",
    };
    // So many events at most.
    let _gate = Gate::before(&database, function, "$3 > 0").await;
    let replica = Replica::start(&database, &QUICK).await;
    let (_, resync) = Socket::resume_refused(&replica, ALICE, &foreign).await;
    let reason = resync["data"]["reason"].as_str().expect("a reason");
    assert_eq!(reason, "the cursor belongs to another database");
}
