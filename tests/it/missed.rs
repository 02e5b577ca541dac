//! What a user with very many conversations has missed: found from what has happened to everybody, where that is less than they have
//! conversations (`chat_missed`).

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio_postgres::Client;

use crate::support::*;

/// More than are each looked at.
const MANY: i32 = 5_001;

/// Alice's, with a message each that she has sent.
async fn with_many_conversations() -> Database {
    let database = Database::fresh().await;
    database.without_autovacuum().await;
    database.add_users(MANY).await;
    database
        .execute(&format!(
            "with new as (
               insert into conversations (participant1_id, participant2_id)
               select case when n % 2 = 0 then '{ALICE}'::uuid else id end, case when n % 2 = 0 then id else '{ALICE}'::uuid end
                 from (select id, row_number() over (order by id) as n from users where first_name = 'User') u
               returning id)
             insert into messages (conversation_id, sender_id, content) select id, '{ALICE}', 'hello' from new"
        ))
        .await;
    database
        .execute("vacuum analyze messages, conversations")
        .await;
    database
}

/// Above whatever has been done until now, however long transactions of other databases in the cluster are open.
async fn horizon(client: &Client) -> String {
    let now = "select pg_current_xact_id()::text";
    client.query_one(now, &[]).await.expect("a horizon").get(0)
}

/// One thing of those that can happen to a conversation.
fn change(random: &mut StdRng) -> String {
    let conversation = match random.random_range(0..10) {
        // Of people who have few.
        0 => "(select id from conversations where participant1_id in (select id from users where first_name <> 'User') limit 1)".to_owned(),
        place => format!("(select id from conversations order by id offset {place} limit 1)"),
    };
    let of = format!("where conversation_id = {conversation}");
    match random.random_range(0..8) {
        0 | 1 => format!(
            "insert into messages (conversation_id, sender_id, content)
             select id, participant{}_id, repeat('long', {}) from conversations where id = {conversation}",
            random.random_range(1..=2),
            random.random_range(1..5)
        ),
        2 => format!("update messages set is_read = true {of}"),
        3 => format!(
            "update messages set is_read = false {of} and seq = (select max(seq) from messages {of})"
        ),
        4 => format!("update messages set content = content || '!' {of} and deleted_at is null"),
        5 => format!(
            "update messages set deleted_at = now() {of} and seq = (select max(seq) from messages {of})"
        ),
        6 => format!("delete from messages {of} and seq = (select max(seq) from messages {of})"),
        _ => format!(
            "insert into conversations (participant1_id, participant2_id)
             select '{BORIS}'::uuid, id from users where first_name = 'User' and last_name = '{}'
             union all
             (select '{ALICE}'::uuid, id from users where first_name <> 'User' and id <> '{ALICE}' order by id offset {} limit 1)
                 on conflict do nothing",
            random.random_range(1..=MANY),
            random.random_range(0..11)
        ),
    }
}

/// However it is found.
#[tokio::test]
async fn who_has_very_many_conversations_is_told_the_same_as_whoever_has_few() {
    let database = with_many_conversations().await;
    database.conversation(BORIS, CARLA).await;
    // The same function, which looks at each conversation of whomever.
    database
        .execute(
            "do $$
             declare
               text constant text := pg_get_functiondef('chat_missed(uuid, xid8, bigint, bigint)'::regprocedure);
               text_of_each text;
             begin
               assert text like '%many constant bigint := 5000;%';
               assert text like '%little constant bigint := 32;%';
               text_of_each := replace(text, 'many constant bigint := 5000;', 'many constant bigint := 1000000;');
               text_of_each := replace(text_of_each, 'little constant bigint := 32;', 'little constant bigint := -1;');
               execute replace(text_of_each, 'public.chat_missed(', 'public.missed_by_each(');
             end $$",
        )
        .await;
    let client = database.sql().await;
    let mut random = StdRng::seed_from_u64(7);
    let mut horizons = vec![horizon(&client).await];
    for _ in 0..60 {
        database.execute(&change(&mut random)).await;
        horizons.push(horizon(&client).await);
    }
    let mut told = 0;
    for (number, horizon) in horizons.iter().enumerate() {
        let most = [1_000, 3][number % 2];
        let missed = |function: &str, user| {
            format!(
                "select coalesce(array_agg(m::text order by m.ordinality), '{{}}')
                   from {function}('{user}', '{horizon}', {most}, 8388608) with ordinality m"
            )
        };
        for user in [ALICE, BORIS] {
            let quickly = client.query_one(&missed("chat_missed", user), &[]).await;
            let by_each = client.query_one(&missed("missed_by_each", user), &[]).await;
            let quickly: Vec<String> = quickly.expect("what was missed").get(0);
            let by_each: Vec<String> = by_each.expect("what was missed").get(0);
            // Of too much, which has to be loaded, it does not matter what is told.
            match by_each.len() == most {
                true => assert_eq!(quickly.len(), most, "{user} from {horizon}"),
                false => assert_eq!(quickly, by_each, "{user} from {horizon}"),
            }
            told += quickly.len();
        }
    }
    assert!(told > 500, "{told}");
}

/// Pages read for what was missed.
async fn pages(client: &Client, horizon: &str) -> i64 {
    let explain = format!(
        "explain (analyze, buffers, format json) select * from chat_missed('{ALICE}', '{horizon}', 1001, 8388608)"
    );
    // The session's plans are made first.
    for _ in 0..2 {
        client.batch_execute(&explain).await.expect("a plan");
    }
    let plan: Value = client
        .query_one(&explain, &[])
        .await
        .expect("a plan")
        .get(0);
    let plan = &plan[0]["Plan"];
    let count = |key: &str| plan[key].as_i64().expect("a count");
    count("Shared Hit Blocks") + count("Shared Read Blocks")
}

#[tokio::test]
async fn who_has_very_many_conversations_and_missed_little_reads_little() {
    let database = with_many_conversations().await;
    let client = database.sql().await;
    let before = horizon(&client).await;
    let insert = "insert into messages (conversation_id, sender_id, content)
                  select id, participant1_id, 'new' from conversations order by id limit 3";
    database.execute(insert).await;
    let pages = pages(&client, &before).await;
    // The entries of the conversations, many to a page, and what has happened. One look at each is five thousand and more.
    assert!(pages < 1_000, "{pages} pages");
}

/// What is left of the former conversation says whose that was.
#[tokio::test]
async fn of_a_conversation_whose_id_is_another_pairs_by_now_nobody_else_is_told() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let client = database.sql().await;
    let before = horizon(&client).await;
    let insert = |sender, content| {
        format!(
            "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{sender}', '{content}')"
        )
    };
    database
        .execute(&format!(
            "{}; delete from messages; delete from conversations;
             insert into conversations (id, participant1_id, participant2_id) values ('{conversation}', '{CARLA}', '{DAVID}');
             {}; update messages set is_read = true; {}; delete from messages where content = 'gone'",
            insert(ALICE, "theirs"),
            insert(CARLA, "ours"),
            insert(DAVID, "gone"),
        ))
        .await;
    for (user, told) in [
        (ALICE, vec![]),
        (BORIS, vec![]),
        (
            CARLA,
            vec![
                "conversation_created",
                "chat_message",
                "message_deleted",
                "messages_read",
            ],
        ),
    ] {
        let missed = format!("select type from chat_missed('{user}', '{before}', 100, 100000)");
        let rows = client.query(&missed, &[]).await.expect("what was missed");
        let types: Vec<&str> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(types, told, "{user}");
    }
}
