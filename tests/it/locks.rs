//! A conversation, a message or a user that another program holds locked.

mod changes;
mod left_behind;
mod one_socket;
mod usual_wait;

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::support::*;

/// Longer than a test that holds a lock takes on a slow machine: who waits in vain has tests of their own. What waited for the
/// lock, too, would be refused with it.
const PATIENT: [(&str, &str); 2] = [
    ("WRITE_TIMEOUT_SECONDS", "60"),
    ("DB_TIMEOUT_SECONDS", "60"),
];

#[tokio::test]
async fn a_locked_conversation_delays_no_other() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &PATIENT).await;
    let api = replica.api();
    let locked = api.open_conversation(ALICE, BORIS).await;
    let free = api.open_conversation(ALICE, CARLA).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let stranger = database.holding_conversation(locked).await;

    let mut waiting = Vec::new();
    for number in 0..10 {
        let data = json!({"conversationId": locked, "content": format!("waits {number}")});
        waiting.push(alice.request("send_message", data).await);
    }
    for number in 0..20 {
        api.send(free, CARLA, &number.to_string()).await;
    }
    let waited_for = format!("messages where conversation_id = '{locked}'");
    assert_eq!(
        database.count(&waited_for).await,
        0,
        "the lock is held still"
    );

    stranger.batch_execute("commit").await.expect("its end");
    for (number, request) in waiting.iter().enumerate() {
        let answer = alice.answer(request).await;
        assert_eq!(answer["type"], "ack", "{answer}");
        let message = &answer["data"]["message"];
        assert_eq!(message["seq"], number + 1);
        assert_eq!(message["content"], format!("waits {number}"));
    }
}

#[tokio::test]
async fn a_message_that_waits_too_long_is_refused_and_safe_to_repeat() {
    let database = Database::fresh().await;
    // More than the default.
    let replica = Replica::start(&database, &[("WRITE_TIMEOUT_SECONDS", "15")]).await;
    let api = replica.api();
    let locked = api.open_conversation(ALICE, BORIS).await;
    let free = api.open_conversation(ALICE, CARLA).await;
    let stranger = database.holding_conversation(locked).await;

    given_up_after_15_s(api.send_once(locked, ALICE, "hello", "m-1")).await;
    api.send(free, ALICE, "not delayed").await;

    stranger.batch_execute("commit").await.expect("its end");
    let repeat = api.send_once(locked, ALICE, "hello", "m-1").await;
    assert!(matches!(repeat.status, 200 | 201), "{repeat:?}");
    assert_eq!(api.history(locked).await, [repeat.json()]);
}

#[tokio::test]
async fn a_message_waits_for_nobody_who_holds_its_senders_row() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let _holder = database.holding("select from users for update").await;

    api.send(conversation, ALICE, "through the service").await;
    let sql = database.sql().await;
    for statement in [
        format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'in SQL')"
        ),
        format!("select chat_send_message('{conversation}', '{ALICE}', 'by the function')"),
    ] {
        // No row is waited for, not for a moment. Its commit takes the lock of all that notify, which other tests of this cluster hold while
        // theirs is flushed.
        let transaction = format!(
            "begin; set local lock_timeout = '1ms'; {statement}; set local lock_timeout = 0; commit"
        );
        let executed = sql.batch_execute(&transaction);
        let executed = within("a commit that waits for no row", executed).await;
        executed.expect("no row is waited for");
    }
    for content in ["through the service", "in SQL", "by the function"] {
        let frame = boris.expect("chat_message").await;
        assert_eq!(frame["data"]["content"], content);
    }
}

/// A foreign key for a message's sender, where the host has one, needs a lock on the host's users row; the host may be holding it.
#[tokio::test]
async fn a_locked_users_row_delays_no_other_user() {
    let database = Database::fresh().await;
    database.reference_senders().await;
    let replica = Replica::start(&database, &PATIENT).await;
    let api = replica.api();
    let held = api.open_conversation(ALICE, BORIS).await;
    let free = api.open_conversation(CARLA, DAVID).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let stranger = database
        .holding(&format!(
            "select from users where id = '{ALICE}' for update"
        ))
        .await;

    let data = json!({"conversationId": held, "content": "waits"});
    let waiting = alice.request("send_message", data).await;
    for number in 0..20 {
        api.send(free, CARLA, &number.to_string()).await;
    }

    stranger.batch_execute("commit").await.expect("its end");
    let answer = alice.answer(&waiting).await;
    assert_eq!(answer["type"], "ack", "{answer}");
}

#[tokio::test]
async fn many_locked_conversations_do_not_keep_a_free_one_in_the_slow_lane() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &PATIENT).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let briefly = database.conversation(ALICE, BORIS).await;
    let for_long = [
        database.conversation(ALICE, CARLA).await,
        database.conversation(ALICE, DAVID).await,
    ];
    let stranger = database.sql().await;
    let other = database.sql().await;
    let lock = format!("begin; select from conversations where id <> '{briefly}' for update");
    stranger.batch_execute(&lock).await.expect("the locks");
    let lock = format!("begin; select from conversations where id = '{briefly}' for update");
    other.batch_execute(&lock).await.expect("the lock");

    let mut requests = Vec::new();
    for conversation in [for_long[0], for_long[1], briefly] {
        let data = json!({"conversationId": conversation, "content": "waits"});
        requests.push(alice.request("send_message", data).await);
    }
    // Three conversations.
    until_metric_above(&replica, "pgchat_writer_slow_lane_total", 2.0).await;
    other.batch_execute("commit").await.expect("its end");
    let answer = alice.answer(&requests[2]).await;
    assert_eq!(answer["type"], "ack", "{answer}");
    stranger.batch_execute("commit").await.expect("its end");
    for request in &requests[..2] {
        let answer = alice.answer(request).await;
        assert_eq!(answer["type"], "ack", "{answer}");
    }
}

/// Each replica's batches hold conversations that the other's need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_send_in_the_same_conversations_take_turns() {
    const EACH: usize = 40;
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &PATIENT).await;
    let mut conversations = Vec::new();
    for (one, other) in [
        (ALICE, BORIS),
        (ALICE, CARLA),
        (BORIS, CARLA),
        (CARLA, DAVID),
    ] {
        conversations.push((database.conversation(one, other).await, one, other));
    }
    let mut senders = JoinSet::new();
    for (conversation, one, other) in conversations.clone() {
        for (api, user) in [(here.api(), one), (there.api(), other)] {
            senders.spawn(async move {
                for number in 0..EACH {
                    api.send(conversation, user, &number.to_string()).await;
                }
            });
        }
    }
    while let Some(done) = senders.join_next().await {
        done.expect("a sender");
    }
    let mut slow = 0.0;
    for replica in [&here, &there] {
        slow += replica.api().metric("pgchat_writer_slow_lane_total").await;
    }
    let all = conversations.len() * 2 * EACH;
    assert!(
        slow < all as f64 / 10.0,
        "{slow} of {all} turns in the slow lane"
    );
    for (conversation, ..) in conversations {
        let history = here.api().history(conversation).await;
        let seqs: Vec<i64> = history.iter().map(seq_of).collect();
        assert_eq!(seqs, (1..=2 * EACH as i64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_stranger_neither_waits_for_a_conversation_nor_holds_it_up() {
    let database = Database::fresh().await;
    let theirs = database.conversation(ALICE, BORIS).await;
    let other = database.conversation(ALICE, DAVID).await;
    // Alone; and in a batch in which a participant sends, but somewhere else.
    let batches = [
        (vec![theirs], vec![CARLA], vec!["not_a_participant"]),
        (
            vec![theirs, other],
            vec![CARLA, ALICE],
            vec!["not_a_participant", "stored"],
        ),
    ];
    let stranger = database.sql_as(SERVICE).await;
    let statuses =
        async |way: &str, conversations: &Vec<Uuid>, senders: &Vec<Uuid>| -> Vec<String> {
            let send = format!(
                "select status
               from (select array_agg(gen_random_uuid()) as ids, array_agg('x'::text) as contents,
                            array_agg('text'::text) as types, array_agg(null::text) as client_ids
                       from unnest($1::uuid[])) b, {way}"
            );
            let arrays: [&(dyn ToSql + Sync); 2] = [conversations, senders];
            let asked = stranger.query(&send, &arrays);
            let rows = within("an answer", asked).await.expect("rows");
            rows.iter().map(|row| row.get(0)).collect()
        };
    const BATCH: &str =
        "chat_send_messages(b.ids, $1, $2::uuid[], b.contents, b.types, b.client_ids";
    const ALONE: &str = "chat_store_message(b.ids[1], ($1)[1], ($2::uuid[])[1], 'x', 'text', null";
    let lock = format!("begin; select from conversations where id = '{theirs}' for update");
    let holder = database.sql().await;
    for (conversations, senders, expected) in &batches {
        // Where what is held is waited for, and where it is skipped.
        for (function, skips) in [(BATCH, false), (BATCH, true), (ALONE, false), (ALONE, true)] {
            if function == ALONE && senders.len() > 1 {
                continue;
            }
            let way = format!("{function}, {skips})");
            holder.batch_execute(&lock).await.expect("a lock");
            let answer = statuses(&way, conversations, senders).await;
            assert_eq!(answer, *expected, "{way}");
            holder.batch_execute("commit").await.expect("a commit");

            stranger
                .batch_execute("begin")
                .await
                .expect("a transaction");
            let answer = statuses(&way, conversations, senders).await;
            assert_eq!(answer, *expected, "{way}");
            let nowait = format!("{lock} nowait; commit");
            holder.batch_execute(&nowait).await.expect("it is free");
            stranger.batch_execute("commit").await.expect("a commit");
        }
    }
}

/// More than the writer's queue holds, at a conversation for whose row its participants wait.
#[tokio::test]
async fn a_strangers_flood_at_a_locked_conversation_is_refused_at_once_and_delays_nobody() {
    const QUEUE: usize = 10;
    let database = Database::fresh().await;
    let queue = QUEUE.to_string();
    let settings = [
        ("WRITER_QUEUE", queue.as_str()),
        ("RATE_LIMIT_BURST", "0"),
        PATIENT[0],
    ];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let locked = database.conversation(ALICE, BORIS).await;
    let free = database.conversation(ALICE, DAVID).await;
    let holder = database.holding_conversation(locked).await;
    let mut waiting = Vec::new();
    for user in [ALICE, BORIS] {
        let mut socket = Socket::connect(&replica, user).await;
        let data = json!({"conversationId": locked, "content": "waits"});
        let request = socket.request("send_message", data).await;
        waiting.push((socket, request));
    }
    // Both wait there.
    until_metric_above(&replica, "pgchat_writer_slow_lane_total", 1.0).await;

    let mut carla = Socket::connect(&replica, CARLA).await;
    for _ in 0..QUEUE {
        let mut flood = Vec::new();
        for _ in 0..QUEUE / 2 {
            let data = json!({"conversationId": locked, "content": "let me in"});
            flood.push(carla.request("send_message", data).await);
        }
        api.send(free, DAVID, "is not delayed").await;
        for request in flood {
            let answer = carla.answer(&request).await;
            assert_eq!(answer["data"]["code"], "not_a_participant", "{answer}");
        }
    }
    let stored = format!("messages where conversation_id = '{locked}'");
    assert_eq!(database.count(&stored).await, 0, "the lock is held still");
    holder.batch_execute("commit").await.expect("its end");
    for (mut socket, request) in waiting {
        let answer = socket.answer(&request).await;
        assert_eq!(answer["type"], "ack", "{answer}");
    }
}

/// By the function that stores it: a batch that waits would be stored by its halves, and nobody could tell but by the time.
#[tokio::test]
async fn of_a_batch_what_another_program_holds_is_left_out_and_the_rest_is_stored() {
    let database = Database::fresh().await;
    let held = database.conversation(ALICE, BORIS).await;
    let free = database.conversation(ALICE, CARLA).await;
    let holder = database.holding_conversation(held).await;
    let batch = format!(
        "set lock_timeout = '1s';
         create temporary table answer as
           select place, status from chat_send_messages(
             array[gen_random_uuid(), gen_random_uuid()], array['{held}', '{free}']::uuid[], array['{ALICE}', '{ALICE}']::uuid[],
             array['one', 'two'], array['text', 'text'], array[null, null]::text[], skip_locked => true, again => false)"
    );
    let session = database.sql().await;
    session.batch_execute(&batch).await.expect("an answer");
    let statuses = "select array_agg(status order by place) from answer";
    let row = session.query_one(statuses, &[]).await.expect("statuses");
    assert_eq!(row.get::<_, Vec<String>>(0), ["busy", "stored"]);
    holder.batch_execute("commit").await.expect("its end");
}

async fn given_up_after_15_s(asked: impl Future<Output = Reply>) -> Reply {
    let started = Instant::now();
    let reply = asked.await;
    let took = started.elapsed();
    reply.refused(503, "unavailable");
    assert!(took >= Duration::from_secs(15), "given up after {took:?}");
    assert!(took < DEADLINE, "given up after {took:?}");
    reply
}
