//! What shares a batch with a message that fails: each is stored once, and in the order of its sender.

use super::{Gate, WRITE_TIMEOUT, message, with_errors};
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shares_a_batch_with_a_message_that_always_fails_is_stored_in_order() {
    // The last is how a host refuses a message on purpose.
    for (code, said) in [
        ("23514", "internal"),
        ("23505", "internal"),
        ("PC403", "refused"),
    ] {
        let database = Database::fresh().await;
        with_errors(&database).await;
        let replica = Replica::start(&database, &[WRITE_TIMEOUT]).await;
        let conversations = [
            database.conversation(ALICE, BORIS).await,
            database.conversation(ALICE, CARLA).await,
        ];
        let mut alice = Socket::connect(&replica, ALICE).await;
        let gate = Gate::closed(&database, &replica).await;
        let mut requests = Vec::new();
        for number in 0..24 {
            let content = match number {
                7 | 8 | 20 => format!("error {code}"),
                _ => number.to_string(),
            };
            let data = message(conversations[number % 2], &content);
            requests.push(alice.request("send_message", data).await);
        }
        gate.open_when_waiting(requests.len()).await;
        let mut seqs = [0, 0];
        for (number, request) in requests.iter().enumerate() {
            let answer = alice.answer(request).await;
            if matches!(number, 7 | 8 | 20) {
                assert_eq!(answer["data"]["code"], said, "{answer}");
            } else {
                seqs[number % 2] += 1;
                let message = &answer["data"]["message"];
                assert_eq!(message["seq"], seqs[number % 2], "{code}: {answer}");
                assert_eq!(message["content"], number.to_string());
            }
        }
    }
}

/// What is behind it is stored in ever larger portions, and not one by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_behind_a_message_that_always_fails_is_stored_in_few_transactions() {
    let database = Database::fresh().await;
    with_errors(&database).await;
    database
        .execute_as_owner(
            "create table host_portions (n serial, size bigint);
             create function host_portion() returns trigger language plpgsql as $$
             begin
               insert into host_portions (size)
               select count(*) from inserted where content like 'behind it%' having count(*) > 0;
               return null;
             end $$;
             create trigger host_portion after insert on messages referencing new table as inserted
               for each statement execute function host_portion()",
        )
        .await;
    let replica = Replica::start(&database, &[WRITE_TIMEOUT]).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let gate = Gate::closed(&database, &replica).await;
    let mut requests = Vec::new();
    for number in 0..32 {
        let content = match number {
            0 => "error 23514".to_owned(),
            _ => format!("behind it {number}"),
        };
        let data = message(conversation, &content);
        requests.push(alice.request("send_message", data).await);
    }
    gate.open_when_waiting(requests.len()).await;
    let answer = alice.answer(&requests[0]).await;
    assert_eq!(answer["data"]["code"], "internal", "{answer}");
    for (request, seq) in requests[1..].iter().zip(1..) {
        let answer = alice.answer(request).await;
        assert_eq!(answer["data"]["message"]["seq"], seq, "{answer}");
    }
    let portions = "select size from host_portions order by n";
    let rows = database.sql().await.query(portions, &[]).await;
    let rows = rows.expect("the portions");
    let sizes: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(sizes.iter().sum::<i64>(), 31, "{sizes:?}");
    // The last one is what is left.
    let but_last = &sizes[..sizes.len() - 1];
    assert!(
        but_last.windows(2).all(|two| two[1] >= 2 * two[0]),
        "{sizes:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waited_for_a_conversation_together_with_a_message_that_always_fails_is_stored_in_order()
 {
    let database = Database::fresh().await;
    with_errors(&database).await;
    let replica = Replica::start(&database, &[WRITE_TIMEOUT]).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let holder = database.holding_conversation(conversation).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut requests = Vec::new();
    for content in ["one", "error 23514", "two", "error 23505", "three"] {
        let data = message(conversation, content);
        requests.push(alice.request("send_message", data).await);
    }
    until_metric_above(&replica, "pgchat_writer_slow_lane_total", 0.0).await;
    holder.batch_execute("commit").await.expect("its end");
    let mut answers = Vec::new();
    for request in &requests {
        answers.push(alice.answer(request).await["data"].take());
    }
    for (place, seq) in [(0, 1), (2, 2), (4, 3)] {
        assert_eq!(answers[place]["message"]["seq"], seq, "{answers:?}");
    }
    for place in [1, 3] {
        assert_eq!(answers[place]["code"], "internal", "{answers:?}");
    }
}

/// A host that refuses every statement with the message `refused`, and of those without it the first with the message `late`, for a moment.
async fn with_one_refused_and_one_late(database: &Database) {
    database
        .execute_as_owner(
            "create sequence host_tries;
             create function host_check() returns trigger language plpgsql as $$
             begin
               if exists (select from inserted i where i.content = 'refused') then
                 raise check_violation;
               elsif exists (select from inserted i where i.content = 'late') and nextval('host_tries') = 1 then
                 raise serialization_failure;
               end if;
               return null;
             end $$;
             create trigger host_check after insert on messages referencing new table as inserted
               for each statement execute function host_check()",
        )
        .await;
}

/// It was tried without what is refused, and could not be stored.
async fn assert_late_was_late(database: &Database) {
    let tries = database.count("host_tries where last_value > 1").await;
    assert_eq!(tries, 1, "it was never tried without what is refused");
}

/// The first of three cannot be stored for a moment, just when the second is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_overtakes_none_of_its_sender_when_a_batch_is_bisected() {
    let database = Database::fresh().await;
    with_one_refused_and_one_late(&database).await;
    let replica = Replica::start(&database, &[WRITE_TIMEOUT]).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let gate = Gate::closed(&database, &replica).await;
    let mut requests = Vec::new();
    for content in ["late", "refused", "third"] {
        let data = message(conversation, content);
        requests.push(alice.request("send_message", data).await);
    }
    gate.open_when_waiting(requests.len()).await;
    let mut answers = Vec::new();
    for request in &requests {
        answers.push(alice.answer(request).await["data"].take());
    }
    assert_eq!(answers[0]["message"]["seq"], 1, "{answers:?}");
    assert_eq!(answers[1]["code"], "internal", "{answers:?}");
    assert_eq!(answers[2]["message"]["seq"], 2, "{answers:?}");
    assert_late_was_late(&database).await;
}

/// Where many conversations are in a batch that failed, the first message of each is tried by itself, all of them in one round trip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_overtakes_none_of_its_sender_when_several_conversations_are_tried_at_once() {
    let database = Database::fresh().await;
    with_one_refused_and_one_late(&database).await;
    let replica = Replica::start(&database, &[WRITE_TIMEOUT]).await;
    let first = database.conversation(ALICE, BORIS).await;
    let second = database.conversation(ALICE, CARLA).await;
    let other = database.conversation(ALICE, DAVID).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let gate = Gate::closed(&database, &replica).await;
    // The half of this batch that is at fault is those in the first two conversations.
    let sends = [
        (first, "late", 1),
        (second, "refused", 0),
        (first, "two", 2),
        (second, "three", 1),
        (other, "four", 1),
        (other, "five", 2),
        (other, "six", 3),
        (other, "seven", 4),
    ];
    let mut requests = Vec::new();
    for (conversation, content, _) in sends {
        let data = message(conversation, content);
        requests.push(alice.request("send_message", data).await);
    }
    gate.open_when_waiting(requests.len()).await;
    for (request, (_, content, seq)) in requests.iter().zip(sends) {
        let answer = alice.answer(request).await["data"].take();
        match content {
            "refused" => assert_eq!(answer["code"], "internal", "{answer}"),
            _ => assert_eq!(answer["message"]["seq"], seq, "{content}: {answer}"),
        }
    }
    assert_late_was_late(&database).await;
}

/// Somebody's trigger discards what its session has prepared: the statement of those that were asked behind it in the same round trip.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_statement_that_is_lost_while_each_message_is_tried_by_itself_costs_nobody_a_message()
 {
    let database = Database::fresh().await;
    database
        .execute_as_owner(
            "create function host_check() returns trigger language plpgsql as $$
             declare
               contents constant text[] := array(select i.content from inserted i);
             begin
               if 'refused' = any (contents) then
                 raise check_violation;
               elsif contents = '{discards}' then
                 deallocate all;
               end if;
               return null;
             end $$;
             create trigger host_check after insert on messages referencing new table as inserted
               for each statement execute function host_check()",
        )
        .await;
    let replica = Replica::start(&database, &[WRITE_TIMEOUT]).await;
    let mut conversations = Vec::new();
    for partner in database.add_users(8).await {
        conversations.push(database.conversation(ALICE, partner).await);
    }
    let mut alice = Socket::connect(&replica, ALICE).await;
    let gate = Gate::closed(&database, &replica).await;
    let contents = [
        "discards", "fine", "refused", "fine", "discards", "fine", "fine", "refused",
    ];
    let mut requests = Vec::new();
    for (conversation, content) in conversations.iter().zip(contents) {
        let data = message(*conversation, content);
        requests.push(alice.request("send_message", data).await);
    }
    gate.open_when_waiting(requests.len()).await;
    for (request, content) in requests.iter().zip(contents) {
        let answer = alice.answer(request).await["data"].take();
        match content {
            "refused" => assert_eq!(answer["code"], "internal", "{answer}"),
            _ => assert_eq!(answer["message"]["content"], content, "{answer}"),
        }
    }
    // Each once.
    let stored = "messages where content in ('discards', 'fine')";
    assert_eq!(database.count(stored).await, 6);
    assert_eq!(
        database.count("messages where content = 'refused'").await,
        0
    );
}
