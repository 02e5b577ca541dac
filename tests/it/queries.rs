//! What the queries of the service read: the pages that they touch are in proportion to what they return, whatever
//! the number of messages and conversations.
//!
//! `a_query_reads_what_it_returns` counts at a size that every run of the tests can afford. `report`, which `make queries`
//! runs, measures at 10,000 and at 1,000,000 messages and writes `docs/queries.md` and `docs/queries/plans.md`.

mod by_ids;
mod list;

use std::fmt::Write;
use std::time::Duration;

use serde_json::Value;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::support::*;
use list::{Size, by_no_name, exceptions, nothing_missed, queries};

const DATA: &str = include_str!("queries/data.sql");

/// For a million messages.
const INDEX_DEADLINE: Duration = Duration::from_secs(600);

/// Loaded, and with a complete search index.
async fn loaded(size: Size) -> Database {
    let database = Database::with_users().await;
    database.migrate(&[]).await.assert_ok();
    // Tables are cleaned below.
    database.without_autovacuum().await;
    let mut data = DATA.to_owned();
    for (name, value) in [
        ("{messages}", size.messages),
        ("{conversations}", size.conversations),
        ("{own}", size.own),
        ("{deep}", size.deep),
        ("{unread}", size.unread),
        ("{many}", size.many),
    ] {
        data = data.replace(name, &value.to_string());
    }
    let (load, vacuum) = data.split_once("-- then\n").expect("two parts");
    database.execute(load).await;
    for statement in vacuum.split(';').filter(|part| !part.trim().is_empty()) {
        database.execute(statement).await;
    }
    let replica = Replica::start(&database, &[]).await;
    let complete = "chat_search_indexes() where complete";
    eventually_within(INDEX_DEADLINE, "a search index", || async {
        (database.count(complete).await > 0).then_some(())
    })
    .await;
    drop(replica);
    database.execute("vacuum analyze messages").await;
    database
}

/// What one execution took: pages, and milliseconds.
#[derive(Clone, Copy)]
struct Cost {
    buffers: i64,
    time: f64,
}

/// The median of `rounds` executions in a session that has warmed up. What they change is rolled back.
async fn cost(client: &Client, sql: &str, rounds: usize) -> Cost {
    let mut costs = Vec::new();
    for round in 0..rounds + 6 {
        client.batch_execute("begin").await.expect("a transaction");
        let row = client
            .query_one(
                &format!("explain (analyze, buffers, timing off, format json) {sql}"),
                &[],
            )
            .await
            .expect("a plan");
        client
            .batch_execute("rollback")
            .await
            .expect("no transaction");
        let explained: Value = row.get(0);
        let plan = &explained[0]["Plan"];
        let number = |name: &str| plan[name].as_i64().expect("a number");
        if round >= 6 {
            costs.push(Cost {
                buffers: number("Shared Hit Blocks") + number("Shared Read Blocks"),
                time: explained[0]["Execution Time"].as_f64().expect("a time"),
            });
        }
    }
    costs.sort_by(|a, b| a.time.total_cmp(&b.time));
    costs[costs.len() / 2]
}

/// The plans of a query that touch our tables, without their estimates.
async fn plans(database: &Database, sql: &str) -> Vec<String> {
    let touches = |plan: &String| {
        ["messages", "conversations", "users"]
            .iter()
            .any(|table| plan.contains(&format!(" on {table}")))
    };
    let logged = database.plans(sql).await;
    let mut plans: Vec<String> = logged
        .iter()
        .filter_map(|text| text.split_once("\nQuery Text: "))
        .filter_map(|(_, text)| plan_of(text))
        .filter(touches)
        .collect();
    plans.dedup();
    plans
}

/// The plan that stands behind its statement: it begins where the first estimate stands.
fn plan_of(text: &str) -> Option<String> {
    let first = text.lines().position(|line| line.contains("  (cost="))?;
    let mut plan = String::new();
    for line in text.lines().skip(first) {
        let shown = match (line.find("  (cost="), line.find("(actual")) {
            (Some(cost), Some(actual)) => format!("{}  {}", &line[..cost], &line[actual..]),
            _ => line.to_owned(),
        };
        let end = shown
            .char_indices()
            .nth(150)
            .map_or(shown.len(), |(end, _)| end);
        writeln!(plan, "{}", shown[..end].trim_end()).expect("a string");
    }
    Some(plan)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_reads_what_it_returns_and_scans_no_table() {
    let size = Size::of(50_000);
    let database = loaded(size).await;
    let client = database.sql().await;
    for query in queries(size) {
        let cost = cost(&client, &query.sql, 1).await;
        assert!(
            cost.buffers <= query.most_buffers,
            "{}: {} buffers, at most {}\n{}",
            query.name,
            cost.buffers,
            query.most_buffers,
            plans(&database, &query.sql).await.join("\n")
        );
        let plans = plans(&database, &query.sql).await;
        assert!(!plans.is_empty(), "{}", query.name);
        for plan in plans {
            assert!(!plan.contains("Seq Scan"), "{}\n{plan}", query.name);
        }
    }
    // Whoever asks again and again what has happened to them mostly learns of nothing.
    let nothing_missed = format!("select * from {}", nothing_missed());
    let idle = cost(&client, &nothing_missed, 1).await;
    assert!(
        idle.buffers <= 40,
        "nothing was missed: {} buffers\n{}",
        idle.buffers,
        database.plans(&nothing_missed).await.join("\n")
    );
    // By name each conversation of the user's is looked at, once, and nobody else's.
    let by_no_name = format!("select * from {}", by_no_name());
    let cost = cost(&client, &by_no_name, 1).await;
    let most = 6 * i64::from(size.own) + 200;
    assert!(
        cost.buffers <= most,
        "by a name that nobody has: {} buffers, at most {most}\n{}",
        cost.buffers,
        plans(&database, &by_no_name).await.join("\n")
    );
}

/// Where a user leaves half of very much unread, a page of it costs no more than the look that finds out.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_very_many_unread_conversations_reads_no_more_than_a_bound() {
    const COUNT: i64 = 4000;
    /// The last active ones are read, and of the others every second.
    const READ: i64 = 50;
    let database = Database::with_users().await;
    database.migrate(&[]).await.assert_ok();
    database.without_autovacuum().await;
    database
        .execute(&format!(
            "set session_replication_role = replica;
             insert into users (id, first_name, last_name, email)
             select md5('user' || n)::uuid, 'User', n::text, n || '@queries.example' from generate_series(1, {COUNT}) n;
             insert into conversations (id, participant1_id, participant2_id, updated_at, active_at, last_seq, last_message_id)
             select md5('conversation' || n)::uuid, '{ALICE}', md5('user' || n)::uuid, t.at, t.at, 1, md5('message' || n)::uuid
               from generate_series(1, {COUNT}) n cross join lateral (select timestamptz '2026-01-01Z' + n * interval '1 hour' as at) t;
             insert into messages (id, conversation_id, sender_id, reader_id, content, seq, is_read)
             select md5('message' || n)::uuid, md5('conversation' || n)::uuid, md5('user' || n)::uuid, '{ALICE}', 'hello', 1,
                    n % 2 = 1 or n > {COUNT} - {READ}
               from generate_series(1, {COUNT}) n"
        ))
        .await;
    for table in ["conversations", "messages", "users"] {
        database.execute(&format!("vacuum analyze {table}")).await;
    }
    let client = database.sql().await;
    let list = |name: &str| {
        format!(
            "select * from chat_list_matching_conversations('{ALICE}', null, true, {name}, 51, 0, 4194304)"
        )
    };
    let unread: Vec<Uuid> = client
        .query(
            &format!(
                "select md5('conversation' || {COUNT} - {READ} - 2 * n)::uuid from generate_series(0, 50) n order by n"
            ),
            &[],
        )
        .await
        .expect("those to be listed")
        .iter()
        .map(|row| row.get(0))
        .collect();
    for name in ["null", "'user'"] {
        let listed = client.query(&list(name), &[]).await.expect("a page");
        let listed: Vec<Uuid> = listed
            .iter()
            .map(|row| serde_json::from_str::<Value>(row.get(0)).expect("JSON"))
            .map(|conversation| id_of(&conversation))
            .collect();
        assert_eq!(listed, unread, "{name}");
        let cost = cost(&client, &list(name), 1).await;
        assert!(
            cost.buffers <= 6000,
            "{} buffers\n{}",
            cost.buffers,
            plans(&database, &list(name)).await.join("\n")
        );
    }
}

/// Why a query reads as many pages as it does.
const REASONS: &str = "\
The last column is what the query must read at the larger size, and the pages for each of it:

- **A conversation of the list**: its row, both users, its last message and its unread messages, each by an index of three or four levels.
- **Conversations with unread messages** are found one by one in the index of unread messages, however many are unread in each; all of them are looked at for a page, since the index does not know which was active last. \
  Where there are more than 1,000, the user's conversations are looked through instead, last active first, until the page is full (see the exceptions below).
- **By a name** they are looked through in the same way: the row, and the other user. Of those with unread messages, up to 1,000, only these.
- **A message of the history**: its row and its sender. The rows that an `offset` skips are read too, without their senders; `before` skips nothing.
- **The unread count** reads the entries of the unread messages in their index, many to a page, and no row.
- **A search** ranks the newest hundred matches to show the best 20 of them (and so for each hundred that `offset` skips): these are read once in the index and once for their words.
  It first looks at all matches of the last two days, or of the last 16 in one conversation; if these are 5,000 or more, it goes through the newest messages instead.
  `offset` (1,000), `limit` (200) and `q` (`MAX_QUERY_BYTES`) are bounded, and each search counts for the rate limit.
  Phrases are checked against the text of each message that has their words, at 10 ms for 64 KiB of it. So there is a time for a search (`SEARCH_TIMEOUT_SECONDS`), one at a time for each user,
  on a third of the connections for requests. Of a message of more than 4,096 characters the rank goes by these, and a snippet is made of 2,048. Where no stem of the query stands in a text as it is, these are looked for portion by portion, at 20 to 40 ms for all 131,072 characters that are searched.
- **A message that is marked as read** is locked, and gets a new row version and an entry in most of the eight indexes, the search index included.
";

/// What reads more than in proportion to what it returns where the data is other than here.
const ELSEWHERE: &str = "\
- **Conversations with unread messages, of a user who has more than 1,000 of them and reads the newer ones**: the index of unread messages does not know which conversation was active last. \
  So the user's conversations are looked through, last active first, two pages for each, until there are enough with unread messages: nearly all of them, where these are the oldest.
- **What a client has missed, where more than 32 rows have changed since, whoever's they are**: each conversation of the user is looked at: whether one has had a message since stands in its row, in no index, or no update of it would be HOT. \
  (Of a user with more than 5,000, what has changed for everybody since is looked through instead, where that is at most 10,000 rows.) Where no more have changed, these say which conversations to look at, and nothing else is read.
";

/// Medians at both sizes. In turn, so that whatever else the machine does meets both.
async fn compared(clients: &[Client; 2], sql: [&str; 2], rounds: usize) -> [Cost; 2] {
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        for ((client, sql), costs) in clients.iter().zip(sql).zip(&mut costs) {
            costs.push(cost(client, sql, rounds).await);
        }
    }
    costs.map(|mut costs| {
        costs.sort_by(|a, b| a.time.total_cmp(&b.time));
        costs[costs.len() / 2]
    })
}

/// Pages for each of what is read; nothing where there is none of it.
fn share(cost: Cost, (what, count): (&str, u32)) -> String {
    match count {
        0 => "–".to_owned(),
        count => format!(
            "{:.1} a {what} ({count})",
            cost.buffers as f64 / f64::from(count)
        ),
    }
}

/// `1,000,000`.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `make queries`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "loads a million messages, and writes docs/queries.md and its plans"]
async fn report() {
    let sizes = [Size::of(10_000), Size::of(1_000_000)];
    let databases = [loaded(sizes[0]).await, loaded(sizes[1]).await];
    let clients = [databases[0].sql().await, databases[1].sql().await];
    let version: String = clients[0]
        .query_one("select split_part(version(), ' ', 2)", &[])
        .await
        .expect("a version")
        .get(0);
    let mut table = String::new();
    let mut details = String::new();
    let mut slow = Vec::new();
    for (small, large) in queries(sizes[0]).iter().zip(queries(sizes[1])) {
        let [few, many] = compared(&clients, [&small.sql, &large.sql], 20).await;
        let ratio = many.time / few.time;
        writeln!(
            table,
            "| {} | {} | {:.2} ms | {} | {:.2} ms | {ratio:.2} | {} |",
            large.name,
            few.buffers,
            few.time,
            many.buffers,
            many.time,
            share(many, large.of)
        )
        .expect("a string");
        if ratio > 1.5 {
            slow.push(format!("{}: {ratio:.2}", large.name));
        }
        writeln!(details, "## {}\n\n```sql\n{}\n```\n", large.name, large.sql).expect("a string");
        for plan in plans(&databases[1], &large.sql).await {
            assert!(!plan.contains("Seq Scan"), "{}\n{plan}", large.name);
            writeln!(details, "```\n{plan}```\n").expect("a string");
        }
    }
    let mut more = String::new();
    for (query, why) in exceptions() {
        let [few, many] = compared(&clients, [&query.sql, &query.sql], 1).await;
        writeln!(
            more,
            "- **{}**, `{}`: {:.1} ms and {} pages at {} messages, {:.0} ms and {} pages at {}. {why}",
            query.name,
            query.sql,
            few.time,
            few.buffers,
            grouped(sizes[0].messages),
            many.time,
            many.buffers,
            grouped(sizes[1].messages),
        )
        .expect("a string");
    }
    let [small, large] = sizes;
    let text = format!(
        "# What the queries read\n\n\
         Made by `make queries` on PostgreSQL {version}; do not edit. The pages that a query reads are in proportion to what it returns, whatever the number of messages; \
         its time at {} messages must be at most 1.5 times that at {}. [plans.md](queries/plans.md) has the plans.\n\n\
         The larger database has {} messages over a year in {} conversations, of which one user has {}; one of that user's conversations holds about {} messages. \
         About {} messages to that user are unread, and {} to the other participant of this long conversation. \
         The smaller one has {} conversations, {} of them that user's, one with {} messages. \"A great depth\" is {} messages, and {} in the smaller database. \
         Figures are medians in a warm session; pages (buffers) are of 8 KiB, those of the catalogue included. Times are those of the machine that ran it.\n\n\
         | query | pages at {} | time | pages at {} | time | ratio | pages for each |\n| --- | ---: | ---: | ---: | ---: | ---: | --- |\n{table}\n\
         {REASONS}\n\
         These read more than in proportion to what they return:\n\n{more}{ELSEWHERE}",
        grouped(large.messages),
        grouped(small.messages),
        grouped(large.messages),
        grouped(large.conversations),
        grouped(large.own),
        grouped(large.deep),
        large.unread,
        large.many,
        grouped(small.conversations),
        small.own,
        grouped(small.deep),
        grouped(large.depth()),
        grouped(small.depth()),
        grouped(small.messages),
        grouped(large.messages),
    );
    let plans = format!(
        "# Plans of the queries\n\n\
         Made by `make queries` on PostgreSQL {version}, at {} messages, as `auto_explain` logs them for the statements inside the functions. \
         [queries.md](../queries.md) has the figures.\n\n{}\n",
        grouped(large.messages),
        details.trim_end()
    );
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    std::fs::write(format!("{directory}/queries.md"), text).expect("docs/queries.md");
    std::fs::write(format!("{directory}/queries/plans.md"), plans).expect("docs/queries/plans.md");
    println!("{table}");
    assert!(slow.is_empty(), "more than 1.5 times: {slow:?}");
}
