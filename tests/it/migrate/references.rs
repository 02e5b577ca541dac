//! The foreign keys of conversations to the users: which tables get them, and which table they follow.

use super::GO_TABLES;
use crate::support::*;

/// The rows are in its partitions, and its key is one of all of them.
#[tokio::test]
async fn conversations_refer_to_users_in_partitions() {
    let database = Database::empty().await;
    database
        .execute_as_owner(
            "create table users (id uuid primary key, first_name text) partition by hash (id);
             create table users_1 partition of users for values with (modulus 1, remainder 0)",
        )
        .await;
    database.migrate(&[]).await.assert_ok();
    let keys = "pg_constraint where contype = 'f' and confrelid = 'users'::regclass
                and conrelid in ('conversations'::regclass, 'messages'::regclass)";
    assert_eq!(database.count(keys).await, 2, "one for each participant");
}

/// What can be no foreign key's end gets none, and is told.
#[tokio::test]
async fn users_may_be_what_no_foreign_key_can_point_to() {
    for ddl in [
        "create materialized view chatters as select * from users; create unique index on chatters (id)",
        "create unlogged table chatters as select * from users; alter table chatters add primary key (id)",
        "create table chatters as select * from users; alter table chatters add unique (id) deferrable",
        "create table chatters as select * from users; create index on chatters (id)",
        "create table chatters as select * from users; create unique index on chatters (id, email)",
        "create table chatters as select * from users; create unique index on chatters (id) where is_active",
    ] {
        let database = Database::with_users().await;
        database.execute_as_owner(ddl).await;
        let more = [("USERS_TABLE", "chatters")];
        let outcome = database.migrate(&more).await;
        outcome.assert_ok();
        assert!(outcome.stderr.contains("foreign key"), "{outcome:#?}");
    }
}

/// As a host does that rebuilds its table: with a new user. The service owns nothing.
#[tokio::test]
async fn users_of_a_table_that_took_the_place_of_the_former_one_open_conversations() {
    const PLAIN: &str = "create table users (like users_old including all)";
    const IN_PARTITIONS: &str =
        "create table users (like users_old, primary key (id)) partition by hash (id);
         create table users_part partition of users for values with (modulus 1, remainder 0)";
    const VIEW: &str = "create table people (like users_old including all); create view users as select * from people";
    for (earlier, successor) in [
        ("", PLAIN),
        ("", IN_PARTITIONS),
        ("", VIEW),
        (IN_PARTITIONS, PLAIN),
    ] {
        let mut database = Database::with_users().await;
        if !earlier.is_empty() {
            database
                .execute_as_owner(&format!(
                    "alter table users rename to users_old; {earlier}; insert into users select * from users_old; drop table users_old"
                ))
                .await;
        }
        database.migrate(&[]).await.assert_ok();
        let former = database.conversation(ALICE, BORIS).await;
        database
            .execute(&format!(
                "alter table users rename to users_old; {successor}; insert into users select * from users_old;
                 insert into users select '{NOBODY}', 'Newt', 'Newman', 'newt', '', null, null, 'buyer', true, now(), now()"
            ))
            .await;
        database.make_roles(&[]).await;
        database.served_by = SERVICE;

        let replica = Replica::start(&database, &[]).await;
        let api = replica.api();
        let conversation = api.open_conversation(ALICE, NOBODY).await;
        for (conversation, sender) in [(conversation, NOBODY), (former, ALICE)] {
            api.send(conversation, sender, "hello").await;
        }
        let keys = "pg_constraint where contype = 'f' and confrelid = 'users'::regclass and conparentid = 0";
        let expected = if successor == VIEW { 0 } else { 2 };
        assert_eq!(
            database.count(keys).await,
            expected,
            "{earlier} {successor}"
        );

        database.execute("drop table users_old").await;
        let outcome = database.migrate(&[]).await;
        outcome.assert_ok();
        assert!(!outcome.stderr.contains("drop constraint"), "{outcome:#?}");
        let validated = format!("{keys} and convalidated");
        assert_eq!(
            database.count(&validated).await,
            expected,
            "{earlier} {successor}"
        );
    }
}

/// They may have names as PostgreSQL gives them.
#[tokio::test]
async fn foreign_keys_of_the_hosts_to_another_table_than_its_users_stay_and_are_told_of() {
    let database = Database::with_users().await;
    database.execute_as_owner(GO_TABLES).await;
    database.migrate(&[]).await.assert_ok();
    let keys = "pg_constraint where contype = 'f' and conrelid in ('conversations'::regclass, 'messages'::regclass)";
    let before = database.count(keys).await;
    database
        .execute_as_owner(
            "alter table users rename to users_old; create table users (like users_old including all)",
        )
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    for (table, column) in [
        ("conversations", "participant1_id"),
        ("conversations", "participant2_id"),
        ("messages", "sender_id"),
    ] {
        let drop = format!("alter table {table} drop constraint {table}_{column}_fkey");
        assert!(outcome.stderr.contains(&drop), "{drop}: {outcome:#?}");
    }
    assert_eq!(database.count(keys).await, before);
}
