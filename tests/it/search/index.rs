//! How the index comes to be: in the background, without holding up anybody, again after an interruption.

use crate::support::*;

const INDEX: &str = "pg_index i join pg_class c on c.oid = i.indexrelid
    where c.relname = 'chat_messages_search_simple' and i.indisvalid";

#[tokio::test]
async fn the_index_is_built_while_messages_are_written_and_searches_are_told_to_wait() {
    let database = Database::fresh().await.without_search_index().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let elsewhere = database.conversation(CARLA, DAVID).await;
    // A transaction that writes messages, for whose end `create index concurrently` has to wait.
    let writer = database.sql().await;
    writer
        .batch_execute(&format!(
            "begin; insert into messages (conversation_id, sender_id, content) values ('{elsewhere}', '{CARLA}', 'apple')"
        ))
        .await
        .expect("an insert");
    let replicas: [Replica; 2] = Replica::start_many(&database, &[UNHURRIED_SEARCH]).await;
    eventually("the index is being built", || async {
        let building = "pg_stat_activity where application_name = 'pgchat search index' and query like 'create index%'
                        and datname = current_database()";
        (database.count(building).await == 1).then_some(())
    })
    .await;

    for replica in &replicas {
        let api = replica.api();
        let refused = api.search(ALICE, "q=apple").await;
        let message = refused.refused(503, "unavailable");
        assert!(message.contains("being built"), "{message}");
        api.send(conversation, ALICE, "an apple meanwhile").await;
    }
    assert_eq!(database.count(INDEX).await, 0);

    writer.batch_execute("commit").await.expect("a commit");
    for replica in &replicas {
        let api = replica.api();
        assert_eq!(api.found(ALICE, "q=apple").await.len(), 2);
        assert_eq!(api.found(CARLA, "q=apple").await, ["apple"]);
    }
    assert_eq!(database.count(INDEX).await, 1);
}

/// A build may take hours, and each new session costs the server a process.
#[tokio::test]
async fn a_replica_that_waits_for_the_build_of_another_does_so_in_one_session_and_in_the_next_if_that_is_lost()
 {
    let database = Database::fresh().await.without_search_index().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let writer = database
        .holding(&format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'apple')"
        ))
        .await;
    let replicas: [Replica; 2] = Replica::start_many(&database, &[UNHURRIED_SEARCH]).await;
    let sql = database.sql().await;
    let looking = async |pid: Option<i32>| {
        let waiting = "select pid, query_start::text from pg_stat_activity
                        where application_name = 'pgchat search index' and datname = current_database()
                          and state = 'idle' and query like '%pg_try_advisory_lock%'
                          and pid = coalesce($1, pid)";
        let row = sql.query_opt(waiting, &[&pid]).await.expect("sessions")?;
        Some((row.get::<_, i32>(0), row.get::<_, String>(1)))
    };
    let (first, mut last_look) =
        eventually("one of the two waits", || async { looking(None).await }).await;
    for _ in 0..3 {
        last_look = eventually("it looks again, in the same session", || async {
            let alive = format!("pg_stat_activity where pid = {first}");
            assert_eq!(database.count(&alive).await, 1, "its session has ended");
            let (_, look) = looking(Some(first)).await?;
            (look != last_look).then_some(look)
        })
        .await;
    }

    database
        .execute(&format!("select pg_terminate_backend({first})"))
        .await;
    eventually("it waits in another session", || async {
        let (pid, _) = looking(None).await?;
        (pid != first).then_some(())
    })
    .await;
    writer.batch_execute("commit").await.expect("a commit");
    eventually("both have seen to it", || async {
        let left = "pg_stat_activity where application_name = 'pgchat search index' and datname = current_database()";
        (database.count(left).await == 0).then_some(())
    })
    .await;
    assert_eq!(database.count(INDEX).await, 1);
    for replica in &replicas {
        assert_eq!(replica.api().found(BORIS, "q=apple").await, ["apple"]);
        let log = replica.log();
        assert!(!log.contains("search index was not built"), "{log}");
    }
}

#[tokio::test]
async fn a_build_that_was_interrupted_is_begun_anew() {
    let database = Database::fresh().await.without_search_index().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let writer = database.sql().await;
    let insert = format!(
        "begin; insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'apple')"
    );
    writer.batch_execute(&insert).await.expect("an insert");
    let mut replica = Replica::start(&database, &[]).await;
    let incomplete = "pg_index i join pg_class c on c.oid = i.indexrelid
        where c.relname = 'chat_messages_search_simple' and not i.indisvalid";
    eventually("a half-built index", || async {
        (database.count(incomplete).await == 1).then_some(())
    })
    .await;
    replica.kill();
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
                where application_name = 'pgchat search index' and datname = current_database()";
    eventually("the builder ended", || async {
        database.execute(end).await;
        let left = "pg_stat_activity where application_name = 'pgchat search index' and datname = current_database()";
        (database.count(left).await == 0).then_some(())
    })
    .await;
    assert_eq!(database.count(incomplete).await, 1);
    writer.batch_execute("commit").await.expect("a commit");

    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    assert_eq!(replica.api().found(BORIS, "q=apple").await, ["apple"]);
    assert_eq!(database.count(incomplete).await, 0);
    assert_eq!(database.count(INDEX).await, 1);
}

/// The host's own care for its indexes, for which a replica may start at any moment.
#[tokio::test]
async fn an_index_that_the_host_rebuilds_is_left_alone_meanwhile() {
    let database = Database::fresh().await;
    // For whose end the rebuilding has to wait.
    let reader = database.sql().await;
    reader
        .batch_execute("begin isolation level repeatable read; select from messages")
        .await
        .expect("a snapshot");
    let host = database.sql().await;
    let rebuilding = tokio::spawn(async move {
        host.batch_execute("reindex index concurrently chat_messages_search_simple")
            .await
    });
    let half_built = "pg_class where relname = 'chat_messages_search_simple_ccnew'";
    eventually("the host is at it", || async {
        (database.count(half_built).await == 1).then_some(())
    })
    .await;

    let dropped = eventually("a session drops what the host builds", || async {
        let dropping =
            "pg_stat_activity where query like 'drop index%' and datname = current_database()";
        (database.count(dropping).await == 1).then_some(())
    });
    tokio::select! {
        outcome = database.migrate(&[]) => drop(outcome.assert_ok()),
        () = dropped => panic!("it is dropped"),
    }
    assert_eq!(database.count(half_built).await, 1);

    reader.batch_execute("commit").await.expect("its end");
    let rebuilt = within("the rebuilt index", rebuilding).await;
    rebuilt.expect("the host").expect("rebuilt");
    assert_eq!(database.count(INDEX).await, 1);
    assert_eq!(database.count(half_built).await, 0);

    // As an interruption leaves the old one.
    database
        .execute_as_owner("create index chat_messages_search_simple_ccold on messages (id)")
        .await;
    database.migrate(&[]).await.assert_ok();
    let old = "pg_class where relname = 'chat_messages_search_simple_ccold'";
    assert_eq!(database.count(old).await, 1);
}

/// What an interruption of the build's last step leaves: PostgreSQL keeps such an index up to date, and finds nothing by it.
#[tokio::test]
async fn an_index_that_was_not_checked_to_its_end_is_not_used_and_begun_anew() {
    let mut database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    api.send(conversation, ALICE, "an apple").await;
    database
        .execute("update pg_index set indisvalid = false where indexrelid = 'chat_messages_search_simple'::regclass")
        .await;
    let refused = api.search(BORIS, "q=apple").await;
    refused.refused(503, "unavailable");

    database.served_by = OWNER;
    let _builder = Replica::start(&database, &[]).await;
    assert_eq!(api.found(BORIS, "q=apple").await, ["an apple"]);
    assert_eq!(database.count(INDEX).await, 1);
}

#[tokio::test]
async fn the_index_of_another_schema_is_none_of_this_one() {
    let database = Database::fresh().await;
    let schema = format!("create schema chat authorization {OWNER}");
    database.execute(&schema).await;
    database.migrate(&[("DB_SCHEMA", "chat")]).await.assert_ok();
    assert_eq!(database.count(INDEX).await, 2);
    for schema in ["public", "chat"] {
        let known = format!("{schema}.chat_search_indexes() where complete");
        assert_eq!(database.count(&known).await, 1, "{schema}");
    }
}

#[tokio::test]
async fn a_service_that_owns_nothing_says_who_must_build_the_index_and_finds_it_when_it_is_there() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute("drop index chat_messages_search_simple")
        .await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    api.send(conversation, ALICE, "an apple").await;
    api.search(ALICE, "q=apple")
        .await
        .refused(503, "unavailable");
    for who_must in ["\"pgchat migrate\"", OWNER] {
        until_logged(&replica, who_must).await;
    }
    assert_eq!(database.count(INDEX).await, 0);

    database.migrate(&[]).await.assert_ok();
    assert_eq!(database.count(INDEX).await, 1);
    assert_eq!(api.found(BORIS, "q=apple").await, ["an apple"]);
}
