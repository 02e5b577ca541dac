//! Users of rolls are locked in the order of their ids, whoever locks them.

use super::{call, called, roll};
use crate::support::*;

/// Users who come for the first time, and users who have been there.
#[tokio::test]
async fn replicas_that_tell_of_the_same_users_lock_them_in_one_order() {
    let database = Database::fresh().await;
    let roll = roll(&database).await;
    for first_time in [true, false] {
        let hold = match first_time {
            true => format!("insert into chat_attendance (user_id) values ('{BORIS}')"),
            false => format!("select from chat_attendance where user_id = '{BORIS}' for update"),
        };
        let holder = database.holding(&hold).await;
        let both = format!("select {}", call(roll, &[BORIS, ALICE], &[], ""));
        let blocked = async {
            until_a_lock_is_waited_for(&database, "it waits for the second one").await;
            // It has the first one by then.
            let probe = database.sql().await;
            let take = match first_time {
                true => format!("insert into chat_attendance (user_id) values ('{ALICE}')"),
                false => {
                    format!("select from chat_attendance where user_id = '{ALICE}' for update")
                }
            };
            let taken = probe
                .batch_execute(&format!("set lock_timeout = '100ms'; {take}"))
                .await;
            let code = taken.expect_err("it is held").code().cloned();
            assert_eq!(
                code,
                Some(tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE)
            );
            holder.batch_execute("rollback").await.expect("its end");
        };
        tokio::join!(database.execute(&both), blocked);
        // In the other order in the table.
        let again = format!(
            "delete from chat_attendance; insert into chat_attendance (user_id) values ('{BORIS}'), ('{ALICE}')"
        );
        database.execute(&again).await;
    }
}

/// Two replicas that clear different rolls of the same users would deadlock otherwise, or one that clears and one that calls.
#[tokio::test]
async fn users_of_a_roll_that_is_cleared_away_are_locked_in_the_same_order() {
    let database = Database::fresh().await;
    let roll = roll(&database).await;
    // In the table in the order of their coming.
    for user in [BORIS, ALICE] {
        called(&database, &call(roll, &[user], &[], "")).await;
    }
    database
        .execute("update chat_rolls set ended_at = now() - interval '100 seconds'")
        .await;
    let hold = format!("select from chat_attendance where user_id = '{BORIS}' for update");
    let holder = database.holding(&hold).await;
    let blocked = async {
        until_a_lock_is_waited_for(&database, "it waits for the second one").await;
        let probe = database.sql().await;
        let take = format!(
            "set lock_timeout = '100ms'; select from chat_attendance where user_id = '{ALICE}' for update"
        );
        let code = probe.batch_execute(&take).await.expect_err("it is held");
        assert_eq!(
            code.code(),
            Some(&tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE)
        );
        holder.batch_execute("rollback").await.expect("its end");
    };
    tokio::join!(database.execute("select chat_clear_roll(10, 2)"), blocked);
    assert_eq!(
        database.count("chat_attendance where rolls <> '{}'").await,
        0
    );
}

/// Who comes from elsewhere once those before have been cleared away is locked ahead of the last ones, and not behind them.
#[tokio::test]
async fn users_who_come_late_to_a_roll_that_is_cleared_away_are_locked_in_the_same_order() {
    let database = Database::fresh().await;
    let roll = roll(&database).await;
    called(&database, &call(roll, &[BORIS, CARLA, DAVID], &[], "")).await;
    database
        .execute("update chat_rolls set ended_at = now() - interval '100 seconds'")
        .await;
    let cleared = called(&database, "chat_clear_roll(10, 2)").await;
    assert_eq!(cleared, (true, vec![BORIS, CARLA]));
    let late = format!(
        "insert into chat_attendance (user_id, rolls) values ('{ALICE}', array['{roll}'::uuid])"
    );
    database.execute(&late).await;
    let hold = format!("select from chat_attendance where user_id = '{ALICE}' for update");
    let holder = database.holding(&hold).await;
    let blocked = async {
        until_a_lock_is_waited_for(&database, "it waits for the first one").await;
        let probe = database.sql().await;
        let last =
            format!("select from chat_attendance where user_id = '{DAVID}' for update nowait");
        let free = probe.batch_execute(&last).await;
        free.expect("it has not come to the last one");
        holder.batch_execute("rollback").await.expect("its end");
    };
    let cleared = called(&database, "chat_clear_roll(10, 2)");
    let (cleared, ()) = tokio::join!(cleared, blocked);
    assert_eq!(cleared, (true, vec![ALICE, DAVID]));
    // All of them is as much as one batch: so there is another.
    let cleared = called(&database, "chat_clear_roll(10, 2)").await;
    assert_eq!(cleared, (true, vec![]));
    assert_eq!(database.count("chat_rolls").await, 0);
}

/// They end several, in whatever order.
#[tokio::test]
async fn whoever_ends_rolls_waits_for_nobody_who_ends_one() {
    let database = Database::fresh().await;
    let (asking, silent, unregistered) = (
        roll(&database).await,
        roll(&database).await,
        roll(&database).await,
    );
    let replica_of = |roll| format!("(select replica_id from chat_rolls where id = '{roll}')");
    database
        .execute(&format!(
            "set session_replication_role = replica;
             delete from chat_replicas where id = {};
             update chat_replicas set heartbeat_at = now() - interval '100 seconds' where id = {}",
            replica_of(unregistered),
            replica_of(silent)
        ))
        .await;
    let listeners = database.sql().await;
    let live = "select chat_try_replica(id) from chat_replicas";
    listeners.batch_execute(live).await.expect("their locks");
    let session = database.sql().await;
    let end = format!(
        "set lock_timeout = '100ms'; select chat_end_rolls({}, '{asking}', 50)",
        replica_of(asking)
    );
    let open = "chat_rolls where ended_at is null";
    for (held, left) in [(silent, 2), (unregistered, 2)] {
        let by_another = format!("update chat_rolls set ended_at = now() where id = '{held}'");
        let holder = database.holding(&by_another).await;
        session
            .batch_execute(&end)
            .await
            .expect("nobody is waited for");
        assert_eq!(database.count(open).await, left);
        holder.batch_execute("rollback").await.expect("its end");
        let reopened = format!("update chat_rolls set ended_at = null where id <> '{asking}'");
        database.execute(&reopened).await;
    }
    session.batch_execute(&end).await.expect("both are ended");
    assert_eq!(database.count(open).await, 1);
}
