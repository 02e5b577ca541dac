//! Triggers of the host's that write messages while a message is written: a bot that answers, a filter that changes it.
//! Such a trigger runs before the statement that fired it has published anything.

use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Scene;
use crate::support::*;

/// The ways in which a message or several come into the table.
const WAYS: [(&str, &str, i64); 5] = [
    (
        "a plain insert",
        "insert into messages (conversation_id, sender_id, content) values ('$1', '$2', 'ping 1')",
        1,
    ),
    (
        "an insert of several rows",
        "insert into messages (conversation_id, sender_id, content)
         select '$1', '$2', 'ping ' || n from generate_series(1, 3) n",
        3,
    ),
    (
        "the function for other programs, twice in a transaction",
        "begin; select chat_send_message('$1', '$2', 'ping 1'); select chat_send_message('$1', '$2', 'ping 2'); commit",
        2,
    ),
    (
        "the writer's function for one message",
        "select chat_store_message(chat_uuid_v7(), '$1', '$2', 'ping 1', 'text', null, true, 100)",
        1,
    ),
    (
        "the writer's function for a batch",
        "select * from chat_send_messages(array[chat_uuid_v7(), chat_uuid_v7(), chat_uuid_v7()], array['$1', '$1', '$1']::uuid[],
           array['$2', '$2', '$2']::uuid[], array['ping 1', 'ping 2', 'ping 3'], array['text', 'text', 'text'],
           array['a', null, 'b'], true, 100, false)",
        3,
    ),
];

/// How a bot may be written. Each answers every message whose content begins with "ping" by one "pong".
const BOTS: [(&str, &str); 6] = [
    (
        "for each row",
        "create function bot() returns trigger language plpgsql as $$
         begin
           if new.content like 'ping%' then
             insert into messages (conversation_id, sender_id, content) values (new.conversation_id, new.reader_id, 'pong');
           end if;
           return null;
         end $$;
         create trigger bot after insert on messages for each row execute function bot()",
    ),
    (
        "for each row, with rights of its own, and what the conversation shows is touched first",
        "create function bot() returns trigger language plpgsql security definer as $$
         begin
           if new.content like 'ping%' then
             update conversations set updated_at = clock_timestamp() where id = new.conversation_id;
             insert into messages (conversation_id, sender_id, content) values (new.conversation_id, new.reader_id, 'pong');
           end if;
           return null;
         end $$;
         create trigger bot after insert on messages for each row execute function bot()",
    ),
    (
        "by the function for other programs",
        "create function bot() returns trigger language plpgsql as $$
         begin
           if new.content like 'ping%' then
             perform chat_send_message(new.conversation_id, new.reader_id, 'pong');
           end if;
           return null;
         end $$;
         create trigger bot after insert on messages for each row execute function bot()",
    ),
    (
        "for each statement, and before pgchat's own trigger",
        "create function bot() returns trigger language plpgsql as $$
         begin
           if exists (select from new_rows n where n.content like 'ping%') then
             insert into messages (conversation_id, sender_id, content)
             select n.conversation_id, n.reader_id, 'pong' from new_rows n where n.content like 'ping%';
           end if;
           return null;
         end $$;
         create trigger bot after insert on messages referencing new table as new_rows for each statement execute function bot()",
    ),
    (
        "on conversations",
        "create function bot() returns trigger language plpgsql as $$
         begin
           insert into messages (conversation_id, sender_id, content)
           select m.conversation_id, m.reader_id, 'pong' from messages m
            where m.conversation_id = new.id and m.seq > old.last_seq and m.content like 'ping%';
           return null;
         end $$;
         create trigger bot after update of last_seq on conversations for each row
           when (new.last_seq > old.last_seq) execute function bot()",
    ),
    (
        // Before PostgreSQL 18 such a trigger runs with the rights of whoever commits: the service, which has none on tables.
        "at the end of the transaction",
        "create function bot() returns trigger language plpgsql security definer as $$
         begin
           if new.content like 'ping%' then
             insert into messages (conversation_id, sender_id, content) values (new.conversation_id, new.reader_id, 'pong');
           end if;
           return null;
         end $$;
         create constraint trigger bot after insert on messages deferrable initially deferred
           for each row execute function bot()",
    ),
];

/// Every socket is told of every message once, in order of seq, and the table has no gap.
#[tokio::test]
async fn what_a_trigger_of_the_host_answers_arrives_behind_what_it_answers() {
    for (bot, ddl) in BOTS {
        let mut scene = Scene::set().await;
        scene.database.execute(ddl).await;
        let mut seq = 0;
        for (way, sql, count) in WAYS {
            let sql = sql
                .replace("$1", &scene.conversation.to_string())
                .replace("$2", &ALICE.to_string());
            scene.database.execute(&sql).await;
            expect_pings_and_pongs(&mut scene, &mut seq, count, &format!("{way}; {bot}")).await;
        }
        // And by the service itself.
        for content in ["ping by HTTP", "ping by HTTP again"] {
            let conversation = scene.conversation;
            scene.api().send(conversation, ALICE, content).await;
            expect_pings_and_pongs(&mut scene, &mut seq, 1, bot).await;
        }
        scene.assert_silence().await;
        let places = format!(
            "(select array_agg(seq order by seq) as seqs from messages) m, conversations c
              where c.id = '{}' and c.last_seq = {seq} + 1
                and m.seqs = array(select generate_series(1::bigint, {seq} + 1))",
            scene.conversation
        );
        assert_eq!(scene.database.count(&places).await, 1, "{bot}");
    }
}

async fn expect_pings_and_pongs(scene: &mut Scene, seq: &mut i64, count: i64, which: &str) {
    for socket in &mut scene.sockets {
        let messages = socket.collect_messages(2 * count as usize).await;
        let seqs: Vec<i64> = messages.iter().map(seq_of).collect();
        let expected: Vec<i64> = (*seq + 1..=*seq + 2 * count).collect();
        assert_eq!(seqs, expected, "{which}");
        let pongs = messages
            .iter()
            .filter(|message| message["content"] == "pong");
        assert_eq!(pongs.count() as i64, count, "{which}");
    }
    *seq += 2 * count;
}

/// The trigger of sql/README.md, with the rights of a program.
#[tokio::test]
async fn the_documented_bot_answers_with_the_grants_of_a_program() {
    let mut scene = Scene::set().await;
    let bot = sql_block(include_str!("../../../sql/README.md"), |block| {
        block.starts_with("create function answer()")
    });
    let role = scene.database.role("bot").await;
    scene
        .database
        .execute(&format!(
            "{bot}; grant {INTEGRATOR} to {role}; alter function answer() owner to {role}"
        ))
        .await;
    let conversation = scene.conversation;
    scene
        .api()
        .send(conversation, ALICE, "opening hours?")
        .await;
    for socket in &mut scene.sockets {
        let messages = socket.collect_messages(2).await;
        assert_eq!(messages[0]["content"], "opening hours?");
        assert_eq!(messages[1]["content"], "Nine to five.");
        assert_eq!(messages[1]["senderId"], json!(BORIS));
    }
    scene.assert_silence().await;
}

/// Statements of pgchat's own have settings that suit them. A trigger may have its own by what sql/README.md says.
#[tokio::test]
async fn the_documented_settings_of_a_trigger_are_its_own_in_statements_of_pgchats_too() {
    let scene = Scene::set().await;
    let text = include_str!("../../../sql/README.md");
    let settings = text
        .split('`')
        .find(|code| code.starts_with("set search_path = app, public, pg_temp set"))
        .expect("the settings");
    scene
        .database
        .execute(&format!(
            "create schema app; create table app.seen (name text, value text);
             create function look() returns trigger language plpgsql security definer {settings} as $$
             begin
               insert into seen select name, setting from pg_settings
                 where name in ('enable_seqscan', 'enable_nestloop', 'enable_mergejoin', 'enable_hashjoin', 'plan_cache_mode');
               return null;
             end $$;
             create trigger look after insert on messages for each row execute function look()"
        ))
        .await;
    let mut rows = 0;
    for (way, sql, count) in WAYS {
        let sql = sql
            .replace("$1", &scene.conversation.to_string())
            .replace("$2", &ALICE.to_string());
        scene.database.execute(&sql).await;
        rows += 5 * count;
        assert_eq!(scene.database.count("app.seen").await, rows, "{way}");
    }
    let others = "app.seen where value not in ('on', 'auto')";
    assert_eq!(scene.database.count(others).await, 0);
}

/// A filter that changes what was written, in the transaction that writes it.
#[tokio::test]
async fn a_message_that_a_trigger_of_the_host_changes_at_once_arrives_as_it_is_then() {
    let mut scene = Scene::set().await;
    scene
        .database
        .execute(
            "create function filter() returns trigger language plpgsql as $$
             begin
               update messages set content = replace(content, 'ping', '***'), is_read = true where id = new.id;
               return null;
             end $$;
             create trigger filter after insert on messages for each row execute function filter()",
        )
        .await;
    for (way, sql, count) in WAYS {
        let sql = sql
            .replace("$1", &scene.conversation.to_string())
            .replace("$2", &ALICE.to_string());
        scene.database.execute(&sql).await;
        for socket in &mut scene.sockets {
            for message in socket.collect_messages(count as usize).await {
                let content = message["content"].as_str().expect("content");
                assert!(content.starts_with("***"), "{way}: {message}");
                assert_eq!(message["isRead"], json!(true), "{way}");
            }
        }
    }
    let conversation = scene.conversation;
    scene.api().send(conversation, ALICE, "the end").await;
    for socket in &mut scene.sockets {
        let others: Vec<Value> = socket.before_message("the end").await;
        assert!(
            others.iter().all(|frame| frame["type"] == "messages_read"),
            "{others:?}"
        );
    }
}

/// Another program that listens by itself is told in the same order, of some of them twice.
#[tokio::test]
async fn a_listener_is_told_of_what_is_repeated_by_its_id_and_revision() {
    let scene = Scene::set().await;
    scene.database.execute(BOTS[0].1).await;
    let mut notifications = scene.database.listen("chat_events").await;
    scene.database.execute(&scene.insert(ALICE, "ping")).await;
    scene
        .database
        .execute(&scene.insert(ALICE, "the end"))
        .await;
    let mut told: Vec<(i64, Uuid, i64)> = Vec::new();
    'all: loop {
        let payload: Value = serde_json::from_str(&notifications.next().await).expect("JSON");
        for event in payload["events"].as_array().into_iter().flatten() {
            if event["data"]["content"] == "the end" {
                break 'all;
            }
            let id = event["message"].as_str().and_then(|id| id.parse().ok());
            told.push((
                event["data"]["seq"].as_i64().expect("seq"),
                id.expect("an id"),
                event["revision"].as_i64().expect("a revision"),
            ));
        }
    }
    let seqs: Vec<i64> = told.iter().map(|event| event.0).collect();
    assert_eq!(seqs, [1, 2, 1]);
    assert_eq!(told[0], told[2]);
}

/// What happens before the message has its place cannot be put behind it.
#[tokio::test]
async fn a_trigger_that_inserts_before_the_message_is_there_fails_that_message_alone() {
    let scene = Scene::set().await;
    scene
        .database
        .execute(
            "create function hasty() returns trigger language plpgsql as $$
             begin
               if new.content = 'ping' then
                 insert into messages (conversation_id, sender_id, content) values (new.conversation_id, new.sender_id, 'hasty');
               end if;
               return new;
             end $$;
             create trigger hasty before insert on messages for each row execute function hasty()",
        )
        .await;
    let api = scene.api();
    let reply = api.try_send(scene.conversation, ALICE, "ping").await;
    assert!(reply.status >= 400, "{reply:?}");
    assert_eq!(scene.database.count("messages").await, 0);
    let sent = api.send(scene.conversation, ALICE, "fine").await;
    assert_eq!(seq_of(&sent), 1);
}

/// As a filter may do it: nothing is stored, whoever sent it is told at once, and what others send goes on.
#[tokio::test]
async fn a_message_that_a_trigger_of_the_host_drops_is_refused_at_once() {
    let mut scene = Scene::set().await;
    scene
        .database
        .execute(
            "create function filter() returns trigger language plpgsql as $$
             begin
               return case when new.content = 'spam' then null else new end;
             end $$;
             create trigger filter before insert on messages for each row execute function filter()",
        )
        .await;
    let api = scene.api();
    let conversation = scene.conversation;
    api.try_send(conversation, ALICE, "spam")
        .await
        .refused(500, "internal");
    // Among others in one batch: none of it is stored, for those behind it have their numbers already. The writer bisects it.
    let batch = scene
        .refused(
            "09000",
            &format!(
            "select * from chat_send_messages(array[chat_uuid_v7(), chat_uuid_v7(), chat_uuid_v7()],
               array['{conversation}', '{conversation}', '{conversation}']::uuid[],
               array['{ALICE}', '{ALICE}', '{ALICE}']::uuid[], array['fine', 'spam', 'fine'],
               array['text', 'text', 'text'], array[null, null, null]::text[], true, 100, false)"
        ),
        )
        .await;
    assert!(batch.contains("dropped a message of the batch"), "{batch}");
    let sent = join_all((0..30).map(async |number: i64| {
        let content = if number % 3 == 1 { "spam" } else { "fine" };
        (content, api.try_send(conversation, ALICE, content).await)
    }))
    .await;
    let mut seqs = Vec::new();
    for (content, reply) in sent {
        if content == "spam" {
            reply.refused(500, "internal");
        } else {
            seqs.push(seq_of(&reply.ok(201)));
        }
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    let last = format!("conversations where id = '{conversation}' and last_seq = 20");
    assert_eq!(scene.database.count(&last).await, 1);
    let by_function = format!("select chat_send_message('{conversation}', '{ALICE}', 'spam')");
    let told = scene.refused("09000", &by_function).await;
    assert!(told.contains("trigger has dropped"), "{told}");
    scene.database.execute(&scene.insert(ALICE, "spam")).await;
    assert_eq!(scene.database.count("messages").await, 20);
    for socket in &mut scene.sockets {
        socket.collect_messages(20).await;
    }
    scene.assert_silence().await;
}
