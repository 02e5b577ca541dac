//! Which of the host's columns are taken for which, where more than one could be.

use serde_json::{Value, json};

use crate::support::*;

/// Alice and Boris, in a table of this form.
async fn host_with(columns: &str, alice: &str, boris: &str) -> Database {
    let database = Database::empty().await;
    database
        .execute(&format!(
            "create type title as enum ('Dr', 'Prof'); create domain user_id as uuid; create domain link as varchar(90);
             create table users ({columns}); insert into users values ({alice}), ({boris})"
        ))
        .await;
    database
}

async fn user(replica: &Replica) -> Value {
    let api = replica.api();
    api.get(&format!("/api/v1/users/{ALICE}")).await.ok(200)
}

/// A picture of 300 KB would be in each message.
#[tokio::test]
async fn a_column_that_is_no_text_is_left_out_unless_it_is_named() {
    let row = |id| format!("'{id}', '{{}}', 'Prof', '\\x0102', '{{}}'");
    let database = host_with(
        "id uuid primary key, first_name json, last_name title, picture bytea, avatar jsonb",
        &row(ALICE),
        &row(BORIS),
    )
    .await;
    database.make_roles(&[]).await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    for (column, kind, field) in [
        ("first_name", "json", "firstName"),
        ("avatar", "jsonb", "avatarUrl"),
        ("picture", "bytea", "avatarUrl"),
    ] {
        let told = format!(
            "column {column} of users table users is {kind} and is left out; USERS_COLUMNS={field}={column} names it"
        );
        assert!(outcome.stderr.contains(&told), "{told}: {outcome:#?}");
    }
    let replica = Replica::start(&database, &[]).await;
    let names = |user: &Value| json!([user["firstName"], user["lastName"], user["avatarUrl"]]);
    assert_eq!(names(&user(&replica).await), json!([null, "Prof", null]));
    drop(replica);

    // What is named is taken at its word.
    let named = [("USERS_COLUMNS", "avatarUrl=picture,firstName=first_name")];
    let replica = Replica::start(&database, &named).await;
    assert_eq!(
        names(&user(&replica).await),
        json!(["{}", "Prof", "\\x0102"])
    );
}

#[tokio::test]
async fn a_later_candidate_that_is_text_is_taken_and_so_is_a_domain_over_text() {
    let row = |id| format!("'{id}', '\\x0102', 'https://host.example/a.png'");
    let database = host_with(
        "id uuid primary key, avatar_url bytea, picture link",
        &row(ALICE),
        &row(BORIS),
    )
    .await;
    database.make_roles(&[]).await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    let told = "column avatar_url of users table users is bytea and is left out";
    assert!(outcome.stderr.contains(told), "{outcome:#?}");
    let replica = Replica::start(&database, &[]).await;
    assert_eq!(
        user(&replica).await["avatarUrl"],
        "https://host.example/a.png"
    );
}

/// Conversations are opened between them, and keep to them by foreign keys.
async fn assert_chats(database: &Database) {
    let replica = Replica::start(database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    assert_eq!(sent["sender"]["firstName"], "Alice");
    let keys = "pg_constraint where contype = 'f' and confrelid = 'users'::regclass";
    assert_eq!(database.count(keys).await, 2);
}

#[tokio::test]
async fn of_a_number_and_a_uuid_the_uuid_is_the_id() {
    let database = host_with(
        "id bigint primary key, user_id uuid, uuid uuid unique, first_name text",
        &format!("1, '{NOBODY}', '{ALICE}', 'Alice'"),
        &format!("2, null, '{BORIS}', 'Boris'"),
    )
    .await;
    database.make_roles(&[]).await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    let told = "the id of users table users is column uuid, not id, which is bigint; USERS_COLUMNS=id=... names another";
    assert!(outcome.stderr.contains(told), "{outcome:#?}");
    assert_chats(&database).await;
    // What is named is taken at its word.
    database
        .migrate(&[("USERS_COLUMNS", "id=id")])
        .await
        .assert_failed(
            1,
            &[
                "column id",
                "bigint",
                "must be uuid",
                "add a uuid column beside it: docs/your-database.md#integer-ids",
            ],
        );
}

#[tokio::test]
async fn an_id_may_be_of_a_domain_over_uuid_and_is_looked_up_by_its_index() {
    let database = host_with(
        "id user_id primary key, first_name text",
        &format!("'{ALICE}', 'Alice'"),
        &format!("'{BORIS}', 'Boris'"),
    )
    .await;
    database.make_roles(&[]).await;
    database.migrate(&[]).await.assert_ok();
    assert_chats(&database).await;
    let client = database.sql().await;
    let plan = client
        .simple_query(&format!(
            "set enable_seqscan = off; explain select * from chat_users() where id = '{ALICE}'"
        ))
        .await
        .expect("a plan");
    let plan = format!("{plan:?}");
    assert!(plan.contains("users_pkey"), "{plan}");
}
