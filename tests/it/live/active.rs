//! Sockets that do not make their user online, and what becomes of that: by the handshake, by `set_active`, over replicas.

use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use super::assert_limited_apart;
use super::presence::*;
use super::presence_faults::{about, until_seen, watcher_of};
use crate::support::*;

/// Users who are online by this replica, or were a grace ago.
const HERE: &str = "pgchat_presence_local_users";

async fn inactive(replica: &Replica, user: Uuid) -> Socket {
    Socket::connect_to(replica, user, &format!("/ws?user_id={user}&active=false")).await
}

async fn set_active(socket: &mut Socket, is_active: bool) {
    let ack = socket
        .send_command("set_active", json!({"active": is_active}))
        .await;
    assert_eq!(ack.as_object().expect("an object").len(), 1, "{ack}");
}

/// Boris, who has seen that Alice and Carla are not there.
async fn onlooker(replica: &Replica) -> Socket {
    let mut boris = Socket::connect(replica, BORIS).await;
    watches(&mut boris, &[ALICE, CARLA]).await;
    sees(&mut boris, ALICE, false).await;
    sees(&mut boris, CARLA, false).await;
    boris
}

/// What there was to be told of Alice has been told once Carla, who comes and goes after it, has been seen to do so.
async fn carla_passes(replica: &Replica, boris: &mut Socket) {
    let carla = Socket::connect(replica, CARLA).await;
    sees(boris, CARLA, true).await;
    drop(carla);
    sees(boris, CARLA, false).await;
}

#[tokio::test]
async fn an_inactive_socket_is_told_everything_and_makes_nobody_online() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &BRIEF).await;
    let mut boris = onlooker(&there).await;
    let mut alice = inactive(&here, ALICE).await;
    assert_eq!(here.api().metric(HERE).await, 0.0);
    watches(&mut alice, &[BORIS, CARLA]).await;

    boris.types(conversation, true).await;
    let typing = alice.expect("typing").await;
    assert_eq!(typing["data"]["isTyping"], true);
    boris.send_message(conversation, "hello").await;
    assert_eq!(alice.collect_messages(1).await[0]["content"], "hello");
    // And its own commands are carried out.
    alice.send_message(conversation, "I am not here").await;
    assert_eq!(
        boris.collect_messages(2).await[1]["content"],
        "I am not here"
    );

    carla_passes(&here, &mut boris).await;
    for is_online in [true, false] {
        until_seen(&mut alice, CARLA, is_online).await;
    }
    assert_eq!(over_http(&there, ALICE).await, (false, None));
    assert_eq!(in_sql(&database, ALICE).await, None);
}

#[tokio::test]
async fn a_user_is_online_while_one_socket_at_any_replica_is_active() {
    let database = Database::fresh().await;
    // Long enough to be told from the moment in which the last one becomes inactive.
    let grace = [("PRESENCE_GRACE_SECONDS", "8"), BRIEF[1]];
    let [here, there] = Replica::start_many(&database, &grace).await;
    let mut boris = onlooker(&there).await;
    let mut phone = inactive(&here, ALICE).await;
    let mut desk = inactive(&there, ALICE).await;
    set_active(&mut phone, true).await;
    assert_eq!(sees(&mut boris, ALICE, true).await, None);
    set_active(&mut desk, true).await;
    set_active(&mut phone, false).await;
    // Nobody else is here: that she is online elsewhere alone has been told.
    until_metric(&here, HERE, 0.0).await;
    for replica in [&here, &there] {
        assert_eq!(over_http(replica, ALICE).await, (true, None));
    }

    let before = Utc::now();
    set_active(&mut desk, false).await;
    let last_seen = sees(&mut boris, ALICE, false).await;
    let late = last_seen.expect("a time").signed_duration_since(before);
    assert!(late.num_milliseconds().abs() < 7000, "{late}");
    for replica in [&here, &there] {
        assert_eq!(over_http(replica, ALICE).await, (false, last_seen));
    }
    assert_eq!(in_sql(&database, ALICE).await, Some(false));
}

#[tokio::test]
async fn a_socket_counts_once_however_often_it_says_so_and_not_at_all_once_it_is_inactive() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &BRIEF).await;
    let mut boris = onlooker(&replica).await;
    let tablet = Socket::connect(&replica, ALICE).await;
    sees(&mut boris, ALICE, true).await;
    for said in [
        &[false, false][..],
        &[true, true, false, false],
        &[true, true],
    ] {
        let mut phone = Socket::connect(&replica, ALICE).await;
        for is_active in said {
            set_active(&mut phone, *is_active).await;
        }
        phone.close().await;
        carla_passes(&replica, &mut boris).await;
        assert!(
            over_http(&replica, ALICE).await.0,
            "by the other one, which is active still: {said:?}"
        );
    }

    let mut phone = inactive(&replica, ALICE).await;
    for is_active in [true, true] {
        set_active(&mut phone, is_active).await;
    }
    phone.close().await;
    tablet.close().await;
    sees(&mut boris, ALICE, false).await;
    until_metric(&replica, HERE, 1.0).await; // Boris
}

#[tokio::test]
async fn tabs_that_are_changed_quickly_make_no_noise() {
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &LONG).await;
    let brief = Replica::start(&database, &BRIEF).await;
    let mut one = Socket::connect(&here, ALICE).await;
    let mut two = inactive(&there, ALICE).await;
    let carla = Socket::connect(&brief, CARLA).await;
    let told = "pgchat_presence_changes_notified_total";
    set_active(&mut two, true).await;
    for replica in [&here, &there, &brief] {
        until_metric(replica, told, 1.0).await;
    }
    let mut notifications = database.listen("chat_events").await;
    for _ in 0..20 {
        set_active(&mut one, false).await;
        set_active(&mut two, true).await;
        set_active(&mut two, false).await;
        set_active(&mut one, true).await;
    }
    set_active(&mut one, false).await;
    // For as long as it takes until somebody who has gone later, and whose grace is short, is told to have gone.
    drop(carla);
    let payloads = notifications.before(&CARLA.to_string()).await;
    for payload in &payloads {
        assert!(!told_of(payload).contains(&ALICE), "{payload}");
    }
    for replica in [&here, &there] {
        assert_eq!(replica.api().metric(told).await, 1.0);
    }
    assert!(over_http(&here, ALICE).await.0);
}

#[tokio::test]
async fn of_a_killed_replica_the_active_sockets_alone_are_missed() {
    let database = Database::fresh().await;
    let [mut dying, other] = Replica::start_many(&database, &PATIENT).await;
    let _alice = Socket::connect(&dying, ALICE).await;
    let mut alice = inactive(&other, ALICE).await;
    let _carla = inactive(&dying, CARLA).await;
    let carla = Socket::connect(&other, CARLA).await;
    let mut boris = watcher_of(&other, &[ALICE, CARLA]).await;

    dying.kill();
    let before = until_seen(&mut boris, ALICE, false).await;
    assert_eq!(about(&before, CARLA), Vec::<&Value>::new());
    assert!(over_http(&other, CARLA).await.0);
    let (_, last_seen) = over_http(&other, ALICE).await;
    assert!(last_seen.is_some());
    set_active(&mut alice, true).await;
    assert_eq!(sees(&mut boris, ALICE, true).await, last_seen);
    drop(carla);
    sees(&mut boris, CARLA, false).await;
}

/// What is said of one socket holds for that socket.
#[tokio::test]
async fn whoever_comes_back_says_anew_whether_they_are_active() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &BRIEF).await;
    let mut boris = onlooker(&there).await;
    let alice = inactive(&here, ALICE).await;
    let cursor = alice.connected["data"]["cursor"]
        .as_str()
        .expect("a cursor")
        .to_owned();
    alice.close().await;
    boris.send_message(conversation, "missed").await;

    let resume = format!("/ws?user_id={ALICE}&cursor={cursor}");
    let inactive = format!("{resume}&active=false");
    let mut alice = Socket::connect_to(&there, ALICE, &inactive).await;
    assert_eq!(alice.connected["data"]["resumed"], true);
    assert_eq!(alice.collect_messages(1).await[0]["content"], "missed");
    carla_passes(&here, &mut boris).await;
    assert_eq!(over_http(&there, ALICE).await, (false, None));
    alice.close().await;

    let mut alice = Socket::connect_to(&here, ALICE, &resume).await;
    sees(&mut boris, ALICE, true).await;
    set_active(&mut alice, false).await;
    alice.close().await;
    sees(&mut boris, ALICE, false).await;
    let _alice = Socket::connect_to(&there, ALICE, &format!("{resume}&active=true")).await;
    sees(&mut boris, ALICE, true).await;
}

#[tokio::test]
async fn a_malformed_set_active_is_refused_and_the_socket_stays_as_it_was() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &BRIEF).await;
    let mut alice = inactive(&replica, ALICE).await;
    let wrong = "active must be true or false";
    for (data, fault) in [
        (json!({}), wrong),
        (json!({"active": null}), wrong),
        (json!({"active": "true"}), wrong),
        (json!({"active": 1}), wrong),
        (json!({"isActive": true}), wrong),
        (json!({"Active": true}), "unknown member Active: use active"),
        (json!([true]), "data must be an object"),
    ] {
        let told = alice.refused("set_active", data, "validation_failed").await;
        assert_eq!(told, fault);
    }
    let twice = r#"{"type": "set_active", "data": {"active": false, "active": true}}"#;
    alice.send_text(twice).await;
    let told = alice.expect("error").await;
    assert_eq!(told["data"]["message"], "active must be given only once");
    assert_eq!(replica.api().metric(HERE).await, 0.0);
    // Unlike a good one.
    set_active(&mut alice, true).await;
    assert_eq!(replica.api().metric(HERE).await, 1.0);
}

#[tokio::test]
async fn its_rate_is_limited_apart_from_that_of_sends() {
    assert_limited_apart("set_active", |_| json!({"active": true})).await;
}
