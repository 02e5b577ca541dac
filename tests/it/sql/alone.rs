//! A message alone and a batch of one: two functions for one promise.

use serde_json::Value;
use tokio_postgres::{Client, Transaction};
use uuid::Uuid;

use crate::support::*;

/// What is asked of both functions.
#[derive(Clone, Copy, Debug)]
struct Message<'a> {
    conversation: Uuid,
    sender: Uuid,
    content: &'a str,
    kind: &'static str,
    name: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Alone,
    Batch,
}

impl Way {
    fn sql(self) -> &'static str {
        match self {
            Self::Alone => {
                "select status, message from chat_store_message(chat_uuid_v7(), $1, $2, $3, $4, $5, $6, 100)"
            }
            Self::Batch => {
                "select status, message from chat_send_messages(array[chat_uuid_v7()], array[$1::uuid], array[$2::uuid],
                   array[$3], array[$4], array[$5::text], $6, 100, false)"
            }
        }
    }

    /// The status, and the message and the notifications without what differs from call to call.
    async fn send(self, database: &Database, message: Message<'_>, skip: bool) -> (String, Value) {
        let mut heard = database.listen("chat_events").await;
        let mut client = database.sql().await;
        let transaction = client.transaction().await.expect("a transaction");
        let (status, stored) = ask(self, &transaction, message, skip).await;
        let row = "select to_jsonb(c) - 'last_xid' - 'last_message_id' - 'updated_at' - 'active_at'
                     || jsonb_build_object('timeout', current_setting('lock_timeout'),
                          'last', (select m.content from messages m where m.id = c.last_message_id),
                          'moved', c.updated_at = (select m.created_at from messages m where m.id = c.last_message_id))
                     from conversations c where id = $1";
        let conversation = transaction.query_opt(row, &[&message.conversation]).await;
        let conversation = conversation
            .expect("a look")
            .map(|row| row.get::<_, Value>(0));
        transaction.commit().await.expect("a commit");
        database.execute("notify chat_events, 'the end'").await;
        let payloads = heard.before("the end").await;
        let events: Vec<Value> = payloads
            .iter()
            .map(|payload| serde_json::from_str(payload).expect("a payload"))
            .map(|mut payload: Value| alike(payload["events"].take()))
            .collect();
        let all = serde_json::json!([alike(stored), conversation, events]);
        (status, all)
    }
}

async fn ask(
    way: Way,
    transaction: &Transaction<'_>,
    message: Message<'_>,
    skip: bool,
) -> (String, Value) {
    let Message {
        conversation,
        sender,
        content,
        kind,
        name,
    } = message;
    let row = transaction
        .query_one(
            way.sql(),
            &[&conversation, &sender, &content, &kind, &name, &skip],
        )
        .await
        .expect("an answer");
    let stored: Option<&str> = row.get(1);
    let stored = stored.map(|text| serde_json::from_str(text).expect("JSON"));
    (row.get(0), stored.unwrap_or_default())
}

/// Without ids and times.
fn alike(mut value: Value) -> Value {
    let changing = ["id", "message", "createdAt", "updatedAt"];
    match &mut value {
        Value::Object(members) => {
            members.retain(|name, value| !(changing.contains(&name.as_str()) && value.is_string()));
            for value in members.values_mut() {
                *value = alike(value.take());
            }
        }
        Value::Array(values) => {
            for value in values {
                *value = alike(value.take());
            }
        }
        _ => {}
    }
    value
}

/// Whatever becomes of a message: the answer, what is stored, and what is told of it.
#[tokio::test]
async fn a_message_alone_and_a_batch_of_one_are_the_same() {
    let database = Database::fresh().await;
    let stranger = Uuid::from_u128(7);
    // Longer than a notification.
    let long = "long ".repeat(2000);
    let cases = [
        ("stored", ALICE, "hello", "text", None),
        (
            "stored",
            BORIS,
            "a \"quoted\" \\ line\n",
            "image",
            Some("m-1"),
        ),
        (
            "repeated",
            BORIS,
            "a \"quoted\" \\ line\n",
            "image",
            Some("m-1"),
        ),
        ("conflict", BORIS, "other", "image", Some("m-1")),
        ("stored", ALICE, "mine", "text", Some("m-1")),
        ("stored", ALICE, &long, "text", None),
        ("not_a_participant", CARLA, "hello", "text", None),
        ("no_sender", stranger, "hello", "text", None),
    ];
    // The same story in a conversation of its own for each way.
    let alone = database.conversation(ALICE, BORIS).await;
    let client = database.sql().await;
    let mut told = Vec::new();
    for way in [Way::Alone, Way::Batch] {
        let mut of_way = Vec::new();
        for (expected, sender, content, kind, name) in cases {
            let message = Message {
                conversation: alone,
                sender,
                content,
                kind,
                name,
            };
            let (status, rest) = way.send(&database, message, true).await;
            assert_eq!(status, expected, "{way:?}: {message:?}");
            of_way.push(rest);
        }
        let nowhere = Message {
            conversation: stranger,
            sender: ALICE,
            content: "hello",
            kind: "text",
            name: None,
        };
        let (status, rest) = way.send(&database, nowhere, true).await;
        assert_eq!(status, "no_conversation", "{way:?}");
        of_way.push(rest);
        let held = Message {
            conversation: alone,
            ..nowhere
        };
        let mut holder: Client = database.sql().await;
        let holding = holder.transaction().await.expect("a transaction");
        let lock = "select from conversations where id = $1 for update";
        holding.execute(lock, &[&alone]).await.expect("the lock");
        let (status, rest) = way.send(&database, held, true).await;
        assert_eq!(status, "busy", "{way:?}");
        of_way.push(rest);
        let mut waiting = database.sql().await;
        let transaction = waiting.transaction().await.expect("a transaction");
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
            [&alone, &ALICE, &"hello", &"text", &None::<&str>, &false];
        let refused = transaction.query_one(way.sql(), &parameters).await;
        let code = refused.expect_err("locked").code().cloned();
        assert_eq!(
            code,
            Some(tokio_postgres::error::SqlState::LOCK_NOT_AVAILABLE),
            "{way:?}"
        );
        drop(transaction);
        holding.rollback().await.expect("a rollback");
        told.push(of_way);
        // The other way begins where this one began.
        client
            .batch_execute("delete from messages; truncate chat_tombstones; update conversations set last_seq = 0")
            .await
            .expect("a clean table");
    }
    let batch = told.pop().expect("two ways");
    assert_eq!(told[0], batch);
    assert_eq!(
        batch[0][2].as_array().map(Vec::len),
        Some(1),
        "one event: {}",
        batch[0]
    );
}

/// A bot of the host's, as a trigger: the answer is stored before the function has gone on.
#[tokio::test]
async fn an_answer_that_the_hosts_trigger_inserts_into_the_same_conversation_is_no_obstacle() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    database
        .execute(
            "create function answer() returns trigger language plpgsql as $$
             begin
               if new.content = 'ping' then
                 insert into messages (conversation_id, sender_id, content)
                 values (new.conversation_id, new.reader_id, 'pong');
               end if;
               return null;
             end $$;
             create trigger answer after insert on messages for each row execute function answer()",
        )
        .await;
    for way in [Way::Alone, Way::Batch] {
        for content in ["ping", "after"] {
            let message = Message {
                conversation,
                sender: ALICE,
                content,
                kind: "text",
                name: None,
            };
            let (status, _) = way.send(&database, message, true).await;
            assert_eq!(status, "stored", "{way:?} {content}");
        }
    }
    let whole = format!(
        "(select array_agg(seq order by seq) as seqs from messages) m
          cross join conversations c
          where c.id = '{conversation}' and m.seqs = array[1, 2, 3, 4, 5, 6]::bigint[] and c.last_seq = 6"
    );
    assert_eq!(database.count(&whole).await, 1);
}
