//! What other programs do by SQL: transactions of some statements, in one conversation or several, held open for a moment, some of
//! which are rolled back, as a whole or to a savepoint.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use uuid::Uuid;

use super::{Case, Place, length, pause};

const TRANSACTIONS: usize = 10;

const BEGIN: [&str; 6] = [
    "begin",
    "begin",
    "begin",
    "begin; set local synchronous_commit = off",
    "begin isolation level repeatable read",
    "begin isolation level serializable",
];

/// What sessions beside each other are refused with: by their isolation, or because they wait for each other.
const EXPECTED: [SqlState; 4] = [
    SqlState::T_R_SERIALIZATION_FAILURE,
    SqlState::T_R_DEADLOCK_DETECTED,
    SqlState::LOCK_NOT_AVAILABLE,
    // Both delete the same message and insert it again.
    SqlState::UNIQUE_VIOLATION,
];

/// Returns how many of its transactions have committed.
pub async fn run(case: &Case<'_>, mut random: StdRng) -> usize {
    let mut committed = 0;
    let session = case.database.sql().await;
    // Whoever is the first to see a deadlock is refused: not the service.
    let patience = "set deadlock_timeout = '20ms'; set lock_timeout = '500ms'";
    session.batch_execute(patience).await.expect("a setting");
    for _ in 0..TRANSACTIONS {
        if case.ids_return && random.random_bool(0.1) {
            reuse(case, &session, &mut random).await;
        }
        match transaction(case, &session, &mut random).await {
            true => committed += 1,
            false => session.batch_execute("rollback").await.expect("its end"),
        }
    }
    committed
}

/// A message that is too long for its notification, and is gone again, and its id another message's, perhaps before it has been read
/// back for anybody: each of the three in a transaction of its own.
async fn reuse(case: &Case<'_>, session: &Client, random: &mut StdRng) {
    let Place {
        conversation,
        users,
    } = case.place(random);
    let me = *users.choose(random).expect("two");
    let id = Uuid::from_u128(random.random());
    let insert = "insert into messages (id, conversation_id, sender_id, content)";
    let place = destination(case, conversation, &format!("'{me}'"), random);
    let length = length(random);
    for sql in [
        format!("{insert} values ('{id}', '{conversation}', '{me}', repeat('reused ', 1500))"),
        format!("delete from messages where id = '{id}'"),
        format!("{insert} values ('{id}', {place}, '{me}', repeat('again ', {length}))"),
    ] {
        if !is_done(case, session, &sql).await {
            return;
        }
    }
}

/// Where a message of this sender is inserted again that was in this conversation.
fn destination(case: &Case<'_>, conversation: Uuid, sender: &str, random: &mut StdRng) -> String {
    match case.ids_move && random.random() {
        true => format!(
            "(select c.id from conversations c
               where {sender} in (c.participant1_id, c.participant2_id) and c.id <> '{conversation}')"
        ),
        false => format!("'{conversation}'"),
    }
}

/// Whether it committed.
async fn transaction(case: &Case<'_>, session: &Client, random: &mut StdRng) -> bool {
    let begin = BEGIN.choose(random).expect("levels");
    let sees_others = !begin.contains("isolation");
    session.batch_execute(begin).await.expect("a beginning");
    for _ in 0..random.random_range(1..=4) {
        let sql = statement(case, sees_others, random);
        let goes_back = random.random_bool(0.15);
        let sql = match goes_back {
            true => format!("savepoint s; {sql}; rollback to s"),
            false => sql,
        };
        if !is_done(case, session, &sql).await {
            return false;
        }
        if random.random_bool(0.5) {
            pause(random, 15).await;
        }
    }
    random.random_bool(0.9) && is_done(case, session, "commit").await
}

async fn is_done(case: &Case<'_>, session: &Client, sql: &str) -> bool {
    match session.batch_execute(sql).await {
        Ok(()) => true,
        Err(fault) => {
            let is_expected = fault.code().is_some_and(|code| {
                // The conversation was deleted and made anew.
                let is_gone = *code == SqlState::FOREIGN_KEY_VIOLATION;
                EXPECTED.contains(code) || (is_gone && case.conversations_go)
            });
            assert!(is_expected, "{fault:?}\n{sql}");
            false
        }
    }
}

/// `sees_others`: what is committed while its transaction is open.
fn statement(case: &Case<'_>, sees_others: bool, random: &mut StdRng) -> String {
    let Place {
        conversation,
        users,
    } = case.place(random);
    let me = *users.choose(random).expect("two");
    let seq = random.random_range(1..40);
    let word = random.random_range(0..1000);
    let content = format!("repeat('word {word} ', {})", length(random));
    let here = format!("conversation_id = '{conversation}'");
    // Of mine, and of those that I have to read.
    let one = format!(
        "id = (select id from messages where {here} and seq >= {seq} order by seq limit 1)"
    );
    let some = format!("{here} and seq between {seq} and {seq} + 3");
    let to_me = format!("{here} and reader_id = '{me}'");
    // Or it would not see what others make unread again.
    let unread = match sees_others {
        true => format!("{to_me} and not is_read"),
        false => to_me.clone(),
    };
    let insert = "insert into messages (conversation_id, sender_id, content)";
    if case.conversations_go && random.random_bool(0.03) {
        let [one, two] = users;
        return format!(
            "select from conversations where id = '{conversation}' for update;
             delete from messages where {here};
             delete from conversations where id = '{conversation}';
             insert into conversations (id, participant1_id, participant2_id) values ('{conversation}', '{one}', '{two}')"
        );
    }
    match random.random_range(0..20) {
        0..=2 => format!("{insert} values ('{conversation}', '{me}', {content})"),
        3 => format!(
            "{insert} select '{conversation}', '{me}', {content} || n from generate_series(1, 4) n"
        ),
        4 => format!("select chat_send_message('{conversation}', '{me}', {content})"),
        5 => format!("update messages set content = {content} where {one}"),
        6 => format!("update messages set content = {content} || seq where {some}"),
        7 => format!("update messages set deleted_at = now() where {one}"),
        8 => format!("update messages set is_read = true where {unread} and seq <= {seq}"),
        9 => format!("update messages set is_read = true where {unread}"),
        10 => format!(
            "update messages set is_read = true, content = content || '!' where {to_me} and seq <= {seq}"
        ),
        11 => format!("delete from messages where {one}"),
        12 => format!("delete from messages where {some}"),
        13 | 14 if !case.ids_return => format!("delete from messages where {one}"),
        13 => {
            let place = destination(case, conversation, "sender_id", random);
            format!(
                "create temporary table gone on commit drop as select * from messages where {one};
                 delete from messages where id in (select id from gone);
                 insert into messages (id, conversation_id, sender_id, content, is_read, created_at)
                   select id, {place}, sender_id, content, is_read, created_at from gone;
                 drop table gone"
            )
        }
        14 => {
            let place = destination(case, conversation, "sender_id", random);
            format!(
                "insert into messages (id, conversation_id, sender_id, content)
                   select message_id, {place}, sender_id, {content} from (
                     select message_id, seq, (message::json ->> 'senderId')::uuid as sender_id from chat_tombstones where {here}) t
                    order by seq limit 1
                   on conflict do nothing"
            )
        }
        15 => format!(
            "insert into messages (id, conversation_id, sender_id, content)
               select id, conversation_id, sender_id, {content} from messages where {one}
               on conflict (id) do update set content = excluded.content"
        ),
        16 => format!("update messages set is_read = false where {one}"),
        17 => format!("update messages set is_read = false where {some}"),
        18 => format!("update messages set is_read = seq <= {seq} where {to_me}"),
        _ => {
            format!("update messages set deleted_at = null where {here} and deleted_at is not null")
        }
    }
}
