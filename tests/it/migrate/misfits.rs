//! A users table that cannot be used is told of before anything is made.

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
