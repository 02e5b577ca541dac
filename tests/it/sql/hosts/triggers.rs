//! What a host's triggers may do.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::support::*;

/// Which messages a trigger means: `it` is what it sees.
const SOME: &str = "abs(hashtext(it.content)) % K = 0";

/// An event, whether its function sees `new` or `old`, what it returns, and what it does.
type Kind = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const BEFORE_INSERT: Kind = (
    "before insert on messages for each row",
    "new",
    "new",
    &[
        "return null;",
        "new.content := 'censored ' || new.content;",
        "new.message_type := 'image';",
        "new.created_at := now() - interval '1 hour';",
        "new.updated_at := now();",
        "new.note := 'seen';",
        "update messages set is_read = true where conversation_id = new.conversation_id and sender_id <> new.sender_id and not is_read;",
        "update messages set content = 'mended' where conversation_id = new.conversation_id and seq = 1;",
        "delete from messages where conversation_id = new.conversation_id and seq % 5 = 0;",
        "update conversations set updated_at = clock_timestamp() where id = new.conversation_id;",
        "raise check_violation;",
        "raise serialization_failure;",
        "insert into messages (conversation_id, sender_id, content) values (new.conversation_id, new.sender_id, 'hasty ' || new.content);",
        "insert into messages (conversation_id, sender_id, content)
           select id, new.sender_id, 'forwarded ' || new.content from conversations
            where id <> new.conversation_id and new.sender_id in (participant1_id, participant2_id) order by id limit 1;",
        "insert into messages (conversation_id, sender_id, content)
           select id, new.sender_id, 'instead of ' || new.content from conversations
            where id <> new.conversation_id and new.sender_id in (participant1_id, participant2_id) order by id limit 1;
         return null;",
        "new.id := gen_random_uuid();",
        "select id into new.conversation_id from conversations
          where id <> new.conversation_id and new.sender_id in (participant1_id, participant2_id) order by id limit 1;",
        "select case new.sender_id when participant1_id then participant2_id else participant1_id end into new.sender_id
           from conversations where id = new.conversation_id;",
        "new.seq := new.seq + 1;",
        "new.seq := null;",
        "new.reader_id := new.sender_id;",
        "new.revision := 7;",
        "new.deleted_at := now();",
        "new.is_read := true;",
    ],
);

const AFTER_INSERT_ACTIONS: &[&str] = &[
    "insert into messages (conversation_id, sender_id, content) values (it.conversation_id, it.reader_id, 'pong ' || it.content);",
    "insert into messages (conversation_id, sender_id, content)
       select it.conversation_id, it.reader_id, 'pong ' || n || it.content from generate_series(1, 2) n;",
    "perform chat_send_message(it.conversation_id, it.reader_id, 'pong ' || it.content, 'text', 'pong');",
    "perform chat_send_message(it.conversation_id, it.reader_id, 'pong ' || it.content);",
    "perform chat_send_messages(array[chat_uuid_v7(), chat_uuid_v7()], array[it.conversation_id, it.conversation_id],
       array[it.reader_id, it.sender_id], array['pong ' || it.content, 'pong pong'], array['text', 'text'], array[null, null]::text[]);",
    "perform chat_store_message(chat_uuid_v7(), it.conversation_id, it.reader_id, 'pong ' || it.content, 'text', null);",
    "begin
       perform chat_send_message(it.conversation_id, it.reader_id, 'taken back');
       raise check_violation;
     exception when check_violation then null;
     end;",
    "update messages set note = 'seen' where id = it.id;",
    "update messages set content = 'changed' where id = it.id;",
    "update messages set content = 'changed', is_read = true where conversation_id = it.conversation_id and seq >= it.seq - 2;",
    "update messages set is_read = true where id = it.id;",
    "update messages set is_read = true where conversation_id = it.conversation_id and sender_id <> it.sender_id and not is_read;",
    "update messages set deleted_at = now() where id = it.id;",
    "delete from messages where id = it.id;",
    "delete from messages where conversation_id = it.conversation_id and seq = it.seq - 1;",
    "insert into messages (conversation_id, sender_id, content)
       select id, it.sender_id, 'forwarded ' || it.content from conversations
        where id <> it.conversation_id and it.sender_id in (participant1_id, participant2_id) order by id limit 1;",
    "update conversations set updated_at = clock_timestamp() where id = it.conversation_id;",
    "raise check_violation;",
    "raise lock_not_available;",
];

const KINDS: [Kind; 10] = [
    BEFORE_INSERT,
    BEFORE_INSERT,
    ("after insert on messages for each row", "new", "null", AFTER_INSERT_ACTIONS),
    (
        "after insert on messages referencing new table as rows for each statement",
        "rows",
        "null",
        AFTER_INSERT_ACTIONS,
    ),
    (
        "after insert on messages deferrable initially deferred for each row",
        "new",
        "null",
        AFTER_INSERT_ACTIONS,
    ),
    (
        "before update on messages for each row",
        "new",
        "new",
        &[
            "return null;",
            "new.updated_at := now();",
            "new.updated_at := now() - interval '1 hour';",
            "new.content := upper(new.content);",
            "new.note := 'changed';",
            "raise check_violation;",
            "new.deleted_at := now();",
        ],
    ),
    (
        "after update on messages for each row",
        "new",
        "null",
        &[
            "update messages set content = 'once more' where id = it.id and revision < 4;",
            "update messages set client_message_id = null where id = it.id;",
            "if it.deleted_at is not null then
               insert into messages (conversation_id, sender_id, content) values (it.conversation_id, it.reader_id, 'was deleted');
             end if;",
            "delete from messages where id = it.id;",
            "raise check_violation;",
        ],
    ),
    (
        "before delete on messages for each row",
        "old",
        "old",
        &["return null;", "update messages set note = 'deleting' where conversation_id = old.conversation_id and seq = old.seq - 1;"],
    ),
    (
        "after delete on messages for each row",
        "old",
        "null",
        &["insert into messages (conversation_id, sender_id, content) values (it.conversation_id, it.reader_id, 'was deleted');"],
    ),
    (
        "update on conversations for each row",
        "conversation",
        "new",
        &[
            "before: new.updated_at := now();",
            "before: return null;",
            "before: new.note := 'moved';",
            "after: insert into messages (conversation_id, sender_id, content) values (new.id, new.participant1_id, 'moved');",
            "after: update conversations set note = 'moved' where id = new.id;",
            "after: update messages set note = 'moved' where id = new.last_message_id;",
        ],
    ),
];

/// Columns of the host's own, and a soon end for deadlocks, of which such triggers make many.
pub async fn prepare(database: &Database) {
    let name = &database.name;
    database
        .execute(&format!(
            "alter database {name} set deadlock_timeout = '20ms';
             alter table messages add column note text;
             alter table messages add column length int generated always as (octet_length(content)) stored;
             alter table conversations add column note text not null default 'none'"
        ))
        .await;
}

/// Tables without rows, with some triggers; says which.
pub async fn make(database: &Database, random: &mut StdRng) -> Vec<String> {
    database
        .execute(
            "drop schema if exists host cascade; create schema host;
             truncate messages, conversations, chat_tombstones",
        )
        .await;
    let mut made = Vec::new();
    for number in 0..random.random_range(1..=3) {
        let statement = draw(number, random);
        database.execute(&statement).await;
        made.push(statement);
    }
    made
}

fn draw(number: usize, random: &mut StdRng) -> String {
    let (event, row, returned, actions) = KINDS.choose(random).expect("kinds");
    let action = actions.choose(random).expect("actions");
    // In front of pgchat's own, and behind.
    let name = format!("{}{number}", ["a", "z"].choose(random).expect("names"));
    let some = SOME.replace('K', &random.random_range(1..=3).to_string());
    // What a trigger writes fires it again.
    let (event, action) = match action.split_once(": ") {
        Some((when @ ("before" | "after"), action)) => (format!("{when} {event}"), action),
        _ => ((*event).to_owned(), *action),
    };
    // At the end of the transaction each is on its own again.
    let bound = match event.contains("deferrable") {
        true => "it.seq < 40",
        false => "pg_trigger_depth() < 4",
    };
    let action = format!("if {bound} then {action} end if;");
    let body = match *row {
        "rows" => format!(
            "for it in select * from rows order by seq loop if {some} then {action} end if; end loop;"
        ),
        "conversation" => {
            format!("if new.last_seq > old.last_seq and new.last_seq % 2 = 0 then {action} end if;")
        }
        row => format!("it := {row}; if {some} then {action} end if;"),
    };
    let constraint = if event.contains("deferrable") {
        "constraint"
    } else {
        ""
    };
    format!(
        "create function host.{name}() returns trigger language plpgsql security definer set search_path = public as $$
         declare
           it record;
         begin
           {body}
           return {returned};
         end $$;
         create {constraint} trigger {name} {event} execute function host.{name}()"
    )
}
