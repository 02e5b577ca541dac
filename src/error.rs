//! The one error enum of the service. It knows neither HTTP nor WebSocket: `crate::reply` maps it to a
//! status, `ws::protocol` to an `error` frame.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::MessageId;
use crate::names::names;

names! {
    /// What an error is to programs (`code`), in the order of docs/api.md: what the documents of the service list.
    ErrorCode {
        ValidationFailed = "validation_failed",
        Unauthorized = "unauthorized",
        TokenInvalid = "token_invalid",
        TokenExpired = "token_expired",
        TicketInvalid = "ticket_invalid",
        UserMismatch = "user_mismatch",
        UserDeactivated = "user_deactivated",
        NotAParticipant = "not_a_participant",
        NotTheSender = "not_the_sender",
        OriginNotAllowed = "origin_not_allowed",
        Refused = "refused",
        RouteNotFound = "route_not_found",
        SearchOff = "search_off",
        DirectoryOff = "directory_off",
        UserNotFound = "user_not_found",
        ConversationNotFound = "conversation_not_found",
        MessageNotFound = "message_not_found",
        MethodNotAllowed = "method_not_allowed",
        RequestTimeout = "request_timeout",
        ClientMessageIdReused = "client_message_id_reused",
        PayloadTooLarge = "payload_too_large",
        UnsupportedMediaType = "unsupported_media_type",
        UpgradeRequired = "upgrade_required",
        TooManyRequests = "too_many_requests",
        TooManySockets = "too_many_sockets",
        Internal = "internal",
        Unavailable = "unavailable",
        SearchTimeout = "search_timeout",
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// When it may be tried again what this replica was too busy for.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// When a user with too many sockets may try again: some of theirs may have gone by then.
const SOCKETS_PAUSE: Duration = Duration::from_secs(5);

/// When a search that took too long may be tried again: the database may be less busy by then.
const SEARCH_PAUSE: Duration = Duration::from_secs(5);

/// What a caller may be told. Each variant says the status it becomes over HTTP.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// 400: one line for each field that is wrong.
    #[error("{}", .0.join("; "))]
    Validation(Vec<String>),

    /// 401: no credentials (`unauthorized`), or bad ones (`token_invalid`, `token_expired`, `ticket_invalid`).
    #[error("{0}")]
    Unauthorized(Credentials),

    /// 403.
    #[error("{0}")]
    Forbidden(Denial),

    /// 404: the code is `{what}_not_found`.
    #[error("{what} {id} does not exist")]
    NotFound { what: Resource, id: String },

    /// 404: this service has no search.
    #[error("there is no search: SEARCH_LANGUAGE is off")]
    SearchIsOff,

    /// 404: this service lists users to other servers only.
    #[error("users are listed to service tokens only: USER_DIRECTORY is services")]
    DirectoryIsOff,

    /// 404: the message was deleted. Told to callers who may read it, and to its sender who wants to change it.
    #[error("message {0} was deleted")]
    MessageDeleted(MessageId),

    /// 405: the route exists, for other methods.
    #[error("this route does not have that method: see the header Allow")]
    MethodNotAllowed,

    /// 408: the body did not arrive in time.
    #[error("the request body did not arrive in time")]
    RequestTimeout,

    /// 408: the head did not arrive in time. The connection ends with that.
    #[error("the request head did not arrive in time")]
    HeadTimeout,

    /// 409: a `clientMessageId` reused with other content.
    #[error("the sender has already used this clientMessageId for another message")]
    ClientMessageIdReused,

    /// 413: the body is over the transport limit, in bytes.
    #[error("the request body must be at most {limit} bytes")]
    PayloadTooLarge { limit: usize },

    /// 415: the body is not JSON by its content type, or it is compressed.
    #[error("the content type must be application/json, and the body must not be compressed")]
    UnsupportedMediaType,

    /// 426: the WebSocket route without a version 13 handshake.
    #[error("{0}")]
    UpgradeRequired(String),

    /// 429: this user is too fast.
    #[error("{message}")]
    TooManyRequests {
        message: String,
        retry_after: Duration,
    },

    /// 429: this user has as many sockets as they may.
    #[error("a user may have {limit} connections to one replica")]
    TooManySockets { limit: usize },

    /// 503: the database is unreachable, or the service is busy past its deadline or closing.
    /// Nothing was stored, or a retry with the same `clientMessageId` is safe.
    #[error("{message}")]
    Unavailable {
        message: String,
        retry_after: Duration,
    },

    /// 503: this replica has as many sockets as it may.
    #[error("this replica has no room for more connections")]
    ReplicaFull { limit: usize },

    /// 503: a search, or a list by names, had all the time that it may have. The database is slow, the words are in too many messages, or
    /// the names are too many: nobody knows which. So a client that repeats requests by itself should leave this one to the user.
    #[error(
        "this took too long: narrow it down, with other words or to one conversation, or try again"
    )]
    SearchTimeout,

    /// 500: the cause is logged, never sent.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What is wrong with a caller's credentials. None of it holds anything of a token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Credentials {
    #[error(
        "credentials are required: the header Authorization as \"Bearer TOKEN\", or for a socket also a ticket or a subprotocol"
    )]
    Missing,
    #[error("the token is not valid: {0}")]
    TokenInvalid(String),
    #[error("the token has expired")]
    TokenExpired,
    #[error("the ticket is not valid, was used before, or has expired")]
    TicketInvalid,
}

/// Why a caller may not do what they ask for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("the token belongs to another user")]
    UserMismatch,
    #[error("this user is deactivated")]
    UserDeactivated,
    #[error("the user is not a participant of this conversation")]
    NotAParticipant,
    /// Not a participant, or there is no such conversation or message: one answer, so that it tells a stranger nothing.
    #[error("there is no such conversation or message, or this user is not a participant")]
    Concealed,
    #[error("only the sender of a message may change it")]
    NotTheSender,
    #[error("this origin may not open sockets here")]
    OriginNotAllowed,
    /// A trigger of the host's refuses the change, in these words, which are for the user (sql/README.md, "Refuse a message").
    #[error("{0}")]
    Refused(String),
}

/// What a caller can name that may not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    User,
    Conversation,
    Message,
    Route,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Conversation => "conversation",
            Self::Message => "message",
            Self::Route => "route",
        })
    }
}

impl Error {
    /// The stable, machine-readable name that callers see as `code`.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Validation(_) => ErrorCode::ValidationFailed,
            Self::Unauthorized(credentials) => match credentials {
                Credentials::Missing => ErrorCode::Unauthorized,
                Credentials::TokenInvalid(_) => ErrorCode::TokenInvalid,
                Credentials::TokenExpired => ErrorCode::TokenExpired,
                Credentials::TicketInvalid => ErrorCode::TicketInvalid,
            },
            Self::Forbidden(denial) => match denial {
                Denial::UserMismatch => ErrorCode::UserMismatch,
                Denial::UserDeactivated => ErrorCode::UserDeactivated,
                Denial::NotAParticipant | Denial::Concealed => ErrorCode::NotAParticipant,
                Denial::NotTheSender => ErrorCode::NotTheSender,
                Denial::OriginNotAllowed => ErrorCode::OriginNotAllowed,
                Denial::Refused(_) => ErrorCode::Refused,
            },
            Self::NotFound { what, .. } => match what {
                Resource::User => ErrorCode::UserNotFound,
                Resource::Conversation => ErrorCode::ConversationNotFound,
                Resource::Message => ErrorCode::MessageNotFound,
                Resource::Route => ErrorCode::RouteNotFound,
            },
            Self::SearchIsOff => ErrorCode::SearchOff,
            Self::DirectoryIsOff => ErrorCode::DirectoryOff,
            Self::MessageDeleted(_) => ErrorCode::MessageNotFound,
            Self::MethodNotAllowed => ErrorCode::MethodNotAllowed,
            Self::RequestTimeout | Self::HeadTimeout => ErrorCode::RequestTimeout,
            Self::ClientMessageIdReused => ErrorCode::ClientMessageIdReused,
            Self::PayloadTooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::UnsupportedMediaType => ErrorCode::UnsupportedMediaType,
            Self::UpgradeRequired(_) => ErrorCode::UpgradeRequired,
            Self::TooManyRequests { .. } => ErrorCode::TooManyRequests,
            Self::TooManySockets { .. } => ErrorCode::TooManySockets,
            Self::Unavailable { .. } | Self::ReplicaFull { .. } => ErrorCode::Unavailable,
            Self::SearchTimeout => ErrorCode::SearchTimeout,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// When it may be tried again, where it may: `Retry-After` over HTTP, `retryAfterMs` on a socket.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::TooManySockets { .. } => Some(SOCKETS_PAUSE),
            Self::ReplicaFull { .. } => Some(BUSY_PAUSE),
            Self::SearchTimeout => Some(SEARCH_PAUSE),
            _ => None,
        }
    }

    /// With all that caused it, for the log. Callers are sent the error's own text and nothing of this.
    pub fn with_cause(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| {
            write!(f, "{self}")?;
            causes(self).try_for_each(|cause| write!(f, ": {cause}"))
        })
    }

    /// One fault in one field.
    pub fn invalid(fault: impl Into<String>) -> Self {
        Self::Validation(vec![fault.into()])
    }

    pub fn not_found(what: Resource, id: impl ToString) -> Self {
        Self::NotFound {
            what,
            id: id.to_string(),
        }
    }

    /// The database cannot be reached, or did not answer in time.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable {
            message: message.into(),
            retry_after: BUSY_PAUSE,
        }
    }
}

/// What has caused an error, and that in turn.
pub fn causes<'a>(
    error: &'a dyn std::error::Error,
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("db error")]
    struct Database(#[source] std::num::ParseIntError);

    #[test]
    fn an_internal_error_says_why_only_with_its_cause() {
        let fault = "x".parse::<i32>().expect_err("no number");
        let error = Error::Internal(Box::new(Database(fault)));
        assert_eq!(error.to_string(), "internal error");
        assert_eq!(
            error.with_cause().to_string(),
            "internal error: db error: invalid digit found in string"
        );
        let plain = Error::unavailable("busy");
        assert_eq!(plain.with_cause().to_string(), "busy");
    }
}
