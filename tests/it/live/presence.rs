//! Who is there: over all devices and replicas, for those who watch and for nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::assert_limited_apart;
use crate::support::*;

/// A short grace, so that a test need not wait long. Heartbeats are no more frequent than that: after one that does not come back in time
/// the listener begins anew, and a replica without any for three intervals counts as gone, which adds frames that a test counts.
pub const BRIEF: [(&str, &str); 2] = [
    ("PRESENCE_GRACE_SECONDS", "2"),
    ("LISTENER_HEARTBEAT_SECONDS", "3"),
];

/// A grace within which a client comes back on a slow machine, too.
pub const PATIENT: [(&str, &str); 2] = [("PRESENCE_GRACE_SECONDS", "6"), BRIEF[1]];

/// No grace ends in a test.
pub const LONG: [(&str, &str); 2] = [("PRESENCE_GRACE_SECONDS", "60"), BRIEF[1]];

pub async fn watches(socket: &mut Socket, users: &[Uuid]) {
    let data = json!({ "userIds": users });
    let ack = socket.send_command("watch_presence", data).await;
    assert_eq!(ack.as_object().expect("an object").len(), 1, "{ack}");
}

/// The next frame `presence` is about this user and moves no cursor. Its `lastSeenAt`.
pub async fn sees(socket: &mut Socket, user: Uuid, is_online: bool) -> Option<DateTime<Utc>> {
    let frame = socket.expect("presence").await;
    assert_eq!(frame["data"]["userId"], json!(user), "{frame}");
    assert_eq!(frame["data"]["isOnline"], json!(is_online), "{frame}");
    assert_eq!(frame["userId"], json!(user));
    assert!(frame.get("cursor").is_none(), "{frame}");
    time_of(&frame["data"]["lastSeenAt"])
}

fn time_of(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str().map(|text| text.parse().expect("a time"))
}

/// What `GET /api/v1/users/{user_id}` says.
pub async fn over_http(replica: &Replica, user: Uuid) -> (bool, Option<DateTime<Utc>>) {
    let user = replica.api().user(user).await;
    (
        user["isOnline"].as_bool().expect("a boolean"),
        time_of(&user["lastSeenAt"]),
    )
}

/// What the view says; `None`: the user was never here.
pub async fn in_sql(database: &Database, user: Uuid) -> Option<bool> {
    let sql = "select is_online from chat_presence where user_id = $1";
    let row = database.sql().await.query_opt(sql, &[&user]).await;
    row.expect("the view").map(|row| row.get(0))
}

pub fn presence_among(frames: &[Value]) -> Vec<&Value> {
    let presence = frames.iter().filter(|frame| frame["type"] == "presence");
    presence.collect()
}

/// The users that a payload tells of.
pub fn told_of(payload: &str) -> Vec<Uuid> {
    let payload: Value = serde_json::from_str(payload).expect("JSON");
    let users = payload["presence"].as_array().cloned().unwrap_or_default();
    let id = |user: &Value| user.as_str().and_then(|id| id.parse().ok()).expect("an id");
    users.iter().map(id).collect()
}

#[tokio::test]
async fn those_who_watch_see_it_on_every_replica_and_nobody_else_does() {
    let database = Database::fresh().await;
    let conversation = database.conversation(DAVID, CARLA).await;
    // Long enough to be told from the moment in which the socket closes.
    let grace = [("PRESENCE_GRACE_SECONDS", "8"), BRIEF[1]];
    let replicas: [Replica; 3] = Replica::start_many(&database, &grace).await;
    let mut watchers = Vec::new();
    for replica in &replicas {
        watchers.push(Socket::connect(replica, BORIS).await);
    }
    let mut stranger = Socket::connect(&replicas[1], CARLA).await;
    for watcher in &mut watchers {
        watches(watcher, &[ALICE]).await;
        assert_eq!(sees(watcher, ALICE, false).await, None);
    }
    assert_eq!(over_http(&replicas[2], ALICE).await, (false, None));
    assert_eq!(in_sql(&database, ALICE).await, None);

    let alice = Socket::connect(&replicas[0], ALICE).await;
    for watcher in &mut watchers {
        assert_eq!(sees(watcher, ALICE, true).await, None);
    }
    for replica in &replicas {
        assert_eq!(over_http(replica, ALICE).await, (true, None));
    }
    assert_eq!(in_sql(&database, ALICE).await, Some(true));

    let leaves = Utc::now();
    drop(alice);
    let mut last_seen = None;
    for watcher in &mut watchers {
        last_seen = sees(watcher, ALICE, false).await;
        let seen = last_seen.expect("a time");
        // When the socket closed, not when the grace was over.
        let late = seen.signed_duration_since(leaves);
        assert!(late.num_milliseconds().abs() < 7000, "{late}");
    }
    for replica in &replicas {
        assert_eq!(over_http(replica, ALICE).await, (false, last_seen));
    }
    let list = replicas[1].api().get("/api/v1/users/").await.ok(200);
    let of = |id: Uuid| {
        let users = list["users"].as_array().expect("users");
        let found = users.iter().find(|user| user["id"] == json!(id));
        found.expect("the user").clone()
    };
    assert_eq!(time_of(&of(ALICE)["lastSeenAt"]), last_seen);
    assert_eq!(of(ALICE)["isOnline"], false);
    assert_eq!(of(BORIS)["isOnline"], true);
    assert_eq!(in_sql(&database, ALICE).await, Some(false));

    replicas[0].api().send(conversation, DAVID, "last").await;
    let seen = stranger.before_message("last").await;
    assert_eq!(presence_among(&seen), Vec::<&Value>::new());
}

#[tokio::test]
async fn a_user_is_there_until_the_last_device_has_gone() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &BRIEF).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    watches(&mut boris, &[ALICE, CARLA]).await;
    sees(&mut boris, ALICE, false).await;
    sees(&mut boris, CARLA, false).await;

    let phone = Socket::connect(&here, ALICE).await;
    sees(&mut boris, ALICE, true).await;
    let tablet = Socket::connect(&here, ALICE).await;
    let desk = Socket::connect(&there, ALICE).await;
    let carla = Socket::connect(&here, CARLA).await;
    sees(&mut boris, CARLA, true).await;

    // Two devices of three, on both replicas; Carla goes after them, so hers comes after what would come of theirs.
    drop(phone);
    drop(desk);
    drop(carla);
    sees(&mut boris, CARLA, false).await;
    assert!(over_http(&there, ALICE).await.0);
    drop(tablet);
    sees(&mut boris, ALICE, false).await;
}

#[tokio::test]
async fn two_replicas_that_see_a_user_at_once_agree() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &BRIEF).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    watches(&mut boris, &[ALICE]).await;
    sees(&mut boris, ALICE, false).await;
    for _ in 0..3 {
        let (one, two) = tokio::join!(
            Socket::connect(&here, ALICE),
            Socket::connect(&there, ALICE)
        );
        sees(&mut boris, ALICE, true).await;
        drop((one, two));
        sees(&mut boris, ALICE, false).await;
    }
}

#[tokio::test]
async fn a_reconnect_within_the_grace_makes_no_noise() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &LONG).await;
    let brief = Replica::start(&database, &BRIEF).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    watches(&mut boris, &[ALICE, CARLA]).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let carla = Socket::connect(&brief, CARLA).await;
    eventually("both are shown", || async {
        let (alice, carla) = (over_http(&here, ALICE).await, over_http(&here, CARLA).await);
        (alice.0 && carla.0).then_some(())
    })
    .await;
    let mut notifications = database.listen("chat_events").await;
    for replica in [&here, &there, &there, &here] {
        alice.close().await;
        alice = Socket::connect(replica, ALICE).await;
    }
    // For as long as it takes until somebody who has gone later, and whose grace is short, is told to have gone.
    alice.close().await;
    drop(carla);
    let payload = notifications.about(&CARLA.to_string()).await;
    assert_eq!(told_of(&payload), [CARLA]);
    let mut shown = Vec::new();
    loop {
        let frame = boris.expect("presence").await;
        let data = &frame["data"];
        if data["userId"] == json!(ALICE) {
            shown.push(data["isOnline"].clone());
        } else if data["isOnline"] == false && !data["lastSeenAt"].is_null() {
            break;
        }
    }
    // At the beginning, and when she came.
    assert!(matches!(shown.len(), 1 | 2), "{shown:?}");
    assert_eq!(shown.last(), Some(&json!(true)));
}

#[tokio::test]
async fn watching_shows_at_once_how_each_user_is_and_replaces_the_list() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &BRIEF).await;
    let _alice = Socket::connect(&replica, ALICE).await;
    let carla = Socket::connect(&replica, CARLA).await;
    eventually("they are there", || async {
        let there = over_http(&replica, ALICE).await.0 && over_http(&replica, CARLA).await.0;
        there.then_some(())
    })
    .await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    eventually("Boris is there", || async {
        over_http(&replica, BORIS).await.0.then_some(())
    })
    .await;
    watches(&mut boris, &[ALICE, CARLA, DAVID, NOBODY, ALICE]).await;
    let mut shown = BTreeMap::new();
    for _ in 0..4 {
        let data = boris.expect("presence").await["data"].clone();
        shown.insert(data["userId"].to_string(), data["isOnline"].clone());
    }
    let name = |user: Uuid| json!(user).to_string();
    let wanted = [
        (ALICE, true),
        (CARLA, true),
        (DAVID, false),
        (NOBODY, false),
    ];
    assert_eq!(
        shown,
        wanted
            .map(|(user, online)| (name(user), json!(online)))
            .into()
    );

    watches(&mut boris, &[BORIS, DAVID]).await;
    sees(&mut boris, BORIS, true).await;
    sees(&mut boris, DAVID, false).await;
    drop(carla);
    let david = Socket::connect(&replica, DAVID).await;
    sees(&mut boris, DAVID, true).await;
    drop(david);
    // Carla's going would come before.
    sees(&mut boris, DAVID, false).await;

    watches(&mut boris, &[]).await;
    assert_eq!(replica.api().metric("pgchat_presence_watches").await, 0.0);
    // And whoever has gone watches nobody.
    watches(&mut boris, &[ALICE]).await;
    boris.close().await;
    until_metric(&replica, "pgchat_presence_watches", 0.0).await;
}

#[tokio::test]
async fn a_list_that_is_too_long_or_malformed_is_refused_and_the_former_stays() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("PRESENCE_GRACE_SECONDS", "1")]).await;
    let few = Replica::start(&database, &[("MAX_WATCHED_USERS", "2")]).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    watches(&mut boris, &[ALICE]).await;
    sees(&mut boris, ALICE, false).await;
    let many =
        |count: u128| json!({"userIds": (0..count).map(Uuid::from_u128).collect::<Vec<_>>()});
    let fault = boris
        .refused("watch_presence", many(501), "validation_failed")
        .await;
    assert_eq!(fault, "userIds must name at most 500 users");
    for data in [
        json!({}),
        json!({"userIds": ALICE}),
        json!({"userIds": ["x"]}),
        json!({"userIds": null}),
    ] {
        let fault = boris
            .refused("watch_presence", data, "validation_failed")
            .await;
        assert_eq!(fault, "userIds must be an array of UUIDs");
    }
    let _alice = Socket::connect(&replica, ALICE).await;
    sees(&mut boris, ALICE, true).await;
    boris.send_command("watch_presence", many(500)).await;
    for _ in 0..500 {
        boris.expect("presence").await;
    }

    let mut boris = Socket::connect(&few, BORIS).await;
    let fault = boris
        .refused("watch_presence", many(3), "validation_failed")
        .await;
    assert_eq!(fault, "userIds must name at most 2 users");
    watches(&mut boris, &[ALICE, CARLA]).await;
}

#[tokio::test]
async fn its_rate_is_limited_apart_from_that_of_sends() {
    assert_limited_apart("watch_presence", |_| json!({"userIds": [BORIS]})).await;
}

#[tokio::test]
async fn another_program_reads_the_view_with_one_grant_and_while_no_replica_runs() {
    let database = Database::fresh().await;
    let role = database.role("reader").await;
    let grant = format!("grant select on chat_presence to {role}");
    database.execute(&grant).await;
    let mut replica = Replica::start(&database, &BRIEF).await;
    let _alice = Socket::connect(&replica, ALICE).await;
    let read = || async {
        let client = database.sql_as(&role).await;
        let sql = "select is_online, last_seen_at::text from chat_presence where user_id = $1";
        let row = client.query_opt(sql, &[&ALICE]).await.expect("the view");
        row.map(|row| row.get::<_, bool>(0))
    };
    eventually("Alice is there", || async {
        (read().await == Some(true)).then_some(())
    })
    .await;
    replica.kill();
    eventually("nobody is there", || async {
        (read().await == Some(false)).then_some(())
    })
    .await;
    let refused = database.sql_as(&role).await;
    for table in ["chat_attendance", "chat_rolls"] {
        let read = refused.query(&format!("select from {table}"), &[]).await;
        assert!(read.is_err(), "{table}");
    }
}

#[tokio::test]
async fn who_was_connected_stays_in_the_view_when_the_host_deletes_them() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &BRIEF).await;
    let user = database.add_users(1).await[0];
    Socket::connect(&replica, user).await.close().await;
    let gone = format!(
        "chat_presence where user_id = '{user}' and not is_online and last_seen_at is not null"
    );
    eventually("they have gone", || async {
        (database.count(&gone).await == 1).then_some(())
    })
    .await;
    let delete = format!("delete from users where id = '{user}'");
    database.execute(&delete).await;
    assert_eq!(database.count(&gone).await, 1);
}

/// No commit is waited for: presence costs the disk nothing that a message waits for.
#[tokio::test]
async fn nothing_is_flushed() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let rare = [
        ("LISTENER_HEARTBEAT_SECONDS", "300"),
        ("PRESENCE_GRACE_SECONDS", "1"),
    ];
    let replica = Replica::start(&database, &rare).await;
    database.flush_seldom().await;
    let sql = database.sql().await;
    let mut notifications = database.listen("chat_events").await;
    database.execute("checkpoint").await;

    let alice = Socket::connect(&replica, ALICE).await;
    notifications.about(&ALICE.to_string()).await;
    drop(alice);
    let payload = notifications.about(&ALICE.to_string()).await;
    assert_eq!(told_of(&payload), [ALICE]);
    let positions = "select pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()";
    let row = sql.query_one(positions, &[]).await.expect("positions");
    assert!(row.get::<_, bool>(0), "it waited for a flush");
}

#[tokio::test]
async fn a_user_who_comes_and_goes_all_the_time_is_told_of_seldom() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &LONG).await;
    let brief = Replica::start(&database, &BRIEF).await;
    let mut notifications = database.listen("chat_events").await;
    for _ in 0..30 {
        Socket::connect(&replica, ALICE).await.close().await;
        // As long as a replica gathers what it tells of: each coming and each going could be told.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Whose grace is short comes and goes after all of that.
    let carla = Socket::connect(&brief, CARLA).await;
    drop(carla);
    let mut told = Vec::new();
    while told.iter().filter(|user| **user == CARLA).count() < 2 {
        told.extend(told_of(&notifications.next().await));
    }
    let about_alice = told.iter().filter(|user| **user == ALICE).count();
    assert!((1..=2).contains(&about_alice), "{about_alice} times");
}
