//! What is deleted outright, and comes back.

use serde_json::Value;
use uuid::Uuid;

use super::Scene;
use crate::support::*;

/// A type may be shown in JSON in a way in which it is not read: hstore, or a place of PostGIS with a system of coordinates.
#[tokio::test]
async fn a_message_can_be_deleted_whatever_types_the_hosts_columns_have() {
    let mut scene = Scene::set().await;
    scene
        .database
        .execute_as_owner(
            "create type mood as enum ('good');
             create function mood_json(mood) returns json language sql as $$ select json_build_object('mood', $1::text) $$;
             create cast (mood as json) with function mood_json(mood);
             alter table messages add column mood mood default 'good'",
        )
        .await;
    // Computed when it is read.
    let virtually = "do $$
      begin
        if current_setting('server_version_num')::int >= 180000 then
          execute 'alter table messages add column lower text generated always as (lower(content)) virtual';
        end if;
      end $$";
    scene.database.execute_as_owner(virtually).await;
    let insert = scene.insert(ALICE, "in a good mood");
    scene.database.execute(&insert).await;
    let sent = scene.expect("chat_message").await;
    scene.database.execute("delete from messages").await;
    let gone = scene.expect("message_deleted").await;
    assert_eq!(gone["data"]["id"], sent["data"]["id"]);
    assert_eq!(gone["data"]["content"], "");
    assert_ne!(gone["data"]["deletedAt"], Value::Null);
}

/// As from a backup, where its sender has sent it again meanwhile.
#[tokio::test]
async fn an_id_that_does_not_come_back_after_all_stays_deleted() {
    let scene = Scene::set().await;
    let insert = |id: &str| {
        format!(
            "insert into messages (id, conversation_id, sender_id, content, client_message_id)
             values ({id}, '{}', '{ALICE}', 'once', 'm-1') on conflict do nothing",
            scene.conversation
        )
    };
    let (first, other) = (insert(&format!("'{NOBODY}'")), insert("default"));
    let tombstones = async || scene.database.count("chat_tombstones").await;
    for (sql, left) in [
        (first.as_str(), 0),
        ("delete from messages", 1),
        (&other, 1),
        (&first, 1),
        ("update messages set client_message_id = null", 1),
        (&first, 0),
    ] {
        scene.database.execute(sql).await;
        assert_eq!(tombstones().await, left, "{sql}");
    }
    assert_eq!(
        scene
            .database
            .count(&format!("messages where id = '{NOBODY}' and revision = 3"))
            .await,
        1
    );
}

/// As one moves rows that have no triggers. Clients could not tell the message from the one that they are told to be gone.
#[tokio::test]
async fn a_message_is_not_deleted_and_inserted_by_one_statement() {
    let mut scene = Scene::set().await;
    let insert = scene.insert(ALICE, "at its place");
    scene.database.execute(&insert).await;
    scene.expect("chat_message").await;
    let move_it = "with gone as (delete from messages returning *)
         insert into messages (id, conversation_id, sender_id, content) select id, conversation_id, sender_id, 'moved' from gone";
    let refused = scene.refused("09000", move_it).await;
    assert!(refused.contains("by one statement"), "{refused}");
    scene.assert_silence().await;

    // By two, as it says.
    scene
        .database
        .execute(
            "begin; create temp table gone as select * from messages where content = 'at its place';
             delete from messages where content = 'at its place';
             insert into messages (id, conversation_id, sender_id, content) select id, conversation_id, sender_id, 'moved' from gone;
             commit",
        )
        .await;
    let deleted = scene.expect("message_deleted").await;
    let moved = scene.expect("chat_message").await;
    assert_eq!(moved["data"]["id"], deleted["data"]["id"]);
    assert_eq!(moved["data"]["content"], "moved");
}

/// Of the newest one, too: no client may take a new message for one that it has been told to be gone.
#[tokio::test]
async fn the_seq_of_a_message_that_was_deleted_outright_is_not_given_again() {
    let mut scene = Scene::set().await;
    let send = format!(
        "select chat_send_message('{}', '{ALICE}', 'by a function')",
        scene.conversation
    );
    let insert = scene.insert(ALICE, "by an insert");
    for (seq, sql) in [&insert, &send, &insert, &insert, &send].iter().enumerate() {
        scene.database.execute(sql).await;
        let sent = scene.expect("chat_message").await;
        assert_eq!(sent["data"]["seq"], seq + 1, "{sql}");
        scene.database.execute("delete from messages").await;
        scene.expect("message_deleted").await;
    }
}

/// As a filter of the host's may have it: whoever sent it is told of no failure.
#[tokio::test]
async fn a_message_that_a_trigger_of_the_host_deletes_at_once_was_sent_and_is_gone() {
    let mut scene = Scene::set().await;
    let delete = "delete from messages where id = new.id; return null;";
    scene.with_trigger("after insert on messages", delete).await;
    let send = format!(
        "select chat_send_message('{}', '{ALICE}', 'by a function')",
        scene.conversation
    );
    let insert = scene.insert(ALICE, "by an insert");
    for (seq, sql) in [&insert, &send, &send].iter().enumerate() {
        scene.database.execute(sql).await;
        for kind in ["chat_message", "message_deleted"] {
            assert_eq!(scene.expect(kind).await["data"]["seq"], seq + 1, "{sql}");
        }
    }
}

/// Whoever inserts the id again does not see that it was deleted: so what is left of it then is another row's.
#[tokio::test]
async fn what_is_left_of_an_id_says_whose_it_was_last() {
    let scene = Scene::set().await;
    let elsewhere = scene.database.conversation(CARLA, DAVID).await;
    let insert = |conversation: Uuid, sender: Uuid| {
        format!(
            "insert into messages (id, conversation_id, sender_id, content) values ('{NOBODY}', '{conversation}', '{sender}', 'here')"
        )
    };
    let first = insert(scene.conversation, ALICE);
    scene.database.execute(&first).await;
    let newer = scene.insert(ALICE, "newer");
    scene.database.execute(&newer).await;
    let earlier = scene.database.sql().await;
    let begin = "begin isolation level repeatable read; select from messages";
    earlier.batch_execute(begin).await.expect("a beginning");
    let delete = format!("delete from messages where id = '{NOBODY}'");
    scene.database.execute(&delete).await;
    let again = format!("{}; commit", insert(elsewhere, CARLA));
    earlier.batch_execute(&again).await.expect("its end");
    scene.database.execute(&delete).await;
    let left = format!(
        "chat_tombstones where conversation_id = '{elsewhere}' and sender_id = '{CARLA}' and reader_id = '{DAVID}' and seq = 1"
    );
    assert_eq!(scene.database.count(&left).await, 1);
}

/// A transaction whose snapshot is older sees the one before it, which another has deleted since: no conversation may name that as
/// its newest. The other one only locks the conversation, whose newest message was still a later one.
#[tokio::test]
async fn no_conversation_names_a_message_as_its_newest_that_is_gone() {
    let delete = |seq: i64| format!("delete from messages where seq = {seq}");
    let dangling = "conversations c where last_message_id is not null
                       and not exists (select from messages m where m.id = c.last_message_id)";
    for level in ["repeatable read", "serializable"] {
        let scene = Scene::set().await;
        for content in ["one", "two", "three"] {
            let insert = scene.insert(ALICE, content);
            scene.database.execute(&insert).await;
        }
        let earlier = scene.database.sql().await;
        let begin = format!("begin isolation level {level}; select from messages");
        earlier.batch_execute(&begin).await.expect("a beginning");
        scene.database.execute(&delete(2)).await;
        let refused = earlier.batch_execute(&delete(3)).await;
        let refused = refused.expect_err("it cannot see what is the newest");
        assert_eq!(
            refused.code().map(|code| code.code()),
            Some("40001"),
            "{refused:?}"
        );
        earlier.batch_execute("rollback").await.expect("its end");
        assert_eq!(scene.database.count(dangling).await, 0);
        // Repeated, as it says.
        let again = format!("begin isolation level {level}; {}; commit", delete(3));
        scene.database.execute(&again).await;
        let newest = "conversations c join messages m on m.id = c.last_message_id and m.seq = 1";
        assert_eq!(scene.database.count(newest).await, 1);
        let list = scene.api().conversations(ALICE).await;
        assert_eq!(list[0]["lastMessage"]["content"], "one");
    }
}

/// What only was read or edited since is there: nobody has to repeat anything.
#[tokio::test]
async fn a_message_that_was_changed_meanwhile_can_become_the_newest() {
    let scene = Scene::set().await;
    for content in ["one", "two"] {
        let insert = scene.insert(ALICE, content);
        scene.database.execute(&insert).await;
    }
    let earlier = scene.database.sql().await;
    let begin = "begin isolation level repeatable read; select from messages";
    earlier.batch_execute(begin).await.expect("a beginning");
    let change = "update messages set is_read = true, content = 'edited' where seq = 1";
    scene.database.execute(change).await;
    // Another one is at it, and does not hold it up.
    let editing = scene
        .database
        .holding("update messages set content = 'edited again' where seq = 1")
        .await;
    earlier
        .batch_execute("delete from messages where seq = 2; commit")
        .await
        .expect("deleted");
    editing.batch_execute("commit").await.expect("its end");
    let newest = "conversations c join messages m on m.id = c.last_message_id and m.content = 'edited again'";
    assert_eq!(scene.database.count(newest).await, 1);
}

/// By a transaction that could not see what was left of it: that is kept from the second deletion on.
#[tokio::test]
async fn what_is_left_of_a_message_that_was_deleted_twice_is_as_old_as_the_second_time() {
    let scene = Scene::set().await;
    let database = &scene.database;
    for content in ["one", "two"] {
        database.execute(&scene.insert(ALICE, content)).await;
    }
    let id = "select id from messages where seq = 1";
    let row = database.sql().await.query_one(id, &[]).await;
    let id: uuid::Uuid = row.expect("the first").get(0);
    let earlier = database.sql().await;
    let begin = "begin isolation level repeatable read; select from messages";
    earlier.batch_execute(begin).await.expect("a beginning");
    let delete = format!("delete from messages where id = '{id}'");
    database.execute(&delete).await;
    let again = format!(
        "insert into messages (id, conversation_id, sender_id, content) values ('{id}', '{}', '{ALICE}', 'again'); commit",
        scene.conversation
    );
    earlier.batch_execute(&again).await.expect("inserted again");
    let long_ago = "update chat_tombstones set deleted_at = now() - interval '2 years'";
    database.execute(long_ago).await;
    database.execute(&delete).await;
    let young = "chat_tombstones where deleted_at > now() - interval '1 year'";
    assert_eq!(database.count(young).await, 1);
    assert_eq!(database.count("chat_tombstones").await, 1);
}
