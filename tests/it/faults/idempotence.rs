//! A retry stores once, whatever became of the first try.

use serde_json::{Value, json};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_copies_at_the_same_moment_on_two_replicas_are_stored_once() {
    const ROUNDS: usize = 30;
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &QUICK).await;
    let (here, there) = (here.api(), there.api());
    let conversation = here.open_conversation(ALICE, BORIS).await;

    for round in 0..ROUNDS {
        let id = format!("m-{round}");
        let (one, two) = tokio::join!(
            here.send_once(conversation, ALICE, &id, &id),
            there.send_once(conversation, ALICE, &id, &id)
        );
        let mut statuses = [one.status, two.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 201], "{one:?} {two:?}");
        assert_eq!(one.json(), two.json());
    }

    let history = here.history(conversation).await;
    let contents: Vec<&Value> = history.iter().map(|message| &message["content"]).collect();
    let sent: Vec<Value> = (0..ROUNDS)
        .map(|round| json!(format!("m-{round}")))
        .collect();
    assert_eq!(contents, sent.iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_id_at_the_same_moment_in_two_conversations_is_stored_once_and_refused_once() {
    const ROUNDS: i64 = 30;
    let database = Database::fresh().await;
    let [here, there] = Replica::start_many(&database, &QUICK).await;
    let (here, there) = (here.api(), there.api());
    let with_boris = here.open_conversation(ALICE, BORIS).await;
    let with_carla = here.open_conversation(ALICE, CARLA).await;

    for round in 0..ROUNDS {
        let id = format!("m-{round}");
        let (one, two) = tokio::join!(
            here.send_once(with_boris, ALICE, "hello", &id),
            there.send_once(with_carla, ALICE, "hello", &id)
        );
        let (stored, refused) = if one.status == 201 {
            (one, two)
        } else {
            (two, one)
        };
        assert_eq!(stored.status, 201, "{stored:?} {refused:?}");
        assert_eq!(refused.status, 409, "{stored:?} {refused:?}");
    }

    assert_eq!(database.count("messages").await, ROUNDS);
    for conversation in [with_boris, with_carla] {
        let history = here.history(conversation).await;
        let seqs: Vec<i64> = history.iter().map(seq_of).collect();
        let whole: Vec<i64> = (1..=i64::try_from(seqs.len()).expect("a count")).collect();
        assert_eq!(seqs, whole, "without a gap");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_503_stores_once() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let mut settings = quick(&proxy.for_all());
    // Time enough to reach the database over a new connection.
    settings.push(("WRITE_TIMEOUT_SECONDS", "10"));
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;

    // Once nothing reaches the database; once the message does, and only the answers stay away, over each connection that it is
    // sent again over.
    proxy.mute();
    let unheard = api.send_once(conversation, ALICE, "one", "m-1").await;
    unheard.refused(503, "unavailable");
    proxy.cut_open();
    proxy.unmute();
    until_healthy(&replica).await;
    let lost = proxy.lose_answers("two", Answer::Held);
    let unanswered = api.send_once(conversation, ALICE, "two", "m-2").await;
    unanswered.refused(503, "unavailable");
    lost.happened().await;
    assert_eq!(database.count("messages where content = 'two'").await, 1);
    proxy.lose_no_more();

    for (content, id) in [("one", "m-1"), ("two", "m-2")] {
        // The connection whose answer was held may have to be given up first.
        eventually("a repeat is answered", || async {
            let repeat = api.send_once(conversation, ALICE, content, id).await;
            matches!(repeat.status, 200 | 201).then_some(())
        })
        .await;
    }
    let stored = api.history(conversation).await;
    assert_eq!(stored.len(), 2, "{stored:?}");
}

/// A connection that says nothing costs the messages of its batch its patience, not their deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_without_an_answer_is_sent_again_over_another_connection() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let mut settings = quick(&proxy.for_all());
    settings.push(("WRITE_TIMEOUT_SECONDS", "60"));
    settings.push(("DB_TIMEOUT_SECONDS", "60"));
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;

    let lost = proxy.lose_answer("once", Answer::Held);
    // At its deadline it would be refused.
    let message = api.send(conversation, ALICE, "once").await;
    lost.happened().await;
    let frame = boris.expect("chat_message").await;
    assert_eq!(frame["data"], message);
    assert_eq!(api.history(conversation).await, [message]);
}

/// A moderator, say, was quicker. Those who were told of the deletion would not believe in the message any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_deleted_outright_before_its_sender_had_an_answer_is_not_stored_again() {
    let database = Database::fresh().await;
    // Ahead of the replicas: nobody is told of it.
    let conversation = database.conversation(ALICE, BORIS).await;
    let proxy = Proxy::before(&database).await;
    let patient = [
        ("WRITE_TIMEOUT_SECONDS", "60"),
        ("DB_TIMEOUT_SECONDS", "60"),
    ];
    let replica = Replica::start(&database, &[&proxy.for_all()[..], &patient].concat()).await;
    let other = Replica::start(&database, &QUICK).await;
    let mut boris = Socket::connect(&other, BORIS).await;

    let lost = proxy.lose_answer("hello", Answer::Held);
    let api = replica.api();
    let sending = tokio::spawn(async move { api.send(conversation, ALICE, "hello").await });
    lost.happened().await;
    database
        .execute("delete from messages where content = 'hello'")
        .await;
    let sent = sending.await.expect("an answer");

    let history = other.api().history(conversation).await;
    assert_eq!(history, Vec::<Value>::new());
    other.api().send(conversation, ALICE, "last").await;
    let told: Vec<Value> = boris.before_message("last").await;
    let types: Vec<&Value> = told.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(types, ["chat_message", "message_deleted"]);
    assert_eq!(sent["id"], told[0]["data"]["id"]);
}

/// A router has forgotten all of them. Were each found out by a message of its own, the message would wait for one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_one_of_the_writers_connections_is_silent_no_other_idle_one_is_tried() {
    const RETRIES: &str = "pgchat_writer_retries_total";
    let database = Database::fresh().await;
    database
        .execute_as_owner(
            "create function host_slow() returns trigger language plpgsql as $$
             begin
               if new.content = 'takes its time' then
                 perform pg_sleep(1);
               end if;
               return null;
             end $$;
             create trigger host_slow after insert on messages for each row execute function host_slow()",
        )
        .await;
    let proxy = Proxy::before(&database).await;
    let patient = [
        ("WRITE_TIMEOUT_SECONDS", "60"),
        ("DB_TIMEOUT_SECONDS", "60"),
    ];
    let replica = Replica::start(&database, &[&proxy.for_all()[..], &patient].concat()).await;
    let api = replica.api();
    let held = database.conversation(ALICE, BORIS).await;
    let free = database.conversation(ALICE, CARLA).await;
    const IDLE: &str = "pgchat_pool_connections{pool=\"writer\",state=\"idle\"}";
    // Once more where a slow machine has cost the writer one of them.
    eventually("two idle connections of the writer", || async {
        // What is held takes a second one, as soon as both lanes have work at the same moment.
        let holder = database.holding_conversation(held).await;
        let waiting = {
            let api = api.clone();
            tokio::spawn(async move { api.send(held, ALICE, "waits").await })
        };
        eventually("a second connection", || async {
            api.send(free, ALICE, "is free").await;
            (api.metric(IDLE).await == 2.0).then_some(())
        })
        .await;
        holder.batch_execute("commit").await.expect("its end");
        waiting.await.expect("the message");
        (api.metric(IDLE).await == 2.0).then_some(())
    })
    .await;
    // By it the writer learns to wait: the second try, over a connection that has yet to be made, has time enough.
    api.send(free, ALICE, "takes its time").await;
    let before = api.metric(RETRIES).await;

    proxy.mute_open();
    api.send(free, ALICE, "after the silence").await;
    assert_eq!(api.metric(RETRIES).await, before + 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_after_the_replica_died_between_commit_and_answer_stores_once() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let mut dying = Replica::start(&database, &quick(&proxy.for_all())).await;
    let other = Replica::start(&database, &QUICK).await;
    let conversation = other.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&other, BORIS).await;

    let lost = proxy.lose_answer("hello", Answer::Held);
    let api = dying.api();
    let first = tokio::spawn(async move {
        let body = json!({
            "conversationId": conversation, "senderId": ALICE, "content": "hello", "clientMessageId": "m-1"
        });
        let request = api.request(reqwest::Method::POST, "/api/v1/chat/messages");
        request.json(&body).send().await.map(|reply| reply.status())
    });
    lost.happened().await;
    dying.kill();
    assert!(first.await.expect("a request").is_err(), "no answer");

    let repeat = other
        .api()
        .send_once(conversation, ALICE, "hello", "m-1")
        .await;
    repeat.ok(200);
    other.api().send(conversation, ALICE, "last").await;
    let mut told = boris.before_message("last").await;
    told.retain(|frame| frame["type"] == "chat_message");
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["data"], repeat.json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_commit_got_no_answer_is_stored_once_and_acknowledged() {
    const EACH: usize = 20;
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let replica = Replica::start(&database, &quick(&proxy.for_all())).await;
    let api = replica.api();
    let with_boris = api.open_conversation(ALICE, BORIS).await;
    let with_carla = api.open_conversation(ALICE, CARLA).await;
    let mut alice = Socket::connect(&replica, ALICE).await;

    for round in 0..3 {
        let lost = proxy.lose_answer("in round", Answer::Cut);
        let mut requests = Vec::new();
        for number in 0..EACH {
            let conversation = [with_boris, with_carla][number % 2];
            // Half of them without an id that could tell a repeat.
            let mut data = json!({"conversationId": conversation, "content": format!("{number} in round {round}")});
            if number % 3 == 0 {
                data["clientMessageId"] = json!(format!("m-{round}-{number}"));
            }
            requests.push(alice.request("send_message", data).await);
        }
        for request in &requests {
            let answer = alice.answer(request).await;
            assert_eq!(answer["type"], "ack", "{answer}");
        }
        lost.happened().await;
    }
    let retries = api.metric("pgchat_writer_retries_total").await;
    assert!(retries >= 3.0, "{retries} batches were sent again");

    for (parity, conversation) in [with_boris, with_carla].into_iter().enumerate() {
        let history = api.history(conversation).await;
        let contents: Vec<&str> = history
            .iter()
            .map(|message| message["content"].as_str().expect("content"))
            .collect();
        let sent: Vec<String> = (0..3)
            .flat_map(|round| (0..EACH).map(move |number| (round, number)))
            .filter(|(_, number)| number % 2 == parity)
            .map(|(round, number)| format!("{number} in round {round}"))
            .collect();
        assert_eq!(contents, sent, "each once, in order");
    }
    api.send(with_boris, ALICE, "last").await;
    let frames = alice.before_message("last").await;
    for conversation in [with_boris, with_carla] {
        let told = super::ledger::seqs(&frames, conversation);
        assert_eq!(told, (1..=30).collect::<Vec<_>>(), "and each told of once");
    }
}
