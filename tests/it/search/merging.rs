//! What was inserted lately stands in a list beside the index, which every search reads: replicas merge it into the index.

use crate::support::*;

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
