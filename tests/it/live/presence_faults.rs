//! Presence when replicas die, stop, drain or lose their listener, and when the database does.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::presence::*;
use crate::support::*;

/// Frames `presence` until one says this; those about others are given back.
pub async fn until_seen(socket: &mut Socket, user: Uuid, is_online: bool) -> Vec<Value> {
    let mut before = Vec::new();
    loop {
        let frame = socket.expect("presence").await;
        let data = &frame["data"];
        if data["userId"] == json!(user) && data["isOnline"] == json!(is_online) {
            return before;
        }
        before.push(frame);
    }
}

pub fn about(frames: &[Value], user: Uuid) -> Vec<&Value> {
    let theirs = frames
        .iter()
        .filter(|frame| frame["data"]["userId"] == json!(user));
    theirs.collect()
}

/// A socket of Boris's that has seen these come.
pub async fn watcher_of(replica: &Replica, users: &[Uuid]) -> Socket {
    let mut boris = Socket::connect(replica, BORIS).await;
    watches(&mut boris, users).await;
    for user in users {
        boris
            .expect_where("all are there", |frame| {
                frame["type"] == "presence"
                    && frame["data"]["userId"] == json!(user)
                    && frame["data"]["isOnline"] == true
            })
            .await;
    }
    boris.arrived();
    boris
}

#[tokio::test]
async fn the_users_of_a_killed_replica_are_gone_unless_they_come_to_another() {
    let database = Database::fresh().await;
    let [mut dying, second, third] = Replica::start_many(&database, &PATIENT).await;
    let _alice = Socket::connect(&dying, ALICE).await;
    let _carla = Socket::connect(&dying, CARLA).await;
    let _david = Socket::connect(&dying, DAVID).await;
    let david_too = Socket::connect(&third, DAVID).await;
    let mut boris = watcher_of(&second, &[ALICE, CARLA, DAVID]).await;

    dying.kill();
    let _alice = Socket::connect(&third, ALICE).await;
    let before = until_seen(&mut boris, CARLA, false).await;
    assert_eq!(before, Vec::<Value>::new(), "the others are still there");
    let (online, last_seen) = over_http(&third, CARLA).await;
    assert!(!online && last_seen.is_some());
    assert!(over_http(&second, ALICE).await.0);
    drop(david_too);
    until_seen(&mut boris, DAVID, false).await;
    assert_eq!(
        eventually("its roll is cleared away", || async {
            let rolls = database.count("chat_rolls").await;
            (rolls <= 2).then_some(rolls)
        })
        .await,
        2
    );
}

/// With heartbeats that come too seldom to be missed.
#[tokio::test]
async fn that_a_replica_is_dead_is_known_by_the_end_of_its_session() {
    let database = Database::fresh().await;
    let rare = [
        ("PRESENCE_GRACE_SECONDS", "2"),
        ("LISTENER_HEARTBEAT_SECONDS", "300"),
    ];
    let [mut dying, other] = Replica::start_many(&database, &rare).await;
    let _alice = Socket::connect(&dying, ALICE).await;
    let mut boris = watcher_of(&other, &[ALICE]).await;
    dying.kill();
    assert!(sees(&mut boris, ALICE, false).await.is_some());
    assert!(!over_http(&other, ALICE).await.0);
}

/// Nobody is there to notice it, until another one comes.
#[tokio::test]
async fn whoever_was_there_when_the_last_replica_died_was_seen_last_with_its_last_heartbeat() {
    let database = Database::fresh().await;
    let rare = [
        ("PRESENCE_GRACE_SECONDS", "2"),
        ("LISTENER_HEARTBEAT_SECONDS", "300"),
    ];
    let mut last = Replica::start(&database, &rare).await;
    let _alice = Socket::connect(&last, ALICE).await;
    drop(watcher_of(&last, &[ALICE]).await);
    last.kill();
    an_hour_passes(&database).await;
    let next = Replica::start(&database, &rare).await;
    let mut boris = Socket::connect(&next, BORIS).await;
    watches(&mut boris, &[ALICE]).await;
    until_seen(&mut boris, ALICE, false).await;
    let (_, seen) = over_http(&next, ALICE).await;
    assert!(Utc::now() - seen.expect("a time") > TimeDelta::minutes(50));
}

#[tokio::test]
async fn a_replica_that_leaves_the_registry_ends_its_own_roll_and_no_other() {
    let database = Database::fresh().await;
    let [leaving, staying] = [(); 2].map(|()| Uuid::new_v4());
    database
        .execute(&format!(
            "insert into chat_replicas (id) values ('{leaving}'), ('{staying}');
             insert into chat_rolls (replica_id, ended_at) values ('{leaving}', null), ('{leaving}', '2020-01-01'), ('{staying}', null);
             select chat_leave('{leaving}')"
        ))
        .await;
    let rolls = [
        (format!("replica_id = '{leaving}' and ended_at is null"), 0),
        (
            format!("replica_id = '{leaving}' and ended_at = '2020-01-01'"),
            1,
        ),
        (format!("replica_id = '{staying}' and ended_at is null"), 1),
    ];
    for (which, count) in rolls {
        let rolls = format!("chat_rolls where {which}");
        assert_eq!(database.count(&rolls).await, count, "{which}");
    }
}

/// Else nobody would ever end it, and whoever stands on it would be there for ever.
#[tokio::test]
async fn a_roll_that_is_begun_while_its_replica_leaves_ends_with_it() {
    let database = Database::fresh().await;
    let replica = Uuid::new_v4();
    let register = format!("insert into chat_replicas (id) values ('{replica}')");
    database.execute(&register).await;
    let beginning = database
        .holding(&format!(
            "select chat_try_replica('{replica}'); select chat_open_roll('{replica}')"
        ))
        .await;
    let leave = format!("select chat_leave('{replica}')");
    let committing = async {
        until_a_lock_is_waited_for(&database, "the end waits for the beginning").await;
        beginning.batch_execute("commit").await.expect("its end");
    };
    tokio::join!(database.execute(&leave), committing);
    assert_eq!(database.count("chat_rolls").await, 1);
    let open = "chat_rolls where ended_at is null";
    assert_eq!(database.count(open).await, 0);
}

/// Since the last heartbeat of whichever replica is registered.
async fn an_hour_passes(database: &Database) {
    let earlier = "update chat_replicas set heartbeat_at = heartbeat_at - interval '1 hour'";
    database.execute(earlier).await;
}

#[tokio::test]
async fn a_replica_that_drains_hands_its_users_over_without_noise() {
    let database = Database::fresh().await;
    let [mut leaving, other] =
        Replica::start_many(&database, &[("SHUTDOWN_GRACE_SECONDS", "15")]).await;
    let mut alice = Socket::connect(&leaving, ALICE).await;
    let mut carla = Socket::connect(&leaving, CARLA).await;
    let mut boris = watcher_of(&other, &[ALICE, CARLA]).await;
    leaving.terminate();
    alice.closed().await;
    let _alice = Socket::connect(&other, ALICE).await;
    carla.closed().await;
    leaving.ended().await;
    let before = until_seen(&mut boris, CARLA, false).await;
    assert_eq!(about(&before, ALICE), Vec::<&Value>::new());
}

/// Held still as by a machine that swaps: its session with the database lives, but it sends no heartbeat.
#[tokio::test]
async fn the_users_of_a_replica_that_is_held_still_are_gone_and_come_back_with_it() {
    let database = Database::fresh().await;
    let [frozen, other] = Replica::start_many(&database, &BRIEF).await;
    let alice = Socket::connect(&frozen, ALICE).await;
    let mut boris = watcher_of(&other, &[ALICE]).await;
    frozen.freeze();
    an_hour_passes(&database).await;
    let seen = sees(&mut boris, ALICE, false).await.expect("a time");
    // With the last heartbeat, which may have been on its way when the replica was stopped, and be younger than an hour.
    let last = "select heartbeat_at from chat_replicas where id = $1";
    let id = uuid_in(&alice.connected["data"], "replicaId");
    let row = database.sql().await.query_one(last, &[&id]).await;
    let last: DateTime<Utc> = row.expect("its registration").get(0);
    let is_old = Utc::now() - seen > TimeDelta::minutes(50);
    assert!(is_old || seen == last, "{seen}, and the last was at {last}");
    frozen.thaw();
    sees(&mut boris, ALICE, true).await;
}

#[tokio::test]
async fn a_listener_that_was_lost_costs_nobody_their_presence_and_shows_what_it_missed() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let through_proxy = [&PATIENT[..], &proxy.for_listener()].concat();
    let cut = Replica::start(&database, &through_proxy).await;
    let other = Replica::start(&database, &PATIENT).await;
    let _carla = Socket::connect(&cut, CARLA).await;
    let alice = Socket::connect(&other, ALICE).await;
    let mut at_cut = watcher_of(&cut, &[ALICE]).await;
    let mut at_other = watcher_of(&other, &[CARLA]).await;

    // For a moment: nobody is missed.
    proxy.cut_open();
    let david = Socket::connect(&cut, DAVID).await;
    watches(&mut at_other, &[CARLA, DAVID]).await;
    let before = until_seen(&mut at_other, DAVID, true).await;
    drop(david);
    let since = until_seen(&mut at_other, DAVID, false).await;
    for frame in about(&before, CARLA).iter().chain(&about(&since, CARLA)) {
        assert_eq!(frame["data"]["isOnline"], true);
    }

    // For longer than the grace: its users count as gone, and are back when it is.
    proxy.refuse();
    proxy.cut_open();
    until_seen(&mut at_other, CARLA, false).await;
    drop(alice);
    eventually("Alice has gone", || async {
        (!over_http(&other, ALICE).await.0).then_some(())
    })
    .await;
    proxy.accept();
    until_seen(&mut at_other, CARLA, true).await;
    sees(&mut at_cut, ALICE, false).await;
}

/// All sessions end, and the commits of the last moment are forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_of_the_database_presence_comes_to_be_the_truth() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    database.flush_seldom().await;
    let rare = [&BRIEF[..], &[("LISTENER_HEARTBEAT_SECONDS", "300")]].concat();
    let [here, there] = Replica::start_many(&database, &rare).await;
    let _alice = Socket::connect(&here, ALICE).await;
    let carla = Socket::connect(&here, CARLA).await;
    let mut boris = watcher_of(&there, &[ALICE, CARLA]).await;
    drop(carla);
    until_seen(&mut boris, CARLA, false).await;
    let david = Socket::connect(&there, DAVID).await;
    eventually("David is there", || async {
        (over_http(&here, DAVID).await.0).then_some(())
    })
    .await;
    // So far it is known after the crash; who comes now is not.
    database
        .execute("select pg_logical_emit_message(true, 'a flush', '')")
        .await;
    let _elena = Socket::connect(&here, ELENA).await;
    eventually("Elena is there", || async {
        (over_http(&here, ELENA).await.0).then_some(())
    })
    .await;

    cluster.crash();
    drop(david);
    cluster.start();
    for (user, is_online) in [
        (ALICE, true),
        (CARLA, false),
        (DAVID, false),
        (BORIS, true),
        (ELENA, true),
    ] {
        for replica in [&here, &there] {
            let path = format!("/api/v1/users/{user}");
            eventually(&format!("{user} is there: {is_online}"), || async {
                let reply = replica.api().get(&path).await;
                (reply.status == 200 && reply.json()["isOnline"] == is_online).then_some(())
            })
            .await;
        }
    }
    // And it goes on being shown.
    let _carla = Socket::connect(&here, CARLA).await;
    until_seen(&mut boris, CARLA, true).await;
}

/// Somebody who holds a user's row of presence keeps nobody from chatting.
#[tokio::test]
async fn presence_that_cannot_be_told_holds_up_no_message() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &BRIEF).await;
    drop(Socket::connect(&replica, ALICE).await);
    eventually("Alice was there", || async {
        in_sql(&database, ALICE).await.map(drop)
    })
    .await;
    let holder = database.sql().await;
    holder
        .batch_execute("begin; lock table chat_attendance in exclusive mode")
        .await
        .expect("a lock");
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    watches(&mut boris, &[ALICE]).await;
    for n in 0..20 {
        let content = format!("message {n}");
        alice.send_message(conversation, &content).await;
        boris.before_message(&content).await;
    }
    holder.batch_execute("rollback").await.expect("rolled back");
    eventually("Alice is there", || async {
        (in_sql(&database, ALICE).await == Some(true)).then_some(())
    })
    .await;
}

/// Though nobody tells of the user once more.
#[tokio::test]
async fn who_could_not_be_looked_up_at_first_is_shown_all_the_same() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    database
        .execute_as_owner(
            "create sequence host_tries;
             create or replace function chat_presence_of(users uuid[]) returns table (user_id uuid, data text)
             language plpgsql volatile security definer set search_path from current as $$
             begin
               if nextval('host_tries') = 1 then
                 raise exception 'the host says so';
               end if;
               return query
               select u, format('{\"userId\":\"%s\",\"isOnline\":false,\"lastSeenAt\":null}', u) from unnest(users) u;
             end $$",
        )
        .await;
    watches(&mut boris, &[ALICE]).await;
    sees(&mut boris, ALICE, false).await;
    let tries = "host_tries where last_value > 1";
    assert_eq!(database.count(tries).await, 1, "it was not at first");
}
