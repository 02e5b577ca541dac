//! A client that applies the events in the order of their arrival ends up with what the database holds, whatever
//! happens at once: sends, edits, deletions, read marks, over HTTP and by SQL, on two replicas.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::*;

/// What a client shows, kept up to date by events alone.
#[derive(Default)]
struct Shown {
    messages: BTreeMap<i64, Value>,
}

impl Shown {
    fn apply(&mut self, frame: &Value) {
        let data = &frame["data"];
        match frame["type"].as_str() {
            Some("chat_message" | "message_updated" | "message_deleted") => {
                self.messages.insert(seq_of(data), data.clone());
            }
            Some("messages_read") => {
                let up_to = data["upToSeq"].as_i64().expect("a seq");
                for (_, message) in self.messages.range_mut(..=up_to) {
                    if message["senderId"] != data["readerId"] {
                        message["isRead"] = json!(true);
                    }
                }
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
}

/// What must agree. Of a deleted message nobody shows whether it was read.
fn essence(message: &Value) -> Value {
    let deleted = !message["deletedAt"].is_null();
    json!([
        message["seq"],
        message["id"],
        message["content"],
        message["editedAt"],
        deleted,
        deleted || message["isRead"] == true,
    ])
}

async fn write(api: Api, database_client: tokio_postgres::Client, conversation: Uuid, me: Uuid) {
    let mut mine: Vec<Uuid> = Vec::new();
    for step in 0..80_usize {
        let nth = |mine: &[Uuid]| mine[(step * 7) % mine.len()];
        match step % 10 {
            0 | 1 | 4 | 7 => {
                // Every few is too long for a notification.
                let content = format!("{step} ").repeat(if step % 4 == 0 { 4_000 } else { 1 });
                mine.push(id_of(&api.send(conversation, me, &content).await));
            }
            2 => {
                let content = format!("edited in {step} ").repeat(1 + step % 3 * 700);
                let reply = api.edit(nth(&mine), me, &content).await;
                assert!(matches!(reply.status, 200 | 404 | 409 | 400), "{reply:?}");
            }
            3 => {
                api.mark_read(conversation, me).await.ok(200);
            }
            5 => {
                let reply = api.delete_message(nth(&mine), me).await;
                assert!(matches!(reply.status, 204 | 404), "{reply:?}");
            }
            6 => {
                let sql = "update messages set content = $1 where id = $2 and deleted_at is null";
                let content = format!("mended in {step}");
                let updated = database_client.execute(sql, &[&content, &nth(&mine)]).await;
                updated.expect("an update");
            }
            8 => {
                let sql = "insert into messages (conversation_id, sender_id, content) values ($1, $2, 'by SQL')";
                let inserted = database_client.execute(sql, &[&conversation, &me]).await;
                inserted.expect("an insert");
            }
            _ => {
                let gone = mine.swap_remove((step * 7) % mine.len());
                let sql = "delete from messages where id = $1";
                let deleted = database_client.execute(sql, &[&gone]).await;
                deleted.expect("a deletion");
            }
        }
    }
}

#[tokio::test]
async fn events_alone_lead_every_client_to_what_the_database_holds() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let unlimited = [("RATE_LIMIT_PER_SECOND", "0")];
    let replicas: [Replica; 2] = Replica::start_many(&database, &unlimited).await;

    let mut clients = JoinSet::new();
    for replica in &replicas {
        for user in [ALICE, BORIS] {
            let mut socket = Socket::connect(replica, user).await;
            clients.spawn(async move {
                let mut shown = Shown::default();
                loop {
                    let frame = socket.next().await;
                    shown.apply(&frame);
                    if frame["data"]["content"] == "the end" {
                        return shown;
                    }
                }
            });
        }
    }
    let mut writers = JoinSet::new();
    for (number, me) in [ALICE, BORIS, ALICE, BORIS].into_iter().enumerate() {
        let api = replicas[number % 2].api();
        let client = database.sql().await;
        writers.spawn(write(api, client, conversation, me));
    }
    while let Some(done) = writers.join_next().await {
        done.expect("a writer");
    }
    replicas[0].api().send(conversation, ALICE, "the end").await;

    let held: Vec<Value> = replicas[0]
        .api()
        .history(conversation)
        .await
        .iter()
        .map(essence)
        .collect();
    assert!(held.len() > 100, "{}", held.len());
    while let Some(done) = clients.join_next().await {
        let shown = done.expect("a client");
        let last = *shown.messages.keys().next_back().expect("messages");
        let seqs: Vec<i64> = shown.messages.keys().copied().collect();
        assert_eq!(seqs, (1..=last).collect::<Vec<_>>(), "nothing was missed");
        // Of what was deleted outright the client has seen a deletion, and the database holds nothing.
        let ids: Vec<&Value> = held.iter().map(|message| &message[1]).collect();
        let (kept, gone): (Vec<_>, Vec<_>) = shown
            .messages
            .values()
            .map(essence)
            .partition(|message| ids.contains(&&message[1]));
        assert!(gone.iter().all(|message| message[4] == true), "{gone:#?}");
        for (kept, held) in kept.iter().zip(&held) {
            assert_eq!(kept, held);
        }
        assert_eq!(kept.len(), held.len());
    }
}
