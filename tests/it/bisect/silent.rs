//! Messages whose store takes long while the database answers others: they wait alone.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::message;
use crate::support::*;

/// What the host's trigger takes long for: contents like this, until the test says that it is over. How often that is looked at does not matter.
async fn takes_long_for(database: &Database, contents: &str) {
    database
        .execute_as_owner(&format!(
            "create table host_slow as select '{contents}'::text as contents;
             create function host_slow() returns trigger language plpgsql as $$
             begin
               while exists (select from host_slow s where new.content like s.contents) loop
                 perform pg_sleep(0.01);
               end loop;
               return null;
             end $$;
             create trigger host_slow after insert on messages for each row execute function host_slow()"
        ))
        .await;
}

async fn is_over(database: &Database) {
    database.execute_as_owner("delete from host_slow").await;
}

/// The database is at this message when this returns.
async fn begin(
    replica: &Replica,
    conversation: uuid::Uuid,
    sender: uuid::Uuid,
    content: &str,
) -> JoinHandle<Reply> {
    let api = replica.api();
    let batches = "pgchat_writer_batches_total";
    let (before, content) = (api.metric(batches).await, content.to_owned());
    let sent = tokio::spawn(async move {
        let id = format!("the id of {content}");
        api.send_once(conversation, sender, &content, &id).await
    });
    until_metric_above(replica, batches, before).await;
    sent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_store_takes_long_waits_alone_and_is_answered_in_its_time() {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let database = Database::fresh().await;
    takes_long_for(&database, "slow").await;
    let settings = [("WRITE_TIMEOUT_SECONDS", "20")];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let with_boris = database.conversation(ALICE, BORIS).await;
    let free = database.conversation(CARLA, DAVID).await;
    let started = Instant::now();
    let slow = begin(&replica, with_boris, ALICE, "slow").await;
    for number in 0..20 {
        api.send(free, CARLA, &number.to_string()).await;
    }
    assert!(!slow.is_finished(), "she waited for its deadline");
    let late = slow.await.expect("an answer");
    late.refused(503, "unavailable");
    // Half as much again, and what a loaded machine adds.
    assert!(started.elapsed() < 2 * TIMEOUT, "{:?}", started.elapsed());

    // Of what was given up nothing is left, and it is as fast as any other now.
    is_over(&database).await;
    let id = "the id of slow";
    let stored = api.send_once(with_boris, ALICE, "slow", id).await;
    assert_eq!(seq_of(&stored.ok(201)), 1);
    api.send_once(with_boris, ALICE, "slow", id).await.ok(200);
    assert_eq!(database.count("messages where content = 'slow'").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_with_messages_whose_store_takes_long_is_stored_once_and_in_order() {
    const USERS: i32 = 24;
    let database = Database::fresh().await;
    takes_long_for(&database, "slow%").await;
    let settings = [("WRITE_TIMEOUT_SECONDS", "60")];
    let replica = Replica::start(&database, &settings).await;
    let mut others = Vec::new();
    for user in database.add_users(USERS).await {
        others.push((database.conversation(BORIS, user).await, user));
    }
    let [first, with_boris, with_carla] = [
        database.conversation(ALICE, DAVID).await,
        database.conversation(ALICE, BORIS).await,
        database.conversation(ALICE, CARLA).await,
    ];
    // What comes while the database is at it is one batch, or two.
    let slow = begin(&replica, first, ALICE, "slow too").await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut requests = Vec::new();
    for (conversation, content) in [
        (with_boris, "one"),
        (with_carla, "one"),
        (with_boris, "slow"),
        (with_boris, "three"),
        (with_carla, "two"),
    ] {
        let data = message(conversation, content);
        requests.push(alice.request("send_message", data).await);
    }
    let mut sends = Vec::new();
    for (conversation, user) in others {
        let api = replica.api();
        sends.push(tokio::spawn(async move {
            api.try_send(conversation, user, "fine").await
        }));
    }
    for send in sends {
        send.await.expect("an answer").ok(201);
    }
    let [one, other_one, slow_one, three, other_two] = &requests[..] else {
        panic!("{requests:?}");
    };
    for (request, seq) in [(one, 1), (other_one, 1), (other_two, 2)] {
        let answer = alice.answer(request).await;
        assert_eq!(answer["data"]["message"]["seq"], seq, "{answer}");
    }
    assert!(!slow.is_finished(), "they waited for its deadline");
    assert_eq!(
        database.count("messages where content like 'slow%'").await,
        0
    );

    is_over(&database).await;
    slow.await.expect("an answer").ok(201);
    for (request, seq) in [(slow_one, 2), (three, 3)] {
        let answer = alice.answer(request).await;
        assert_eq!(answer["data"]["message"]["seq"], seq, "{answer}");
    }
    assert_eq!(database.count("messages").await, i64::from(USERS) + 6);
}

/// As where its disk stands still: it answers who asks nothing of the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_takes_long_for_everything_stores_each_once_and_in_order_when_it_goes_on() {
    const EACH: i64 = 2;
    const TRIES: f64 = 10.0;
    let database = Database::fresh().await;
    takes_long_for(&database, "%").await;
    let settings = [("WRITE_TIMEOUT_SECONDS", "60")];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let mut senders = Vec::new();
    for user in [BORIS, CARLA, DAVID, ELENA, FELIX, GRETA, HENRI, JONAS] {
        let conversation = database.conversation(ALICE, user).await;
        let mut socket = Socket::connect(&replica, user).await;
        let mut requests = Vec::new();
        for number in 0..EACH {
            let data = message(conversation, &number.to_string());
            requests.push(socket.request("send_message", data).await);
        }
        senders.push((socket, requests));
    }
    let tries = "pgchat_writer_batches_total";
    until_metric_above(&replica, tries, TRIES - 1.0).await;
    is_over(&database).await;
    for (socket, requests) in &mut senders {
        for (request, seq) in requests.iter().zip(1..) {
            let answer = socket.answer(request).await;
            assert_eq!(answer["data"]["message"]["seq"], seq, "{answer}");
        }
    }
    let all = EACH * i64::try_from(senders.len()).expect("a number");
    assert_eq!(database.count("messages").await, all);
    assert!(api.metric("pgchat_writer_retries_total").await >= TRIES - 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quick_messages_ahead_of_one_that_takes_long_do_not_wait_for_it() {
    const QUICK: i64 = 20;
    let database = Database::fresh().await;
    takes_long_for(&database, "slow").await;
    database
        .execute_as_owner("insert into host_slow values ('first')")
        .await;
    let settings = [("WRITE_TIMEOUT_SECONDS", "20")];
    let replica = Replica::start(&database, &settings).await;
    let elsewhere = database.conversation(CARLA, DAVID).await;
    let with_boris = database.conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    // What comes while the database is at it is one batch.
    let first = begin(&replica, elsewhere, CARLA, "first").await;
    let mut requests = Vec::new();
    for number in 0..QUICK {
        let data = message(with_boris, &number.to_string());
        requests.push(alice.request("send_message", data).await);
    }
    let slow = message(with_boris, "slow");
    let slow = alice.request("send_message", slow).await;
    let behind = message(with_boris, "behind it");
    let behind = alice.request("send_message", behind).await;
    let ahead_of_the_last = (QUICK + 1) as f64;
    until_metric_above(&replica, "pgchat_writer_queue_depth", ahead_of_the_last).await;
    database
        .execute_as_owner("delete from host_slow where contents = 'first'")
        .await;
    first.await.expect("an answer").ok(201);

    // One at a time, with a silence between them, half of them would be too late.
    for (request, seq) in requests.iter().zip(1..) {
        let answer = alice.answer(request).await;
        assert_eq!(answer["data"]["message"]["seq"], seq, "{answer}");
    }
    assert_eq!(
        database.count("messages where content = 'slow'").await,
        0,
        "they waited for it"
    );
    is_over(&database).await;
    for (request, seq) in [(slow, QUICK + 1), (behind, QUICK + 2)] {
        let answer = alice.answer(&request).await;
        assert_eq!(answer["data"]["message"]["seq"], seq, "{answer}");
    }
    assert_eq!(database.count("messages").await, QUICK + 3);
}

/// Otherwise everybody in the slow lane would wait for one silence more, a long one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_message_that_comes_with_one_that_is_refused_is_looked_for_by_halves_at_once() {
    const CONVERSATIONS: i32 = 24;
    let database = Database::fresh().await;
    takes_long_for(&database, "slow").await;
    database
        .execute_as_owner(
            "insert into host_slow values ('first');
             create function host_bad() returns trigger language plpgsql as $$
             begin
               raise exception 'not this one';
             end $$;
             create trigger host_bad before insert on messages
               for each row when (new.content = 'bad') execute function host_bad();
             create sequence host_tries;
             do $$
             begin
               for n in 1..100 loop
                 execute format('create sequence host_size_of_%s', n);
               end loop;
             end $$;
             -- Sequences alone keep what is taken back.
             create function host_counted() returns trigger language plpgsql security definer as $$
             begin
               perform setval(('host_size_of_' || nextval('host_tries'))::regclass,
                              (select count(*) from messages where create_xid = pg_current_xact_id()));
               return null;
             end $$;
             create trigger host_counted after insert on messages
               for each row when (new.content = 'slow') execute function host_counted()",
        )
        .await;
    let replica = Replica::start(&database, &[("WRITE_TIMEOUT_SECONDS", "60")]).await;
    let elsewhere = database.conversation(CARLA, DAVID).await;
    let mut contents = ["fine"; CONVERSATIONS as usize];
    (contents[0], contents[contents.len() - 1]) = ("bad", "slow");
    let mut messages = Vec::new();
    for (user, content) in database
        .add_users(CONVERSATIONS)
        .await
        .into_iter()
        .zip(contents)
    {
        messages.push(message(database.conversation(ALICE, user).await, content));
    }
    let mut alice = Socket::connect(&replica, ALICE).await;
    // What comes while the database is at it is one batch.
    let first = begin(&replica, elsewhere, CARLA, "first").await;
    let mut requests = Vec::new();
    for message in messages {
        requests.push(alice.request("send_message", message).await);
    }
    let but_for_one = f64::from(CONVERSATIONS - 1);
    until_metric_above(&replica, "pgchat_writer_queue_depth", but_for_one).await;
    database
        .execute_as_owner("delete from host_slow where contents = 'first'")
        .await;
    first.await.expect("an answer").ok(201);

    let sql = database.sql().await;
    let size_of = async |number: i32| -> Option<i64> {
        let size = format!("select last_value from host_size_of_{number} where is_called");
        let row = sql.query_opt(&size, &[]).await.expect("a sequence");
        row.map(|row| row.get(0))
    };
    let second = eventually("a second try", || size_of(2)).await;
    let first = size_of(1).await.expect("a first try");
    assert!(second <= (first / 2).max(1), "{second} after {first}");

    is_over(&database).await;
    let bad = requests.remove(0);
    let refused = alice.answer(&bad).await;
    assert_eq!(refused["data"]["code"], "internal", "{refused}");
    for request in &requests {
        let answer = alice.answer(request).await;
        assert_eq!(answer["data"]["message"]["seq"], 1, "{answer}");
    }
    let stored = i64::from(CONVERSATIONS);
    assert_eq!(database.count("messages").await, stored);
}
