//! Users whose rows another program's transaction holds, as a job of the host's does that changes all of them, and one who is free.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{Gate, message, with_errors};
use crate::support::*;

/// Each has sent a message, the last one in the batch is free.
struct Crowd {
    /// Another conversation of each, with the user.
    elsewhere: Vec<(Uuid, Uuid)>,
    /// Holds their rows.
    job: Client,
    waiting: Vec<JoinHandle<Reply>>,
    free: JoinHandle<Value>,
}

impl Crowd {
    const USERS: i32 = 200;
    const SETTINGS: [(&str, &str); 1] = [("WRITE_TIMEOUT_SECONDS", "120")];

    async fn waits(database: &Database, replica: &Replica) -> Self {
        let api = replica.api();
        let free = database.conversation(ALICE, CARLA).await;
        database.reference_senders().await;
        database.add_users(Self::USERS).await;
        let sends = conversations(database, ALICE).await;
        let elsewhere = conversations(database, BORIS).await;
        let job = database
            .holding("select from users where first_name = 'User' for update")
            .await;
        let gate = Gate::closed(database, replica).await;
        let mut waiting = Vec::new();
        for (conversation, user) in sends {
            let api = api.clone();
            waiting.push(tokio::spawn(async move {
                api.try_send(conversation, user, "waits").await
            }));
        }
        until_metric(replica, "pgchat_writer_queue_depth", f64::from(Self::USERS)).await;
        let free = tokio::spawn(async move { api.send(free, CARLA, "is free").await });
        gate.open_when_waiting(elsewhere.len() + 1).await;
        Self {
            elsewhere,
            job,
            waiting,
            free,
        }
    }

    /// The free one's message is stored before `one` was asked of all in `work`, one after the other and in vain, and the others' when
    /// their rows are free.
    async fn delays_nobody_as_long_as(
        self,
        database: &Database,
        asks: Client,
        work: &[(Uuid, Uuid)],
        one: impl Fn(Uuid, Uuid) -> String,
    ) {
        let slower = one_by_one(&asks, work, one);
        tokio::select! {
            () = slower => panic!("it waited for each of the rows"),
            stored = self.free => stored.expect("the message"),
        };
        assert_eq!(database.count("messages where content = 'waits'").await, 0);
        self.job.batch_execute("commit").await.expect("its end");
        for send in self.waiting {
            send.await.expect("an answer").ok(201);
        }
    }
}

/// Asks for something in each conversation and of each user, all of it in vain.
async fn one_by_one(asks: &Client, of: &[(Uuid, Uuid)], one: impl Fn(Uuid, Uuid) -> String) {
    for (conversation, user) in of {
        let asked = asks.batch_execute(&one(*conversation, *user)).await;
        asked.expect_err("refused");
    }
}

/// Tries to store a message, as a replica that waits for nothing.
fn store(conversation: Uuid, sender: Uuid, content: &str) -> String {
    format!(
        "select chat_store_message(gen_random_uuid(), '{conversation}', '{sender}', '{content}', 'text', null, true, 1)"
    )
}

/// One of each of the users with this one.
async fn conversations(database: &Database, with: Uuid) -> Vec<(Uuid, Uuid)> {
    let insert = "insert into conversations (participant1_id, participant2_id)
                  select $1, id from users where first_name = 'User' returning id, participant2_id";
    let rows = database.sql().await.query(insert, &[&with]).await;
    let rows = rows.expect("conversations");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_users_whose_rows_are_locked_hold_up_nobody_for_long() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &Crowd::SETTINGS).await;
    let crowd = Crowd::waits(&database, &replica).await;
    // Whoever waits 0.1 s for each of them, on the same machine at the same time, is not through yet.
    let waits = |_, user| {
        format!("set lock_timeout = '100ms'; select from users where id = '{user}' for key share")
    };
    let (asks, work) = (database.sql().await, crowd.elsewhere.clone());
    crowd
        .delays_nobody_as_long_as(&database, asks, &work, waits)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_hold_up_nobody_for_longer_where_the_database_is_far_away() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let settings = [&proxy.for_all()[..], &Crowd::SETTINGS].concat();
    let replica = Replica::start(&database, &settings).await;
    proxy.delay(Duration::from_millis(12));
    let crowd = Crowd::waits(&database, &replica).await;
    // Whoever tries each of them by itself, and every other one once more, is not through yet. The same work, elsewhere: a conversation is
    // skipped while it is tried.
    let tries = |conversation, user| store(conversation, user, "waits");
    let asks = proxy.sql().await;
    let work = [&crowd.elsewhere[..], &crowd.elsewhere[..100]].concat();
    crowd
        .delays_nobody_as_long_as(&database, asks, &work, tries)
        .await;
}

/// Two in each of a hundred conversations, and what is free behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_messages_of_one_sender_that_always_fail_hold_up_nobody_for_long_where_the_database_is_far_away()
 {
    /// So many commands of one socket are in flight at a time.
    const OF_ONE_SOCKET: usize = 32;
    let database = Database::fresh().await;
    with_errors(&database).await;
    database.add_users(96).await;
    let elsewhere = conversations(&database, BORIS).await;
    let conversations = conversations(&database, ALICE).await;
    let free = database.conversation(BORIS, CARLA).await;
    let proxy = Proxy::before(&database).await;
    let unlimited = [("RATE_LIMIT_PER_SECOND", "0")];
    let settings = [&proxy.for_all()[..], &Crowd::SETTINGS, &unlimited].concat();
    let replica = Replica::start(&database, &settings).await;
    proxy.delay(Duration::from_millis(12));
    let gate = Gate::closed(&database, &replica).await;
    let mut sent = Vec::new();
    for some in conversations.chunks(OF_ONE_SOCKET / 2) {
        let mut alice = Socket::connect(&replica, ALICE).await;
        let mut requests = Vec::new();
        for (conversation, _) in some {
            for _ in 0..2 {
                let data = message(*conversation, "error 23514");
                requests.push(alice.request("send_message", data).await);
            }
        }
        sent.push((alice, requests));
    }
    let all = 2 * conversations.len();
    until_metric(&replica, "pgchat_writer_queue_depth", all as f64).await;
    let api = replica.api();
    let free = tokio::spawn(async move { api.send(free, CARLA, "is free").await });
    gate.open_when_waiting(all + 1).await;

    // Whoever tries each message by itself, and every other one once more, is not through yet. The same work, elsewhere.
    let asks = proxy.sql().await;
    let work = elsewhere.repeat(3);
    let tries = |conversation, user| store(conversation, user, "error 23514");
    tokio::select! {
        () = one_by_one(&asks, &work, tries) => panic!("it waited for each of the messages"),
        stored = free => stored.expect("the message"),
    };
    for (mut alice, requests) in sent {
        for request in requests {
            let answer = alice.answer(&request).await;
            assert_eq!(answer["data"]["code"], "internal", "{answer}");
        }
    }
}

/// One statement is asked after the other there, without waiting for answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_shares_a_batch_with_messages_that_always_fail_is_stored_through_pgbouncer_too() {
    const USERS: i32 = 24;
    let database = Database::fresh().await;
    with_errors(&database).await;
    database.add_users(USERS).await;
    let sends = conversations(&database, ALICE).await;
    let pooler = pooler(&database, 4).await;
    let settings = [&pooler.settings()[..], &Crowd::SETTINGS].concat();
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let gate = Gate::closed(&database, &replica).await;
    let mut answers = Vec::new();
    for (number, (conversation, user)) in sends.into_iter().enumerate() {
        let api = api.clone();
        let is_poison = number % 5 == 0;
        let content = if is_poison { "error 23514" } else { "fine" };
        let send = async move { api.try_send(conversation, user, content).await };
        answers.push((is_poison, tokio::spawn(send)));
    }
    gate.open_when_waiting(answers.len()).await;
    for (is_poison, answer) in answers {
        let answer = answer.await.expect("an answer");
        if is_poison {
            answer.refused(500, "internal");
        } else {
            answer.ok(201);
        }
    }
}
