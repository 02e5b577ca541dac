//! Which of the host's columns are taken for which.

use serde_json::{Value, json};

use crate::support::*;

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
        let user = replica.api().user(ALICE).await;
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
    let user = replica.api().user(ALICE).await;
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
        let found = replica.api().user(user).await;
        assert_eq!(found["isActive"], is_active, "{found}");
    }
}

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

/// With the roles of a careful host; what was said meanwhile.
async fn migrated(database: &Database) -> Outcome {
    database.make_roles(&[]).await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    outcome
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
    let outcome = migrated(&database).await;
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
    assert_eq!(
        names(&replica.api().user(ALICE).await),
        json!([null, "Prof", null])
    );
    drop(replica);

    // What is named is taken at its word.
    let named = [("USERS_COLUMNS", "avatarUrl=picture,firstName=first_name")];
    let replica = Replica::start(&database, &named).await;
    assert_eq!(
        names(&replica.api().user(ALICE).await),
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
    let outcome = migrated(&database).await;
    let told = "column avatar_url of users table users is bytea and is left out";
    assert!(outcome.stderr.contains(told), "{outcome:#?}");
    let replica = Replica::start(&database, &[]).await;
    assert_eq!(
        replica.api().user(ALICE).await["avatarUrl"],
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
    let outcome = migrated(&database).await;
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

/// As for single sign-on. Whoever chats already goes by the other one.
#[tokio::test]
async fn an_id_that_is_added_takes_not_the_place_of_the_linked_one_unless_it_is_named() {
    let database = host_with(
        "id bigint primary key, uuid uuid unique, first_name text",
        &format!("1, '{ALICE}', 'Alice'"),
        &format!("2, '{BORIS}', 'Boris'"),
    )
    .await;
    migrated(&database).await;
    let added = format!(
        "alter table users add user_id uuid unique default gen_random_uuid(); grant select, references on users to {OWNER}"
    );
    database.execute(&added).await;
    let fits = "chat_try_users() where not has_changed and misfit is null";
    assert_eq!(database.count(fits).await, 1);
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    let told = "the id of users table users is column uuid, not user_id, which is not the one that was linked";
    assert!(outcome.stderr.contains(told), "{outcome:#?}");
    assert_chats(&database).await;

    // It is there still, and not another one's turn.
    let hidden = format!(
        "revoke select on users from {OWNER}; grant select (id, user_id, first_name) on users to {OWNER}"
    );
    database.execute(&hidden).await;
    let words = ["permission denied for column uuid", "grant select (uuid)"];
    database.migrate(&[]).await.assert_failed(1, &words);
    let named = [("USERS_COLUMNS", "id=user_id")];
    database.migrate(&named).await.assert_ok();
    let is_named = "chat_users() u join users h on h.user_id = u.id";
    assert_eq!(database.count(is_named).await, 2);
}

#[tokio::test]
async fn a_uuid_that_may_not_be_read_is_told_of_where_the_id_is_a_number() {
    let database = host_with(
        "id bigint primary key, uuid uuid unique, first_name text",
        &format!("1, '{ALICE}', 'Alice'"),
        &format!("2, '{BORIS}', 'Boris'"),
    )
    .await;
    let grant = format!("grant select (id, first_name) on users to {OWNER}");
    database.execute(&grant).await;
    let words = [
        "column id of users table users is bigint",
        "column uuid is one that",
        "grant select (uuid), references (uuid) on users",
    ];
    database.migrate(&[]).await.assert_failed(1, &words);
}

#[tokio::test]
async fn an_id_may_be_of_a_domain_over_uuid_and_is_looked_up_by_its_index() {
    let database = host_with(
        "id user_id primary key, first_name text",
        &format!("'{ALICE}', 'Alice'"),
        &format!("'{BORIS}', 'Boris'"),
    )
    .await;
    migrated(&database).await;
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

/// As Laravel, Auth.js and Supabase have it.
#[tokio::test]
async fn a_table_with_one_column_for_the_whole_name_shows_it_and_finds_people_by_it() {
    for (table, columns) in [
        ("users", "name text, image text"),
        ("profiles", "full_name text, avatar_url text"),
        (
            "users",
            "display_name text, name text, image bytea, picture text",
        ),
    ] {
        let database = Database::empty().await;
        let (name, _) = columns.split_once(' ').expect("a column");
        let picture = match columns.contains("picture") {
            true => "picture",
            false => columns.split(' ').nth(2).expect("a column"),
        };
        database
            .execute(&format!(
                "create table {table} (id uuid primary key, {columns});
                 insert into {table} (id, {name}, {picture}) values ('{ALICE}', 'Alice Archer', 'a.png')"
            ))
            .await;
        let more = [("USERS_TABLE", table)];
        database.make_roles(&[("users_table", table)]).await;
        let outcome = database.migrate(&more).await;
        outcome.assert_ok();
        assert!(!outcome.stderr.contains("WARN"), "{outcome:#?}");
        let replica = Replica::start(&database, &more).await;
        let user = replica.api().user(ALICE).await;
        assert_eq!(
            json!([user["firstName"], user["lastName"], user["avatarUrl"]]),
            json!(["Alice Archer", null, "a.png"])
        );
        let found = replica.api().get("/api/v1/users/?q=arch").await.ok(200);
        assert_eq!(found["users"][0]["id"], ALICE.to_string(), "{found}");
    }
}

/// The last name would be shown twice. What is of no use is not granted.
#[tokio::test]
async fn a_whole_name_beside_a_last_name_is_not_taken_and_that_there_is_no_first_name_is_warned_of()
{
    let database = host_with(
        "id uuid primary key, last_name text, name text",
        &format!("'{ALICE}', 'Archer', 'Alice Archer'"),
        &format!("'{BORIS}', 'Baker', 'Boris Baker'"),
    )
    .await;
    let outcome = migrated(&database).await;
    let warned = |outcome: &Outcome| {
        outcome.stderr.lines().any(|line| {
            line.contains("WARN")
                && line.contains("users table users has no column for firstName")
                && line.contains("USERS_COLUMNS=firstName=... names one")
        })
    };
    assert!(warned(&outcome), "{outcome:#?}");
    let readable = format!(
        "pg_attribute where attrelid = 'users'::regclass and attname = 'name' and has_column_privilege('{OWNER}', attrelid, attnum, 'select')"
    );
    assert_eq!(database.count(&readable).await, 0);
    let replica = Replica::start(&database, &[]).await;
    let user = replica.api().user(ALICE).await;
    assert_eq!(
        json!([user["firstName"], user["lastName"]]),
        json!([null, "Archer"])
    );
    drop(replica);
    let outcome = database.migrate(&[("USERS_COLUMNS", "firstName=")]).await;
    assert!(!warned(&outcome), "{outcome:#?}");
}
