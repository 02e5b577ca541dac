//! Least privilege: the roles of `sql/roles.sql`, and what a new table or function may not open to them.

mod advice;
mod executes;
mod functions;
mod made;
mod overloads;
mod owned;
mod row_security;
mod tables;

use serde_json::Value;
use tokio_postgres::Client;

use crate::support::*;

/// Insufficient privilege (PostgreSQL manual, appendix A).
const REFUSED: &str = "42501";

async fn texts(client: &Client, sql: &str) -> Vec<String> {
    match client.query(sql, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(fault) => panic!("{fault:?}\n{sql}"),
    }
}

async fn assert_refused(client: &Client, sql: &str) {
    match client.batch_execute(sql).await {
        Ok(()) => panic!("not refused: {sql}"),
        Err(fault) => {
            let code = fault.code().map(|code| code.code().to_owned());
            assert_eq!(code.as_deref(), Some(REFUSED), "{fault:?}\n{sql}");
        }
    }
}

#[tokio::test]
async fn the_service_runs_as_a_role_that_owns_nothing_and_touches_no_table() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;

    let client = database.sql().await;
    let sessions = "select distinct usename::text from pg_stat_activity
                     where datname = current_database() and application_name like 'pgchat%'";
    assert_eq!(texts(&client, sessions).await, [SERVICE]);
    let powers = format!(
        "select rolname::text from pg_roles
          where rolname in ('{SERVICE}', '{OWNER}', '{INTEGRATOR}')
            and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)"
    );
    assert_eq!(texts(&client, &powers).await, Vec::<String>::new());
    let within_reach = format!(
        "select c.oid::regclass::text from pg_class c
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'S', 'p')
            and (has_any_column_privilege('{SERVICE}', c.oid, 'select, insert, update, references')
                 or has_table_privilege('{SERVICE}', c.oid, 'delete, truncate, trigger'))"
    );
    assert_eq!(texts(&client, &within_reach).await, Vec::<String>::new());

    let service = database.sql_as(SERVICE).await;
    for sql in [
        "create table mine (id int)",
        "create function chat_mine() returns int language sql as 'select 1'",
        "alter table messages disable trigger all",
        "drop function chat_users()",
        &format!("set role {OWNER}"),
        "select pg_read_file('/etc/passwd')",
        "copy (select 1) to program 'true'",
    ] {
        assert_refused(&service, sql).await;
    }
}

#[tokio::test]
async fn columns_are_found_anew_by_a_service_that_owns_nothing_as_far_as_the_owner_may_read_them() {
    let database = Database::fresh().await;
    let more = [("USERS_TABLE_CHECK_SECONDS", "1")];
    let replica = Replica::start(&database, &more).await;
    let shown = async || {
        let user = replica.api().get(&format!("/api/v1/users/{ALICE}")).await;
        (user.status == 200).then(|| user.json()["avatarUrl"].clone())
    };
    let until = async |what: &str, wanted: fn(&Value) -> bool| {
        eventually(what, || async { shown().await.filter(wanted) }).await;
    };
    assert!(shown().await.expect("Alice").is_string());
    database
        .execute("alter table users rename column avatar_url to picture")
        .await;
    // The grant is the column's, and goes with it.
    until("the column by its new name", Value::is_string).await;
    // One that the owner may not read is none.
    database
        .execute("alter table users drop column picture; alter table users add column avatar text default 'x'")
        .await;
    until("no column", Value::is_null).await;
    database.migrate(&[]).await.assert_ok();
    assert!(shown().await.expect("Alice").is_null());
}

#[tokio::test]
async fn the_owner_reads_no_more_of_the_users_than_the_chat_shows() {
    let database = Database::fresh().await;
    let owner = database.sql_as(OWNER).await;
    owner
        .batch_execute("select id, first_name, last_name, avatar_url, role, is_active from users")
        .await
        .expect("what is shown");
    for column in ["email", "password_hash", "phone", "*"] {
        assert_refused(&owner, &format!("select {column} from users")).await;
    }
    let referenced = format!(
        "select attname::text from pg_attribute where attrelid = 'users'::regclass and attnum > 0
            and has_column_privilege('{OWNER}', attrelid, attnum, 'references')"
    );
    let client = database.sql().await;
    assert_eq!(texts(&client, &referenced).await, ["id"]);
    assert_refused(&owner, "update users set first_name = 'x'").await;
    assert_refused(&owner, "delete from users").await;
}

#[tokio::test]
async fn an_integrator_may_do_what_is_documented_and_nothing_else() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let role = database.role("crm").await;
    let grant = format!("grant {INTEGRATOR} to {role}");
    database.execute(&grant).await;
    let crm = database.sql_as(&role).await;
    for sql in [
        format!(
            "insert into messages (conversation_id, sender_id, content, message_type, client_message_id)
             values ('{conversation}', '{ALICE}', 'x', 'file', 'crm-1')"
        ),
        format!(
            "insert into conversations (participant1_id, participant2_id) values ('{ALICE}', '{CARLA}')"
        ),
        "select * from messages m join conversations c on c.id = m.conversation_id".to_owned(),
        "update messages set content = 'y', is_read = true".to_owned(),
        "update messages set deleted_at = now()".to_owned(),
        format!("select chat_send_message('{conversation}', '{BORIS}', 'z')"),
        "delete from messages where deleted_at is not null".to_owned(),
        "select user_id, is_online, last_seen_at from chat_presence".to_owned(),
        "listen chat_events".to_owned(),
    ] {
        if let Err(fault) = crm.batch_execute(&sql).await {
            panic!("{fault:?}\n{sql}");
        }
    }

    for sql in [
        "select * from users",
        "select password_hash from users",
        "select * from chat_users()",
        "insert into messages (conversation_id, sender_id, content, seq) select conversation_id, sender_id, 'x', 99 from messages",
        "insert into messages (conversation_id, sender_id, content, revision) select conversation_id, sender_id, 'x', 9 from messages",
        "insert into messages (id, conversation_id, sender_id, content) select gen_random_uuid(), conversation_id, sender_id, 'x' from messages",
        "update messages set seq = seq + 1",
        "update messages set revision = 7",
        "update messages set change_xid = '1'",
        "update messages set sender_id = gen_random_uuid()",
        "update messages set created_at = now()",
        "update conversations set last_seq = 0",
        "update conversations set participant2_id = participant1_id",
        "insert into conversations (participant1_id, participant2_id, last_seq) select participant1_id, participant2_id, 7 from conversations",
        "delete from conversations",
        "truncate messages cascade",
        "alter table messages disable trigger all",
        "set session_replication_role = replica",
        "create table chat_mine (id int)",
        "create function chat_users2() returns int language sql as 'select 1'",
        "create trigger mine after insert on messages execute function suppress_redundant_updates_trigger()",
        "create index on messages (content)",
        &format!("set role {OWNER}"),
        &format!("set role {SERVICE}"),
    ] {
        assert_refused(&crm, sql).await;
    }

    // And of everything that begins with chat_, whatever a later version adds.
    let client = database.sql().await;
    let tables = format!(
        "select c.oid::regclass::text from pg_class c
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'S', 'p')
            and c.relname like 'chat\\_%'
            and (has_any_column_privilege('{role}', c.oid, 'select, insert, update, references')
                 or has_table_privilege('{role}', c.oid, 'delete, truncate, trigger'))"
    );
    assert_eq!(texts(&client, &tables).await, ["chat_presence"]);
}

#[tokio::test]
async fn a_service_without_rights_on_the_schema_says_what_is_missing() {
    let database = Database::fresh().await;
    let run = async |more: &[(&str, &str)]| pgchat(&["migrate"], &settings(&database, more)).await;
    run(&[]).await.assert_ok();
    // A schema that is not there yet.
    run(&[("DB_SCHEMA", "other")])
        .await
        .assert_failed(1, &["permission denied", "sql/roles.sql"]);

    // Another users table than that which the owner linked.
    database
        .execute("create table people (id uuid primary key)")
        .await;
    let people = [("USERS_TABLE", "people")];
    run(&people)
        .await
        .assert_failed(1, &["users table", "pgchat migrate", OWNER]);

    // Another mapping, until the owner has linked that one; then the former is another.
    let columns = [("USERS_COLUMNS", "avatarUrl=")];
    let words = ["USERS_COLUMNS", "pgchat migrate", OWNER];
    run(&columns).await.assert_failed(1, &words);
    database.migrate(&columns).await.assert_ok();
    run(&columns).await.assert_ok();
    run(&[]).await.assert_failed(1, &words);

    // A migration that the owner has still to apply. `serve` says the same.
    database
        .execute(
            "delete from chat_schema_history where version = (select max(version) from chat_schema_history)",
        )
        .await;
    let words = ["is missing", "pgchat migrate", OWNER];
    run(&[]).await.assert_failed(1, &words);
    pgchat(&["serve"], &settings(&database, &[]))
        .await
        .assert_failed(1, &words);

    // Grants that were forgotten.
    database
        .execute(&format!(
            "revoke execute on all functions in schema public from {SERVICE}"
        ))
        .await;
    run(&[])
        .await
        .assert_failed(1, &["permission denied", "sql/roles.sql"]);
}
