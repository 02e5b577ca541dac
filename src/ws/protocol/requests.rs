//! What clients send: a text frame is a [`Request`], or it is [`Refused`].

use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Command, Draft, RequestId, Statement};
use crate::config::Secret;
use crate::frame::CommandType;
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

/// The outer object. Members that it does not name are ignored, so that newer clients can be served.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    request_id: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Every member that some command's `data` can have; each is read only by the commands that want it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow)]
    conversation_id: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    message_type: Option<&'a RawValue>,
    #[serde(borrow)]
    client_message_id: Option<&'a RawValue>,
    #[serde(borrow)]
    up_to_seq: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    is_typing: Option<&'a RawValue>,
    #[serde(borrow)]
    user_ids: Option<&'a RawValue>,
}

/// Reads one text frame of the client.
pub fn parse(text: &str) -> Result<Request, Refused> {
    const FORM: &str = "the frame must be a JSON object {type, requestId?, data}";
    // serde would take an array for a struct, member by member, and would quote a string that is none of both.
    if !text.trim_start().starts_with('{') {
        return Err(Refused::unnamed(FORM));
    }
    let envelope: Envelope =
        serde_json::from_str(text).map_err(|fault| Refused::unnamed(format!("{FORM}: {fault}")))?;
    let id = request_id(envelope.request_id)?;
    match command(envelope.kind, envelope.data) {
        Ok(command) => Ok(Request { id, command }),
        Err(message) => Err(Refused { id, message }),
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

fn members(data: Option<&RawValue>) -> Result<Members<'_>, String> {
    match data {
        None => Ok(Members::default()),
        // serde would take an array for a struct, member by member.
        Some(raw) if raw.get().starts_with('{') => {
            serde_json::from_str(raw.get()).map_err(|fault| format!("data is malformed: {fault}"))
        }
        Some(_) => Err("data must be an object".to_owned()),
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
    // Only now: of an unknown type they do not matter.
    let members = members(data)?;
    let mut read = Reader::default();
    let command = match kind {
        CommandType::SendMessage => {
            let conversation = read.id("conversationId", members.conversation_id);
            let content = read.string("content", members.content);
            let message_type = read.optional_string("messageType", members.message_type);
            let client_message_id =
                read.optional_string("clientMessageId", members.client_message_id);
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
            let message = read.id("messageId", members.message_id);
            let content = read.string("content", members.content);
            message.zip(content).map(|(message, content)| {
                Command::Statement(Statement::EditMessage {
                    message: MessageId(message),
                    content,
                })
            })
        }
        CommandType::DeleteMessage => read.id("messageId", members.message_id).map(|message| {
            Command::Statement(Statement::DeleteMessage {
                message: MessageId(message),
            })
        }),
        CommandType::MarkRead => {
            let conversation = read.id("conversationId", members.conversation_id);
            let up_to = read.optional_seq("upToSeq", members.up_to_seq);
            conversation.map(|conversation| {
                Command::Statement(Statement::MarkRead {
                    conversation: ConversationId(conversation),
                    up_to,
                })
            })
        }
        CommandType::Typing => {
            let conversation = read.id("conversationId", members.conversation_id);
            let is_typing = read.bool("isTyping", members.is_typing);
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
            let users = read.ids("userIds", members.user_ids);
            users.map(|users| Command::WatchPresence {
                users: users.into_iter().map(UserId).collect(),
            })
        }
        CommandType::Authenticate => {
            let token = read.string("token", members.token);
            token.map(|token| Command::Authenticate {
                token: Secret::new(token),
            })
        }
        CommandType::Ping => Some(Command::Ping),
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
