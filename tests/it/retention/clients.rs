//! What clients notice of it: nothing, unless they have not even seen what was removed.

use serde_json::Value;

use super::{aged, fill};
use crate::support::*;

/// Neither an event nor a tombstone for each message; clients keep what they have.
#[tokio::test]
async fn nothing_is_published_and_the_sockets_go_on() {
    let database = Database::fresh().await;
    let conversation = aged(&database, &[400, 300, 2], true).await;
    let replica = Replica::start(&database, &[]).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    database.execute("call chat_purge_all('1 year')").await;
    replica.api().send(conversation, ALICE, "the end").await;
    assert_eq!(boris.before_message("the end").await, Vec::<Value>::new());
    // An ordinary deletion is told as before, in the same transaction too.
    database
        .execute(
            "begin; select chat_purge(now() - interval '200 days');
             delete from messages where content = 'aged 2'; commit",
        )
        .await;
    assert_eq!(boris.expect("message_deleted").await["data"]["seq"], 3);
    assert_eq!(database.count("chat_tombstones").await, 1);
    assert_eq!(database.count("messages where seq < 4").await, 0);
}

#[tokio::test]
async fn a_cursor_from_before_what_was_removed_gets_resync_required() {
    let database = Database::fresh().await;
    let conversation = aged(&database, &[900], true).await;
    let replica = Replica::start(&database, &[("LISTENER_HEARTBEAT_SECONDS", "1")]).await;
    let before = settled_cursor(&replica, BORIS).await;
    // Written when that client was away already, though it is old by its date, as rows that are copied in are.
    fill(&database, conversation, &[800, 3], true).await;
    let between = settled_cursor(&replica, BORIS).await;
    database.execute("call chat_purge_all('1 year')").await;

    // What has the number of the horizon is not below it.
    let at_its_horizon =
        format!("chat_purged p, chat_purged_since('{BORIS}', p.change_xid) missed where missed");
    assert_eq!(database.count(&at_its_horizon).await, 1);

    let (_late, resync) = Socket::resume_refused(&replica, BORIS, &before).await;
    assert!(
        resync["data"]["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("age")),
        "{resync}"
    );
    // Its own cursor is good to go on with.
    let fresh = cursor_of(&resync);
    let mut again = Socket::resume(&replica, BORIS, &fresh).await;
    // Who had seen all of it, and who is not concerned, is told nothing.
    let mut seen = Socket::resume(&replica, BORIS, &between).await;
    let mut other = Socket::resume(&replica, CARLA, &before).await;
    let with_carla = replica.api().open_conversation(BORIS, CARLA).await;
    replica.api().send(with_carla, BORIS, "the end").await;
    for socket in [&mut again, &mut seen, &mut other] {
        let first = socket.before_message("the end").await;
        assert!(
            first.iter().all(|frame| frame["type"] != "resync_required"),
            "{first:?}"
        );
    }
}

/// The messages themselves had been seen, but not that they were deleted or read.
#[tokio::test]
async fn a_cursor_from_before_what_became_of_messages_that_were_removed_gets_resync_required() {
    let database = Database::fresh().await;
    let deleted = aged(&database, &[900, 899, 3], true).await;
    let deleted_only = database.conversation(ALICE, CARLA).await;
    fill(&database, deleted_only, &[3, 2], true).await;
    let read = database.conversation(ALICE, DAVID).await;
    fill(&database, read, &[900, 3], false).await;
    let edited = database.conversation(ALICE, ELENA).await;
    fill(&database, edited, &[900, 899, 3], true).await;
    let replica = Replica::start(&database, &[("LISTENER_HEARTBEAT_SECONDS", "1")]).await;
    let before = settled_cursor(&replica, ALICE).await;
    database
        .execute(&format!(
            "delete from messages where conversation_id = '{deleted}' and seq = 2 or conversation_id = '{deleted_only}' and seq = 1;
             update chat_tombstones set deleted_at = now() - interval '2 years';
             update messages set is_read = true where conversation_id = '{read}' and seq = 1;
             update messages set content = 'edited' where conversation_id = '{edited}' and seq = 1"
        ))
        .await;
    // The one that was edited goes before the other, which that client has seen as it was.
    let call = format!(
        "call chat_purge_all('1 year', max_messages => 1, only_conversation => '{edited}')"
    );
    database.execute(&call).await;
    database.execute("call chat_purge_all('1 year')").await;
    for user in [ALICE, BORIS, CARLA, DAVID, ELENA] {
        Socket::resume_refused(&replica, user, &before).await;
    }
}

/// Rows from before the tables were adopted have no transaction, and those of another cluster have one that is still to come here.
#[tokio::test]
async fn what_was_adopted_or_restored_hides_nothing_that_was_removed_and_is_no_reason_to_reload() {
    let database = Database::fresh().await;
    let conversation = aged(&database, &[900, 899], true).await;
    let restored = database.conversation(BORIS, CARLA).await;
    database
        .execute(&format!(
            "set session_replication_role = replica;
             update messages set create_xid = null, change_xid = null where seq = 1;
             update messages set create_xid = '1000000000', change_xid = '1000000000' where seq = 2;
             insert into chat_purged (conversation_id, change_xid)
             values ('{conversation}', '1000000000'), ('{restored}', '1000000000'), ('00000000-0000-0000-0000-000000000000', '1000000000');
             insert into chat_conversation_tombstones (conversation_id, participant1_id, participant2_id, change_xid)
             values (gen_random_uuid(), '{CARLA}', '{DAVID}', '1000000000'), (gen_random_uuid(), '{DAVID}', '{CARLA}', '1000000000')"
        ))
        .await;
    let replica = Replica::start(&database, &[("LISTENER_HEARTBEAT_SECONDS", "1")]).await;
    let before = settled_cursor(&replica, BORIS).await;
    fill(&database, conversation, &[800, 3], true).await;
    database.execute("call chat_purge_all('1 year')").await;

    Socket::resume_refused(&replica, BORIS, &before).await;
    let mut carla = Socket::resume(&replica, CARLA, &before).await;
    replica.api().send(restored, BORIS, "the end").await;
    assert_eq!(carla.before_message("the end").await, Vec::<Value>::new());
}

/// Whose it was is not known any more: whoever has been away for so long reloads.
#[tokio::test]
async fn a_cursor_from_before_a_deleted_conversation_that_nothing_is_left_of_gets_resync_required()
{
    let database = Database::fresh().await;
    aged(&database, &[], true).await;
    let replica = Replica::start(&database, &[("LISTENER_HEARTBEAT_SECONDS", "1")]).await;
    let mut before = Vec::new();
    for user in [BORIS, CARLA] {
        before.push((user, settled_cursor(&replica, user).await));
    }
    database.execute("delete from conversations").await;
    // Rows that were restored from another cluster stand beside them.
    let restored = format!(
        "insert into chat_conversation_tombstones (conversation_id, participant1_id, participant2_id, change_xid)
         values (gen_random_uuid(), '{DAVID}', '{ELENA}', '1000000000');
         insert into chat_purged (conversation_id, change_xid) values ('00000000-0000-0000-0000-000000000000', '1000000000')"
    );
    database.execute(&restored).await;
    let mut after = Vec::new();
    for user in [BORIS, CARLA] {
        after.push((user, settled_cursor(&replica, user).await));
    }
    database
        .execute("update chat_conversation_tombstones set deleted_at = now() - interval '2 years'")
        .await;
    // The second time it is itself older than that.
    for _ in 0..2 {
        database.execute("call chat_purge_all('1 year')").await;
        database
            .execute("update chat_purged set purged_at = now() - interval '2 years'")
            .await;
    }
    assert_eq!(database.count("chat_conversation_tombstones").await, 0);
    for (user, cursor) in before {
        Socket::resume_refused(&replica, user, &cursor).await;
    }
    for (user, cursor) in after {
        Socket::resume(&replica, user, &cursor).await;
    }
}

/// Who was told of all but that would not know that it is gone.
#[tokio::test]
async fn what_becomes_of_a_message_right_before_it_is_removed_counts() {
    let database = Database::fresh().await;
    let conversation = aged(&database, &[400, 400, 1], false).await;
    // A policy of the host's: what the step reads behind the first message takes until the other transaction has ended. By the index, so
    // that it has read that one by then, and of the others nothing before.
    database
        .execute_as_owner(
            "create function takes_long(seq bigint) returns boolean language plpgsql volatile security definer as $$
             begin
               if seq = 2 then
                 perform pg_advisory_xact_lock_shared(7);
               end if;
               return true;
             end $$;
             alter table messages enable row level security;
             alter table messages force row level security;
             create policy slow on messages using (takes_long(seq));
             alter function chat_purge set enable_seqscan = off;
             alter function chat_purge set enable_bitmapscan = off",
        )
        .await;
    let program = database.holding("select pg_advisory_lock(7)").await;
    let purging = database.sql().await;
    let step = async {
        let sql = "select messages from chat_purge(now() - interval '1 year')";
        let row = purging.query_one(sql, &[]).await.expect("a step");
        row.get::<_, i64>(0)
    };
    let changed = async {
        until_a_lock_is_waited_for(&database, "the step reads").await;
        let delete =
            "update messages set deleted_at = now() where seq = 1 returning change_xid::text";
        let row = program.query_one(delete, &[]).await.expect("deleted");
        program
            .batch_execute("commit; select pg_advisory_unlock(7)")
            .await
            .expect("its end");
        row.get::<_, String>(0)
    };
    let (removed, changed) = tokio::join!(step, changed);
    assert_eq!(removed, 2);
    let kept = format!(
        "chat_purged where conversation_id = '{conversation}' and change_xid = '{changed}'"
    );
    assert_eq!(database.count(&kept).await, 1, "the last change among them");
}
