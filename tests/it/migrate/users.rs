//! What the host's users may live in besides a table of their own.

use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn users_may_be_a_view() {
    let database = Database::with_users().await;
    database
        .execute_as_owner(
            "create view chatters as select id, first_name, last_name from users where is_active",
        )
        .await;
    let more = [("USERS_TABLE", "chatters")];
    let outcome = database.migrate(&more).await;
    outcome.assert_ok();
    let none = "chatters has no unique index on id that foreign keys could use, or other tables inherit from it: conversations get none to it";
    assert!(outcome.stderr.contains(none), "{outcome:#?}");
    let keys = "pg_constraint where contype = 'f' and conrelid = 'conversations'::regclass";
    assert_eq!(database.count(keys).await, 0);
    let replica = Replica::start(&database, &more).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    api.send(conversation, ALICE, "hello").await;
    api.try_open_conversation(ALICE, IRENE)
        .await
        .refused(404, "user_not_found");

    // Who is not in it any more has an id, and no name.
    let mut boris = Socket::connect(&replica, BORIS).await;
    database
        .execute(&format!(
            "update users set is_active = false where id = '{ALICE}'; update messages set content = 'edited'"
        ))
        .await;
    assert_eq!(
        boris.expect("message_updated").await["data"]["sender"],
        json!({"id": ALICE, "firstName": null, "lastName": null, "avatarUrl": null})
    );
}

/// As when replicas start at once behind a change, or look at the table in the same moment.
#[tokio::test]
async fn whoever_links_the_users_table_at_the_same_moment_as_another_waits_and_succeeds() {
    let database = Database::fresh().await;
    let alter = "alter table users rename column avatar_url to picture";
    database.execute(alter).await;
    let link = "select chat_link_users('users')";
    let first = database.holding(link).await;
    let second = database.sql_as(SERVICE).await;
    let release = async {
        until_a_lock_is_waited_for(&database, "the second one waits").await;
        first.batch_execute("commit").await.expect("linked");
    };
    let (linked, ()) = tokio::join!(second.batch_execute(link), release);
    linked.expect("linked once more");
}

/// A foreign table of `postgres_fdw`.
#[tokio::test]
async fn users_may_live_in_another_database() {
    let users = Database::with_users().await;
    let mut database = Database::empty().await;
    let has_extension = "pg_available_extensions where name = 'postgres_fdw'";
    if database.count(has_extension).await == 0 {
        return;
    }
    database
        .execute(&format!(
            "create extension postgres_fdw;
             create server host foreign data wrapper postgres_fdw options (host '127.0.0.1', port '{}', dbname '{}');
             grant usage on foreign server host to {OWNER};
             create user mapping for {OWNER} server host options (user '{OWNER}', password_required 'false')",
            database.cluster.port, users.name
        ))
        .await;
    database
        .execute_as_owner(
            "import foreign schema public limit to (users) from server host into public",
        )
        .await;
    database.migrate(&[]).await.assert_ok();
    database.make_roles(&[]).await;
    database.served_by = SERVICE;
    let replica = Replica::start(&database, &[("WRITE_TIMEOUT_SECONDS", "5")]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "first").await;
    assert_eq!(sent["sender"]["firstName"], "Alice");

    // Nobody listens there.
    let moved = |port| format!("alter server host options (set port '{port}')");
    database.execute(&moved(1)).await;
    let late = api.try_send(conversation, ALICE, "late").await;
    late.refused(503, "unavailable");
    database.execute(&moved(database.cluster.port)).await;
    let sent = api.send(conversation, ALICE, "second").await;
    assert_eq!(seq_of(&sent), 2);
}
