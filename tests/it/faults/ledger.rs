//! What was done, what a client saw, and how the two compare.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, FixedOffset};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::*;

/// The events of one conversation in a few words each, in their order: `chat_message 3 hello`.
pub fn gists(frames: &[Value], conversation: Uuid) -> Vec<String> {
    frames
        .iter()
        .filter(|frame| {
            let data = &frame["data"];
            data["conversationId"] == json!(conversation) || data["id"] == json!(conversation)
        })
        .map(gist)
        .collect()
}

fn gist(frame: &Value) -> String {
    let (kind, data) = (frame["type"].as_str().unwrap_or_default(), &frame["data"]);
    match kind {
        "chat_message" | "message_updated" => {
            let content: String = text(data, "content").chars().take(20).collect();
            format!("{kind} {} {content}", data["seq"])
        }
        "message_deleted" => {
            assert_eq!(data["content"], "", "{frame}");
            assert!(data["deletedAt"].is_string(), "{frame}");
            format!("{kind} {}", data["seq"])
        }
        "messages_read" => format!("{kind} {}", data["upToSeq"]),
        _ => kind.to_owned(),
    }
}

fn text<'a>(data: &'a Value, member: &str) -> &'a str {
    data[member].as_str().unwrap_or_default()
}

/// The positions of the `chat_message` events of one conversation.
pub fn seqs(frames: &[Value], conversation: Uuid) -> Vec<i64> {
    frames
        .iter()
        .filter(|frame| {
            frame["type"] == "chat_message"
                && frame["data"]["conversationId"] == json!(conversation)
        })
        .map(|frame| seq_of(&frame["data"]))
        .collect()
}

/// A client that keeps its own copy of the chat, from nothing but frames: an event that it sees again changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copy {
    conversations: BTreeSet<String>,
    /// Content and whether it is deleted, by conversation and seq.
    messages: BTreeMap<(String, i64), (String, bool)>,
    updated: BTreeMap<(String, i64), DateTime<FixedOffset>>,
    read: BTreeMap<(String, String), i64>,
}

impl Copy {
    pub fn of(frames: &[Value]) -> Self {
        let mut copy = Self::default();
        copy.apply(frames);
        copy
    }

    pub fn apply(&mut self, frames: &[Value]) {
        for frame in frames {
            self.apply_one(frame);
        }
    }

    fn apply_one(&mut self, frame: &Value) {
        let data = &frame["data"];
        let conversation = text(data, "conversationId").to_owned();
        match frame["type"].as_str().unwrap_or_default() {
            "chat_message" | "message_updated" | "message_deleted" => {
                let place = (conversation, seq_of(data));
                let updated =
                    DateTime::parse_from_rfc3339(text(data, "updatedAt")).expect("a time");
                if self
                    .updated
                    .get(&place)
                    .is_none_or(|known| *known <= updated)
                {
                    let state = (
                        text(data, "content").to_owned(),
                        !data["deletedAt"].is_null(),
                    );
                    self.messages.insert(place.clone(), state);
                    self.updated.insert(place, updated);
                }
            }
            "messages_read" => {
                let reader = (conversation, text(data, "readerId").to_owned());
                let seq = data["upToSeq"].as_i64().expect("a seq");
                let known = self.read.entry(reader).or_default();
                *known = seq.max(*known);
            }
            "conversation_created" => {
                self.conversations.insert(text(data, "id").to_owned());
            }
            _ => {}
        }
    }

    /// Nothing is missing that the other one has. There may be more: a row that was only marked as read is
    /// replayed too.
    pub fn assert_holds(&self, whole: &Self, what: &str) {
        assert_eq!(self.conversations, whole.conversations, "{what}");
        assert_eq!(self.read, whole.read, "{what}");
        for (place, state) in &whole.messages {
            assert_eq!(self.messages.get(place), Some(state), "{what}: {place:?}");
        }
    }
}

/// What [`Scene::play`] made of the talk with Boris, for who was away: the present state of each row, by seq, then the read marks.
pub const CAUGHT_UP: [&str; 7] = [
    "message_updated 1 edited",
    "message_deleted 2",
    "message_deleted 3",
    "chat_message 5 late 5",
    "chat_message 6 late 6 edited",
    "chat_message 7 late 7 late 7 late 7",
    "messages_read 7",
];

/// Two conversations of Alice, with Boris and with Carla, and all that can happen in them.
pub struct Scene {
    pub with_boris: Uuid,
    pub with_carla: Uuid,
    earlier: Vec<Value>,
}

impl Scene {
    /// With four messages of Alice's to Boris.
    pub async fn set(api: &Api) -> Self {
        let with_boris = api.open_conversation(ALICE, BORIS).await;
        let with_carla = api.open_conversation(ALICE, CARLA).await;
        let mut earlier = Vec::new();
        for number in 1..=4 {
            earlier.push(
                api.send(with_boris, ALICE, &format!("early {number}"))
                    .await,
            );
        }
        Self {
            with_boris,
            with_carla,
            earlier,
        }
    }

    /// An edit, a soft deletion, an outright one, messages of any size, some of them changed at once, read marks,
    /// a new conversation. The answer is the new conversation.
    pub async fn play(&self, database: &Database, api: &Api) -> Uuid {
        let id = |number: usize| id_of(&self.earlier[number - 1]);
        let talk = self.with_boris;
        api.edit(id(1), ALICE, "edited").await.ok(200);
        assert_eq!(api.delete_message(id(2), ALICE).await.status, 204);
        database
            .execute(&format!("delete from messages where id = '{}'", id(3)))
            .await;
        api.send(talk, BORIS, "late 5").await;
        let changed = api.send(talk, ALICE, "late 6").await;
        api.edit(id_of(&changed), ALICE, "late 6 edited")
            .await
            .ok(200);
        api.send(talk, ALICE, &"late 7 ".repeat(5_000)).await;
        api.mark_read(talk, BORIS).await.ok(200);
        let opened = api.open_conversation(DAVID, ALICE).await;
        api.send(opened, DAVID, "a new talk").await;
        api.send(self.with_carla, CARLA, "beside").await;
        opened
    }

    /// What a socket that has seen the four messages, and was away for the rest, is told.
    pub fn assert_caught_up(&self, frames: &[Value], opened: Uuid, user: Uuid) {
        let talk = trimmed(gists(frames, self.with_boris));
        assert_eq!(talk, CAUGHT_UP, "of {user}");
        if user == ALICE {
            assert_eq!(gists(frames, self.with_carla), ["chat_message 1 beside"]);
            let opened = gists(frames, opened);
            assert_eq!(
                opened,
                ["conversation_created", "chat_message 1 a new talk"]
            );
        }
    }

    /// What a socket was told that was there all the time.
    pub fn assert_lived_through(&self, frames: &[Value], opened: Uuid) {
        let talk = [
            "message_updated 1 edited",
            "message_deleted 2",
            "message_deleted 3",
            "chat_message 5 late 5",
            "chat_message 6 late 6",
            "message_updated 6 late 6 edited",
            "chat_message 7 late 7 late 7 late 7",
            "messages_read 7",
        ];
        assert_eq!(trimmed(gists(frames, self.with_boris)), talk);
        assert_eq!(gists(frames, self.with_carla), ["chat_message 1 beside"]);
        let opened = gists(frames, opened);
        assert_eq!(
            opened,
            ["conversation_created", "chat_message 1 a new talk"]
        );
    }
}

fn trimmed(gists: Vec<String>) -> Vec<String> {
    gists
        .iter()
        .map(|gist| gist.trim_end().to_owned())
        .collect()
}
