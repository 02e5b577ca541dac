//! What a message may cost, in counts that do not depend on the machine's mood. docs/performance.md tells what they are
//! worth. A bound that a change breaks is raised only with a reason.

use std::ops::Range;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_postgres::Client;

use crate::support::*;

/// A batch of so many messages, in as many conversations as there are, as the writer sends it.
const BATCH: &str = "
    select r.* from (
      select array_agg(chat_uuid_v7()) as ids, array_agg(k.ids[1 + n % cardinality(k.ids)]) as conversations,
             array_agg(k.users[1 + n % cardinality(k.ids)]) as senders, array_agg('message ' || n) as contents,
             array_agg('text'::text) as types, array_agg(null::text) as client_ids
        from generate_series(1, $SIZE) n,
             (select array_agg(id) as ids, array_agg(participant1_id) as users from conversations) k
    ) b, chat_send_messages(b.ids, b.conversations, b.senders, b.contents, b.types, b.client_ids, true, 100, false) r";

fn batch(size: usize) -> String {
    BATCH.replace("$SIZE", &size.to_string())
}

async fn with_conversations(database: &Database) {
    for (one, other) in [
        (ALICE, BORIS),
        (ALICE, CARLA),
        (BORIS, CARLA),
        (CARLA, DAVID),
    ] {
        database.conversation(one, other).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_one_round_trip() {
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let replica = Replica::start(&database, &proxy.for_all()).await;
    let api = replica.api();
    let conversation = database.conversation(ALICE, BORIS).await;
    let mut alice = Socket::connect(&replica, ALICE).await;
    let mut requests = Vec::new();
    for number in 0..100 {
        let data = json!({"conversationId": conversation, "content": number.to_string()});
        requests.push(alice.request("send_message", data).await);
    }
    for request in &requests {
        assert_eq!(alice.answer(request).await["type"], "ack");
    }
    let batches = api.metric("pgchat_writer_batches_total").await;
    // Each connection is told of a statement once; that is a round trip, too.
    let (prepared, round_trips) =
        proxy.round_trips(&["chat_send_messages(", "chat_store_message("]);
    assert!(
        (1..=4).contains(&prepared),
        "{prepared} times prepared, on two connections"
    );
    assert_eq!(
        (round_trips - prepared) as f64,
        batches,
        "nothing else is asked for on the way"
    );
}

/// A statement inside of the function costs as much as several messages.
#[tokio::test]
async fn a_batch_runs_few_statements_whatever_its_size() {
    let database = Database::fresh().await;
    with_conversations(&database).await;
    let mut counter = StatementCounter::new(&database).await;
    counter.count(&batch(1)).await;
    for size in [1, 100] {
        let (statements, checks) = counter.count(&batch(size)).await;
        // The caller's own, the locks, what is stored, chat_publish() with one of its own, the answer.
        assert!(
            statements <= 6,
            "{statements} statements for {size} messages"
        );
        // The conversation.
        assert_eq!(checks, size, "foreign keys of {size} messages");
    }
}

/// Alice has written to so many users, one message to each, which a table `told` has.
async fn with_unread(database: &Database, users: i32) {
    database.add_users(users).await;
    database
        .execute(&format!(
            "with new as (
               insert into conversations (participant1_id, participant2_id)
               select '{ALICE}', id from users where first_name = 'User' returning id)
             insert into messages (conversation_id, sender_id, content) select id, '{ALICE}', 'hello' from new;
             create table told as select row_number() over () as number, conversation_id, reader_id from messages"
        ))
        .await;
}

/// These of them read it at once.
fn marks(numbers: Range<usize>) -> String {
    let Range { start, end } = numbers;
    format!(
        "select r.* from (
           select array_agg(conversation_id) as conversations, array_agg(reader_id) as readers, array_agg(null::bigint) as up_tos
             from told where number > {start} and number <= {end}) b,
           chat_mark_read_many(b.conversations, b.readers, b.up_tos) r"
    )
}

#[tokio::test]
async fn marks_of_many_run_few_statements_whatever_their_number() {
    let database = Database::fresh().await;
    with_unread(&database, 150).await;
    let mut counter = StatementCounter::new(&database).await;
    counter.count(&marks(0..1)).await;
    for numbers in [1..2, 2..102] {
        let size = numbers.len();
        let (statements, checks) = counter.count(&marks(numbers.clone())).await;
        // The caller's own, the marks, the snapshot that they had, their events, chat_publish() with one of its own, the answers.
        assert!(statements <= 7, "{statements} statements for {size} marks");
        assert_eq!(checks, 0, "foreign keys of {size} marks");
        let read = database.count("messages where is_read").await;
        assert_eq!(read, numbers.end as i64);
    }
}

#[tokio::test]
async fn marks_of_many_touch_few_pages_however_much_is_unread() {
    let database = Database::fresh().await;
    database.without_autovacuum().await;
    with_unread(&database, 500).await;
    let pages = async |client: &Client, first: usize| {
        let marks = marks(first..first + 100);
        let explain = format!("explain (analyze, buffers, format json) {marks}");
        let row = client.query_one(&explain, &[]).await.expect("a plan");
        pages_of(&row.get(0)) / 100
    };
    let client = database.sql().await;
    // What warms up reads the catalogs.
    pages(&client, 0).await;
    let few = pages(&client, 100).await;
    let conversation = database.conversation(BORIS, CARLA).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{BORIS}', 'unread' from generate_series(1, 50000)"
        ))
        .await;
    // Where plans were made while the table was small, and where they were not.
    let later = database.sql().await;
    pages(&later, 200).await;
    for (client, first) in [(&client, 300), (&later, 400)] {
        let many = pages(client, first).await;
        assert!(many <= few + 20, "{many} pages for a mark, {few} before");
    }
}

#[tokio::test]
async fn a_message_alone_runs_few_and_small_statements() {
    let database = Database::fresh().await;
    with_conversations(&database).await;
    let mut counter = StatementCounter::new(&database).await;
    let one = "select r.* from (select id, participant1_id from conversations limit 1) c,
               chat_store_message(chat_uuid_v7(), c.id, c.participant1_id, 'hello', 'text', null, true, 100) r";
    counter.count(one).await;
    let (statements, checks) = counter.count(one).await;
    // The caller's own, the lock, what is stored, the conversation, the sender, the notification.
    assert!(statements <= 6, "{statements} statements");
    assert_eq!(checks, 1, "foreign keys");
}

/// Nothing is to be put right where only the participants are named.
#[tokio::test]
async fn opening_a_conversation_runs_no_trigger_before_it() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let open = format!(
        "set track_functions = 'pl'; begin; select chat_open_conversation('{ALICE}', '{BORIS}', '{ALICE}')"
    );
    client.batch_execute(&open).await.expect("a conversation");
    let run = "select funcname::text from pg_stat_xact_user_functions where funcname like 'chat_conversations_%'";
    let rows = client.query(run, &[]).await.expect("functions");
    let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(names, ["chat_conversations_after_insert"]);
}

/// What PostgreSQL runs for a statement, the statements of functions and triggers included.
struct StatementCounter {
    client: Client,
    notices: mpsc::UnboundedReceiver<String>,
}

impl StatementCounter {
    async fn new(database: &Database) -> Self {
        let (client, notices) = database.sql_with_notices().await;
        client
            .batch_execute(
                "load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
                 set client_min_messages = log",
            )
            .await
            .expect("auto_explain");
        Self { client, notices }
    }

    /// Statements, and beside them the look-ups of foreign keys.
    async fn count(&mut self, sql: &str) -> (usize, usize) {
        self.client.batch_execute(sql).await.expect("a statement");
        self.client
            .batch_execute("select 'that was it'")
            .await
            .expect("the end");
        let (mut statements, mut checks) = (0, 0);
        loop {
            let notice = within("a notice", self.notices.recv())
                .await
                .expect("connected");
            if notice.contains("that was it") {
                return (statements, checks);
            }
            match notice.contains("FOR KEY SHARE") {
                true => checks += 1,
                false => statements += 1,
            }
        }
    }
}

#[tokio::test]
async fn a_batch_of_a_hundred_is_ten_notifications() {
    let database = Database::fresh().await;
    with_conversations(&database).await;
    let mut heard = database.listen("chat_events").await;
    database.execute(&batch(100)).await;
    database.execute("notify chat_events, 'the end'").await;
    let payloads = heard.before("the end").await;
    let events = payloads.iter().map(|payload| {
        let payload: Value = serde_json::from_str(payload).expect("a payload");
        payload["events"].as_array().map_or(0, Vec::len)
    });
    assert_eq!(events.sum::<usize>(), 100);
    assert!(payloads.len() <= 10, "{} notifications", payloads.len());
}

/// Pages touched for each message of a batch of a hundred.
async fn buffers(client: &Client) -> f64 {
    client
        .batch_execute(&batch(100))
        .await
        .expect("a batch that warms up");
    let explain = format!("explain (analyze, buffers, format json) {}", batch(100));
    let row = client.query_one(&explain, &[]).await.expect("a plan");
    let plan: Value = row.get(0);
    pages_of(&plan) as f64 / 100.0
}

#[tokio::test]
async fn a_message_touches_few_pages_however_many_are_stored() {
    let database = Database::fresh().await;
    database.without_autovacuum().await;
    with_conversations(&database).await;
    let client = database.sql().await;
    let empty = buffers(&client).await;
    assert!(empty <= 14.0, "{empty} pages for a message");
    client
        .batch_execute(&batch(50_000))
        .await
        .expect("many messages");
    // In the same session, whose plans were made while the table was small. Its indexes have grown by a level or two.
    let full = buffers(&client).await;
    assert!(
        full <= empty + 8.0,
        "{full} pages for a message, {empty} when empty"
    );
}

/// Of a user with so many conversations, each with a message that they missed.
async fn buffers_of_a_replay(conversations: i32) -> i64 {
    let database = Database::fresh().await;
    database.without_autovacuum().await;
    database.add_users(conversations).await;
    database
        .execute(&format!(
            "with new as (
               insert into conversations (participant1_id, participant2_id)
               select '{ALICE}', id from users where first_name = 'User' returning id)
             insert into messages (conversation_id, sender_id, content) select id, '{ALICE}', 'hello' from new"
        ))
        .await;
    database
        .execute("vacuum analyze messages, conversations")
        .await;
    let client = database.sql().await;
    let replay = format!(
        "select count(*) from chat_missed('{ALICE}', '0', 1001, 8388608) where data is not null"
    );
    let explain = format!("explain (analyze, buffers, format json) {replay}");
    let rows: i64 = client
        .query_one(&replay, &[])
        .await
        .expect("a replay")
        .get(0);
    assert_eq!(rows, 1001);
    let plan: Value = client
        .query_one(&explain, &[])
        .await
        .expect("a plan")
        .get(0);
    pages_of(&plan)
}

/// That a statement has touched, by what `explain` says of it.
fn pages_of(explained: &Value) -> i64 {
    let plan = &explained[0]["Plan"];
    let count = |key: &str| plan[key].as_i64().expect("a count");
    count("Shared Hit Blocks") + count("Shared Read Blocks")
}

#[tokio::test]
async fn a_replay_that_is_too_much_reads_little_of_what_there_is() {
    let few = buffers_of_a_replay(1100).await;
    let many = buffers_of_a_replay(4400).await;
    // The rows of the conversations, and nothing of what was said there.
    let each = (many - few) as f64 / 3300.0;
    assert!(
        each < 2.0,
        "{each} pages for each conversation more, {few} for 1100"
    );
}
