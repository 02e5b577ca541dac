//! The errors that stand in the OpenAPI document as examples: for each operation and status, which request is refused, and with what
//! words. The tests make each of these requests (`tests/it/documents/refusals.rs`).

use std::time::Duration;

use serde_json::Value;
use utoipa::openapi::path::{HttpMethod, Operation};

use crate::error::{Credentials, Denial, Error, Resource};
use crate::http::users::ROLES;

/// Of nobody and of nothing.
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// One error that an operation may answer with.
pub struct Refusal {
    /// By which the tests know what to do.
    pub name: &'static str,
    /// What differs from the request that the operation's own examples make.
    pub summary: String,
    pub error: Error,
}

fn refusal(name: &'static str, summary: impl Into<String>, error: Error) -> Refusal {
    Refusal {
        name,
        summary: summary.into(),
        error,
    }
}

/// What a status means; nothing for one that is no error.
pub fn meaning(status: &str) -> Option<&'static str> {
    Some(match status {
        "400" => "a value is missing or wrong, or the JSON is malformed",
        "401" => "no token, or a bad one (jwt mode)",
        "403" => {
            "not a participant, or not the sender, or not the token's user, or a deactivated one; or your application refuses it"
        }
        "404" => "what the path or the body names does not exist, or the token's user",
        "408" => "the body did not arrive in time",
        "409" => "the clientMessageId stands for another message",
        "413" => "the body is too large",
        "415" => "the body is not JSON",
        "429" => "this user does too much",
        "500" => "an internal error; its cause is in the log",
        "503" => {
            "the database cannot be reached, or too much waits; nothing was stored, or a retry with the same clientMessageId is safe"
        }
        _ => return None,
    })
}

/// The examples of one status.
pub fn of(path: &str, method: &HttpMethod, operation: &Operation, status: &str) -> Vec<Refusal> {
    let request = Request::of(path, method, operation);
    match status {
        "400" => request.invalid(),
        "401" => vec![refusal(
            "no_token",
            "without a token, in jwt mode",
            Error::Unauthorized(Credentials::Missing),
        )],
        "403" => request.forbidden(),
        "404" => request.not_found(),
        "408" => vec![refusal(
            "slow",
            "with a body that does not arrive",
            Error::RequestTimeout,
        )],
        "409" => vec![refusal(
            "other_content",
            "with the clientMessageId of a message that has another content",
            Error::ClientMessageIdReused,
        )],
        "413" => vec![refusal(
            "too_large",
            "with a body above MAX_BODY_BYTES",
            Error::PayloadTooLarge { limit: 1_048_576 },
        )],
        "415" => vec![refusal(
            "no_json",
            "with content-type: text/plain",
            Error::UnsupportedMediaType,
        )],
        "429" => request.too_many(),
        "500" => vec![refusal(
            "defect",
            "at any moment",
            Error::Internal("internal".into()),
        )],
        "503" => vec![refusal(
            "unreachable",
            "while the database is down",
            Error::unavailable("the database cannot be reached"),
        )],
        _ => Vec::new(),
    }
}

/// What errors depend on.
struct Request<'a> {
    path: &'a str,
    method: &'a HttpMethod,
    /// The parameters, as they stand in the document.
    parameters: Vec<Value>,
    body: bool,
}

impl<'a> Request<'a> {
    fn of(path: &'a str, method: &'a HttpMethod, operation: &Operation) -> Self {
        let parameters = operation.parameters.iter().flatten();
        Self {
            path,
            method,
            parameters: parameters
                .filter_map(|each| serde_json::to_value(each).ok())
                .collect(),
            body: operation.request_body.is_some(),
        }
    }

    fn has(&self, name: &str) -> Option<&Value> {
        self.parameters.iter().find(|each| each["name"] == name)
    }

    /// The id that the path names, or else the user of the query.
    fn id(&self) -> Option<&'static str> {
        ["conversation_id", "message_id", "user_id"]
            .into_iter()
            .find(|name| self.path.contains(&format!("{{{name}}}")))
            .or_else(|| self.has("user_id").map(|_| "user_id"))
    }

    /// Whether it is one user's, who must be the token's.
    fn is_a_users(&self) -> bool {
        self.body || (self.has("user_id").is_some() && !self.path.starts_with("/api/v1/users"))
    }

    /// Whether it changes messages or conversations, which the host may refuse.
    fn is_a_change(&self) -> bool {
        self.body || self.is_of_its_sender() || self.path.ends_with("/read")
    }

    /// Whether it changes a message, which only its sender may.
    fn is_of_its_sender(&self) -> bool {
        self.path.contains("{message_id}") && *self.method != HttpMethod::Get
    }

    /// Whether a rate limit counts it; the others only read.
    fn is_limited_in_rate(&self) -> bool {
        self.is_a_change() || self.path.ends_with("/search") || self.path.ends_with("/ticket")
    }

    fn invalid(&self) -> Vec<Refusal> {
        let mut all = Vec::new();
        if let Some(id) = self.id() {
            let fault = format!("{id} must be a UUID, not \"1234\"");
            all.push(refusal(
                "no_uuid",
                format!("with {id}=1234"),
                Error::invalid(fault),
            ));
        }
        if self.path.contains("{role}") {
            let fault = format!("role must be one of {}, not \"boss\"", ROLES.join(", "));
            all.push(refusal(
                "unknown_role",
                "with the role boss",
                Error::invalid(fault),
            ));
        }
        if self.has("ids").is_some() {
            let fault = "each of ids must be a UUID, not \"1234\"";
            all.push(refusal("bad_ids", "with ids=1234", Error::invalid(fault)));
        }
        if let Some(limit) = self.has("limit") {
            let most = &limit["schema"]["maximum"];
            let fault = format!("limit must be a whole number from 1 to {most}, not \"0\"");
            all.push(refusal("bad_limit", "with limit=0", Error::invalid(fault)));
        }
        if self.body {
            let fault = "the body must be a JSON object, not an array";
            all.push(refusal(
                "no_object",
                "with the body []",
                Error::invalid(fault),
            ));
        }
        all
    }

    fn forbidden(&self) -> Vec<Refusal> {
        let mut all = vec![refusal(
            "deactivated",
            "with the token of a user who is deactivated",
            Error::Forbidden(Denial::UserDeactivated),
        )];
        if self.is_a_users() {
            let error = Error::Forbidden(Denial::UserMismatch);
            all.push(refusal("another_user", "with another user's token", error));
        }
        let is_one_of_two = ["{conversation_id}", "{message_id}"]
            .iter()
            .any(|id| self.path.contains(id));
        if is_one_of_two && !self.is_of_its_sender() {
            all.push(refusal(
                "no_participant",
                "for and with the token of somebody else",
                Error::Forbidden(Denial::Concealed),
            ));
        }
        if self.is_of_its_sender() {
            all.push(refusal(
                "not_the_sender",
                "for and with the token of the other participant",
                Error::Forbidden(Denial::NotTheSender),
            ));
        }
        if self.is_a_change() {
            all.push(refusal(
                "refused",
                "where a trigger of your application refuses it",
                Error::Forbidden(Denial::Refused("the sale is closed".to_owned())),
            ));
        }
        all
    }

    fn too_many(&self) -> Vec<Refusal> {
        let (name, how, message) = match self.is_limited_in_rate() {
            true => (
                "too_fast",
                "above RATE_LIMIT_PER_SECOND",
                "this user makes too many requests",
            ),
            false => (
                "too_many_reads",
                "above MAX_READS_PER_USER",
                "more than 64 reads at a time",
            ),
        };
        let error = Error::TooManyRequests {
            message: message.to_owned(),
            retry_after: Duration::from_secs(1),
        };
        vec![refusal(name, how, error)]
    }

    fn not_found(&self) -> Vec<Refusal> {
        let (what, how) = match self.id() {
            Some("conversation_id") => (
                Resource::Conversation,
                "with an unknown conversation_id (a user's token gets 403)",
            ),
            Some("message_id") => (
                Resource::Message,
                "with an unknown message_id (a user's token gets 403)",
            ),
            Some(_) => (Resource::User, "with an unknown user_id"),
            None if self.path.ends_with("/messages") => (
                Resource::Conversation,
                "with an unknown conversationId (a user's token gets 403)",
            ),
            None if self.body => (Resource::User, "with an unknown user2Id"),
            None => {
                let how = "with the token of a user who does not exist";
                let error = Error::not_found(Resource::User, NOBODY);
                let off = "with a user's token where USER_DIRECTORY is services";
                return vec![
                    refusal("unknown_caller", how, error),
                    refusal("directory_off", off, Error::DirectoryIsOff),
                ];
            }
        };
        vec![refusal("unknown", how, Error::not_found(what, NOBODY))]
    }
}
