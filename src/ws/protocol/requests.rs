//! What clients send: a text frame is a [`Request`], or it is [`Refused`].

use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Command, Draft, RequestId, Statement};
use crate::config::Secret;
use crate::frame::CommandType;
use crate::members;
use crate::model::{ConversationId, MessageId, Seq, UserId};

/// Longest `requestId`, in bytes: it is kept while the command is in flight.
pub const MAX_REQUEST_ID_BYTES: usize = 128;

/// A frame of the client, understood. Whether it is allowed is found out when it runs.
#[derive(Debug, PartialEq)]
pub struct Request {
    pub id: RequestId,
    pub command: Command,
}

/// A frame that is answered with an `error` at once: it names nothing that could be run.
#[derive(Debug, PartialEq)]
pub struct Refused {
    pub id: RequestId,
    pub message: String,
}

impl Refused {
    /// One that cannot be told by its `requestId`.
    pub fn unnamed(message: impl Into<String>) -> Self {
        Self {
            id: None,
            message: message.into(),
        }
    }
}

/// Reads one text frame of the client.
pub fn parse(text: &str) -> Result<Request, Refused> {
    const FORM: &str = "the frame must be a JSON object {type, requestId?, data}";
    // serde_json would quote a string that is none.
    if !text.trim_start().starts_with('{') {
        return Err(Refused::unnamed(FORM));
    }
    let envelope = read_members(text, &["type", "requestId", "data"]);
    let ([kind, id, data], faults) =
        envelope.map_err(|fault| Refused::unnamed(format!("{FORM}: {fault}")))?;
    // Of two ids neither is known to be meant.
    let id = match faults.iter().any(|fault| fault.contains("requestId")) {
        true => None,
        false => request_id(id)?,
    };
    if !faults.is_empty() {
        let message = format!("{FORM}: {}", faults.join("; "));
        return Err(Refused { id, message });
    }
    match command(kind, data) {
        Ok(command) => Ok(Request { id, command }),
        Err(message) => Err(Refused { id, message }),
    }
}

/// The members `names` of a JSON object, not read yet, where `null` counts as absent, and what is wrong with names. The error says what
/// is wrong with the object.
fn read_members<'a, const N: usize>(
    text: &'a str,
    names: &'static [&'static str; N],
) -> Result<([Option<&'a RawValue>; N], Vec<String>), String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_map(Members(names));
    let read = read.and_then(|read| json.end().map(|()| read));
    let (members, faults) = read.map_err(|fault| fault.to_string())?;
    Ok((members.map(Option::flatten), faults))
}

/// Finds the members of an object, and what is wrong with the names of others.
struct Members<const N: usize>(&'static [&'static str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<N> {
    /// A `null` is a member that is there.
    type Value = ([Option<Option<&'de RawValue>>; N], Vec<String>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        let mut places = [None; N];
        let faults = members::read(object, self.0, PhantomData, &mut places)?;
        Ok((places, faults))
    }
}

fn request_id(raw: Option<&RawValue>) -> Result<RequestId, Refused> {
    let Some(raw) = raw else { return Ok(None) };
    match serde_json::from_str::<String>(raw.get()) {
        Ok(id) if id.len() <= MAX_REQUEST_ID_BYTES => Ok(Some(id)),
        _ => Err(Refused::unnamed(format!(
            "requestId must be a string of at most {MAX_REQUEST_ID_BYTES} bytes"
        ))),
    }
}

/// The members `names` of a command's `data`. Those of other commands are unknown to this one.
fn members_of<'a, const N: usize>(
    data: Option<&'a RawValue>,
    names: &'static [&'static str; N],
) -> Result<[Option<&'a RawValue>; N], String> {
    let Some(raw) = data else {
        return Ok([None; N]);
    };
    if !raw.get().starts_with('{') {
        return Err("data must be an object".to_owned());
    }
    let read = read_members(raw.get(), names);
    let (members, faults) = read.map_err(|fault| format!("data is malformed: {fault}"))?;
    match faults.is_empty() {
        true => Ok(members),
        false => Err(faults.join("; ")),
    }
}

/// The command, or what is wrong with it.
fn command(kind: Option<&RawValue>, data: Option<&RawValue>) -> Result<Command, String> {
    let kind: String = kind
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or("type must be a string")?;
    let kind = CommandType::named(&kind).ok_or_else(|| {
        let known = CommandType::ALL.map(CommandType::name);
        format!("type must be one of {}", known.join(", "))
    })?;
    let mut read = Reader::default();
    let command = match kind {
        CommandType::SendMessage => {
            let names = &[
                "conversationId",
                "content",
                "messageType",
                "clientMessageId",
            ];
            let [conversation, content, message_type, client_message_id] = members_of(data, names)?;
            let conversation = read.id("conversationId", conversation);
            let content = read.string("content", content);
            let message_type = read.optional_string("messageType", message_type);
            let client_message_id = read.optional_string("clientMessageId", client_message_id);
            conversation.zip(content).map(|(conversation, content)| {
                Command::SendMessage(Draft {
                    conversation: ConversationId(conversation),
                    content,
                    message_type,
                    client_message_id,
                })
            })
        }
        CommandType::EditMessage => {
            let [message, content] = members_of(data, &["messageId", "content"])?;
            let message = read.id("messageId", message);
            let content = read.string("content", content);
            message.zip(content).map(|(message, content)| {
                Command::Statement(Statement::EditMessage {
                    message: MessageId(message),
                    content,
                })
            })
        }
        CommandType::DeleteMessage => {
            let [message] = members_of(data, &["messageId"])?;
            read.id("messageId", message).map(|message| {
                Command::Statement(Statement::DeleteMessage {
                    message: MessageId(message),
                })
            })
        }
        CommandType::MarkRead => {
            let [conversation, up_to] = members_of(data, &["conversationId", "upToSeq"])?;
            let conversation = read.id("conversationId", conversation);
            let up_to = read.optional_seq("upToSeq", up_to);
            conversation.map(|conversation| {
                Command::Statement(Statement::MarkRead {
                    conversation: ConversationId(conversation),
                    up_to,
                })
            })
        }
        CommandType::Typing => {
            let [conversation, is_typing] = members_of(data, &["conversationId", "isTyping"])?;
            let conversation = read.id("conversationId", conversation);
            let is_typing = read.bool("isTyping", is_typing);
            conversation
                .zip(is_typing)
                .map(|(conversation, is_typing)| {
                    Command::Statement(Statement::Typing {
                        conversation: ConversationId(conversation),
                        is_typing,
                    })
                })
        }
        CommandType::WatchPresence => {
            let [users] = members_of(data, &["userIds"])?;
            let users = read.ids("userIds", users);
            users.map(|users| Command::WatchPresence {
                users: users.into_iter().map(UserId).collect(),
            })
        }
        CommandType::Authenticate => {
            let [token] = members_of(data, &["token"])?;
            let token = read.string("token", token);
            token.map(|token| Command::Authenticate {
                token: Secret::new(token),
            })
        }
        CommandType::Ping => {
            let [] = members_of(data, &[])?;
            Some(Command::Ping)
        }
    };
    match command {
        Some(command) if read.faults.is_empty() => Ok(command),
        _ => Err(read.faults.join("; ")),
    }
}

/// Reads members and collects what is wrong with them, so that a client hears of every fault at once.
#[derive(Default)]
struct Reader {
    faults: Vec<String>,
}

impl Reader {
    fn id(&mut self, name: &str, raw: Option<&RawValue>) -> Option<Uuid> {
        let id = raw
            .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
            .and_then(|text| text.parse().ok());
        if id.is_none() {
            self.faults.push(format!("{name} must be a UUID"));
        }
        id
    }

    fn ids(&mut self, name: &str, raw: Option<&RawValue>) -> Option<Vec<Uuid>> {
        let ids = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        if ids.is_none() {
            self.faults
                .push(format!("{name} must be an array of UUIDs"));
        }
        ids
    }

    fn string(&mut self, name: &str, raw: Option<&RawValue>) -> Option<String> {
        let raw = raw.map_or("", RawValue::get);
        match serde_json::from_str(raw) {
            Ok(text) => return Some(text),
            // Of a string whatever else could be wrong was seen when the frame was read.
            Err(_) if raw.starts_with('"') => {
                let fault = "is no text: it holds half of a surrogate pair";
                self.faults.push(format!("{name} {fault}"));
            }
            Err(_) => self.faults.push(format!("{name} must be a string")),
        }
        None
    }

    fn bool(&mut self, name: &str, raw: Option<&RawValue>) -> Option<bool> {
        let value = raw.and_then(|raw| serde_json::from_str(raw.get()).ok());
        if value.is_none() {
            self.faults.push(format!("{name} must be true or false"));
        }
        value
    }

    /// Absent and `null` are the same.
    fn optional_string(&mut self, name: &str, raw: Option<&RawValue>) -> Option<String> {
        raw.and_then(|raw| self.string(name, Some(raw)))
    }

    fn optional_seq(&mut self, name: &str, raw: Option<&RawValue>) -> Option<Seq> {
        let raw = raw?;
        match serde_json::from_str::<i64>(raw.get()) {
            Ok(seq) if seq >= 0 => Some(Seq(seq)),
            _ => {
                self.faults
                    .push(format!("{name} must be a whole number, 0 or more"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
