//! What must hold when all is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::Value;
use uuid::Uuid;

use super::Place;
use super::programs::Answer;
use crate::support::*;

#[derive(Debug)]
struct Row {
    conversation: Uuid,
    seq: i64,
    revision: i64,
    /// The Message.
    json: Value,
    /// Deleted outright.
    is_gone: bool,
}

/// What the tables hold: messages, those that are gone, and (`last_seq`, `last_message_id`) of the conversations.
pub struct Stored {
    rows: HashMap<Uuid, Row>,
    heads: HashMap<Uuid, (i64, Option<Uuid>)>,
}

impl Stored {
    pub async fn read(database: &Database) -> Self {
        let client = database.sql().await;
        let sql = "select id, conversation_id, seq, revision::bigint, chat_message_json(m, chat_user_summary_json(sender_id)), false
                     from messages m
                    union all
                   select message_id, conversation_id, seq, revision, message, true from chat_tombstones";
        let mut rows = HashMap::new();
        for row in client.query(sql, &[]).await.expect("messages") {
            let json: &str = row.get(4);
            let known = Row {
                conversation: row.get(1),
                seq: row.get(2),
                revision: row.get(3),
                json: serde_json::from_str(json).expect("JSON"),
                is_gone: row.get(5),
            };
            let twice = rows.insert(row.get(0), known);
            assert!(twice.is_none(), "there and gone: {twice:?}");
        }
        let sql = "select id, last_seq, last_message_id from conversations";
        let heads = client.query(sql, &[]).await.expect("conversations");
        let heads = heads
            .iter()
            .map(|row| (row.get(0), (row.get(1), row.get(2))));
        Self {
            rows,
            heads: heads.collect(),
        }
    }

    /// Each `seq` is taken once, and the conversation knows its newest message.
    pub fn check_places(&self, places: &[Place]) {
        for Place { conversation, .. } in places {
            let mut seqs: Vec<i64> = Vec::new();
            let mut newest = None;
            for (id, row) in self
                .rows
                .iter()
                .filter(|(_, row)| row.conversation == *conversation)
            {
                seqs.push(row.seq);
                if !row.is_gone {
                    newest = newest.max(Some((row.seq, *id)));
                }
            }
            seqs.sort_unstable();
            let expected: Vec<i64> = (1..=seqs.len() as i64).collect();
            assert_eq!(seqs, expected, "no gaps");
            let head = (seqs.len() as i64, newest.map(|(_, id)| id));
            assert_eq!(
                self.heads[conversation], head,
                "last_seq and last_message_id"
            );
        }
    }

    /// What was stored is there, and nothing of what was not.
    pub fn check_answers(&self, answers: &[Answer]) {
        for answer in answers {
            let Answer {
                id,
                status,
                message,
            } = answer;
            let told = match status.as_str() {
                "stored" | "repeated" => message.as_ref().expect("a message"),
                "busy" | "conflict" | "dropped" | "not_a_participant" => {
                    assert!(!self.rows.contains_key(id), "{answer:?}");
                    continue;
                }
                _ => panic!("{answer:?}"),
            };
            let told_id = id_of(told);
            assert_eq!(status == "stored", told_id == *id, "{answer:?}");
            let row = self.rows.get(&told_id);
            let row = row.unwrap_or_else(|| panic!("not there: {answer:?}"));
            for member in ["conversationId", "senderId", "seq"] {
                assert_eq!(row.json[member], told[member], "{answer:?}");
            }
        }
    }
}

/// What somebody knows of a message who has heard what was told of it.
#[derive(Clone, Debug)]
struct Known {
    revision: i64,
    /// As it was told last; what does not fit into a notification is read from the table.
    data: Option<Value>,
}

/// Somebody who tells repeats by their revision, as sql/README.md says.
#[derive(Clone, Default)]
struct Listener {
    known: BTreeMap<Uuid, Known>,
    /// The highest `seq` of a new message, for each conversation.
    newest: HashMap<Uuid, i64>,
}

impl Listener {
    fn hear(&mut self, stored: &Stored, event: &Value) {
        let kind = event["type"].as_str().expect("a type");
        let Some(id) = event["message"].as_str() else {
            assert!(
                matches!(kind, "messages_read" | "conversation_created"),
                "{event}"
            );
            return;
        };
        let id: Uuid = id.parse().expect("an id");
        let row = stored.rows.get(&id);
        let row = row.unwrap_or_else(|| panic!("told, and not stored: {event}"));
        let revision = event["revision"].as_i64().expect("a revision");
        let data = event.get("data").cloned();
        let before = self.known.get(&id);
        if before.is_some_and(|known| known.revision >= revision) {
            return;
        }
        if let (Some(Some(before)), Some(now)) = (before.map(|known| &known.data), &data) {
            // Clients keep the later one.
            let at = |message: &Value| message["updatedAt"].as_str().expect("a time").to_owned();
            assert!(at(before) < at(now), "{before} {now}");
        }
        if kind == "chat_message" {
            assert!(before.is_none(), "told to be new once more: {event}");
            let newest = self.newest.entry(row.conversation).or_default();
            assert!(*newest < row.seq, "behind seq {newest}: {event}");
            *newest = row.seq;
        } else {
            assert!(
                before.is_some() || row.is_gone,
                "changed before it was there: {event}"
            );
        }
        self.known.insert(id, Known { revision, data });
    }

    fn check(&self, stored: &Stored, mine: impl Fn(Uuid) -> bool) {
        let mut unknown: BTreeSet<Uuid> = self.known.keys().copied().collect();
        for (id, row) in stored.rows.iter().filter(|(_, row)| mine(row.conversation)) {
            unknown.remove(id);
            let Some(known) = self.known.get(id) else {
                // Nobody needs to hear of what was there for no moment.
                assert!(row.is_gone, "never told: {row:?}");
                continue;
            };
            assert_eq!(known.revision, row.revision, "{row:?}");
            if let Some(data) = &known.data {
                assert_eq!(essence(data), essence(&row.json), "{row:?}");
            }
        }
        assert_eq!(unknown, BTreeSet::new());
    }
}

/// Without what a read mark changes, which is told by an event of its own.
fn essence(message: &Value) -> Value {
    let mut message = message.clone();
    for member in ["isRead", "updatedAt"] {
        message[member].take();
    }
    message
}

fn events(payload: &str) -> Vec<Value> {
    let payload: Value = serde_json::from_str(payload).expect("a payload");
    payload["events"].as_array().cloned().unwrap_or_default()
}

/// Whoever has listened all the time knows each message as it is, and was told of new ones in order.
pub fn check_told(stored: &Stored, payloads: &[String]) {
    let mut listener = Listener::default();
    for payload in payloads {
        for event in events(payload) {
            listener.hear(stored, &event);
        }
    }
    listener.check(stored, |_| true);
}

/// What one knows who has heard some of the payloads, and then resumes with the cursor they had by then.
pub async fn check_resumed(
    database: &Database,
    stored: &Stored,
    payloads: &[String],
    (places, user): (&[Place], Uuid),
    random: &mut StdRng,
) {
    if payloads.is_empty() {
        return;
    }
    let heard = random.random_range(1..=payloads.len());
    let mut listener = Listener::default();
    let mut horizon = None;
    for payload in &payloads[..heard] {
        for event in events(payload) {
            if event["recipients"]
                .as_array()
                .is_some_and(|all| all.contains(&user.to_string().into()))
            {
                listener.hear(stored, &event);
            }
        }
        let payload: Value = serde_json::from_str(payload).expect("a payload");
        if let Some(own) = payload["horizon"].as_str() {
            horizon = horizon.max(own.parse::<u64>().ok());
        }
    }
    let Some(horizon) = horizon else {
        return;
    };
    let client = database.sql().await;
    let sql = "select type, subject, revision, data, conversation_id
                 from chat_missed($1, $2::text::xid8, 100000, 100000000)";
    let missed = client.query(sql, &[&user, &horizon.to_string()]).await;
    let mut order: Vec<(Uuid, i64)> = Vec::new();
    for row in missed.expect("what was missed") {
        let kind: &str = row.get(0);
        if kind == "messages_read" || kind == "conversation_created" {
            continue;
        }
        let (id, revision, data): (Uuid, i64, &str) = (row.get(1), row.get(2), row.get(3));
        let data: Value = serde_json::from_str(data).expect("JSON");
        order.push((row.get(4), seq_of(&data)));
        let known = listener.known.get(&id);
        assert!(
            known.is_none_or(|known| known.revision <= revision),
            "an older state: {data}"
        );
        listener.known.insert(
            id,
            Known {
                revision,
                data: Some(data),
            },
        );
    }
    assert!(order.is_sorted(), "{order:?}");
    listener.check(stored, |conversation| {
        let place = places
            .iter()
            .find(|place| place.conversation == conversation);
        place.is_some_and(|place| place.users.contains(&user))
    });
}
