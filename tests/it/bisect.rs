//! A message that the database does not take, whatever it says about it, and those that come with it.

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::*;

mod crowd;
mod order;
mod silent;

/// Longer than anything here waits: whoever had to wait for somebody else's deadline would be refused with it.
const WRITE_TIMEOUT: (&str, &str) = ("WRITE_TIMEOUT_SECONDS", "60");

/// A host whose triggers raise the SQLSTATE that a message consists of.
async fn with_errors(database: &Database) {
    database
        .execute_as_owner(
            "create function host_error() returns trigger language plpgsql as $$
             begin
               if new.content like 'error _____' then
                 raise exception 'the host says so' using errcode = substr(new.content, 7);
               end if;
               return null;
             end $$;
             create trigger host_error after insert on messages for each row execute function host_error()",
        )
        .await;
}

/// A batch that the database is at, so that all that comes meanwhile is one batch. The replica has learnt that answers take seconds here:
/// it would go on with what has come by then after two of them.
struct Gate<'a> {
    database: &'a Database,
    replica: &'a Replica,
    first: JoinHandle<Value>,
}

impl<'a> Gate<'a> {
    async fn closed(database: &'a Database, replica: &'a Replica) -> Self {
        database
            .execute_as_owner(
                "create table host_gate as select true as closed;
                 create function host_gate() returns trigger language plpgsql as $$
                 begin
                   -- A slow database.
                   if new.content like 'takes %' then
                     perform pg_sleep(substr(new.content, 7)::float);
                   end if;
                   -- Until the test opens it; how often that is looked at does not matter.
                   while new.content = 'first' and exists (select from host_gate) loop
                     perform pg_sleep(0.01);
                   end loop;
                   return null;
                 end $$;
                 create trigger host_gate after insert on messages for each row execute function host_gate()",
            )
            .await;
        let conversation = database.conversation(BORIS, DAVID).await;
        let api = replica.api();
        for lesson in ["takes 1", "takes 3.5"] {
            api.send(conversation, BORIS, lesson).await;
        }
        let before = api.metric("pgchat_writer_batches_total").await;
        let first = tokio::spawn(async move { api.send(conversation, BORIS, "first").await });
        until_metric_above(replica, "pgchat_writer_batches_total", before).await;
        Self {
            database,
            replica,
            first,
        }
    }

    async fn open_when_waiting(self, messages: usize) {
        until_metric(self.replica, "pgchat_writer_queue_depth", messages as f64).await;
        self.database
            .execute_as_owner("delete from host_gate")
            .await;
        self.first.await.expect("the first message");
    }
}

fn message(conversation: Uuid, content: &str) -> Value {
    json!({"conversationId": conversation, "content": content})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_always_fails_is_refused_and_delays_nobody() {
    let database = Database::fresh().await;
    with_errors(&database).await;
    let replica = Replica::start(&database, &[WRITE_TIMEOUT]).await;
    let api = replica.api();
    let (with_boris, with_carla) = (
        database.conversation(ALICE, BORIS).await,
        database.conversation(ALICE, CARLA).await,
    );
    // The last is also that of a full queue of notifications, which says so.
    for code in ["23514", "23505", "0A000", "54000"] {
        let poison = {
            let (api, content) = (replica.api(), format!("error {code}"));
            tokio::spawn(async move { api.try_send(with_boris, ALICE, &content).await })
        };
        for number in 0..10 {
            api.send(with_carla, CARLA, &number.to_string()).await;
        }
        let refused = poison.await.expect("an answer");
        refused.refused(500, "internal");
    }
    let fine = api.send(with_boris, ALICE, "fine").await;
    assert_eq!(seq_of(&fine), 1);
}

/// Of the server's state or of others' transactions these speak, so they are tried until their time is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_the_database_cannot_store_now_waits_alone() {
    let database = Database::fresh().await;
    with_errors(&database).await;
    let settings = [("WRITE_TIMEOUT_SECONDS", "20")];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let free = database.conversation(CARLA, DAVID).await;
    let mut waiting = Vec::new();
    for (partner, code) in [
        (BORIS, "40001"),
        (CARLA, "53100"),
        (DAVID, "55000"),
        (ELENA, "57014"),
        // What `transaction_timeout` says, from PostgreSQL 17 on.
        (FELIX, "25P04"),
        // As a foreign table does whose server is away: none of these is of the session that it runs in.
        (GRETA, "08001"),
        (HENRI, "57P01"),
        (JONAS, "25006"),
    ] {
        let conversation = database.conversation(ALICE, partner).await;
        let (api, content) = (replica.api(), format!("error {code}"));
        waiting.push(tokio::spawn(async move {
            api.try_send(conversation, ALICE, &content).await
        }));
    }
    eventually("all eight in the slow lane", || async {
        api.send(free, CARLA, "is not delayed").await;
        (api.metric("pgchat_writer_slow_lane_total").await >= 8.0).then_some(())
    })
    .await;
    assert!(
        waiting.iter().all(|send| !send.is_finished()),
        "she waited for their deadline"
    );
    for send in waiting {
        send.await.expect("an answer").refused(503, "unavailable");
    }
    assert_eq!(
        database
            .count("messages where content like 'error %'")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversation_whose_last_seq_is_behind_goes_on_after_its_messages() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[WRITE_TIMEOUT]).await;
    let api = replica.api();
    let repaired = database.conversation(ALICE, BORIS).await;
    let other = database.conversation(ALICE, CARLA).await;
    let behind = async || {
        let repair = format!("update conversations set last_seq = 0 where id = '{repaired}'");
        database.execute(&repair).await;
    };
    let whole = async || {
        let seqs: Vec<i64> = api.history(repaired).await.iter().map(seq_of).collect();
        assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<_>>());
        let last = format!(
            "conversations where id = '{repaired}' and last_seq = {}",
            seqs.len()
        );
        assert_eq!(database.count(&last).await, 1, "last_seq is mended");
    };
    for number in 0..3 {
        api.send(repaired, ALICE, &number.to_string()).await;
    }

    // One alone.
    behind().await;
    let sent = api.send(repaired, BORIS, "three").await;
    assert_eq!(seq_of(&sent), 4);
    whole().await;

    // By another program.
    behind().await;
    let program = database.sql().await;
    let send = "select chat_send_message($1, $2, 'four') ->> 'seq'";
    let seq = program.query_one(send, &[&repaired, &ALICE]).await;
    assert_eq!(seq.expect("a message").get::<_, &str>(0), "5");
    whole().await;

    // In a batch.
    behind().await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut requests = Vec::new();
    for number in 0..20 {
        let data = message([repaired, other][number % 2], &number.to_string());
        requests.push(alice.request("send_message", data).await);
    }
    for request in &requests {
        let answer = alice.answer(request).await;
        assert_eq!(answer["type"], "ack", "{answer}");
    }
    whole().await;
}

/// As when a listener somewhere in the cluster has stopped reading. The error comes at commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_queue_of_notifications_is_full_messages_wait() {
    let database = Database::fresh().await;
    database
        .execute_as_owner(
            "create sequence host_tries;
             create table host_full as select true as yes;
             create function host_notify() returns trigger language plpgsql security definer as $$
             begin
               if exists (select from host_full) then
                 perform nextval('host_tries');
                 raise program_limit_exceeded using message = 'too many notifications in the NOTIFY queue';
               end if;
               return null;
             end $$;
             create constraint trigger host_notify after insert on messages deferrable initially deferred
               for each row execute function host_notify()",
        )
        .await;
    let settings = [("WRITE_TIMEOUT_SECONDS", "6")];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = database.conversation(ALICE, BORIS).await;
    let late = api.try_send(conversation, ALICE, "too late").await;
    late.refused(503, "unavailable");
    let tries = async || -> i64 {
        let client = database.sql().await;
        let tries = "select last_value from host_tries";
        let row = client.query_one(tries, &[]).await;
        row.expect("their number").get(0)
    };
    let before = tries().await;
    assert!(before <= 120, "{before} tries, without pauses between them");

    let waiting = {
        let api = api.clone();
        tokio::spawn(async move { api.try_send(conversation, BORIS, "in time").await })
    };
    eventually("a try that fails", || async {
        (tries().await > before).then_some(())
    })
    .await;
    database.execute_as_owner("delete from host_full").await;
    let stored = waiting.await.expect("an answer").ok(201);
    assert_eq!(seq_of(&stored), 1);
}
