//! Whose mark waits, for whom, and what becomes of it when they go.

use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Crowd, SETTINGS};
use crate::support::*;

async fn mark(api: &Api, conversation: Uuid, reader: Uuid, up_to: i64) -> Reply {
    let path = format!(
        "/api/v1/chat/conversations/{conversation}/read?user_id={reader}&up_to_seq={up_to}"
    );
    api.put(&path).await
}

/// Behind each other, as their changes are; those of others meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_of_one_user_are_made_one_by_one_in_the_order_in_which_they_came() {
    let mut crowd = Crowd::of(3).await;
    let mut alice = Socket::connect(&crowd.replica, ALICE).await;
    let (conversation, reader) = crowd.readers[2];
    crowd.begin().await;
    let mut marks = Vec::new();
    for (up_to, place) in [1, 2, 1000, 2, 0].into_iter().zip(0..) {
        let api = crowd.replica.api();
        let mark = async move { mark(&api, conversation, reader, up_to).await };
        marks.push(tokio::spawn(mark));
        crowd.until_waiting(1).await;
        // And the next transaction waits for David's turn.
        let figure = "pgchat_turns_waiting{kind=\"changes\"}";
        until_metric(&crowd.replica, figure, f64::from(place + 1)).await;
    }
    crowd.go_on().await;
    let mut answers = Vec::new();
    for mark in marks {
        let answer = within("an answer", mark).await.expect("an answer").ok(200);
        answers.push((answer["markedCount"].clone(), answer["readSeq"].clone()));
    }
    let expected = [(1, 1), (1, 2), (1, 3), (0, 3), (0, 3)];
    assert_eq!(answers, expected.map(|(n, seq)| (json!(n), json!(seq))));
    let api = crowd.replica.api();
    api.send(crowd.davids, ALICE, "the end").await;
    let frames = alice.before_message("the end").await;
    let of_it = frames
        .iter()
        .filter(|frame| uuid_in(&frame["data"], "conversationId") == conversation);
    let told: Vec<_> = of_it
        .map(|frame| frame["data"]["upToSeq"].clone())
        .collect();
    assert_eq!(told, [1, 2, 3]);
}

/// A mark that takes long has others wait for a quarter of `DB_TIMEOUT_SECONDS`, once: the next one of the same user is made alone (`slow`), if
/// it took long by itself, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_that_take_too_long_together_are_made_one_by_one() {
    let mut crowd = Crowd::of(9).await;
    let settings = [SETTINGS[0], ("DB_TIMEOUT_SECONDS", "24"), SETTINGS[2]];
    crowd.replica = Replica::start(&crowd.database, &settings).await;
    let gate = crowd.takes_long_with_others(3).await;
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    crowd.until_waiting(9).await;
    crowd.go_on().await;
    while let Some(reply) = within("an answer", marks.join_next()).await {
        let (number, reply) = reply.expect("an answer");
        crowd.assert_is_marked(number, &reply);
    }
    assert_eq!(crowd.transactions().await, 9);
    drop(gate);
}

/// What they share has begun, and is made; then it is the next one's turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_hang_up_take_no_mark_with_them_and_leave_no_turn_behind() {
    let mut crowd = Crowd::of(6).await;
    let gate = crowd.takes_long_with_others(0).await;
    crowd.begin().await;
    let mut leaving = Vec::new();
    for (conversation, reader) in &crowd.readers[..3] {
        let mut caller = Raw::connect(&crowd.replica).await;
        let line = format!("PUT /api/v1/chat/conversations/{conversation}/read?user_id={reader}");
        caller.request(&line, &[]).await;
        leaving.push(caller);
    }
    let mut staying = JoinSet::new();
    for number in 3..6 {
        let (api, (conversation, reader)) = (crowd.replica.api(), crowd.readers[number]);
        staying.spawn(async move { (number, api.mark_read(conversation, reader).await) });
    }
    crowd.until_waiting(6).await;
    crowd.go_on().await;
    until_lock_waiters(&crowd.database, 1).await;
    let open = crowd.replica.open_files();
    drop(leaving);
    eventually("they are gone", || async {
        (crowd.replica.open_files() <= open - 3).then_some(())
    })
    .await;
    gate.batch_execute("commit").await.expect("its end");
    while let Some(reply) = within("an answer", staying.join_next()).await {
        let (number, reply) = reply.expect("an answer");
        crowd.assert_is_marked(number, &reply);
    }
    let api = crowd.replica.api();
    for (conversation, reader) in &crowd.readers[..3] {
        assert_eq!(api.unread_count(*reader).await, 0);
        let again = within("a turn", api.mark_read(*conversation, *reader)).await;
        assert_eq!(again.ok(200)["markedCount"], 0);
    }
    assert_eq!(crowd.transactions().await, 1);
}

/// As a page that is loaded anew: however long others' marks take, the next thing that its user changes need not wait for what was given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_hangs_up_and_marks_again_is_in_line_with_the_others() {
    let mut crowd = Crowd::of(1).await;
    let (conversation, reader) = crowd.readers[0];
    crowd.begin().await;
    let mut caller = Raw::connect(&crowd.replica).await;
    let line = format!("PUT /api/v1/chat/conversations/{conversation}/read?user_id={reader}");
    caller.request(&line, &[]).await;
    crowd.until_waiting(1).await;
    drop(caller);
    crowd.until_waiting(0).await;
    let mut marks = crowd.all_mark();
    crowd.until_waiting(1).await;
    crowd.go_on().await;
    let (number, reply) = within("an answer", marks.join_next())
        .await
        .expect("one")
        .expect("an answer");
    crowd.assert_is_marked(number, &reply);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_told_to_end_makes_the_marks_that_wait() {
    let mut crowd = Crowd::of(12).await;
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    crowd.until_waiting(12).await;
    crowd.replica.terminate();
    let api = crowd.replica.api();
    eventually("it drains", || async {
        (api.status("/health/ready").await == Some(503)).then_some(())
    })
    .await;
    crowd.go_on().await;
    while let Some(reply) = within("an answer", marks.join_next()).await {
        let (number, reply) = reply.expect("an answer");
        crowd.assert_is_marked(number, &reply);
    }
    assert!(crowd.replica.ended().await.success());
    assert_eq!(crowd.transactions().await, 1);
}

/// Up to a seq it says the same whenever it is made, and whoever leaves has read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_marks_that_wait_those_of_all_are_not_made_once_their_callers_have_gone() {
    let mut crowd = Crowd::of(4).await;
    crowd.begin().await;
    let [
        (by_http, first),
        (by_socket, second),
        (up_to, third),
        (stays, fourth),
    ] = crowd.readers[..]
    else {
        panic!("four");
    };
    let mut caller = Raw::connect(&crowd.replica).await;
    let line = format!("PUT /api/v1/chat/conversations/{by_http}/read?user_id={first}");
    caller.request(&line, &[]).await;
    let mut all = Socket::connect(&crowd.replica, second).await;
    let data = json!({"conversationId": by_socket});
    all.request("mark_read", data).await;
    let mut some = Socket::connect(&crowd.replica, third).await;
    let data = json!({"conversationId": up_to, "upToSeq": 2});
    some.request("mark_read", data).await;
    let api = crowd.replica.api();
    let staying = tokio::spawn(async move { api.mark_read(stays, fourth).await });
    crowd.until_waiting(4).await;
    drop((caller, all, some));
    crowd.until_waiting(2).await;
    crowd.go_on().await;
    let reply = within("an answer", staying).await.expect("an answer");
    assert_eq!(reply.ok(200)["markedCount"], 1);
    let api = crowd.replica.api();
    let counts = [
        api.unread_count(first).await,
        api.unread_count(second).await,
        api.unread_count(third).await,
    ];
    assert_eq!(counts, [1, 2, 1], "of one, two, and three");
}

/// With as many connections as there are by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_that_takes_long_delays_no_others() {
    let mut crowd = Crowd::of(12).await;
    crowd.replica = Replica::start(&crowd.database, &SETTINGS[1..]).await;
    crowd.begin().await;
    let mut marks = crowd.all_mark();
    while let Some(reply) = within("an answer", marks.join_next()).await {
        let (number, reply) = reply.expect("an answer");
        crowd.assert_is_marked(number, &reply);
    }
    crowd.go_on().await;
}

/// Each of them waits until the one before it is answered, as it does alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_socket_sends_and_marks_keeps_its_order_beside_the_marks_of_others() {
    let mut crowd = Crowd::of(20).await;
    let (conversation, reader) = crowd.readers[0];
    crowd.readers.remove(0);
    let mut socket = Socket::connect(&crowd.replica, reader).await;
    crowd.begin().await;
    let mut requests = Vec::new();
    for number in 0..5 {
        let data = json!({"conversationId": conversation});
        requests.push(socket.request("mark_read", data).await);
        let data = json!({"conversationId": conversation, "content": number.to_string()});
        requests.push(socket.request("send_message", data).await);
    }
    let mut marks = crowd.all_mark();
    crowd.until_waiting(20).await;
    crowd.go_on().await;
    while marks.join_next().await.is_some() {}
    let mut answered = Vec::new();
    while answered.len() < requests.len() {
        let frame = socket.expect_where("an answer", |frame| {
            matches!(frame["type"].as_str(), Some("ack" | "error"))
        });
        let frame = frame.await;
        assert_eq!(frame["type"], "ack", "{frame}");
        answered.push(
            frame["data"]["requestId"]
                .as_str()
                .expect("an id")
                .to_owned(),
        );
    }
    assert_eq!(answered, requests);
}
