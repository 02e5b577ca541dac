//! Who types: to the other participant only, on every replica, and over by itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::assert_limited_apart;
use crate::support::*;

/// Ends soon, so that a test need not wait long.
const BRIEF: [(&str, &str); 1] = [("TYPING_SECONDS", "2")];

/// The next frame `typing` is about this, and moves no cursor.
pub async fn sees(socket: &mut Socket, conversation: Uuid, typist: Uuid, is_typing: bool) {
    let frame = socket.expect("typing").await;
    let data = json!({"conversationId": conversation, "userId": typist, "isTyping": is_typing});
    assert_eq!(frame["data"], data);
    assert_eq!(frame["userId"], json!(typist));
    assert!(frame.get("cursor").is_none(), "{frame}");
}

pub fn typing_among(frames: &[Value]) -> Vec<&Value> {
    let typing = frames.iter().filter(|frame| frame["type"] == "typing");
    typing.collect()
}

/// How often other replicas are told of typing until the message "last" comes.
async fn told_before_the_last(notifications: &mut Notifications) -> u64 {
    let payloads = notifications.before("\"content\":\"last\"").await;
    let told = |payload: &String| payload.matches("\"isTyping\"").count();
    payloads.iter().map(told).sum::<usize>() as u64
}

#[tokio::test]
async fn the_other_participant_sees_it_on_every_replica_and_nobody_else_does() {
    let database = Database::fresh().await;
    let stranger = database.add_users(1).await[0];
    let conversation = database.conversation(ALICE, BORIS).await;
    let with_stranger = database.conversation(BORIS, stranger).await;
    let to_self = database.conversation(ALICE, stranger).await;
    let replicas: [Replica; 3] = Replica::start_many(&database, &[]).await;
    let mut alice = Socket::connect(&replicas[0], ALICE).await;
    let mut here = Socket::connect(&replicas[0], ALICE).await;
    let mut devices = Vec::new();
    for replica in &replicas {
        devices.push(Socket::connect(replica, BORIS).await);
    }
    let mut third = Socket::connect(&replicas[1], stranger).await;

    alice.types(conversation, true).await;
    for device in &mut devices {
        sees(device, conversation, ALICE, true).await;
    }
    alice.types(conversation, false).await;
    for device in &mut devices {
        sees(device, conversation, ALICE, false).await;
    }

    replicas[2].api().send(with_stranger, BORIS, "last").await;
    let seen = third.before_message("last").await;
    assert_eq!(typing_among(&seen), Vec::<&Value>::new());
    replicas[2].api().send(to_self, stranger, "last").await;
    for socket in [&mut alice, &mut here] {
        let seen = socket.before_message("last").await;
        assert_eq!(typing_among(&seen), Vec::<&Value>::new());
    }
}

#[tokio::test]
async fn it_ends_by_itself_when_the_typists_replica_is_killed() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [mut dying, other] = Replica::start_many(&database, &BRIEF).await;
    let mut alice = Socket::connect(&dying, ALICE).await;
    let mut boris = Socket::connect(&other, BORIS).await;

    alice.types(conversation, true).await;
    sees(&mut boris, conversation, ALICE, true).await;
    dying.kill();
    sees(&mut boris, conversation, ALICE, false).await;
}

#[tokio::test]
async fn it_lasts_while_it_is_renewed_and_not_longer_than_its_time_afterwards() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // A renewal that comes late is in time still.
    let times = [("TYPING_SECONDS", "8")];
    let [here, there] = Replica::start_many(&database, &times).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    let started = Instant::now();
    // Before it is told, and not when Boris has read of it, which may be seconds later.
    let mut renewed = started;
    while started.elapsed() < Duration::from_secs(10) {
        renewed = Instant::now();
        alice.types(conversation, true).await;
        sees(&mut boris, conversation, ALICE, true).await;
    }
    loop {
        let frame = boris.expect("typing").await;
        if frame["data"]["isTyping"] == false {
            break;
        }
    }
    assert!(
        renewed.elapsed() > Duration::from_secs(4),
        "it was cut short"
    );
}

#[tokio::test]
async fn it_ends_when_the_typists_message_arrives() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &[("TYPING_SECONDS", "60")]).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    alice.types(conversation, true).await;
    sees(&mut boris, conversation, ALICE, true).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'by SQL')"
        ))
        .await;
    boris.expect("chat_message").await;
    sees(&mut boris, conversation, ALICE, false).await;
}

#[tokio::test]
async fn it_ends_with_the_socket_that_typed() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &[("TYPING_SECONDS", "60")]).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    alice.types(conversation, true).await;
    sees(&mut boris, conversation, ALICE, true).await;
    drop(alice);
    sees(&mut boris, conversation, ALICE, false).await;
}

#[tokio::test]
async fn it_ends_where_the_listener_was_lost() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let proxy = Proxy::before(&database).await;
    let through_proxy = [&BRIEF[..], &proxy.for_listener()].concat();
    let there = Replica::start(&database, &through_proxy).await;
    let here = Replica::start(&database, &BRIEF).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    alice.types(conversation, true).await;
    sees(&mut boris, conversation, ALICE, true).await;
    proxy.refuse();
    proxy.cut_open();
    alice.types(conversation, false).await;
    sees(&mut boris, conversation, ALICE, false).await;
    proxy.accept();
}

#[tokio::test]
async fn it_ends_with_a_message_that_the_listener_had_to_catch_up_with() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let proxy = Proxy::before(&database).await;
    let long = [("TYPING_SECONDS", "60")];
    let through_proxy = [&long[..], &proxy.for_listener()].concat();
    let there = Replica::start(&database, &through_proxy).await;
    let here = Replica::start(&database, &long).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    alice.types(conversation, true).await;
    sees(&mut boris, conversation, ALICE, true).await;
    proxy.refuse();
    proxy.cut_open();
    alice.send_message(conversation, "meanwhile").await;
    proxy.accept();
    boris.expect("chat_message").await;
    sees(&mut boris, conversation, ALICE, false).await;
}

/// Or it would be shown for as long as it lasts by itself.
#[tokio::test]
async fn its_end_is_told_again_where_that_failed() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[("TYPING_SECONDS", "60")]).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    alice.types(conversation, true).await;
    sees(&mut boris, conversation, ALICE, true).await;
    database
        .execute_as_owner(
            "create sequence host_tries;
             create or replace function chat_notify_typing(
               replica uuid, conversations uuid[], typists uuid[], recipients uuid[], states boolean[]
             ) returns void
             language plpgsql security definer set search_path from current as $$
             begin
               if nextval('host_tries') = 1 then
                 raise exception 'the host says so';
               end if;
               perform chat_publish_items('typing', replica, array_agg(
                         format('{\"conversationId\":\"%s\",\"userId\":\"%s\",\"to\":\"%s\",\"isTyping\":%s}', c, u, r,
                                case when s then 'true' else 'false' end)))
                  from unnest(conversations, typists, recipients, states) as t (c, u, r, s);
             end $$",
        )
        .await;
    alice.types(conversation, false).await;
    sees(&mut boris, conversation, ALICE, false).await;
    assert!(
        replica
            .api()
            .metric("pgchat_typing_changes_failed_total")
            .await
            > 0.0
    );
}

/// However often a client changes its mind, and the last state arrives.
#[tokio::test]
async fn a_burst_makes_one_notification_an_interval_and_its_last_state_is_told() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let [here, there] = Replica::start_many(&database, &[]).await;
    let mut notifications = database.listen("chat_events").await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;

    let started = Instant::now();
    for _ in 0..50 {
        alice.types(conversation, true).await;
        alice.types(conversation, false).await;
    }
    loop {
        let frame = boris.expect("typing").await;
        let waits = there
            .api()
            .metric("pgchat_typing_shown_conversations")
            .await;
        if frame["data"]["isTyping"] == false && waits == 0.0 {
            break;
        }
    }
    let intervals = started.elapsed().as_secs() / 2;
    here.api().send(conversation, ALICE, "last").await;
    let told = told_before_the_last(&mut notifications).await;
    assert!(told <= intervals + 2, "{told} in {intervals} intervals");
    assert!(told >= 2, "{told}");
}

#[tokio::test]
async fn many_users_typing_share_notifications() {
    const USERS: usize = 60;
    let database = Database::fresh().await;
    let users = database.add_users(60).await;
    // None of it ends by itself, and sockets that are not read meanwhile stay, however slow the machine is.
    let unhurried = [("TYPING_SECONDS", "60"), ("HEARTBEAT_SECONDS", "3600")];
    let replica = Replica::start(&database, &unhurried).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut notifications = database.listen("chat_events").await;
    let mut typists = Vec::new();
    for user in users {
        let conversation = database.conversation(user, BORIS).await;
        typists.push((Socket::connect(&replica, user).await, conversation));
    }
    let started = Instant::now();
    // Unanswered, so that all are on their way at once.
    let mut requests = Vec::new();
    for (socket, conversation) in &mut typists {
        let data = json!({"conversationId": conversation, "isTyping": true});
        requests.push((socket.request("typing", data.clone()).await, data));
    }
    for ((socket, _), (request, data)) in typists.iter_mut().zip(requests) {
        socket.typing_is_done(request, &data).await;
    }
    for _ in 0..USERS {
        boris.expect("typing").await;
    }
    let (mut told, mut payloads) = (0, 0);
    while told < USERS {
        let payload = notifications.next().await;
        let here = payload.matches("\"isTyping\"").count();
        assert!(payload.len() < 8000);
        told += here;
        payloads += usize::from(here > 0);
    }
    let took = started.elapsed();
    // One for each time of gathering, however slow the machine is in sending the frames.
    let gathered = usize::try_from(took.as_millis() / 50).expect("a number") + 1;
    assert!(
        payloads <= gathered.max(USERS / 2),
        "{payloads} notifications for {USERS} users in {took:?}"
    );
}

#[tokio::test]
async fn a_stranger_is_refused_and_so_is_what_does_not_exist() {
    let database = Database::fresh().await;
    let stranger = database.add_users(1).await[0];
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut socket = Socket::connect(&replica, stranger).await;

    let data = |id: Uuid| json!({"conversationId": id, "isTyping": true});
    socket
        .refused("typing", data(conversation), "not_a_participant")
        .await;
    // Known by now: the refusal does not depend on who asked first.
    socket
        .refused("typing", data(conversation), "not_a_participant")
        .await;
    let unknown = Uuid::new_v4();
    socket
        .refused("typing", data(unknown), "conversation_not_found")
        .await;
    let fault = socket
        .refused("typing", json!({"isTyping": 1}), "validation_failed")
        .await;
    assert_eq!(
        fault,
        "conversationId must be a UUID; isTyping must be true or false"
    );
    replica.api().send(conversation, ALICE, "last").await;
    assert_eq!(boris.before_message("last").await, Vec::<Value>::new());
}

#[tokio::test]
async fn its_rate_is_limited_apart_from_that_of_sends() {
    assert_limited_apart(
        "typing",
        |conversation| json!({"conversationId": conversation, "isTyping": true}),
    )
    .await;
}

/// No commit is waited for, and none of these notifications may move a cursor: a crash may forget them.
#[tokio::test]
async fn nothing_is_flushed_and_no_cursor_moves() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    let rare = [("LISTENER_HEARTBEAT_SECONDS", "300")];
    let [here, there] = Replica::start_many(&database, &rare).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&here, ALICE).await;
    let mut boris = Socket::connect(&there, BORIS).await;
    database.flush_seldom().await;
    let sql = database.sql().await;
    let mut notifications = database.listen("chat_events").await;
    database.execute("checkpoint").await;

    alice.types(conversation, true).await;
    sees(&mut boris, conversation, ALICE, true).await;

    let row = sql
        .query_one(
            "select pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn()",
            &[],
        )
        .await
        .expect("positions");
    assert!(row.get::<_, bool>(0), "the notification waited for a flush");
    let payload: Value =
        serde_json::from_str(&notifications.about(&conversation.to_string()).await).expect("JSON");
    assert_eq!(payload["horizon"], Value::Null);
}
