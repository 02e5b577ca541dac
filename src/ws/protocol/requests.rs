//! What clients send: a text frame is a [`Request`], or it is [`Refused`].

use std::str::FromStr;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Command, Draft, RequestId, RowCommand};
use crate::config::Secret;
use crate::frame::CommandType;
use crate::members::{self, MemberNames, Members, NameFault, NoText};
use crate::model::{Seq, UserId};
use crate::query_string::{Checked, all};
use crate::schema::request_name::RequestName;

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
    let envelope = members::read(text, &["type", "requestId", "data"]);
    let ([kind, id, data], faults) =
        envelope.map_err(|fault| Refused::unnamed(format!("{FORM}: {fault}")))?;
    // Of two ids neither is known to be meant.
    let id = match faults.iter().any(|fault| fault.member == "requestId") {
        true => None,
        false => request_id(id)?,
    };
    if !faults.is_empty() {
        let message = format!("{FORM}: {}", texts(faults).join("; "));
        return Err(Refused { id, message });
    }
    match command(kind, data) {
        Ok(command) => Ok(Request { id, command }),
        Err(faults) => Err(Refused {
            id,
            message: faults.join("; "),
        }),
    }
}

fn texts(faults: Vec<NameFault>) -> Vec<String> {
    faults.into_iter().map(String::from).collect()
}

fn request_id(raw: Option<&RawValue>) -> Result<RequestId, Refused> {
    let Some(raw) = raw else { return Ok(None) };
    if let Ok(id) = serde_json::from_str::<String>(raw.get()) {
        if id.len() <= RequestName::MAX_BYTES {
            return Ok(Some(RequestName::Text(id)));
        }
    } else if let Ok(id) = serde_json::from_str::<i64>(raw.get())
        && id.unsigned_abs() <= RequestName::GREATEST.unsigned_abs()
    {
        return Ok(Some(RequestName::Number(id)));
    }
    Err(Refused::unnamed(format!(
        "requestId must be a string of at most {} bytes, or a whole number between -{greatest} and {greatest}",
        RequestName::MAX_BYTES,
        greatest = RequestName::GREATEST,
    )))
}

/// The members `names` of a command's `data`. Those of other commands are unknown to this one.
fn members_of<'a, const N: usize>(
    data: Option<&'a RawValue>,
    names: MemberNames<N>,
) -> Checked<Members<'a, N>> {
    let Some(raw) = data else {
        return Ok([None; N]);
    };
    if !raw.get().starts_with('{') {
        return Err(vec!["data must be an object".to_owned()]);
    }
    match members::read(raw.get(), names) {
        Ok((members, faults)) if faults.is_empty() => Ok(members),
        Ok((_, faults)) => Err(texts(faults)),
        Err(malformed) => Err(vec![format!("data is malformed: {malformed}")]),
    }
}

/// The command, or everything that is wrong with it.
fn command(kind: Option<&RawValue>, data: Option<&RawValue>) -> Checked<Command> {
    match command_type(kind)? {
        CommandType::SendMessage => {
            let names = &[
                "conversationId",
                "content",
                "messageType",
                "clientMessageId",
            ];
            let [conversation, content, message_type, client_message_id] = members_of(data, names)?;
            let (conversation, content, message_type, client_message_id) = all((
                id("conversationId", conversation),
                string("content", content),
                optional_string("messageType", message_type),
                optional_string("clientMessageId", client_message_id),
            ))?;
            Ok(Command::SendMessage(Draft {
                conversation,
                content,
                message_type,
                client_message_id,
            }))
        }
        CommandType::EditMessage => {
            let [message, content] = members_of(data, &["messageId", "content"])?;
            let (message, content) = all((id("messageId", message), string("content", content)))?;
            let edit = RowCommand::EditMessage { message, content };
            Ok(Command::Row(edit))
        }
        CommandType::DeleteMessage => {
            let [message] = members_of(data, &["messageId"])?;
            let message = id("messageId", message)?;
            Ok(Command::Row(RowCommand::DeleteMessage { message }))
        }
        CommandType::MarkRead => {
            let [conversation, up_to] = members_of(data, &["conversationId", "upToSeq"])?;
            let (conversation, up_to) = all((
                id("conversationId", conversation),
                optional_seq("upToSeq", up_to),
            ))?;
            Ok(Command::Row(RowCommand::MarkRead {
                conversation,
                up_to,
            }))
        }
        CommandType::Typing => {
            let [conversation, is_typing] = members_of(data, &["conversationId", "isTyping"])?;
            let (conversation, is_typing) = all((
                id("conversationId", conversation),
                boolean("isTyping", is_typing),
            ))?;
            Ok(Command::Row(RowCommand::Typing {
                conversation,
                is_typing,
            }))
        }
        CommandType::WatchPresence => {
            let [users] = members_of(data, &["userIds"])?;
            let users = ids("userIds", users)?;
            Ok(Command::WatchPresence { users })
        }
        CommandType::SetActive => {
            let [active] = members_of(data, &["active"])?;
            let is_active = boolean("active", active)?;
            Ok(Command::SetActive { is_active })
        }
        CommandType::Authenticate => {
            let [token] = members_of(data, &["token"])?;
            let token = Secret::new(string("token", token)?);
            Ok(Command::Authenticate { token })
        }
        CommandType::Ping => {
            let [] = members_of(data, &[])?;
            Ok(Command::Ping)
        }
    }
}

fn command_type(kind: Option<&RawValue>) -> Checked<CommandType> {
    let kind: String = read(kind).ok_or_else(|| vec!["type must be a string".to_owned()])?;
    CommandType::named(&kind).ok_or_else(|| {
        let known = CommandType::ALL.map(CommandType::name);
        vec![format!("type must be one of {}", known.join(", "))]
    })
}

/// A member, unless it is absent or another kind of value.
fn read<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

fn id<T: FromStr>(name: &str, raw: Option<&RawValue>) -> Checked<T> {
    let id = read::<String>(raw).and_then(|text| text.parse().ok());
    id.ok_or_else(|| vec![format!("{name} must be a UUID")])
}

fn ids(name: &str, raw: Option<&RawValue>) -> Checked<Vec<UserId>> {
    read(raw).ok_or_else(|| vec![format!("{name} must be an array of UUIDs")])
}

fn string(name: &str, raw: Option<&RawValue>) -> Checked<String> {
    match raw.map(members::text) {
        Some(Ok(text)) => Ok(text),
        Some(Err(NoText::HalfPair)) => Err(vec![members::half_a_pair(name)]),
        Some(Err(NoText::Other(_))) | None => Err(vec![format!("{name} must be a string")]),
    }
}

fn optional_string(name: &str, raw: Option<&RawValue>) -> Checked<Option<String>> {
    raw.map(|raw| string(name, Some(raw))).transpose()
}

fn boolean(name: &str, raw: Option<&RawValue>) -> Checked<bool> {
    read(raw).ok_or_else(|| vec![format!("{name} must be true or false")])
}

fn optional_seq(name: &str, raw: Option<&RawValue>) -> Checked<Option<Seq>> {
    if raw.is_none() {
        return Ok(None);
    }
    match read::<i64>(raw) {
        Some(seq) if seq >= 0 => Ok(Some(Seq(seq))),
        _ => Err(vec![format!("{name} must be a whole number, 0 or more")]),
    }
}

#[cfg(test)]
mod tests;
