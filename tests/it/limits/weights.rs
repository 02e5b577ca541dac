//! What costs the service more counts for more, by its length.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

/// As many 4 KiB as fit into `MAX_MESSAGE_BYTES` here.
const LONG: usize = 64;

/// Of a hundred, which come back one a second: a second long one lacks so many.
const LACKING: Duration = Duration::from_secs(28);

const LIMITED: [(&str, &str); 3] = [
    ("RATE_LIMIT_PER_SECOND", "1"),
    ("RATE_LIMIT_BURST", "100"),
    ("MAX_MESSAGE_BYTES", "262144"),
];

/// When what was refused is welcome; `None`: it was not refused.
type Wait = Option<Duration>;

fn by_http(reply: &Reply, status: u16) -> Wait {
    if reply.status == status {
        return None;
    }
    reply.refused(429, "too_many_requests");
    let seconds = reply.header("retry-after").parse().expect("seconds");
    Some(Duration::from_secs(seconds))
}

fn by_socket(answer: &Value) -> Wait {
    if answer["type"] == "ack" {
        return None;
    }
    assert_eq!(answer["data"]["code"], "too_many_requests", "{answer}");
    let millis = answer["data"]["retryAfterMs"].as_u64();
    Some(Duration::from_millis(millis.expect("when it may")))
}

/// Of a user who has sent nothing yet: two that are long, and one that is not.
async fn assert_counted_by_length(what: &str, mut sent: impl AsyncFnMut(&str) -> Wait) {
    let long = "x".repeat(LONG * 4096);
    let started = Instant::now();
    assert_eq!(sent(&long).await, None, "{what}");
    let wait = sent(&long).await;
    let passed = started.elapsed();
    let wait = wait.unwrap_or_else(|| panic!("{what}: two long ones pass"));
    assert!(wait <= LACKING, "{what}: {wait:?}");
    assert!(wait + passed >= LACKING, "{what}: {wait:?} {passed:?}");
    assert_eq!(sent("short").await, None, "{what}");
}

/// This user's, in SQL, which no limit counts.
async fn message_of(database: &Database, conversation: Uuid, sender: Uuid) -> Uuid {
    let insert = "insert into messages (conversation_id, sender_id, content) values ($1, $2, 'hello') returning id";
    let sql = database.sql().await;
    let row = sql.query_one(insert, &[&conversation, &sender]).await;
    row.expect("a message").get(0)
}

#[tokio::test]
async fn what_is_sent_or_edited_counts_once_for_each_four_kibibytes_of_it() {
    let database = Database::fresh().await;
    let by_alice = database.conversation(ALICE, BORIS).await;
    let by_carla = database.conversation(CARLA, DAVID).await;
    let of_boris = message_of(&database, by_alice, BORIS).await;
    let of_david = message_of(&database, by_carla, DAVID).await;
    let replica = Replica::start(&database, &LIMITED).await;
    let api = replica.api();
    assert_counted_by_length("POST", async |content| {
        by_http(&api.try_send(by_alice, ALICE, content).await, 201)
    })
    .await;
    assert_counted_by_length("PATCH", async |content| {
        by_http(&api.edit(of_boris, BORIS, content).await, 200)
    })
    .await;
    let mut carla = Socket::connect(&replica, CARLA).await;
    assert_counted_by_length("send_message", async |content| {
        let data = json!({"conversationId": by_carla, "content": content});
        by_socket(&carla.answer_to("send_message", data).await)
    })
    .await;
    let mut david = Socket::connect(&replica, DAVID).await;
    assert_counted_by_length("edit_message", async |content| {
        let data = json!({"messageId": of_david, "content": content});
        by_socket(&david.answer_to("edit_message", data).await)
    })
    .await;
}

/// One that is refused for its length is not made, and takes nothing of what is welcome.
#[tokio::test]
async fn what_is_longer_than_allowed_is_not_counted_by_its_length() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let message = message_of(&database, conversation, ALICE).await;
    let replica = Replica::start(&database, &LIMITED).await;
    let api = replica.api();
    let mut alice = Socket::connect(&replica, ALICE).await;
    let too_long = "x".repeat(LONG * 4096 + 1);
    for _ in 0..3 {
        let send = json!({"conversationId": conversation, "content": too_long});
        alice
            .refused("send_message", send, "validation_failed")
            .await;
        let edit = json!({"messageId": message, "content": too_long});
        alice
            .refused("edit_message", edit, "validation_failed")
            .await;
        let reply = api.try_send(conversation, ALICE, &too_long).await;
        reply.refused(400, "validation_failed");
        let reply = api.edit(message, ALICE, &too_long).await;
        reply.refused(400, "validation_failed");
    }
    let long = "x".repeat(LONG * 4096);
    api.send(conversation, ALICE, &long).await;
}

#[tokio::test]
async fn a_list_to_watch_counts_once_for_each_fifty_users() {
    let database = Database::fresh().await;
    let settings = [("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "25")];
    let replica = Replica::start(&database, &settings).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut watch = async |users: u128| {
        let ids: Vec<Uuid> = (1..=users).map(Uuid::from_u128).collect();
        let answer = alice.answer_to("watch_presence", json!({"userIds": ids}));
        by_socket(&answer.await)
    };
    let started = Instant::now();
    // Ten each: five are left for a third.
    assert_eq!(watch(500).await, None);
    assert_eq!(watch(451).await, None);
    let wait = watch(500).await;
    let passed = started.elapsed();
    let wait = wait.expect("three long lists pass");
    let lacking = Duration::from_secs(5);
    assert!(wait <= lacking, "{wait:?}");
    assert!(wait + passed >= lacking, "{wait:?} {passed:?}");
    assert_eq!(watch(50).await, None);
    assert_eq!(watch(0).await, None);
}

/// The longest message takes the whole burst, so it tells whether anything else has taken of it.
const BURST_OF_THE_LONGEST: [(&str, &str); 2] =
    [("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "16")];

/// Of a user who has sent nothing yet and has asked for something else until that was too often.
async fn assert_their_sends_are_left(api: &Api, conversation: Uuid, user: Uuid) {
    let longest = "x".repeat(16 * 4096);
    api.send(conversation, user, &longest).await;
}

#[tokio::test]
async fn what_is_neither_a_send_nor_an_edit_takes_nothing_of_a_users_sends() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &BURST_OF_THE_LONGEST).await;
    let api = replica.api();
    let users = database.add_users(5).await;
    let none = Uuid::from_u128(7);
    let ticket = |user: Uuid| format!("/api/v1/ws/ticket?user_id={user}");
    for (place, user) in users.into_iter().enumerate() {
        let conversation = database.conversation(user, ALICE).await;
        eventually("they have asked too often", || async {
            // More than the burst, at once: one after the other they may take longer than it takes to be allowed the next.
            let asked = join_all((0..40).map(|_| async {
                match place {
                    0 => api.try_open_conversation(user, ALICE).await,
                    1 => api.mark_read(conversation, user).await,
                    2 => api.delete_message(none, user).await,
                    3 => api.search(user, "q=x").await,
                    _ => Reply::to(api.request(Method::POST, &ticket(user))).await,
                }
            }));
            let refused = asked.await.iter().any(|reply| reply.status == 429);
            refused.then_some(())
        })
        .await;
        assert_their_sends_are_left(&api, conversation, user).await;
    }
}

#[tokio::test]
async fn commands_that_are_neither_a_send_nor_an_edit_take_nothing_of_a_users_sends() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &BURST_OF_THE_LONGEST).await;
    let api = replica.api();
    let users = database.add_users(3).await;
    for (place, user) in users.into_iter().enumerate() {
        let conversation = database.conversation(user, ALICE).await;
        let (kind, data) = match place {
            0 => ("mark_read", json!({"conversationId": conversation})),
            1 => ("delete_message", json!({"messageId": Uuid::from_u128(7)})),
            _ => ("authenticate", json!({"token": "of nobody"})),
        };
        let mut socket = Socket::connect(&replica, user).await;
        let started = Instant::now();
        while socket.answer_to(kind, data.clone()).await["data"]["code"] != "too_many_requests" {
            assert!(started.elapsed() < DEADLINE, "{kind} is not limited");
        }
        assert_their_sends_are_left(&api, conversation, user).await;
    }
}

#[tokio::test]
async fn sends_take_nothing_of_what_else_a_user_may_do() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &BURST_OF_THE_LONGEST).await;
    let api = replica.api();
    let longest = "x".repeat(16 * 4096);
    api.send(conversation, ALICE, &longest).await;
    // All sixteen are left.
    let marked = join_all((0..16).map(|_| api.mark_read(conversation, ALICE))).await;
    for reply in marked {
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}
