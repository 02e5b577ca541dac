//! What programs do beside such triggers: sessions that write in every way there is, and sometimes take it back.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};
use uuid::Uuid;

use super::Place;
use crate::support::*;

/// What a sender was told of a message, in a transaction that committed.
#[derive(Debug)]
pub struct Answer {
    pub id: Uuid,
    pub status: String,
    pub message: Option<Value>,
}

pub struct Session<'a> {
    database: &'a Database,
    places: &'a [Place],
    random: StdRng,
}

/// Of the host's other programs.
const SETTINGS: [&str; 12] = [
    "set search_path = ''",
    "set synchronous_commit = off",
    "set standard_conforming_strings = off; set escape_string_warning = off",
    "set timezone = 'Asia/Kolkata'; set datestyle = 'German'; set intervalstyle = 'sql_standard'",
    "set plan_cache_mode = force_custom_plan",
    "set plan_cache_mode = force_generic_plan; set enable_indexscan = off; set enable_bitmapscan = off",
    "set quote_all_identifiers = on; set array_nulls = off; set transform_null_equals = on",
    "set plpgsql.extra_errors = 'all'; set extra_float_digits = -15",
    "set row_security = off; set xmloption = document; set bytea_output = escape",
    "set lock_timeout = '30ms'",
    "set statement_timeout = '300ms'",
    "set client_min_messages = debug5",
];

const ISOLATION: [&str; 6] = [
    "begin",
    "begin",
    "begin",
    "begin",
    "begin isolation level repeatable read",
    "begin isolation level serializable",
];

/// What such triggers, and sessions beside each other, are refused with.
fn is_expected(code: &SqlState) -> bool {
    [
        SqlState::UNIQUE_VIOLATION,
        SqlState::CHECK_VIOLATION,
        SqlState::TRIGGERED_ACTION_EXCEPTION,
        SqlState::TRIGGERED_DATA_CHANGE_VIOLATION,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        // What a statement updates, a trigger of it has updated already.
        SqlState::CARDINALITY_VIOLATION,
    ]
    .contains(code)
}

impl<'a> Session<'a> {
    pub fn new(database: &'a Database, places: &'a [Place], random: StdRng) -> Self {
        Self {
            database,
            places,
            random,
        }
    }

    pub async fn run(mut self, transactions: usize) -> Vec<Answer> {
        let client = self.database.sql().await;
        if self.random.random_bool(0.5) {
            let set = SETTINGS.choose(&mut self.random).expect("settings");
            client.batch_execute(set).await.expect("a setting");
        }
        let mut answers = Vec::new();
        for _ in 0..transactions {
            answers.extend(self.transaction(&client).await);
        }
        answers
    }

    /// What was answered, where it was committed.
    async fn transaction(&mut self, client: &Client) -> Vec<Answer> {
        let begin = ISOLATION.choose(&mut self.random).expect("levels");
        let statements = self.random.random_range(1..=3);
        let mut answers = Vec::new();
        if !is_done(client, begin).await {
            return Vec::new();
        }
        for _ in 0..statements {
            let (ids, statement) = self.statement();
            let savepoint = self.random.random_bool(0.2);
            if savepoint && !is_done(client, "savepoint s").await {
                return give_up(client).await;
            }
            let rows = ask(client, &statement).await;
            let goes_back = savepoint && (rows.is_none() || self.random.random_bool(0.5));
            if goes_back && is_done(client, "rollback to s").await {
                continue;
            }
            let Some(rows) = rows.filter(|_| !goes_back) else {
                return give_up(client).await;
            };
            for (id, (status, message)) in ids.into_iter().zip(rows) {
                answers.push(Answer {
                    id,
                    status,
                    message,
                });
            }
        }
        if self.random.random_bool(0.85) && ask(client, "commit").await.is_some() {
            return answers;
        }
        give_up(client).await
    }

    fn place(&mut self) -> (Place, Uuid) {
        let place = *self.places.choose(&mut self.random).expect("places");
        (place, *place.users.choose(&mut self.random).expect("users"))
    }

    /// As SQL.
    fn content(&mut self) -> String {
        let word = format!("'word {}'", self.random.random_range(0..40));
        // Some are too long for a notification.
        match self.random.random_bool(0.05) {
            true => format!("repeat({word}, 2000)"),
            false => word,
        }
    }

    fn name(&mut self) -> String {
        match self.random.random_bool(0.4) {
            true => format!("'name {}'", self.random.random_range(0..8)),
            false => "null".to_owned(),
        }
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u128(self.random.random())
    }

    /// The ids of what it answers for, in order, and the statement.
    fn statement(&mut self) -> (Vec<Uuid>, String) {
        let (place, sender) = self.place();
        let Place {
            conversation,
            users,
        } = place;
        let (content, name, id) = (self.content(), self.name(), self.id());
        let seq = self.random.random_range(1..12);
        let one = format!("conversation_id = '{conversation}' and seq = {seq}");
        let message = format!("(select id from public.messages where {one})");
        let sql = match self.random.random_range(0..22) {
            0..=3 => return self.batch(),
            4..=6 => {
                let skip = self.random.random_bool(0.5);
                let sql = format!(
                    "select status, message from public.chat_store_message('{id}', '{conversation}', '{sender}', {content}, 'text',
                       {name}, {skip}, 100)"
                );
                return (vec![id], sql);
            }
            7 | 8 => format!(
                "select public.chat_send_message('{conversation}', '{sender}', {content}, 'text', {name})"
            ),
            9 => format!(
                "do $$ begin
                   perform public.chat_send_message('{conversation}', '{sender}', {content});
                   raise check_violation;
                 exception when check_violation then
                   perform public.chat_send_message('{conversation}', '{sender}', 'after all', 'text', {name});
                 end $$"
            ),
            10..=12 => {
                let rows: Vec<String> = (0..self.random.random_range(1..6)).map(|_| self.row()).collect();
                let skip = ["", " on conflict do nothing"].choose(&mut self.random).expect("two");
                format!(
                    "insert into public.messages (conversation_id, sender_id, content, client_message_id) values {}{skip}",
                    rows.join(", ")
                )
            }
            13 => format!(
                "insert into public.messages (conversation_id, sender_id, content, client_message_id)
                   select '{conversation}', '{sender}', {content} || n, 'name ' || n from generate_series(1, 3) n
                   on conflict (sender_id, client_message_id) where client_message_id is not null
                   do update set content = excluded.content"
            ),
            14 => format!(
                "select status from public.chat_mark_read('{conversation}', '{}', {seq})",
                users[0]
            ),
            15 => format!("select status from public.chat_edit_message({message}, '{sender}', {content})"),
            16 => format!("select public.chat_delete_message({message}, '{sender}')"),
            17 => format!("update public.messages set content = {content} where {one} or seq = {seq} + 3"),
            18 => format!("update public.messages set is_read = true, note = 'x' where conversation_id = '{conversation}'"),
            19 => {
                let (one, other) = (self.row(), self.row());
                format!(
                    "with q as (insert into public.messages (conversation_id, sender_id, content, client_message_id) values {one}, {other}
                       returning id, conversation_id, reader_id, content)
                     select public.chat_send_message(conversation_id, reader_id, 'answer to ' || content) from q"
                )
            }
            20 => {
                let (one, other) = (self.row(), self.row());
                format!(
                    "with q as (insert into public.messages (conversation_id, sender_id, content, client_message_id) values {one}, {other}
                       returning conversation_id, reader_id)
                     insert into public.messages (conversation_id, sender_id, content) select conversation_id, reader_id, 'as well' from q"
                )
            }
            _ => format!("delete from public.messages where {one}"),
        };
        (Vec::new(), sql)
    }

    fn row(&mut self) -> String {
        let (place, sender) = self.place();
        let (content, name) = (self.content(), self.name());
        format!("('{}', '{sender}', {content}, {name})", place.conversation)
    }

    fn batch(&mut self) -> (Vec<Uuid>, String) {
        let mut columns: [Vec<String>; 5] = Default::default();
        let mut ids = Vec::new();
        for _ in 0..self.random.random_range(1..6) {
            let (place, sender) = self.place();
            // Now and then of somebody who is none of them.
            let sender = if self.random.random_bool(0.05) {
                DAVID
            } else {
                sender
            };
            ids.push(self.id());
            columns[0].push(format!("'{}'", place.conversation));
            columns[1].push(format!("'{sender}'"));
            columns[2].push(self.content());
            columns[3].push("'text'".to_owned());
            columns[4].push(self.name());
        }
        let ids_text: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        let [conversations, senders, contents, types, names] =
            columns.map(|column| column.join(", "));
        let (skip, again) = (self.random.random_bool(0.5), self.random.random_bool(0.5));
        let sql = format!(
            "select status, message from public.chat_send_messages(array[{}]::uuid[], array[{conversations}]::uuid[],
               array[{senders}]::uuid[], array[{contents}]::text[], array[{types}]::text[], array[{names}]::text[], {skip}, 100, {again})",
            ids_text.join(", ")
        );
        (ids, sql)
    }
}

/// Whether it was done: on a slow machine anything may take longer than the session's `statement_timeout`.
async fn is_done(client: &Client, sql: &str) -> bool {
    match client.batch_execute(sql).await {
        Ok(()) => true,
        Err(fault) => {
            assert_eq!(fault.code(), Some(&SqlState::QUERY_CANCELED), "{fault:?}");
            false
        }
    }
}

/// Rolls back; nothing was answered.
async fn give_up(client: &Client) -> Vec<Answer> {
    while !is_done(client, "rollback").await {}
    Vec::new()
}

/// The rows of `status` and `message`; nothing where it was refused, as it may be.
async fn ask(client: &Client, sql: &str) -> Option<Vec<(String, Option<Value>)>> {
    match client.simple_query(sql).await {
        Ok(said) => Some(
            said.iter()
                .filter_map(|said| match said {
                    SimpleQueryMessage::Row(row) if row.len() == 2 => {
                        let message = row
                            .get(1)
                            .map(|text| serde_json::from_str(text).expect("JSON"));
                        Some((row.get(0).expect("a status").to_owned(), message))
                    }
                    _ => None,
                })
                .collect(),
        ),
        Err(fault) => {
            let code = fault.code().unwrap_or_else(|| panic!("{fault:?}\n{sql}"));
            assert!(is_expected(code), "{fault:?}\n{sql}");
            None
        }
    }
}
