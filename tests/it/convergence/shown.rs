//! What a client shows that goes by its frames.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::THE_END;
use crate::support::seq_of;

#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Whatever comes is shown, unless what is shown is later: what README.md does.
    KeepsLater,
    /// What is shown is replaced only by what is later, and what was told last of a message is not looked at again: what the browser client
    /// does.
    DropsRepeats,
}

#[derive(Clone, Debug)]
pub struct Shown {
    rule: Rule,
    /// By their ids.
    messages: HashMap<String, Value>,
    /// The `updatedAt` of what was told last of each.
    told: HashMap<String, String>,
    /// Of each conversation, what was told by events; `None` once what was missed had to be read over HTTP.
    seqs: Option<HashMap<String, BTreeSet<i64>>>,
}

impl Shown {
    pub fn nothing(rule: Rule) -> Self {
        Self {
            rule,
            messages: HashMap::new(),
            told: HashMap::new(),
            seqs: Some(HashMap::new()),
        }
    }

    pub fn apply(&mut self, frame: &Value) {
        let data = &frame["data"];
        match frame["type"].as_str() {
            Some("chat_message" | "message_updated" | "message_deleted") => {
                if let Some(seqs) = &mut self.seqs {
                    let told = seqs.entry(text(data, "conversationId")).or_default();
                    told.insert(seq_of(data));
                }
                let told = self.told.insert(text(data, "id"), text(data, "updatedAt"));
                let is_repeat = told == Some(text(data, "updatedAt"));
                if !(is_repeat && matches!(self.rule, Rule::DropsRepeats)) {
                    self.show(data);
                }
            }
            Some("messages_read") => {
                let is_marked = |message: &Value| {
                    message["conversationId"] == data["conversationId"]
                        && message["senderId"] != data["readerId"]
                        && message["seq"].as_i64() <= data["upToSeq"].as_i64()
                };
                for message in self.messages.values_mut().filter(|shown| is_marked(shown)) {
                    message["isRead"] = json!(true);
                }
            }
            Some("resync_required") => self.seqs = None,
            Some("conversation_created" | "connected" | "ack") => {}
            other => panic!("unexpected: {other:?}"),
        }
    }

    /// What was read over HTTP, in place of all that was shown.
    pub fn reload(&mut self, held: &[Value]) {
        self.messages.clear();
        self.told.clear();
        for message in held {
            self.show(message);
        }
    }

    /// Whether events alone have told of each `seq` that a conversation has given, whatever has become of it; `None`: it was reloaded.
    pub fn has_been_told_all(&self, conversation: Uuid) -> Option<bool> {
        let told = self.seqs.as_ref()?.get(&conversation.to_string())?;
        Some(told.iter().copied().eq(1..=told.len() as i64))
    }

    fn show(&mut self, message: &Value) {
        let shown = self.messages.get(&text(message, "id"));
        if shown.is_none_or(|shown| text(shown, "updatedAt") <= text(message, "updatedAt")) {
            self.messages.insert(text(message, "id"), message.clone());
        }
    }

    pub fn shows_the_end_of(&self, conversation: Uuid) -> bool {
        let is_end = |message: &Value| {
            message["content"] == THE_END && message["conversationId"] == json!(conversation)
        };
        self.messages.values().any(is_end)
    }

    /// Where it is not what the database holds: what is shown, and what is held. Of what was deleted outright a client shows that
    /// it is deleted, or nothing; or what it was, of those that have `left` for other people's conversations.
    pub fn differences(&self, held: &[Value], left: &HashSet<String>) -> Vec<(Value, Value)> {
        let mut gone = self.messages.clone();
        let mut differences = Vec::new();
        for message in held {
            let shown = gone.remove(&text(message, "id")).unwrap_or_default();
            if essence(&shown) != essence(message) {
                differences.push((shown, message.clone()));
            }
        }
        let stays = gone
            .into_values()
            .filter(|shown| shown["deletedAt"].is_null() && !left.contains(&text(shown, "id")));
        differences.extend(stays.map(|shown| (shown, Value::Null)));
        differences
    }
}

/// What must agree. Of a deleted message nobody shows whether it was read.
fn essence(message: &Value) -> Value {
    let deleted = !message["deletedAt"].is_null();
    json!([
        message["conversationId"],
        message["seq"],
        message["senderId"],
        message["content"],
        message["messageType"],
        message["createdAt"],
        message["editedAt"],
        deleted,
        deleted || message["isRead"] == true,
    ])
}

fn text(message: &Value, member: &str) -> String {
    message[member].as_str().unwrap_or_default().to_owned()
}
