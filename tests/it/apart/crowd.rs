//! Users whose rows another program's transaction holds, as a job of the host's does that changes all of them, and one who is free.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{Gate, with_errors};
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

    /// The free one's message is stored before `slower` is done, and the others' when their rows are free.
    async fn delays_nobody_as_long_as(self, database: &Database, slower: impl Future) {
        tokio::select! {
            _ = slower => panic!("it waited for each of the rows"),
            stored = self.free => stored.expect("the message"),
        };
        assert_eq!(database.count("messages where content = 'waits'").await, 0);
        self.job.batch_execute("commit").await.expect("its end");
        for send in self.waiting {
            send.await.expect("an answer").ok(201);
        }
    }
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
    let (users, waits) = (crowd.elsewhere.clone(), database.sql().await);
    // Whoever waits 0.1 s for each of them, on the same machine at the same time, is not through yet.
    let one_by_one = async {
        for (_, user) in users {
            let lock = format!(
                "set lock_timeout = '100ms'; select from users where id = '{user}' for key share"
            );
            waits.batch_execute(&lock).await.expect_err("locked");
        }
    };
    crowd.delays_nobody_as_long_as(&database, one_by_one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_hold_up_nobody_for_longer_where_the_database_is_far_away() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let settings = [&proxy.for_all()[..], &Crowd::SETTINGS].concat();
    let replica = Replica::start(&database, &settings).await;
    proxy.delay(Duration::from_millis(12));
    let crowd = Crowd::waits(&database, &replica).await;
    // Whoever tries each of them by itself is not through yet. The same work, elsewhere: a conversation is skipped while it is tried.
    let (tries, sends) = (proxy.sql().await, crowd.elsewhere.clone());
    let one_by_one = async {
        for (conversation, user) in sends {
            let send = format!(
                "select chat_store_message(gen_random_uuid(), '{conversation}', '{user}', 'waits', 'text', null, true, 1)"
            );
            tries.batch_execute(&send).await.expect_err("locked");
        }
    };
    crowd.delays_nobody_as_long_as(&database, one_by_one).await;
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
