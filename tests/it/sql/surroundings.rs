//! What else hosts have in their databases: casts, collations, rows that come from elsewhere, very large statements.

use serde_json::{Value, json};

use super::Scene;
use crate::support::*;

/// As databases have that were once on PostgreSQL 8.2, or whose programs leave out casts.
const CASTS: &str = "
do $$
declare
  type text;
begin
  foreach type in array array['uuid', 'smallint', 'integer', 'bigint', 'double precision', 'timestamptz', 'json'] loop
    execute format('create cast (%s as text) with inout as implicit', type);
  end loop;
end $$";

#[tokio::test]
async fn casts_of_the_hosts_make_nothing_ambiguous() {
    let database = Database::fresh().await;
    database.execute(CASTS).await;
    let replica = Replica::start(&database, &[UNHURRIED_SEARCH]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut boris = Socket::connect(&replica, BORIS).await;

    alice
        .send_command("watch_presence", json!({"userIds": [BORIS]}))
        .await;
    let there = alice.expect("presence").await;
    assert_eq!(there["data"]["userId"], json!(BORIS));
    alice.types(conversation, true).await;
    boris.expect("typing").await;
    alice.send_message(conversation, "a garden").await;
    let cursor = cursor_of(&boris.expect("chat_message").await);
    api.mark_read(conversation, BORIS).await.ok(200);
    alice.expect("messages_read").await;
    let other = api.open_conversation(BORIS, CARLA).await;
    boris.expect("conversation_created").await;

    let mut back = Socket::resume(&replica, BORIS, &cursor).await;
    // What it has seen may come again.
    let is_other = |frame: &Value| {
        frame["type"] == "conversation_created" && frame["data"]["id"] == json!(other)
    };
    back.expect_where("conversation_created", is_other).await;
    assert_eq!(api.conversations(BORIS).await.len(), 2);
    api.get("/api/v1/users/?q=ali").await.ok(200);
    api.user(ALICE).await;
    assert_eq!(
        api.found(ALICE, "q=garden&segments=true").await,
        ["a garden"]
    );
}

/// With such a collation a column that was adopted may have been made.
#[tokio::test]
async fn an_edit_is_told_also_where_the_texts_count_as_equal() {
    let mut scene = Scene::set().await;
    if !scene.database.has_icu().await {
        return;
    }
    scene
        .database
        .execute_as_owner(
            "create collation any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
             alter table messages alter column content type text collate any_case",
        )
        .await;
    let insert = scene.insert(ALICE, "quiet");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;
    scene
        .database
        .execute("update messages set content = 'QUIET'")
        .await;
    let edited = scene.expect("message_updated").await;
    assert_eq!(edited["data"]["content"], "QUIET");
    assert_ne!(edited["data"]["editedAt"], Value::Null);
}

/// From a copy of the table in another cluster, which has come to higher transaction numbers.
#[tokio::test]
async fn a_copied_row_is_caught_up_with_whatever_numbers_it_brings() {
    let scene = Scene::set().await;
    let client = scene.database.sql().await;
    let next = client
        .query_one("select pg_snapshot_xmax(pg_current_snapshot())::text", &[])
        .await;
    let horizon: String = next.expect("a number").get(0);
    let columns = "conversation_id, sender_id, content, is_read, create_xid, change_xid, read_xid";
    scene
        .database
        .execute(&format!(
            "insert into messages ({columns}) values ('{}', '{ALICE}', 'copied', true, '9000000', '9000000', '9000001')",
            scene.conversation
        ))
        .await;
    let found = format!("chat_changes_since('{horizon}') where type = 'chat_message'");
    assert_eq!(scene.database.count(&found).await, 1);
}

/// As JSON it is more than 1 GB, and no array holds that.
#[tokio::test]
async fn the_messages_of_a_statement_may_be_more_than_fits_into_an_array() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', repeat(e'\\x01', 11000000) from generate_series(1, 17)"
        ))
        .await;
    assert_eq!(database.count("messages").await, 17);
}

#[tokio::test]
async fn the_longest_content_is_stored_whichever_way_it_comes() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let longest = "repeat('x', 66060286)";
    for statement in [
        format!("select chat_send_message('{conversation}', '{ALICE}', {longest}) is null"),
        format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', {longest})"
        ),
        format!("update messages set content = {longest} where content = 'small'"),
    ] {
        database
            .execute(&format!(
                "delete from messages;
                 insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'small');
                 {statement}"
            ))
            .await;
        let stored = "messages where octet_length(content) = 66060286";
        assert_eq!(database.count(stored).await, 1, "{statement}");
    }
}

#[tokio::test]
async fn a_content_that_no_answer_could_hold_is_refused() {
    let scene = Scene::set().await;
    let insert = scene.insert(ALICE, "small");
    scene.database.execute(&insert).await;
    let update = "update messages set content = repeat('x', 67108865)";
    let why = scene.refused("23514", update).await;
    assert!(why.contains("at most 64 MiB"), "{why}");
    let insert = insert.replace("'small'", "repeat('x', 67108865)");
    let why = scene.refused("23514", &insert).await;
    assert!(why.contains("at most 64 MiB"), "{why}");
    let conversation = scene.conversation;
    let send =
        format!("select chat_send_message('{conversation}', '{ALICE}', repeat('x', 67108865))");
    let why = scene.refused("23514", &send).await;
    assert!(why.contains("at most 64 MiB"), "{why}");
}

/// A line feed takes two bytes there, a control character six, and all that waits to be taken has 64 MiB.
#[tokio::test]
async fn a_content_counts_as_it_is_in_json() {
    let scene = Scene::set().await;
    let conversation = scene.conversation;
    scene.database.execute(&scene.insert(ALICE, "small")).await;
    for (sign, count) in [
        ("x", 66_060_286),
        ("\\n", 33_030_143),
        ("\\x01", 11_010_048),
    ] {
        let more = format!("'x' || repeat(e'{sign}', {count})");
        for refused in [
            format!("update messages set content = {more}"),
            scene.insert(ALICE, "small").replace("'small'", &more),
            format!("select chat_send_message('{conversation}', '{ALICE}', {more})"),
        ] {
            let why = scene.refused("23514", &refused).await;
            assert!(why.contains("at most 64 MiB"), "{why}");
        }
    }
}

/// Both participants' lists have it in full.
#[tokio::test]
async fn the_longest_content_that_is_taken_has_room_in_an_answer() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             values ('{conversation}', '{ALICE}', repeat(e'\\n', 33030143))"
        ))
        .await;
    for user in [ALICE, BORIS] {
        let path = format!("/api/v1/chat/users/{user}/conversations");
        replica.api().get(&path).await.ok(200);
    }
}
