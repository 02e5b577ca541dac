//! The replicas' rolls in the database: who is told of what, and which locks keep two replicas from disagreeing.

mod locks;

use uuid::Uuid;

use super::presence::told_of;
use crate::support::*;

/// A replica's roll, with nobody on it.
async fn roll(database: &Database) -> Uuid {
    let replica = Uuid::new_v4();
    let register = format!("insert into chat_replicas (id) values ('{replica}')");
    database.execute(&register).await;
    let open = "insert into chat_rolls (replica_id) values ($1) returning id";
    let row = database.sql().await.query_one(open, &[&replica]).await;
    row.expect("a roll").get(0)
}

/// `ages`: so many seconds ago each of `going` left.
fn call(roll: Uuid, coming: &[Uuid], going: &[Uuid], ages: &str) -> String {
    let list = |users: &[Uuid]| {
        let users: Vec<String> = users.iter().map(Uuid::to_string).collect();
        format!("'{{{}}}'", users.join(","))
    };
    format!(
        "chat_call_roll('{roll}', {}, {}, '{{{ages}}}')",
        list(coming),
        list(going)
    )
}

/// What a call makes of it: whether it was done, and of whom it told.
async fn called(database: &Database, call: &str) -> (bool, Vec<Uuid>) {
    let mut heard = database.listen("chat_events").await;
    let client = database.sql().await;
    let answer = client.query_one(&format!("select {call}"), &[]).await;
    let done = answer.expect("an answer").get(0);
    database.execute("notify chat_events, 'the end'").await;
    let payloads = heard.before("the end").await;
    let mut told: Vec<Uuid> = payloads
        .iter()
        .flat_map(|payload| told_of(payload))
        .collect();
    told.sort();
    (done, told)
}

/// How long ago the user was seen last, in seconds; none if never.
async fn unseen_for(database: &Database, user: Uuid) -> Option<i64> {
    let ago = "select extract(epoch from now() - last_seen_at)::bigint from chat_attendance where user_id = $1";
    let row = database.sql().await.query_one(ago, &[&user]).await;
    row.expect("a row").get(0)
}

/// Else nothing would ever end it: whoever is swept is registered, and lives no more.
#[tokio::test]
async fn a_roll_is_begun_only_for_a_replica_that_is_registered_and_lives() {
    let database = Database::fresh().await;
    let other = roll(&database).await;
    let replica = Uuid::new_v4();
    let listener = database.sql().await;
    let steps = [
        (format!("select chat_try_replica('{replica}')"), 0),
        (
            format!(
                "insert into chat_replicas (id) values ('{replica}'); select pg_advisory_unlock_all()"
            ),
            0,
        ),
        (format!("select chat_try_replica('{replica}')"), 1),
        // Another one, which ends the former.
        (String::new(), 1),
    ];
    for (step, begun) in &steps {
        listener.batch_execute(step).await.expect(step);
        let open = format!("chat_open_roll('{replica}') roll where roll is not null");
        assert_eq!(database.count(&open).await, *begun, "{step}");
    }
    let rolls = |state| format!("chat_rolls where replica_id = '{replica}' and {state}");
    assert_eq!(
        database
            .count(&rolls("ended_at is null and seen_at is null"))
            .await,
        1
    );
    assert_eq!(database.count(&rolls("ended_at = seen_at")).await, 1);
    let untouched = format!("chat_rolls where id = '{other}' and ended_at is null");
    assert_eq!(database.count(&untouched).await, 1);
}

/// As a restore or a replication of some tables leaves it.
#[tokio::test]
async fn a_roll_whose_replica_is_not_registered_ends_and_its_users_are_gone() {
    let database = Database::fresh().await;
    let (restored, own) = (roll(&database).await, roll(&database).await);
    called(&database, &call(restored, &[ALICE], &[], "")).await;
    database
        .execute(&format!(
            "set session_replication_role = replica;
             delete from chat_replicas r using chat_rolls l where r.id = l.replica_id and l.id = '{restored}'"
        ))
        .await;
    // It lives.
    let listener = database.sql().await;
    let live = "select chat_try_replica(id) from chat_replicas";
    listener.batch_execute(live).await.expect("its lock");
    let replica = format!("(select replica_id from chat_rolls where id = '{own}')");
    let goes_on = format!("chat_end_rolls({replica}, '{own}', 50) goes_on where goes_on");
    assert_eq!(database.count(&goes_on).await, 1);
    let cleared = called(&database, "chat_clear_roll(0, 2)").await;
    assert_eq!(cleared, (true, vec![ALICE]));
}

/// Made for a test, beside the original whose replicas go on.
#[tokio::test]
async fn in_a_copy_of_the_database_nobody_is_there_because_the_original_is_served() {
    let (original, copy) = (Database::fresh().await, Database::fresh().await);
    let roll = roll(&copy).await;
    called(&copy, &call(roll, &[ALICE], &[], "")).await;
    let replica = copy.sql().await;
    let row = replica.query_one("select id from chat_replicas", &[]).await;
    let id: Uuid = row.expect("a replica").get(0);
    let lives = format!("select chat_try_replica('{id}')");
    let listener = original.sql().await;
    listener.batch_execute(&lives).await.expect("its lock");
    assert_eq!(copy.count("chat_presence where is_online").await, 0);
    replica.batch_execute(&lives).await.expect("its lock");
    assert_eq!(copy.count("chat_presence where is_online").await, 1);
}

#[tokio::test]
async fn of_whom_nothing_has_changed_nobody_is_told() {
    let database = Database::fresh().await;
    let (here, there) = (roll(&database).await, roll(&database).await);
    let online = format!("chat_attendance where user_id = '{ALICE}' and rolls <> '{{}}'");
    for (call, told) in [
        (
            call(here, &[ALICE, BORIS], &[CARLA], "5"),
            vec![ALICE, BORIS],
        ),
        // A call whose answer was lost is made again.
        (call(here, &[ALICE, BORIS], &[], ""), vec![]),
        (call(there, &[ALICE], &[], ""), vec![]),
        (call(here, &[], &[ALICE], "5"), vec![]),
        (call(here, &[], &[ALICE], "5"), vec![]),
    ] {
        assert_eq!(called(&database, &call).await, (true, told), "{call}");
    }
    assert_eq!(database.count(&online).await, 1);
    assert_eq!(unseen_for(&database, ALICE).await, None);
    let last = call(there, &[], &[ALICE, BORIS], "500,900");
    assert_eq!(called(&database, &last).await, (true, vec![ALICE]));
    assert_eq!(database.count(&online).await, 0);
    assert!(matches!(unseen_for(&database, ALICE).await, Some(500..800)));
    // Who has left one replica later than another was seen later; that may be told first.
    called(&database, &call(here, &[ALICE], &[], "")).await;
    called(&database, &call(here, &[], &[ALICE], "5000")).await;
    assert!(matches!(unseen_for(&database, ALICE).await, Some(500..800)));
    // Again, so that it stands on it once: else its going would not be noted.
    let gone = call(here, &[], &[BORIS], "700");
    for told in [vec![BORIS], vec![]] {
        assert_eq!(called(&database, &gone).await, (true, told));
    }
    assert!(matches!(unseen_for(&database, BORIS).await, Some(700..)));
}

#[tokio::test]
async fn nobody_is_put_on_a_roll_that_has_ended_and_who_stands_on_it_is_gone_after_the_grace() {
    let database = Database::fresh().await;
    let (ended, other) = (roll(&database).await, roll(&database).await);
    called(&database, &call(ended, &[ALICE, BORIS, CARLA], &[], "")).await;
    called(&database, &call(other, &[BORIS], &[], "")).await;
    let end = format!(
        "update chat_rolls set ended_at = now() - interval '100 seconds', seen_at = now() - interval '500 seconds' where id = '{ended}';
         update chat_attendance set last_seen_at = now() - interval '200 seconds' where user_id = '{CARLA}'"
    );
    database.execute(&end).await;
    let late = call(ended, &[DAVID], &[], "");
    assert_eq!(called(&database, &late).await, (false, vec![]));

    for (clear, expected) in [
        ("chat_clear_roll(1000, 2)", (false, vec![])),
        ("chat_clear_roll(10, 2)", (true, vec![ALICE])),
        ("chat_clear_roll(10, 2)", (true, vec![CARLA])),
        ("chat_clear_roll(10, 2)", (false, vec![])),
    ] {
        assert_eq!(called(&database, clear).await, expected, "{clear}");
    }
    // When the roll was good last, or later.
    assert!(matches!(unseen_for(&database, ALICE).await, Some(500..)));
    assert_eq!(unseen_for(&database, BORIS).await, None);
    assert!(matches!(unseen_for(&database, CARLA).await, Some(200..400)));
    let online =
        format!("chat_attendance where user_id = '{BORIS}' and rolls = array['{other}'::uuid]");
    assert_eq!(database.count(&online).await, 1);
    let left = format!("chat_rolls where id = '{other}'");
    for rolls in [&left, "chat_rolls"] {
        assert_eq!(database.count(rolls).await, 1, "{rolls}");
    }
}

/// Or the more users are online, the more each batch would read of those whom the ones before have read.
#[tokio::test]
async fn each_batch_of_a_roll_that_is_cleared_away_goes_on_where_the_last_one_ended() {
    let database = Database::fresh().await;
    let (ended, other) = (roll(&database).await, roll(&database).await);
    // Six of them behind 300 others, and one who comes from elsewhere once those before have been cleared away.
    database
        .execute(&format!(
            "insert into chat_attendance (user_id, rolls)
             select lpad(n::text, 32, '0')::uuid, array['{other}'::uuid] from generate_series(1, 300) n;
             insert into chat_attendance (user_id, rolls)
             select lpad(n::text, 32, '0')::uuid, array['{ended}'::uuid] from generate_series(1001, 1006) n;
             update chat_rolls set ended_at = now() - interval '100 seconds' where id = '{ended}'"
        ))
        .await;
    let session = database.sql().await;
    session
        .batch_execute(
            "set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off",
        )
        .await
        .expect("settings");
    // What is counted is told of seldom, and never within a transaction: so it is the difference that counts.
    let rows = async || -> i64 {
        let rows = "select coalesce(sum(idx_tup_fetch + seq_tup_read), 0)::bigint from pg_stat_xact_user_tables
                     where relname = 'chat_attendance'";
        session.query_one(rows, &[]).await.expect("a count").get(0)
    };
    let mut read = Vec::new();
    for _ in 0..3 {
        session.batch_execute("begin").await.expect("a transaction");
        let before = rows().await;
        let clear = "select chat_clear_roll(10, 2)";
        session.batch_execute(clear).await.expect("a batch");
        read.push(rows().await - before);
        session.batch_execute("commit").await.expect("its end");
    }
    assert!(read[0] >= 300, "{read:?}");
    assert!(read[1..].iter().all(|rows| *rows < 20), "{read:?}");
    let late = format!(
        "insert into chat_attendance (user_id, rolls) values (lpad('500', 32, '0')::uuid, array['{ended}'::uuid])"
    );
    database.execute(&late).await;
    let cleared = called(&database, "chat_clear_roll(10, 2)").await;
    assert_eq!(cleared, (true, vec![Uuid::from_u128(0x500)]));
    let left = format!("chat_rolls where id = '{ended}'");
    assert_eq!(database.count(&left).await, 0);
    let online = "chat_attendance where rolls <> '{}'";
    assert_eq!(database.count(online).await, 300);
}

/// Else somebody could come to a roll that is not there any more, and would be there for ever.
#[tokio::test]
async fn a_roll_is_not_cleared_away_while_somebody_is_put_on_it() {
    let database = Database::fresh().await;
    let roll = roll(&database).await;
    let coming = database
        .holding(&format!("select {}", call(roll, &[ALICE], &[], "")))
        .await;
    database
        .execute("update chat_rolls set ended_at = now() - interval '100 seconds'")
        .await;
    let clear = "chat_clear_roll(10, 2)";
    assert_eq!(called(&database, clear).await, (false, vec![]));
    coming.batch_execute("commit").await.expect("its end");
    assert_eq!(called(&database, clear).await, (true, vec![ALICE]));
}

/// Where the one that asks is as silent, it is the database that is slow.
#[tokio::test]
async fn a_silent_replica_is_gone_only_for_one_that_is_not_silent_itself() {
    let database = Database::fresh().await;
    let (asking, silent) = (roll(&database).await, roll(&database).await);
    // Both live.
    let listeners = database.sql().await;
    let live = "select chat_try_replica(id) from chat_replicas";
    listeners.batch_execute(live).await.expect("their locks");
    let earlier = "update chat_replicas set heartbeat_at = now() - interval '100 seconds'";
    database.execute(earlier).await;
    let replica = format!("(select replica_id from chat_rolls where id = '{asking}')");
    let goes_on = format!("chat_end_rolls({replica}, '{asking}', 50) goes_on where goes_on");
    let open = "chat_rolls where ended_at is null";
    assert_eq!(database.count(&goes_on).await, 1);
    assert_eq!(database.count(open).await, 2);

    let beat = format!("update chat_replicas set heartbeat_at = now() where id = {replica}");
    database.execute(&beat).await;
    assert_eq!(database.count(&goes_on).await, 1);
    assert_eq!(database.count(open).await, 1);
    let ended =
        format!("chat_rolls where id = '{silent}' and seen_at < now() - interval '90 seconds'");
    assert_eq!(database.count(&ended).await, 1);

    // It is told when somebody has ended its own.
    let end = "update chat_rolls set ended_at = now()";
    database.execute(end).await;
    assert_eq!(database.count(&goes_on).await, 0);
}

/// Whatever is lost of it with a crash, a replica tells again.
#[tokio::test]
async fn no_commit_about_rolls_waits_for_a_flush() {
    let database = Database::fresh().await;
    let roll = roll(&database).await;
    let nobody = Uuid::nil();
    for call in [
        format!("chat_open_roll('{nobody}')"),
        call(roll, &[ALICE], &[], ""),
        format!("chat_end_rolls('{nobody}', '{roll}', 5)"),
        "chat_clear_roll(0, 1)".to_owned(),
    ] {
        let transaction = database.holding(&format!("select {call}")).await;
        let row = transaction.query_one("show synchronous_commit", &[]).await;
        let waits: String = row.expect("a setting").get(0);
        assert_eq!(waits, "off", "{call}");
    }
}
