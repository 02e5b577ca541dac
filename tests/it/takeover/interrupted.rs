//! The migration is killed in the midst of it, and run again.

use std::process::{Command, Stdio};

use super::{GO_SENDS, assert_taken_over, go_service};
use crate::support::*;

const MESSAGES: i64 = 20_000;

#[tokio::test]
async fn a_migration_that_was_killed_goes_on_where_it_was() {
    let database = go_service(MESSAGES).await;
    // The row that lies last on the disk cannot be written while somebody holds a lock: the migration gets nearly to its end
    // and no further.
    database
        .execute_as_owner(
            "create function wait_for_the_test() returns trigger language plpgsql as
             $$ begin perform pg_advisory_xact_lock(42); return new; end $$;
             create table last_row as select id from messages order by ctid desc limit 1;
             create function is_last(id uuid) returns boolean language sql stable as
             $$ select id = (select l.id from public.last_row l) $$;
             create trigger wait_for_the_test after update on messages
               for each row when (is_last(old.id)) execute function wait_for_the_test()",
        )
        .await;
    let blocker = database.sql().await;
    blocker
        .batch_execute("select pg_advisory_lock(42)")
        .await
        .expect("a lock");

    let mut migrating = start(&database);
    let numbered = "messages m where to_jsonb(m) ->> 'seq' is not null";
    let before = eventually_within(3 * DEADLINE, "it numbers messages", || async {
        let done = database.count(numbered).await;
        (done >= MESSAGES / 2).then_some(done)
    })
    .await;
    assert!(before < MESSAGES, "nothing is left to interrupt");
    // Whoever comes meanwhile is let through, though the migration waits for a lock.
    let hasty = format!("set lock_timeout = '15s'; {}", GO_SENDS.replace("$1", "7"));
    database.execute(&hasty).await;
    database
        .execute("set lock_timeout = '15s'; update messages set is_read = true where content = 'message 1'; update expected.messages set is_read = true where content = 'message 1'")
        .await;
    migrating.kill();
    // Its last statement is taken back, however it ends: it still waits for the lock.
    let session = "pg_stat_activity where datname = current_database() and application_name = 'pgchat migrate'";
    eventually("its session ends", || async {
        (database.count(session).await == 0).then_some(())
    })
    .await;

    // The other service works on with what is there.
    database.execute(&hasty).await;
    let halfway = database.count(numbered).await;
    assert!((before..MESSAGES).contains(&halfway), "{halfway}");
    blocker
        .batch_execute("select pg_advisory_unlock(42)")
        .await
        .expect("unlocked");

    database.migrate(&[]).await.assert_ok();
    assert_taken_over(&database, 2).await;
}

/// What an interrupted `create index concurrently` leaves is not taken for an index.
#[tokio::test]
async fn an_index_that_was_not_completed_is_built_again() {
    let database = go_service(500).await;
    database
        .execute_as_owner(
            "alter table messages add column seq bigint;
             create index chat_messages_seq on messages (conversation_id, seq)",
        )
        .await;
    database
        .execute(
            "update pg_index set indisvalid = false where indexrelid = 'chat_messages_seq'::regclass",
        )
        .await;
    database.migrate(&[]).await.assert_ok();
    assert_taken_over(&database, 0).await;
    let unique = "pg_index where indexrelid = 'chat_messages_seq'::regclass and indisunique";
    assert_eq!(database.count(unique).await, 1);
}

/// And not that the session is gone, which it is by then.
#[tokio::test]
async fn what_has_ended_the_build_of_an_index_is_told() {
    let database = go_service(300).await;
    // It holds no lock, but a snapshot, for whose end the build waits.
    let reader = "set transaction isolation level repeatable read; select from users";
    let reader = database.holding(reader).await;
    let sql = database.sql().await;
    let end = async {
        eventually("an index is built and its session ended", || async {
            let end = "select pg_terminate_backend(pid) from pg_stat_activity
                        where datname = current_database() and application_name = 'pgchat migrate'
                          and query like '%index concurrently%' and wait_event_type = 'Lock'";
            let ended = sql.query_opt(end, &[]).await;
            ended.expect("one session, or none").map(drop)
        })
        .await;
        reader.batch_execute("commit").await.expect("it has read");
    };
    let (outcome, ()) = tokio::join!(database.migrate(&[]), end);
    outcome.assert_ok();
    let told = "(57P01); trying again";
    assert!(outcome.stderr.contains(told), "{outcome:#?}");
    assert_taken_over(&database, 0).await;
}

/// `pgchat migrate`, to be killed.
fn start(database: &Database) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgchat"));
    command
        .arg("migrate")
        .current_dir(fresh_dir("migrate"))
        .envs(settings(database, &[]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::start(&mut command, Signal::Kill)
}
