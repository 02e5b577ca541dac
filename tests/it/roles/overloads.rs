//! Whoever may create in a schema can put a function or an operator there that fits a call better than PostgreSQL's own, which may take
//! anything (CVE-2018-1058). Where pgchat has a schema of its own, `public` is none that its code looks names up in.

use super::texts;
use crate::support::*;

const SCHEMA: (&str, &str) = ("DB_SCHEMA", "chat");

/// Name, arguments, result, and what PostgreSQL's own would answer; an operator where the name is none of a function.
const OVERLOADS: [(&str, &str, &str, &str); 20] = [
    ("format", "text, name", "text", "pg_catalog.format($1, $2)"),
    ("format", "text, text", "text", "pg_catalog.format($1, $2)"),
    (
        "format",
        "text, name, name",
        "text",
        "pg_catalog.format($1, $2, $3)",
    ),
    (
        "format",
        "text, name, text",
        "text",
        "pg_catalog.format($1, $2, $3)",
    ),
    (
        "format",
        "text, text, name",
        "text",
        "pg_catalog.format($1, $2, $3)",
    ),
    (
        "format",
        "text, text, text",
        "text",
        "pg_catalog.format($1, $2, $3)",
    ),
    (
        "format",
        "text, regclass, text",
        "text",
        "pg_catalog.format($1, $2, $3)",
    ),
    (
        "set_bit",
        "bytea, integer, integer",
        "bytea",
        "pg_catalog.set_bit($1, $2::bigint, $3)",
    ),
    ("to_json", "text", "json", "pg_catalog.to_json($1)"),
    (
        "quote_ident",
        "name",
        "text",
        "pg_catalog.quote_ident($1::text)",
    ),
    (
        "array_to_string",
        "text[], text",
        "text",
        "pg_catalog.array_to_string($1, $2)",
    ),
    (
        "cardinality",
        "smallint[]",
        "integer",
        "pg_catalog.cardinality($1)",
    ),
    (
        "has_column_privilege",
        "regclass, text, text",
        "boolean",
        "pg_catalog.has_column_privilege($1::oid, $2, $3)",
    ),
    (
        "||",
        "text, name",
        "text",
        "$1 operator(pg_catalog.||) $2::text",
    ),
    (
        "||",
        "text[], text",
        "text[]",
        "pg_catalog.array_append($1, $2)",
    ),
    (
        "||",
        "name, text",
        "text",
        "$1::text operator(pg_catalog.||) $2",
    ),
    (
        "~",
        "name, name",
        "boolean",
        "$1::text operator(pg_catalog.~) $2::text",
    ),
    (
        "concat",
        "integer, text, timestamp with time zone",
        "text",
        "pg_catalog.concat($1, $2, $3)",
    ),
    (
        "<>",
        "regtype, regtype",
        "boolean",
        "$1::oid operator(pg_catalog.<>) $2::oid",
    ),
    (
        "%",
        "bigint, integer",
        "bigint",
        "$1 operator(pg_catalog.%) $2::bigint",
    ),
];

/// What a role makes in `public` who may do nothing else; each of them leaves a sign of having run, which no rollback takes back.
fn overloads() -> String {
    let made = OVERLOADS.iter().enumerate().map(|(number, (name, arguments, result, answer))| {
        let function = match name.chars().all(|c| c.is_ascii_lowercase() || c == '_') {
            true => (*name).to_owned(),
            false => format!("operator_{number}"),
        };
        let mut made = format!(
            "create sequence public.ran_{number}; grant usage on public.ran_{number} to public;
             create function public.{function}({arguments}) returns {result} language plpgsql as
             $$ begin perform pg_catalog.nextval('public.ran_{number}'); return {answer}; end $$;"
        );
        if function != *name {
            let (left, right) = arguments.split_once(", ").expect("two");
            made += &format!(
                "create operator public.{name} (leftarg = {left}, rightarg = {right}, function = public.{function});"
            );
        }
        made
    });
    made.collect()
}

#[tokio::test]
async fn what_others_put_into_public_does_not_run_with_the_rights_of_pgchat() {
    let mut database = Database::with_users().await;
    let mere = database.role("mere").await;
    database
        .execute(&format!("grant create, usage on schema public to {mere}"))
        .await;
    let session = database.sql_as(&mere).await;
    if let Err(fault) = session.batch_execute(&overloads()).await {
        panic!("{fault:?}");
    }
    let sql = database.sql().await;
    let none_ran = async |step: &str| {
        let ran = texts(
            &sql,
            "select sequencename::text from pg_sequences where last_value is not null order by 1",
        )
        .await;
        let ran: Vec<_> = ran
            .iter()
            .filter_map(|name| OVERLOADS.get(name.strip_prefix("ran_")?.parse::<usize>().ok()?))
            .collect();
        assert!(ran.is_empty(), "{step}: {ran:?}");
    };
    // That they would.
    let would = "select format('%s', 'x'::name); select set_bit('\\x00'::bytea, 1, 1); select 'x'::text || 'y'::name";
    session
        .batch_execute(would)
        .await
        .expect("as the role itself");
    let forget = "do $$ declare s name; begin for s in select sequencename from pg_sequences where last_value is not null
                  loop execute 'alter sequence public.' || quote_ident(s::text) || ' restart'; end loop; end $$";
    let ran = "pg_sequences where last_value is not null";
    assert!(database.count(ran).await >= 3);
    session.batch_execute(forget).await.expect("forgotten");
    none_ran("before").await;

    database.make_roles(&[("schema", "chat")]).await;
    none_ran("sql/roles.sql").await;
    database.migrate(&[SCHEMA]).await.assert_ok();
    none_ran("pgchat migrate").await;
    database.make_roles(&[("schema", "chat")]).await;
    none_ran("sql/roles.sql, again").await;

    database.served_by = SERVICE;
    let replica = Replica::start(&database, &[SCHEMA, ("USERS_TABLE_CHECK_SECONDS", "1")]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    assert_eq!(sent["sender"]["firstName"], "Alice");
    none_ran("pgchat serve").await;
    database
        .execute_as_owner("alter table users rename column avatar_url to picture")
        .await;
    eventually("the table is linked anew", || async {
        let user = api.get(&format!("/api/v1/users/{ALICE}")).await;
        (user.status == 200 && user.json()["avatarUrl"].is_string()).then_some(())
    })
    .await;
    none_ran("a link made anew").await;
    // In the path of whoever inserts.
    database
        .execute(&format!(
            "insert into chat.messages (conversation_id, sender_id, content) values ('{conversation}', '{BORIS}', 'hi')"
        ))
        .await;
    none_ran("a program's insert").await;
    // The only one that runs with its caller's path and rights.
    database.execute("call chat.chat_purge_all('1 year')").await;
    none_ran("chat_purge_all").await;

    database
        .execute_as_owner("alter table users rename column picture to avatar_url")
        .await;
    let settings = settings(&database, &[SCHEMA, ("DB_USER", OWNER)]);
    pgchat(&["demo-data"], &settings).await.assert_ok();
    none_ran("pgchat demo-data").await;
}
