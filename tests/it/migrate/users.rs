//! What the host's users table may be, and what is said of one that does not fit, before anything is made.

use serde_json::json;

use super::GO_TABLES;
use crate::support::*;

#[tokio::test]
async fn a_users_table_that_cannot_be_used_is_named() {
    for (setup, words) in [
        (
            "select 1",
            &["no table or view users in the database test_"][..],
        ),
        (
            "create table users (first_name text, last_name text)",
            &["users", "id"],
        ),
        (
            "create table users (id bigint primary key, first_name text)",
            &["users", "id", "uuid"],
        ),
        (
            "create table users (id text primary key)",
            &["users", "id", "uuid"],
        ),
    ] {
        let database = Database::empty().await;
        database.execute_as_owner(setup).await;
        database.migrate(&[]).await.assert_failed(1, words);
        let outcome = pgchat(&["serve"], &settings(&database, &[])).await;
        outcome.assert_failed(1, words);

        // Mended, it goes through: a failed attempt has left nothing in the way.
        database
            .execute_as_owner(
                "drop table if exists users; create table users (id uuid primary key)",
            )
            .await;
        database.migrate(&[]).await.assert_ok();
    }
}

#[tokio::test]
async fn the_users_columns_are_found_or_named() {
    let camel_case = "
        create table users (id uuid primary key, \"firstName\" text, \"lastName\" text, \"avatarUrl\" text,
                            role text, \"isActive\" boolean);
        insert into users values ('a0000000-0000-4000-8000-000000000001', 'Alice', 'Archer', null, 'admin', false)";
    let others = "
        create schema crm;
        create table crm.people (nr uuid primary key, vorname text, nachname text, rolle text);
        insert into crm.people values ('a0000000-0000-4000-8000-000000000001', 'Alice', 'Archer', 'admin')";
    let bare = "
        create table users (id uuid primary key);
        insert into users values ('a0000000-0000-4000-8000-000000000001')";
    for (setup, more, names, active) in [
        (
            camel_case,
            &[][..],
            json!(["Alice", "Archer", "admin"]),
            false,
        ),
        (
            others,
            &[
                ("USERS_TABLE", "crm.people"),
                (
                    "USERS_COLUMNS",
                    "id=nr,firstName=vorname,lastName=nachname,role=rolle",
                ),
            ],
            json!(["Alice", "Archer", "admin"]),
            true,
        ),
        (bare, &[], json!([null, null, null]), true),
    ] {
        let database = Database::empty().await;
        database.execute_as_owner(setup).await;
        let replica = Replica::start(&database, more).await;
        let user = replica
            .api()
            .get(&format!("/api/v1/users/{ALICE}"))
            .await
            .ok(200);
        assert_user(&user);
        assert_eq!(
            json!([user["firstName"], user["lastName"], user["role"]]),
            names
        );
        assert_eq!(user["isActive"], active);
    }
}

/// Where a table has several, the first of the list in docs/your-database.md counts.
#[tokio::test]
async fn of_several_columns_that_fit_the_first_in_the_list_is_taken() {
    let database = Database::empty().await;
    database
        .execute_as_owner(&format!(
            "create table users (avatar text, avatar_url text, \"userRole\" text, role text, active boolean, is_active boolean,
                                 uuid uuid, user_id uuid, id uuid primary key);
             insert into users values ('x', 'first', 'x', 'first', true, false, gen_random_uuid(), gen_random_uuid(), '{ALICE}')"
        ))
        .await;
    let replica = Replica::start(&database, &[]).await;
    let path = format!("/api/v1/users/{ALICE}");
    let user = replica.api().get(&path).await.ok(200);
    assert_eq!(
        json!([user["avatarUrl"], user["role"], user["isActive"]]),
        json!(["first", "first", false])
    );
}

/// Whether somebody is active may be unknown, which says nothing against it; being deleted does, whatever the other column says.
#[tokio::test]
async fn who_is_active_is_said_by_two_columns() {
    let database = Database::empty().await;
    database
        .execute_as_owner(&format!(
            "create table users (id uuid primary key, is_active boolean, deleted_at timestamptz);
             insert into users values ('{ALICE}', null, null), ('{BORIS}', true, null), ('{CARLA}', false, null),
                                      ('{DAVID}', null, now()), ('{ELENA}', true, now())"
        ))
        .await;
    let replica = Replica::start(&database, &[]).await;
    for (user, is_active) in [
        (ALICE, true),
        (BORIS, true),
        (CARLA, false),
        (DAVID, false),
        (ELENA, false),
    ] {
        let path = format!("/api/v1/users/{user}");
        let found = replica.api().get(&path).await.ok(200);
        assert_eq!(found["isActive"], is_active, "{found}");
    }
}

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
    assert!(outcome.stderr.contains("foreign key"), "{outcome:#?}");
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

/// A wrong name, a wrong mapping or the wrong database is found out before anything is made there, with the words that it
/// would be told with later.
#[tokio::test]
async fn a_users_table_that_does_not_fit_is_told_before_anything_is_made() {
    let database = Database::with_users().await;
    database
        .execute_as_owner("create view nobodies as select first_name, last_name from users")
        .await;
    let before = made(&database).await;
    let mut told = Vec::new();
    for (misfit, words) in [
        (
            ("USERS_TABLE", "crm.people"),
            &["USERS_TABLE", "crm.people"][..],
        ),
        (("USERS_TABLE", "nobodies"), &["nobodies", "no id column"]),
        (
            ("USERS_COLUMNS", "firstName=forename"),
            &["USERS_COLUMNS", "forename", "firstName"],
        ),
        (
            ("USERS_COLUMNS", "id=email"),
            &["email", "text", "must be uuid"],
        ),
        (
            ("USERS_COLUMNS", "isActive=role"),
            &["role", "must be boolean"],
        ),
    ] {
        for schema in ["public", "chat"] {
            let more = [misfit, ("DB_SCHEMA", schema)];
            let outcome = database.migrate(&more).await;
            outcome.assert_failed(1, words);
            assert_eq!(made(&database).await, before, "nothing is left: {more:?}");
            told.push((more, outcome.last_line().to_owned()));
        }
    }
    for schema in ["public", "chat"] {
        database.migrate(&[("DB_SCHEMA", schema)]).await.assert_ok();
    }
    for (more, line) in told {
        assert_eq!(database.migrate(&more).await.last_line(), line, "{more:?}");
    }
}

#[tokio::test]
async fn an_owner_who_may_not_reference_the_users_is_told_before_anything_is_made() {
    let database = Database::with_users().await;
    database
        .execute(&format!(
            "alter table users owner to current_user; grant select on users to {OWNER}"
        ))
        .await;
    let before = made(&database).await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_failed(1, &["users", "grant references (id)", OWNER]);
    assert_eq!(made(&database).await, before, "nothing is left");
    database
        .execute(&format!("grant references (id) on users to {OWNER}"))
        .await;
    database.migrate(&[]).await.assert_ok();

    // Another schema needs keys of its own.
    database
        .execute(&format!("revoke references (id) on users from {OWNER}"))
        .await;
    let before = made(&database).await;
    let outcome = database.migrate(&[("DB_SCHEMA", "chat")]).await;
    outcome.assert_failed(1, &["users", "grant references (id)", OWNER]);
    assert_eq!(made(&database).await, before, "nothing is left");
    database.migrate(&[]).await.assert_ok();
}

/// Whoever writes to tables that are to be taken over is not waited for, and does not wait.
#[tokio::test]
async fn a_users_table_that_does_not_fit_is_told_without_a_lock_on_any_table() {
    let database = Database::with_users().await;
    database.execute_as_owner(GO_TABLES).await;
    let before = made(&database).await;
    let other = database.sql().await;
    other
        .batch_execute("begin; lock table users, conversations, messages in access exclusive mode")
        .await
        .expect("locked");
    let misfit = [("USERS_COLUMNS", "id=email")];
    database
        .migrate(&misfit)
        .await
        .assert_failed(1, &["email", "must be uuid"]);
    other.batch_execute("rollback").await.expect("unlocked");
    assert_eq!(made(&database).await, before, "nothing is left");
    database.migrate(&[]).await.assert_ok();
}

/// How much there is in the database besides what is in every one: columns, routines, types and schemas.
async fn made(database: &Database) -> i64 {
    let made = "(select attrelid from pg_attribute where attrelid >= 16384
                 union all select oid from pg_proc where oid >= 16384
                 union all select oid from pg_type where oid >= 16384
                 union all select oid from pg_namespace where oid >= 16384) as made";
    database.count(made).await
}

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
