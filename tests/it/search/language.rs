//! `SEARCH_LANGUAGE`: each language has an index of its own, and there is no index but that of the language that is set.

use crate::support::*;

#[tokio::test]
async fn another_language_gets_another_index_and_off_gets_none() {
    let database = Database::fresh().await.without_search_index().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let indexes = "pg_class where relname like 'chat_messages_search_%'";
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    api.send(conversation, BORIS, "two gardens").await;
    assert!(api.found(ALICE, "q=garden").await.is_empty());
    drop(replica);

    let english = [("SEARCH_LANGUAGE", "English"), UNHURRIED_SEARCH];
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
    until_logged(&replica, "costs every write").await;
    drop(replica);

    // And who cannot build it, in one line.
    let english = [("SEARCH_LANGUAGE", "english")];
    pgchat(&["migrate"], &settings(&database, &english))
        .await
        .assert_failed(1, &["search index", "pgchat migrate", OWNER]);

    database.migrate(&off).await.assert_ok();
    assert_eq!(names().await, None);
}
