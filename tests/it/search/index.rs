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
    let replicas: [Replica; 2] = Replica::start_many(&database, &[]).await;
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
    let replicas: [Replica; 2] = Replica::start_many(&database, &[]).await;
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

    let replica = Replica::start(&database, &[]).await;
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
    let replica = Replica::start(&database, &[]).await;
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
async fn another_language_gets_another_index_and_off_gets_none() {
    let database = Database::fresh().await.without_search_index().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let indexes = "pg_class where relname like 'chat_messages_search_%'";
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    api.send(conversation, BORIS, "two gardens").await;
    assert!(api.found(ALICE, "q=garden").await.is_empty());
    drop(replica);

    let english = [("SEARCH_LANGUAGE", "English")];
    let replica = Replica::start(&database, &english).await;
    assert_eq!(
        replica.api().found(ALICE, "q=garden").await,
        ["two gardens"]
    );
    // Nothing but words that this language leaves out.
    assert!(replica.api().found(ALICE, "q=the").await.is_empty());
    eventually("the old index is gone", || async {
        (database.count(indexes).await == 1).then_some(())
    })
    .await;
    drop(replica);

    let off = [("SEARCH_LANGUAGE", "off")];
    let replica = Replica::start(&database, &off).await;
    let reply = replica.api().search(ALICE, "q=garden").await;
    let message = reply.refused(404, "search_off");
    assert!(message.contains("SEARCH_LANGUAGE"), "{message}");
    eventually("no index is left", || async {
        (database.count(indexes).await == 0).then_some(())
    })
    .await;
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
async fn a_language_that_the_database_has_not_stops_the_start() {
    let database = Database::fresh().await;
    // Where no search would find it.
    database
        .execute(
            "create schema kronos; create text search configuration kronos.klingon (copy = simple)",
        )
        .await;
    let klingon = [("SEARCH_LANGUAGE", "klingon")];
    let outcome = pgchat(&["serve"], &settings(&database, &klingon)).await;
    let few = "danish, dutch, english";
    outcome.assert_failed(1, &["SEARCH_LANGUAGE", "klingon", "simple", few]);
    let quoted = [("SEARCH_LANGUAGE", "a'b")];
    let outcome = pgchat(&["serve"], &settings(&database, &quoted)).await;
    outcome.assert_failed(2, &["SEARCH_LANGUAGE"]);
}

#[tokio::test]
async fn a_service_that_owns_nothing_says_who_must_build_the_index_and_finds_it_when_it_is_there() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute("drop index chat_messages_search_simple")
        .await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    api.send(conversation, ALICE, "an apple").await;
    api.search(ALICE, "q=apple")
        .await
        .refused(503, "unavailable");
    eventually("the log says who must", || async {
        let log = replica.log();
        (log.contains("\"pgchat migrate\"") && log.contains(OWNER)).then_some(())
    })
    .await;
    assert_eq!(database.count(INDEX).await, 0);

    database.migrate(&[]).await.assert_ok();
    assert_eq!(database.count(INDEX).await, 1);
    assert_eq!(api.found(BORIS, "q=apple").await, ["an apple"]);
}

#[tokio::test]
async fn migrate_builds_the_index_of_the_language_and_drops_the_others() {
    let database = Database::fresh().await;
    let indexes = "select string_agg(relname, ',' order by relname)
                     from pg_class where relname like 'chat\\_messages\\_search\\_%'";
    let client = database.sql().await;
    let names = async || -> Option<String> {
        let row = client.query_one(indexes, &[]).await.expect("an answer");
        row.get(0)
    };
    assert_eq!(
        names().await.as_deref(),
        Some("chat_messages_search_simple")
    );

    let klingon = database.migrate(&[("SEARCH_LANGUAGE", "klingon")]).await;
    klingon.assert_failed(1, &["SEARCH_LANGUAGE", "klingon", "simple"]);
    database
        .migrate(&[("SEARCH_LANGUAGE", "german")])
        .await
        .assert_ok();
    assert_eq!(
        names().await.as_deref(),
        Some("chat_messages_search_german")
    );

    // Whoever cannot drop it says so.
    let off = [("SEARCH_LANGUAGE", "off")];
    let replica = Replica::start(&database, &off).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;
    eventually("the log tells of the index", || async {
        replica.log().contains("costs every write").then_some(())
    })
    .await;
    drop(replica);

    // And who cannot build it, in one line.
    let english = [("SEARCH_LANGUAGE", "english")];
    pgchat(&["migrate"], &settings(&database, &english))
        .await
        .assert_failed(1, &["search index", "pgchat migrate", OWNER]);

    database.migrate(&off).await.assert_ok();
    assert_eq!(names().await, None);
}

/// Whatever time a message has, it has the keys that a search of that time asks for, and none of another day or span: were days below
/// zero, that in 1941 would be the span of 2000-01-01.
#[tokio::test]
async fn a_message_has_the_keys_of_its_day_its_span_and_of_all_time() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let days = "select at, chat_search_day(at) as day, chat_search_keys(a, b, c, at) as keys, a, b, c
          from unnest(array['-infinity', '4713-01-01 BC', '1941-10-27Z', '1945-04-15Z', '1969-12-31 23:59:59.999999Z', '1970-01-01Z', '1999-12-31Z',
                            '2000-01-01Z', '2026-11-27 23:59:59.999999Z', '2026-11-28Z', '294276-12-31Z', 'infinity']::timestamptz[]) at,
               (select md5('a')::uuid as a, md5('b')::uuid as b, md5('c')::uuid as c) ids";
    let wrong = format!(
        "with m as ({days}), scopes as (
           select m.*, s.* from m, lateral (values
             ('own day', a, 'd', at, true), ('own day', b, 'd', at, true), ('own span', a, 's', at, true),
             ('own span', b, 's', at, true), ('own span', c, 's', at, true), ('ever', a, 'a', at, true),
             ('ever', b, 'a', at, true), ('ever', c, 'a', at, true), ('a stranger', md5('d')::uuid, 'a', at, false)) s (what, owner, unit, asked, has))
         select what, at::text from scopes where (keys && chat_search_scope(owner, asked, unit, 0)) <> has
         union all
         select 'another day', m.at::text from m, m o where m.day <> o.day and m.keys && chat_search_scope(m.a, o.at, 'd', 0)
         union all
         select 'another span', m.at::text from m, m o
          where m.day / 16 <> o.day / 16 and m.keys && chat_search_scope(m.a, o.at, 's', 0)
         union all
         select 'the day before', m.at::text from m where day > 16 and isfinite(at)
            and not m.keys && chat_search_scope(m.a, m.at + interval '1 day', 'd', 1) and m.at < '294276-12-01'"
    );
    for zone in ["UTC", "Asia/Kolkata", "America/St_Johns"] {
        let set = format!("set timezone = '{zone}'");
        client.batch_execute(&set).await.expect("a setting");
        let rows = client.query(&wrong, &[]).await.expect("an answer");
        let wrong: Vec<(String, String)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
        assert!(wrong.is_empty(), "{zone}: {wrong:?}");
    }
}

/// Pages that the search index's part of a search reads.
async fn pages_of_a_search(database: &Database) -> i64 {
    let search = "explain (analyze, buffers, format json)
        select from messages
         where chat_search_words('simple'::regconfig, content) @@ 'nowhere'
           and chat_search_keys(sender_id, reader_id, conversation_id, created_at) && '{1}'
           and deleted_at is null";
    let client = database.sql().await;
    client
        .batch_execute("set enable_seqscan = off")
        .await
        .expect("a setting");
    let row = client.query_one(search, &[]).await.expect("a plan");
    let plan: serde_json::Value = row.get(0);
    let index = &plan[0]["Plan"]["Plans"][0];
    assert_eq!(index["Index Name"], "chat_messages_search_simple", "{plan}");
    let condition = index["Index Cond"].as_str().expect("a condition");
    for part in ["chat_search_keys", "to_tsvector"] {
        assert!(condition.contains(part), "{condition}");
    }
    let count = |key: &str| index[key].as_i64().expect("a count");
    count("Shared Hit Blocks") + count("Shared Read Blocks")
}

#[tokio::test]
async fn what_was_inserted_lately_is_merged_into_the_index_and_replicas_share_that() {
    let database = Database::fresh().await;
    // Which would merge it as well.
    database
        .execute("alter table messages set (autovacuum_enabled = false)")
        .await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content)
         select '{conversation}', '{ALICE}', 'apple ' || n from generate_series(1, 4000) n"
    );
    database.execute(&insert).await;
    let pending = pages_of_a_search(&database).await;
    assert!(pending > 100, "{pending} pages");

    // While another is at it there is nothing to tell.
    let other = database.sql().await;
    other
        .batch_execute("begin; select pg_advisory_xact_lock(1885562999, hashtext(chat_schema()))")
        .await
        .expect("its lock");
    assert_eq!(tidied(&database, "simple").await, (Some(1), None));
    other.batch_execute("commit").await.expect("its end");
    let (replicas, pages) = tidied(&database, "simple").await;
    assert_eq!(replicas, Some(1));
    assert!(pages > Some(100), "{pages:?} pages");
    assert_eq!(tidied(&database, "simple").await, (Some(1), Some(0)));
    assert_eq!(tidied(&database, "german").await, (None, None));

    database.execute(&insert).await;
    assert!(pages_of_a_search(&database).await > 100);
    let _replicas: [Replica; 2] = Replica::start_many(&database, &[]).await;
    eventually("the index is merged", || async {
        (pages_of_a_search(&database).await < 20).then_some(())
    })
    .await;
    assert_eq!(tidied(&database, "simple").await.0, Some(2));
}

/// How many replicas share the merging, and how many pages were merged.
async fn tidied(database: &Database, language: &str) -> (Option<i64>, Option<i64>) {
    let client = database.sql().await;
    let sql = "select replicas, merged from chat_search_tidy($1)";
    let row = client
        .query_one(sql, &[&language])
        .await
        .expect("an answer");
    (row.get(0), row.get(1))
}
