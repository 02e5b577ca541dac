//! Whoever is told of a new conversation knows how many of its messages are unread, each of the two their own number: however many
//! there are by the time that they are told of it.

use serde_json::{Value, json};
use uuid::Uuid;

use super::cut_off::CutOff;
use super::*;

const OPENED: Uuid = Uuid::from_u128(0x0c0f_fee0);

/// One is unread for Boris, and two for Carla.
const MESSAGES: &str = "insert into messages (conversation_id, sender_id, content)
    select c.id, s.sender, s.content from conversations c
     cross join lateral (values (1, c.participant1_id, 'one'), (2, c.participant2_id, 'two'), (3, c.participant1_id, 'three'))
                        as s (place, sender, content)
     where c.participant1_id = '{BORIS}' and c.participant2_id = '{CARLA}'
     order by s.place";

/// Boris opens a conversation with Carla.
fn open() -> String {
    format!(
        "insert into conversations (id, participant1_id, participant2_id) values ('{OPENED}', '{BORIS}', '{CARLA}')"
    )
}

fn messages() -> String {
    MESSAGES
        .replace("{BORIS}", &BORIS.to_string())
        .replace("{CARLA}", &CARLA.to_string())
}

/// In one transaction, so that all of it is there when anybody reads it.
fn open_and_send() -> String {
    format!("begin; {}; {}; commit", open(), messages())
}

/// What a client shows that goes by these frames: what the conversation says of itself, and what comes behind its newest message.
fn unread(frames: &[Value], user: Uuid) -> i64 {
    let is_new = |frame: &&Value| frame["type"] == "conversation_created";
    let created = &frames.iter().find(is_new).expect("its beginning")["data"];
    assert_eq!(created["id"], json!(OPENED));
    let last_seq = created["lastSeq"].as_i64().expect("a seq");
    let behind = frames.iter().map(|frame| &frame["data"]).filter(|data| {
        data["seq"].as_i64() > Some(last_seq)
            && data["senderId"] != json!(user)
            && data["isRead"] == false
    });
    created["unreadCount"].as_i64().expect("a count") + behind.count() as i64
}

async fn assert_own_counts(replica: &Replica, boris: &mut Socket, carla: &mut Socket) {
    replica.api().send(OPENED, BORIS, "last").await;
    for (user, socket, expected) in [(BORIS, boris, 1), (CARLA, carla, 2)] {
        let frames = socket.before_message("last").await;
        assert_eq!(unread(&frames, user), expected, "{user}: {frames:#?}");
    }
}

#[tokio::test]
async fn a_conversation_that_has_messages_when_it_is_told_of_counts_for_each_their_own() {
    let greeting = format!(
        "create function greet() returns trigger language plpgsql security definer as $$
         begin {}; return null; end $$;
         create trigger greet after insert on conversations for each row execute function greet()",
        messages()
    );
    // Its notification cannot hold a participant as long as this.
    let large = format!("update users set avatar_url = repeat('x', 9000) where id = '{BORIS}'");
    for (before, opening) in [
        (String::new(), open_and_send()),
        (large, open_and_send()),
        (greeting, open()),
    ] {
        let database = Database::fresh().await;
        database.execute(&before).await;
        let replica = Replica::start(&database, &QUICK).await;
        let mut boris = Socket::connect(&replica, BORIS).await;
        let mut carla = Socket::connect(&replica, CARLA).await;
        database.execute(&opening).await;
        assert_own_counts(&replica, &mut boris, &mut carla).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_that_a_listener_catches_up_with_counts_for_each_their_own() {
    let mut stage = CutOff::set(&[]).await;
    let mut carla = Socket::connect(&stage.replica, CARLA).await;
    stage.cut().await;
    stage.database.execute(&open_and_send()).await;
    stage.comes_back().await;
    assert_own_counts(&stage.replica, &mut stage.boris, &mut carla).await;
}

#[tokio::test]
async fn a_conversation_that_a_client_was_away_for_counts_for_each_their_own() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &QUICK).await;
    let cursor = cursor_of(&Socket::connect(&replica, ALICE).await.connected);
    database.execute(&open_and_send()).await;
    let mut boris = Socket::resume(&replica, BORIS, &cursor).await;
    let mut carla = Socket::resume(&replica, CARLA, &cursor).await;
    assert_own_counts(&replica, &mut boris, &mut carla).await;
}
