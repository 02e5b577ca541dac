//! A synchronous standby that is not there: PostgreSQL commits here, shows it, and answers nobody.

use super::*;

/// From when on commits wait for it.
async fn wait_for_a_standby(database: &Database) {
    for setting in [
        "alter system set synchronous_standby_names = 'nobody'",
        "select pg_reload_conf()",
    ] {
        database.execute(setting).await;
    }
    eventually("commits wait", || async {
        let write = "select pg_logical_emit_message(true, 'test', '')";
        let waits = eventually("it waits, or has been written", || async {
            let waiting = "pg_stat_activity where wait_event = 'SyncRep'";
            (database.count(waiting).await > 0).then_some(())
        });
        tokio::select! {
            () = database.execute(write) => None,
            () = waits => Some(()),
        }
    })
    .await;
}

/// The first one's wait was given up, and left what is changed here only. A second one that finds nothing to do says that it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_does_not_acknowledge_what_no_standby_has() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let replica = Replica::start(&database, &QUICK).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let message = id_of(&api.send(conversation, ALICE, "to be read").await);
    let other = id_of(&api.send(conversation, BORIS, "to be deleted").await);
    wait_for_a_standby(&database).await;

    api.mark_read(conversation, BORIS)
        .await
        .refused(503, "unavailable");
    let read = format!("messages where id = '{message}' and is_read");
    eventually("it is read here", || async {
        (database.count(&read).await == 1).then_some(())
    })
    .await;
    api.mark_read(conversation, BORIS)
        .await
        .refused(503, "unavailable");

    api.delete_message(other, BORIS)
        .await
        .refused(503, "unavailable");
    let deleted = format!("messages where id = '{other}' and deleted_at is not null");
    eventually("it is deleted here", || async {
        (database.count(&deleted).await == 1).then_some(())
    })
    .await;
    api.delete_message(other, BORIS)
        .await
        .refused(503, "unavailable");

    let opened = api.try_open_conversation(ALICE, CARLA).await;
    opened.refused(503, "unavailable");
    eventually("it is opened here", || async {
        (database.count("conversations").await == 2).then_some(())
    })
    .await;
    let opened = api.try_open_conversation(ALICE, CARLA).await;
    opened.refused(503, "unavailable");

    // Nobody is waited for any more.
    database
        .sql()
        .await
        .batch_execute("alter system reset synchronous_standby_names")
        .await
        .expect("a setting");
    database
        .sql()
        .await
        .batch_execute("select pg_reload_conf()")
        .await
        .expect("read");
    eventually("it is answered again", || async {
        (api.delete_message(other, BORIS).await.status == 204).then_some(())
    })
    .await;
    assert_eq!(
        api.mark_read(conversation, BORIS).await.ok(200)["markedCount"],
        0
    );
}

/// Somebody else holds its conversation: the repeat locks nothing, and has nothing of its own to commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_send_does_not_acknowledge_what_no_standby_has() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let replica = Replica::start(&database, &QUICK).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    wait_for_a_standby(&database).await;
    let send = || api.send_once(conversation, ALICE, "once", "named");

    send().await.refused(503, "unavailable");
    eventually("it is stored here", || async {
        (database.count("messages").await == 1).then_some(())
    })
    .await;
    let holder = database.holding_conversation(conversation).await;
    for _ in 0..2 {
        send().await.refused(503, "unavailable");
    }

    for setting in [
        "alter system reset synchronous_standby_names",
        "select pg_reload_conf()",
    ] {
        database.execute(setting).await;
    }
    eventually("it is answered again", || async {
        (send().await.status == 200).then_some(())
    })
    .await;
    drop(holder);
    assert_eq!(database.count("messages").await, 1);
}

/// Of several defaults, those that do not wait for a standby to flush.
#[tokio::test]
async fn whatever_is_stored_waits_for_the_standby_whatever_the_default() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let calls = [
        format!("chat_send_message('{conversation}', '{ALICE}', 'one')"),
        format!(
            "chat_send_messages(array[gen_random_uuid()], array['{conversation}'::uuid], array['{ALICE}'::uuid],
                                array['two'], array['text'], array[null::text])"
        ),
        format!("chat_mark_read('{conversation}', '{BORIS}')"),
        format!("chat_mark_read_many(array['{conversation}'::uuid], array['{BORIS}'::uuid], array[null::bigint])"),
        format!("chat_edit_message((select id from messages where seq = 1), '{ALICE}', 'changed')"),
        format!("chat_delete_message((select id from messages where seq = 1), '{ALICE}')"),
        format!("chat_open_conversation('{CARLA}', '{DAVID}', '{DAVID}')"),
        "chat_renew_identity()".to_owned(),
    ];
    let mut sql = database.sql().await;
    for (default, kept) in [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ] {
        for call in &calls {
            let transaction = sql.transaction().await.expect("a transaction");
            let set = format!("set local synchronous_commit = {default}; select {call}");
            transaction.batch_execute(&set).await.expect("stored");
            let row = transaction.query_one("show synchronous_commit", &[]).await;
            let used: String = row.expect("a setting").get(0);
            assert_eq!(used, kept, "{default}, {call}");
            transaction.commit().await.expect("its end");
        }
    }
}
