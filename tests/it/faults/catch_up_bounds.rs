//! What is too much for a catch-up, or takes too long: all clients reload. And what does not count.

use serde_json::json;
use uuid::Uuid;

use super::cut_off::CutOff;
use super::*;

/// Another transaction holds the horizon back all the while: what clients were told to load anew does not count again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_the_bound_of_a_catch_up_all_clients_reload_and_go_on() {
    let mut stage = CutOff::set(&[("CATCH_UP_CHANGES", "10")]).await;
    let _stranger = stage.database.holding("select pg_current_xact_id()").await;
    let mut carla = Socket::connect(&stage.replica, CARLA).await;
    let watched = json!({"userIds": [BORIS]});
    carla.send_command("watch_presence", watched).await;
    carla.expect("presence").await;

    stage.cut().await;
    for number in 0..11 {
        stage.send(&number.to_string()).await;
    }
    stage.comes_back().await;
    stage.assert_reloads().await;
    // Whoever has thrown away what they knew is shown again whom they watch.
    carla.expect("resync_required").await;
    carla.expect("presence").await;
    let history = stage.replica.api().history(stage.conversation).await;
    assert_eq!(history.len(), 12);

    stage.cut().await;
    for number in 11..21 {
        stage.send(&number.to_string()).await;
    }
    stage.comes_back().await;
    let missed: Vec<i64> = (13..=22).collect();
    assert_eq!(stage.told_until_now().await, missed);
}

/// What was open when all were told to reload is in nothing that they load, and comes behind it, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_commits_behind_a_reload_is_told_though_it_began_before() {
    let mut stage = CutOff::set(&[("CATCH_UP_CHANGES", "2")]).await;
    let elsewhere = stage.database.conversation(BORIS, CARLA).await;
    stage.boris.expect("conversation_created").await;
    stage.cut().await;
    let insert = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{elsewhere}', '{CARLA}', 'late')"
    );
    let late = stage.database.holding(&insert).await;
    for content in ["one", "two", "three"] {
        stage.send(content).await;
    }
    stage.comes_back().await;
    stage.assert_reloads().await;

    late.batch_execute("commit").await.expect("its end");
    let frames = stage.boris.before_message("late").await;
    assert_eq!(frames, Vec::<serde_json::Value>::new());
    stage.send("last").await;
    let frames = stage.boris.before_message("last").await;
    assert_eq!(frames, Vec::<serde_json::Value>::new());
}

/// A client that comes back while the listener finds that too much was missed: its replay holds what the listener has yet to hear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_replayed_ahead_of_a_reload_does_not_come_once_more_behind_it() {
    // Longer than the test: nothing but the test is to end what the listener waits for.
    let mut stage = CutOff::set(&[("DB_TIMEOUT_SECONDS", "300")]).await;
    let gate = stage.gate_catch_ups(true).await;
    let cursor = cursor_of(&stage.boris.connected);
    kill_listeners(&stage.database).await;
    until_a_lock_is_waited_for(&stage.database, "the listener asks how much it missed").await;
    stage.send("meanwhile").await;
    let mut resumed = Socket::resume(&stage.replica, BORIS, &cursor).await;
    resumed.before_message("meanwhile").await;

    gate.batch_execute("commit").await.expect("its end");
    stage.assert_reloads().await;
    resumed.expect("resync_required").await;
    stage.send("last").await;
    for socket in [&mut resumed, &mut stage.boris] {
        let frames = socket.before_message("last").await;
        assert_eq!(frames, Vec::<serde_json::Value>::new());
    }
}

/// A replica that tried for ever would never be live again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catch_up_that_cannot_be_read_in_time_is_given_up_and_all_clients_reload() {
    let mut stage = CutOff::set(&[("DB_TIMEOUT_SECONDS", "3")]).await;
    stage.cut().await;
    stage.send("missed").await;
    let holder = stage
        .database
        .holding("lock table messages in access exclusive mode")
        .await;

    stage.proxy.accept();
    stage.assert_reloads().await;
    holder.batch_execute("commit").await.expect("its end");
    until_healthy(&stage.replica).await;
    let told = stage.told_until_now().await;
    assert_eq!(told, Vec::<i64>::new(), "what was given up is loaded");

    // What is missed from then on is told again.
    stage.cut().await;
    stage.send("missed as well").await;
    stage.comes_back().await;
    assert_eq!(stage.told_until_now().await, [4]);
}

/// Deletions count as well, and so does what can no longer be read since it was purged meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_deletions_and_what_was_purged_meanwhile_make_clients_reload() {
    let mut stage = CutOff::set(&[("CATCH_UP_CHANGES", "10")]).await;
    let old = format!(
        "insert into messages (conversation_id, sender_id, content, created_at)
         select '{}', '{ALICE}', 'old ' || n, now() - interval '3 days' from generate_series(1, 13) n",
        stage.conversation
    );
    stage.database.execute(&old).await;
    stage.boris.before_message("old 13").await;
    let deleted =
        "delete from messages where content in (select 'old ' || n from generate_series(1, 11) n)";
    let purged = "update messages set deleted_at = now() where content = 'old 13';
                  delete from messages where content = 'before';
                  select chat_purge(now() - interval '2 days')";
    for change in [deleted, purged] {
        stage.cut().await;
        stage.database.execute(change).await;
        stage.comes_back().await;
        stage.assert_reloads().await;
    }
    assert_eq!(stage.database.count("messages").await, 0);
}

/// A catch-up asks first how much it would read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_for_its_age_between_a_catch_ups_question_and_its_reading_makes_clients_reload()
 {
    let mut stage = CutOff::set(&[]).await;
    let age = "update messages set created_at = now() - interval '3 days'";
    stage.database.execute(age).await;
    stage.boris.expect("message_updated").await;
    stage.cut().await;
    let change = "update messages set deleted_at = now()";
    stage.database.execute(change).await;
    let gate = stage.gate_catch_ups(false).await;
    stage.proxy.accept();
    until_a_lock_is_waited_for(&stage.database, "the listener asks how much it missed").await;
    let purge = "select chat_purge(now() - interval '2 days')";
    stage.database.execute(purge).await;
    assert_eq!(stage.database.count("messages").await, 0);
    gate.batch_execute("commit").await.expect("its end");
    stage.assert_reloads().await;
}

/// Twenty messages and what else has transaction numbers, as rows of a cluster have them in which this `number` was the last.
fn restored_rows(conversation: Uuid, number: i64) -> String {
    format!(
        "set session_replication_role = replica;
         update conversations set create_xid = '{number}', last_xid = '{number}';
         insert into messages (conversation_id, sender_id, reader_id, content, seq, is_read, create_xid, change_xid, read_xid)
         select '{conversation}', '{ALICE}', '{BORIS}', 'restored', 1 + n, n < 10, '{number}', '{number}',
                case when n < 10 then '{number}'::xid8 end
           from generate_series(1, 20) n;
         insert into chat_tombstones (message_id, conversation_id, sender_id, reader_id, seq, revision, change_xid, message)
         select gen_random_uuid(), '{conversation}', '{ALICE}', '{BORIS}', 22, 1, '{number}', '{{}}' from generate_series(1, 20);
         insert into chat_conversation_tombstones (conversation_id, participant1_id, participant2_id, change_xid)
         select gen_random_uuid(), '{ALICE}', '{BORIS}', '{number}' from generate_series(1, 20);
         insert into chat_purged (conversation_id, change_xid) values ('{conversation}', '{number}');
         update conversations set last_seq = 22"
    )
}

/// As in a younger cluster, in which the rows were restored: nothing of them was missed, and they are no reason to reload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_whose_transaction_numbers_are_still_to_come_do_not_count_in_a_catch_up() {
    let mut stage = CutOff::set(&[("CATCH_UP_CHANGES", "10")]).await;
    let restored = restored_rows(stage.conversation, 1_000_000_000);
    stage.database.execute(&restored).await;
    stage.cut().await;
    stage.send("missed").await;
    stage.comes_back().await;
    assert_eq!(stage.told_until_now().await, [23]);
}

/// Weeks after the restore the cluster comes to the numbers: without a replica that takes them away, its catch-up would be of all these rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_another_cluster_are_no_news_when_this_one_comes_to_their_transaction_numbers() {
    let mut stage = CutOff::set(&[]).await;
    let cursor = cursor_of(&Socket::connect(&stage.replica, BORIS).await.connected);
    // Farther than what other tests use up meanwhile.
    let sql = stage.database.sql().await;
    let number = "select pg_current_xact_id()::text::bigint + 50000";
    let number = sql.query_one(number, &[]).await.expect("a number").get(0);
    let restored = restored_rows(stage.conversation, number);
    stage.database.execute(&restored).await;
    let states =
        async || -> String { sql.query_one(STATES, &[]).await.expect("the states").get(0) };
    let before = states().await;
    let foreign = format!("({FOREIGN}) as foreign_rows");
    assert_eq!(stage.database.count(&foreign).await, 62);
    let _replica = Replica::start(&stage.database, &[]).await;
    eventually("the numbers are forgotten", async || {
        (stage.database.count(&foreign).await == 0).then_some(())
    })
    .await;
    assert_eq!(states().await, before);

    stage.cut().await;
    use_numbers_up_to(&stage.database, number + 1).await;
    stage.send("missed").await;
    stage.comes_back().await;
    assert_eq!(stage.told_until_now().await, [23]);
    let mut back = Socket::resume(&stage.replica, BORIS, &cursor).await;
    assert_eq!(back.connected["data"]["resumed"], true);
    stage.send("the end").await;
    let frames = back.before_message("the end").await;
    assert_eq!(super::ledger::seqs(&frames, stage.conversation), [23, 24]);
    assert_eq!(frames.len(), 2, "{frames:?}");
}

/// As one that keeps an audit may.
#[tokio::test]
async fn a_trigger_that_refuses_updates_of_messages_keeps_no_other_rows_their_foreign_numbers() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let restored = restored_rows(conversation, 1_000_000_000);
    database.execute(&restored).await;
    let refuse = "create function host_refuses() returns trigger language plpgsql as $$
                  begin raise exception 'nothing changes'; end $$;
                  create trigger host_refuses before update on messages for each row execute function host_refuses()";
    database.execute_as_owner(refuse).await;
    let foreign = format!("({FOREIGN}) as foreign_rows");
    let _replica = Replica::start(&database, &[]).await;
    let but_messages = || async { (database.count(&foreign).await == 20).then_some(()) };
    eventually("those of other tables are forgotten", but_messages).await;
    let messages = "messages where greatest(change_xid, read_xid) = '1000000000'";
    assert_eq!(database.count(messages).await, 20);

    let let_through = "drop trigger host_refuses on messages";
    database.execute_as_owner(let_through).await;
    let _replica = Replica::start(&database, &[]).await;
    let none = || async { (database.count(&foreign).await == 0).then_some(()) };
    eventually("all numbers are forgotten", none).await;
}

/// Messages with numbers to come, each with its own: `kept` of them, whose change a trigger of the host's meets with `then`, and `others`
/// behind them.
async fn with_kept_messages(kept: i64, others: i64, then: &str) -> Database {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let restored = format!(
        "set session_replication_role = replica;
         insert into messages (conversation_id, sender_id, reader_id, content, seq, create_xid, change_xid)
         select '{conversation}', '{ALICE}', '{BORIS}', case when n <= {kept} then 'kept' else 'restored' end, n,
                x.number, x.number
           from generate_series(1, {kept} + {others}) n
          cross join lateral (select (1000000000 + n)::text::xid8 as number) x;
         update conversations set last_seq = {kept} + {others}"
    );
    database.execute(&restored).await;
    let keep = format!(
        "create function host_keeps() returns trigger language plpgsql as $$
         begin if old.content = 'kept' then {then} end if; return new; end $$;
         create trigger host_keeps before update on messages for each row execute function host_keeps()"
    );
    database.execute_as_owner(&keep).await;
    database
}

/// One, or more than a step has. They are looked at first, since their numbers are the lowest.
#[tokio::test]
async fn messages_whose_change_a_trigger_refuses_or_drops_keep_no_others_their_foreign_numbers() {
    for (kept, then, told) in [
        (1, "return null;", "it was dropped"),
        (1500, "return null;", "it was dropped"),
        (1, "raise 'nothing changes';", "nothing changes (P0001)"),
        (1500, "raise 'nothing changes';", "nothing changes (P0001)"),
    ] {
        let database = with_kept_messages(kept, 2500, then).await;
        let replica = Replica::start(&database, &[]).await;
        let foreign = format!("({FOREIGN}) as foreign_rows");
        eventually("all others are without", async || {
            (database.count(&foreign).await == kept).then_some(())
        })
        .await;
        let warning = format!("{kept} messages keep transaction numbers of another cluster");
        eventually("a warning", async || {
            replica.log().contains(&warning).then_some(())
        })
        .await;
        assert!(replica.log().contains(told), "{}", replica.log());
        let all_kept = "messages where content = 'kept' and change_xid > '1000000000'";
        assert_eq!(database.count(all_kept).await, kept, "{then}");
    }
}

/// Where triggers let none be changed, a look is not through all that were restored.
#[tokio::test]
async fn a_look_for_foreign_numbers_ends_after_ten_thousand_messages_that_keep_theirs() {
    let database = with_kept_messages(11_500, 0, "return null;").await;
    let replica = Replica::start(&database, &[]).await;
    eventually("a warning", async || {
        let warning = "10000 messages keep transaction numbers of another cluster";
        replica.log().contains(warning).then_some(())
    })
    .await;
}

/// What callers see of messages.
const STATES: &str = "select string_agg(concat_ws(' ', id, content, is_read, revision, updated_at), ';' order by id) from messages";

/// Whatever has a number to which the cluster has not come.
const FOREIGN: &str = "
    select from messages where greatest(create_xid, change_xid, read_xid) >= pg_snapshot_xmax(pg_current_snapshot())
    union all select from conversations where create_xid >= pg_snapshot_xmax(pg_current_snapshot())
    union all select from chat_tombstones where change_xid >= pg_snapshot_xmax(pg_current_snapshot())
    union all select from chat_conversation_tombstones where change_xid >= pg_snapshot_xmax(pg_current_snapshot())
    union all select from chat_purged where change_xid >= pg_snapshot_xmax(pg_current_snapshot())";
