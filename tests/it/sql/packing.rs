//! How `chat_publish()` packs events into notifications: as many as fit, in their order, and never more than fits.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::support::*;

/// PostgreSQL refuses a payload of one byte more.
const LONGEST_PAYLOAD: usize = 7999;

const CASES: usize = 64;

/// `{"n":N,"data":{"x":"…","seq":N}}`, its parts, and what travels where it does not fit.
fn head(number: usize) -> String {
    format!("{{\"n\":{number}")
}

fn data(number: usize, letters: usize) -> String {
    format!("{{\"x\":\"{}\",\"seq\":{number}}}", "x".repeat(letters))
}

fn length(number: usize, letters: usize) -> usize {
    head(number).len() + ",\"data\":}".len() + data(number, 0).len() + letters
}

fn length_without_data(number: usize) -> usize {
    format!("{},\"seq\":{number}}}", head(number)).len()
}

/// Lengths of whole events, as the room of a payload has it: small ones, and those around half of it and all of it.
fn lengths() -> impl Strategy<Value = Vec<Length>> {
    let one = prop_oneof![
        4 => (30_usize..900).prop_map(Length::Bytes),
        1 => (-3_i64..=3).prop_map(Length::AroundHalf),
        2 => (-3_i64..=3).prop_map(Length::AroundAll),
        1 => (3_i64..9000).prop_map(Length::AroundAll),
        // Fills what those before it have left.
        3 => (-2_i64..=2).prop_map(Length::AroundRest),
    ];
    prop::collection::vec(one, 0..40)
}

#[derive(Clone, Copy, Debug)]
enum Length {
    Bytes(usize),
    AroundHalf(i64),
    AroundAll(i64),
    AroundRest(i64),
}

/// Letters of each event's data.
fn letters(lengths: &[Length], room: usize) -> Vec<usize> {
    let mut taken = 0;
    let around = |bytes: usize, distance: i64| bytes.saturating_add_signed(distance as isize);
    lengths
        .iter()
        .enumerate()
        .map(|(number, wanted)| {
            let wanted = match *wanted {
                Length::Bytes(bytes) => bytes,
                Length::AroundHalf(distance) => around(room / 2, distance),
                Length::AroundAll(distance) => around(room, distance),
                Length::AroundRest(distance) => around(room - taken, distance),
            };
            let letters = wanted.saturating_sub(length(number, 0));
            let bytes = match length(number, letters) {
                all if all <= room => all,
                _ => length_without_data(number),
            };
            if taken + bytes > room {
                taken = 0;
            }
            taken = (taken + bytes + 1).min(room);
            letters
        })
        .collect()
}

#[tokio::test]
async fn events_are_packed_in_order_as_many_as_fit() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let mut heard = database.listen("chat_events").await;
    // The same cases each time: whether they reach the limit is not left to chance.
    let mut runner = TestRunner::deterministic();
    let mut longest = 0;
    for _ in 0..CASES {
        let lengths = lengths().new_tree(&mut runner).expect("a case").current();
        // One transaction with one snapshot: its number and its horizon have as many digits in all of its payloads.
        client
            .batch_execute("begin isolation level repeatable read")
            .await
            .expect("a transaction");
        let room = LONGEST_PAYLOAD - around_events(&client).await;
        let letters = letters(&lengths, room);
        let payloads = publish(&client, &mut heard, &letters).await;
        check(&payloads, &letters, room);
        longest = payloads.iter().map(String::len).fold(longest, usize::max);
    }
    assert_eq!(longest, LONGEST_PAYLOAD, "the limit itself was reached");
}

/// Who types and who is there. The first item is longer each time, so that once a payload is filled to its last byte.
#[tokio::test]
async fn who_types_and_who_is_there_is_packed_in_order_as_many_as_fit() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let mut heard = database.listen("chat_events").await;
    let mut longest = 0;
    const LENGTH: usize = 100;
    for first in 10..10 + LENGTH + 1 {
        let items: Vec<String> = (0..200)
            .map(|number| match number {
                0 => format!("\"{:0>first$}\"", 0),
                _ => format!("\"{number:0>width$}\"", width = LENGTH - 2),
            })
            .collect();
        client
            .execute(
                "select chat_publish_items('presence', gen_random_uuid(), $1)",
                &[&items],
            )
            .await
            .expect("published");
        database.execute("notify chat_events, 'the end'").await;
        let payloads = heard.before("the end").await;
        let mut told = Vec::new();
        for (place, payload) in payloads.iter().enumerate() {
            longest = longest.max(payload.len());
            let is_last = place + 1 == payloads.len();
            let is_full = payload.len() + 1 + LENGTH > LONGEST_PAYLOAD;
            assert!(is_full || is_last, "{first}: {}", payload.len());
            let payload: Value = serde_json::from_str(payload).expect("JSON");
            let items = payload["presence"].as_array().expect("items");
            told.extend(items.iter().map(Value::to_string));
        }
        assert_eq!(told, items);
    }
    assert_eq!(longest, LONGEST_PAYLOAD, "the limit itself was reached");
}

/// Its id may be another message's when it is read.
#[tokio::test]
async fn a_message_that_does_not_fit_is_told_with_its_seq_whoever_stores_or_changes_it() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut heard = database.listen("chat_events").await;
    let insert = |content: &str| {
        format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', {content})"
        )
    };
    let batch = format!(
        "select from chat_send_messages(
           array[chat_uuid_v7(), chat_uuid_v7()], array['{conversation}', '{conversation}']::uuid[], array['{ALICE}', '{ALICE}']::uuid[],
           array['small', repeat('x', 9000)], array['text', 'text'], array[null, null], true, 100, false)"
    );
    let mut told = Vec::new();
    for statement in [
        // With what is around it; by itself; as JSON.
        insert("repeat('x', 7900)"),
        insert("repeat('x', 9000)"),
        insert("repeat(chr(1), 2000)"),
        format!("select chat_send_message('{conversation}', '{ALICE}', repeat('x', 7900))"),
        batch,
        "update messages set content = repeat('x', 9000) where content = 'small'".to_owned(),
    ] {
        database.execute(&statement).await;
        database.execute("notify chat_events, 'the end'").await;
        for payload in heard.before("the end").await {
            let payload: Value = serde_json::from_str(&payload).expect("JSON");
            for event in payload["events"].as_array().expect("events") {
                let in_data = event["data"]["seq"].as_i64();
                told.push((event["seq"].as_i64(), in_data));
            }
        }
    }
    let without_data = |seq| (Some(seq), None);
    let mut expected: Vec<_> = (1..=4).map(without_data).collect();
    expected.extend([(None, Some(5)), without_data(6), without_data(5)]);
    assert_eq!(told, expected);
}

/// Bytes of a payload beside its events.
async fn around_events(client: &tokio_postgres::Client) -> usize {
    let sql = "select octet_length(chat_payload_head() || ',\"events\":[]}')";
    let row = client.query_one(sql, &[]).await.expect("a head");
    usize::try_from(row.get::<_, i32>(0)).expect("a length")
}

async fn publish(
    client: &tokio_postgres::Client,
    heard: &mut Notifications,
    letters: &[usize],
) -> Vec<String> {
    let heads: Vec<String> = (0..letters.len()).map(head).collect();
    let data: Vec<String> = letters
        .iter()
        .enumerate()
        .map(|(number, letters)| data(number, *letters))
        .collect();
    client
        .execute("select chat_publish($1, $2)", &[&heads, &data])
        .await
        .expect("published");
    client
        .batch_execute("notify chat_events, 'the end'; commit")
        .await
        .expect("the end");
    heard.before("the end").await
}

fn check(payloads: &[String], letters: &[usize], room: usize) {
    let mut number = 0;
    let mut left = room;
    for payload in payloads {
        assert!(payload.len() <= LONGEST_PAYLOAD, "{letters:?}");
        let payload: Value = serde_json::from_str(payload).expect("JSON");
        let events = payload["events"].as_array().expect("events");
        assert!(!events.is_empty(), "{letters:?}");
        for (place, event) in events.iter().enumerate() {
            assert_eq!(event["n"].as_u64(), Some(number as u64), "{letters:?}");
            let whole = length(number, letters[number]);
            let sent = match event["data"]["x"].as_str() {
                Some(data) => {
                    assert_eq!(data.len(), letters[number], "{letters:?}");
                    whole
                }
                None => {
                    assert!(whole > room, "{number} would have fitted: {letters:?}");
                    assert_eq!(event["seq"].as_u64(), Some(number as u64), "{letters:?}");
                    length_without_data(number)
                }
            };
            if place == 0 {
                let forced = number == 0 || sent > left;
                assert!(forced, "{number} had room in the one before: {letters:?}");
                left = room;
            }
            left = left.saturating_sub(sent + 1);
            number += 1;
        }
    }
    assert_eq!(number, letters.len(), "{letters:?}");
}
