//! What the pages say to whoever has given the chat a schema of its own.

use std::process::Command;

use tokio_postgres::Client;

use super::{ON_CALL, OPERATIONS, RETENTION, inline, pids, retention_runs};
use crate::support::*;

const SCHEMA: (&str, &str) = ("DB_SCHEMA", "chat");

async fn database_apart() -> Database {
    let database = Database::with_users().await;
    database.migrate(&[SCHEMA]).await.assert_ok();
    database
}

/// What the page has exported for all of its commands: options of the session.
fn options_of(page: &str) -> &str {
    let found: Vec<&str> = inline(page, "export PGOPTIONS='");
    let [export] = found[..] else {
        panic!("{found:?}");
    };
    export
        .trim_start_matches("export PGOPTIONS='")
        .trim_end_matches('\'')
}

/// A session of the superuser with these options.
async fn session(database: &Database, options: &str) -> Client {
    let session = database.sql().await;
    let path = options.strip_prefix("-c ").expect("a setting");
    let set = format!("set {path}");
    session.batch_execute(&set).await.expect("the setting");
    session
}

#[tokio::test]
async fn the_queries_of_the_page_on_call_ask_the_schema_of_the_chat() {
    let database = database_apart().await;
    let replica = Replica::start(&database, &[SCHEMA]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = id_of(&api.send(conversation, ALICE, "hello").await);
    // Somebody else's, which nobody is to take for the chat's.
    database
        .execute("create table public.messages as select * from chat.messages where false")
        .await;

    let asking = session(&database, options_of(ON_CALL)).await;
    let queries = inline(ON_CALL, "select").into_iter();
    for sql in queries.chain(inline(OPERATIONS, "select")) {
        pids(&asking, sql).await;
    }
    let stored = inline(ON_CALL, "select conversation_id, seq, ");
    let nobody = "00000000-0000-0000-0000-000000000000";
    let stored = stored[0].replace(nobody, &sent.to_string());
    let rows = asking.query(&stored, &[]).await.expect("rows");
    assert_eq!(rows.len(), 1, "{stored}");
}

#[tokio::test]
async fn the_sql_of_the_retention_guide_runs_in_the_schema_of_the_chat() {
    let database = database_apart().await;
    let role = database.role("cleaner").await;
    let options = options_of(RETENTION);
    retention_runs(&session(&database, options).await, &role).await;

    let usage = inline(RETENTION, "grant usage on schema")[0].replace('…', &role);
    database.execute(&usage).await;
    // As cron runs it.
    let nightly = blocks(RETENTION, "sh")[0];
    let ran = Command::new("sh")
        .arg("-c")
        .arg(nightly.replace("psql ", "\"$PSQL\" "))
        .env("PSQL", psql())
        .env("PGOPTIONS", options)
        .env("DATABASE_URL", database.url(&role))
        .output()
        .expect("sh runs");
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}");
    assert!(told.contains("messages and"), "{told}");
}
