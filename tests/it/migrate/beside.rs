//! `pgchat migrate` in a database that has ways of its own: sessions that are ended, event triggers, settings.

use crate::support::*;

/// Functions of pgchat's that anybody may call, with its rights.
const OPEN: &str = "pg_proc p
    cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
    where p.prosecdef and a.grantee = 0 and p.proname like 'chat\\_%'";

/// An administrator ends the session, or the machine of the one that migrates is gone.
#[tokio::test]
async fn wherever_a_migration_is_interrupted_nothing_is_open_and_the_next_one_completes_it() {
    let database = Database::with_users().await;
    database
        .execute(
            "create sequence statements;
             create table last_statement (number bigint);
             insert into last_statement values (0);
             create function interrupt() returns event_trigger language plpgsql security definer set search_path = public as $$
             begin
               if nextval('statements') >= (select number from last_statement) then
                 perform pg_terminate_backend(pg_backend_pid());
               end if;
             end $$;
             create event trigger interrupt on ddl_command_start execute function interrupt()",
        )
        .await;
    let mut interrupted = 0;
    for number in (1..).step_by(40) {
        let next = format!(
            "select setval('statements', 1, false); update last_statement set number = {number}"
        );
        database.execute(&next).await;
        let outcome = database
            .migrate(&[("DB_CONNECT_TIMEOUT_SECONDS", "1")])
            .await;
        assert_eq!(database.count(OPEN).await, 0, "statement {number}");
        if outcome.code == Some(0) {
            break;
        }
        outcome.assert_failed(1, &["57P01"]);
        interrupted += 1;
    }
    assert!(interrupted > 3, "{interrupted} interruptions");
    database.execute("drop event trigger interrupt").await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;
}

/// As hosts have that note who has changed the schema, or keep others from it.
#[tokio::test]
async fn what_an_event_trigger_of_the_host_refuses_is_told_with_its_name() {
    let database = Database::with_users().await;
    database
        .execute(
            "create table public.changes (tag text);
             create function public.note_change() returns event_trigger language plpgsql as $$
             begin
               insert into changes select command_tag from pg_event_trigger_ddl_commands();
             end $$;
             create event trigger note_change on ddl_command_end execute function note_change()",
        )
        .await;
    let denied = database.migrate(&[]).await;
    denied.assert_failed(1, &["table changes (42501)", "note_change()"]);
    // The roles that it makes have no rights there either.
    assert!(!denied.last_line().contains("sql/roles.sql"), "{denied:#?}");
    let elsewhere = [("DB_SCHEMA", "chat")];
    let lost = database.migrate(&elsewhere).await;
    lost.assert_failed(1, &["\"changes\" does not exist", "note_change()"]);

    // As docs/your-database.md says.
    database
        .execute("alter function note_change() security definer set search_path = public, pg_temp")
        .await;
    database.migrate(&elsewhere).await.assert_ok();
    let noted = "changes where tag = 'CREATE TABLE'";
    assert!(database.count(noted).await > 5);
}

#[tokio::test]
async fn a_database_with_the_strings_of_old_programs_is_migrated_without_a_warning() {
    let database = Database::with_users().await;
    database
        .execute(&format!(
            "alter database {} set standard_conforming_strings = off",
            database.name
        ))
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    assert!(!outcome.stderr.contains("WARN"), "{outcome:#?}");
}

/// With a publication of all tables (Debezium's default, or the way to another major version), PostgreSQL refuses to update and delete
/// rows that it could not tell apart.
#[tokio::test]
async fn every_table_can_be_replicated_logically() {
    let database = Database::fresh().await;
    let without_a_key =
        "pg_class c where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
        and c.relpersistence = 'p'
        and not exists (select from pg_index i where i.indrelid = c.oid and i.indisprimary)";
    assert_eq!(database.count(without_a_key).await, 0);
}

/// As `pg_dump --schema-only` makes it: all is there but what says so.
#[tokio::test]
async fn a_copy_of_the_schema_alone_is_refused_with_what_it_lacks() {
    let database = Database::fresh().await;
    let history = "chat_schema_history";
    database
        .execute_as_owner(&format!("delete from {history}"))
        .await;
    database
        .migrate(&[])
        .await
        .assert_failed(1, &[history, "has no rows", "pg_dump --data-only"]);
}
