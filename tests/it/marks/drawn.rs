//! What is marked together is what each mark would have marked alone, whatever there is to read; and however marks come to be made, what
//! is read in the end is what a model says.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use uuid::Uuid;

use super::{Crowd, insert};
use crate::support::*;

/// What the cases of one run take, but for the last.
const TIME: Duration = Duration::from_secs(3);

const PEOPLE: [Uuid; 5] = [ALICE, BORIS, CARLA, DAVID, NOBODY];

/// Of a conversation, a reader, and a seq.
type Mark = (Uuid, Uuid, Option<i64>);

/// Status, count, and up to which seq it is read then.
type Answer = (String, i64, i64);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_that_are_made_together_are_answered_and_stored_as_each_alone() {
    let database = Database::fresh().await;
    // As a host's may.
    database
        .execute(
            "create function keep() returns trigger language plpgsql as $$
             begin
               return case old.content when 'dropped' then null when 'put back' then old else new end;
             end $$;
             create trigger keep before update on messages for each row execute function keep()",
        )
        .await;
    let sql = database.sql().await;
    for seed in seeds(3, TIME) {
        run(&database, &sql, StdRng::seed_from_u64(seed)).await;
    }
}

async fn run(database: &Database, sql: &Client, mut random: StdRng) {
    database
        .execute("delete from messages; delete from conversations; delete from chat_tombstones")
        .await;
    let mut conversations = vec![NOBODY];
    for (number, one) in PEOPLE[..4].iter().enumerate() {
        for other in &PEOPLE[number + 1..4] {
            let conversation = database.conversation(*one, *other).await;
            for _ in 0..random.random_range(0..6) {
                let sender = if random.random() { one } else { other };
                let content = match random.random_range(0..12) {
                    0 => "dropped",
                    1 => "put back",
                    _ => "hello",
                };
                let (is_read, is_deleted) = (random.random_bool(0.4), random.random_bool(0.1));
                let insert = format!(
                    "insert into messages (conversation_id, sender_id, content, is_read, deleted_at)
                     values ('{conversation}', '{sender}', '{content}', {is_read}, case when {is_deleted} then now() end)"
                );
                database.execute(&insert).await;
            }
            conversations.push(conversation);
        }
    }
    let mut marks: BTreeMap<(Uuid, Uuid), Option<i64>> = BTreeMap::new();
    for _ in 0..random.random_range(1..20) {
        let conversation = conversations[random.random_range(0..conversations.len())];
        let reader = PEOPLE[random.random_range(0..PEOPLE.len())];
        let up_to = random.random_bool(0.7).then(|| random.random_range(0..8));
        marks.insert((conversation, reader), up_to);
    }
    let marks: Vec<Mark> = marks
        .into_iter()
        .map(|((conversation, reader), up_to)| (conversation, reader, up_to))
        .collect();

    sql.batch_execute("begin").await.expect("a transaction");
    let together = together(sql, &marks).await;
    let stored_together = stored(sql).await;
    sql.batch_execute("rollback; begin").await.expect("another");
    let mut alone = Vec::new();
    for mark in &marks {
        alone.push(by_itself(sql, mark).await);
    }
    let stored_alone = stored(sql).await;
    sql.batch_execute("rollback").await.expect("the end");
    assert_eq!(together, alone, "{marks:?}");
    assert_eq!(stored_together, stored_alone, "{marks:?}");
}

async fn together(sql: &Client, marks: &[Mark]) -> Vec<Answer> {
    let conversations: Vec<Uuid> = marks.iter().map(|mark| mark.0).collect();
    let readers: Vec<Uuid> = marks.iter().map(|mark| mark.1).collect();
    let up_tos: Vec<Option<i64>> = marks.iter().map(|mark| mark.2).collect();
    let call = "select status, marked_count, read_seq, place from chat_mark_read_many($1, $2, $3)";
    let rows = sql.query(call, &[&conversations, &readers, &up_tos]).await;
    let rows = rows.expect("marks");
    let places: Vec<i32> = rows.iter().map(|row| row.get(3)).collect();
    let expected: Vec<i32> = (1..).take(marks.len()).collect();
    assert_eq!(places, expected);
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

async fn by_itself(sql: &Client, (conversation, reader, up_to): &Mark) -> Answer {
    let call = "select status, marked_count, read_seq from chat_mark_read($1, $2, $3)";
    let row = sql.query_one(call, &[conversation, reader, up_to]).await;
    let row = row.expect("a mark");
    (row.get(0), row.get(1), row.get(2))
}

async fn stored(sql: &Client) -> Vec<(Uuid, bool, i32)> {
    let messages = "select id, is_read, revision from messages order by id";
    let rows = sql.query(messages, &[]).await.expect("messages");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// Whether each message is read, by its conversation, its reader, and its seq.
type Model = BTreeMap<(Uuid, Uuid, i64), bool>;

/// Some come alone, some at once, and some meet a message that is held; all of it at one replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_marked_at_once_and_held_meanwhile_comes_to_what_a_model_says() {
    let mut crowd = Crowd::of(8).await;
    for seed in seeds(4, TIME) {
        converge(&mut crowd, StdRng::seed_from_u64(seed)).await;
    }
}

async fn converge(crowd: &mut Crowd, mut random: StdRng) {
    write_more(crowd, &mut random).await;
    let mut before = model(&crowd.database).await;
    before.retain(|(conversation, ..), _| *conversation != crowd.davids);
    let marks = draw(crowd, &mut random);
    let held = random.random_bool(0.5).then(|| {
        let (held, _) = crowd.readers[random.random_range(0..crowd.readers.len())];
        held
    });
    let at_once = random.random_bool(0.7);
    if at_once {
        crowd.shut_again().await;
        crowd.begin().await;
    }
    let mut holder = None;
    if let Some(held) = held {
        let row = format!(
            "select from messages where id = (select id from messages where conversation_id = '{held}' order by seq desc limit 1) for update"
        );
        holder = Some(crowd.database.holding(&row).await);
    }
    let mut replies = JoinSet::new();
    for (place, (conversation, reader, up_to)) in marks.iter().copied().enumerate() {
        let api = crowd.replica.api();
        let up_to = up_to.map_or_else(String::new, |seq| format!("&up_to_seq={seq}"));
        let path =
            format!("/api/v1/chat/conversations/{conversation}/read?user_id={reader}{up_to}");
        replies.spawn(async move { (place, api.put(&path).await) });
    }
    if at_once {
        // Whoever marks several waits for themselves; where a mark seemed slow in an earlier round, it does so for a turn of its own. One more
        // waits for that of the others.
        crowd.until_in_line(marks.len() + 1).await;
        crowd.go_on().await;
    }
    let mut free = marks.iter().filter(|mark| Some(mark.0) != held).count();
    let mut counts: BTreeMap<(Uuid, Uuid), i64> = BTreeMap::new();
    let mut seqs: BTreeMap<(Uuid, Uuid), i64> = BTreeMap::new();
    loop {
        if free == 0
            && let Some(holder) = holder.take()
        {
            holder.batch_execute("commit").await.expect("its end");
        }
        let Some(reply) = within("an answer", replies.join_next()).await else {
            break;
        };
        let (place, reply) = reply.expect("an answer");
        let (conversation, reader, _) = marks[place];
        free -= usize::from(Some(conversation) != held);
        let answer = reply.ok(200);
        let number = |member: &str| answer[member].as_i64().expect("a number");
        *counts.entry((conversation, reader)).or_default() += number("markedCount");
        let seq = seqs.entry((conversation, reader)).or_default();
        *seq = number("readSeq").max(*seq);
    }
    let (expected, newly) = read_by_all(&before, &marks);
    let mut after = model(&crowd.database).await;
    after.retain(|(conversation, ..), _| *conversation != crowd.davids);
    assert_eq!(after, expected, "{marks:?}");
    for (conversation, reader, _) in &marks {
        let key = (*conversation, *reader);
        let expected = newly.get(&key).copied().unwrap_or_default();
        assert_eq!(counts[&key], expected, "{marks:?}");
        let sql = "select read_seq from chat_mark_read($1, $2, 0)";
        let row = crowd.gate.query_one(sql, &[conversation, reader]).await;
        assert_eq!(
            seqs[&key],
            row.expect("a mark").get::<_, i64>(0),
            "{marks:?}"
        );
    }
}

/// A few messages in each conversation, in one perhaps more than are marked together.
async fn write_more(crowd: &Crowd, random: &mut StdRng) {
    for (conversation, reader) in &crowd.readers {
        let count = match random.random_range(0..10) {
            0 => 120,
            few => few / 2,
        };
        insert(&crowd.database, *conversation, count).await;
        if random.random() {
            let answer = format!(
                "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{reader}', 'answer')"
            );
            crowd.database.execute(&answer).await;
        }
    }
}

fn draw(crowd: &Crowd, random: &mut StdRng) -> Vec<Mark> {
    let count = random.random_range(1..24);
    let mut mark = || {
        let (conversation, other) = crowd.readers[random.random_range(0..crowd.readers.len())];
        let reader = if random.random_bool(0.8) {
            other
        } else {
            ALICE
        };
        let up_to = random.random_bool(0.6).then(|| random.random_range(0..30));
        (conversation, reader, up_to)
    };
    (0..count).map(|_| mark()).collect()
}

/// What is read after all of these, in whatever order, and how many of whom that were not.
fn read_by_all(before: &Model, marks: &[Mark]) -> (Model, BTreeMap<(Uuid, Uuid), i64>) {
    let mut newly: BTreeMap<(Uuid, Uuid), i64> = BTreeMap::new();
    let mut after = before.clone();
    for ((conversation, reader, seq), is_read) in &mut after {
        let is_of = |mark: &&Mark| (mark.0, mark.1) == (*conversation, *reader);
        let mut of_it = marks.iter().filter(is_of);
        if !*is_read && of_it.any(|mark| mark.2.is_none_or(|up_to| *seq <= up_to)) {
            *is_read = true;
            *newly.entry((*conversation, *reader)).or_default() += 1;
        }
    }
    (after, newly)
}

async fn model(database: &Database) -> Model {
    let messages = "select conversation_id, reader_id, seq, is_read from messages";
    let rows = database.sql().await.query(messages, &[]).await;
    let rows = rows.expect("messages");
    rows.iter()
        .map(|row| ((row.get(0), row.get(1), row.get(2)), row.get(3)))
        .collect()
}
