//! Errors and JSON as HTTP responses: the one place that knows which [`Error`] becomes which status.
//! `http` and the WebSocket handshake in `ws` both answer through it.

use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use warp::Reply;
use warp::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use crate::error::{Credentials, Error, ErrorCode};
use crate::logging::{Repeats, request_id};

/// The shape of every error body. NestJS callers know the first three members; `code` is the stable one.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Error)]
pub(crate) struct ErrorBody<'a> {
    /// The status again.
    status_code: u16,
    /// The status in words.
    error: &'a str,
    message: Message<'a>,
    code: ErrorCode,
}

impl<'a> ErrorBody<'a> {
    pub(crate) fn of(error: &'a Error) -> Self {
        let status = status(error);
        let message = match error {
            Error::Validation(faults) if faults.len() > 1 => Message::Many(faults),
            other => Message::One(other.to_string()),
        };
        Self {
            status_code: status.as_u16(),
            error: status.canonical_reason().unwrap_or("Error"),
            message,
            code: error.code(),
        }
    }
}

/// A string, or an array of strings when several fields are wrong.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = ErrorMessage)]
enum Message<'a> {
    One(String),
    Many(&'a [String]),
}

/// The response that tells a caller about `error`: status, JSON body, `Retry-After` (whole seconds,
/// at least 1) on 429 and 503, `WWW-Authenticate` on 401. An internal cause goes to the log and never into the response.
pub fn error_response(error: &Error) -> Response {
    if let Error::Internal(_) = error {
        log_cause(error);
    }
    let mut response = json_response(status(error), &ErrorBody::of(error));
    if let Error::Unauthorized(credentials) = error {
        let challenge = match credentials {
            // RFC 6750 section 3: who sent no token gets no error code.
            Credentials::Missing => "Bearer",
            Credentials::TokenInvalid(_)
            | Credentials::TokenExpired
            | Credentials::TicketInvalid => "Bearer error=\"invalid_token\"",
        };
        let challenge = HeaderValue::from_static(challenge);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    if let Some(wait) = error.retry_after() {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
            response.headers_mut().insert(RETRY_AFTER, value);
        }
    }
    response
}

/// A database that refuses everything would fill the log: one line a second, with the id of its request.
fn log_cause(error: &Error) {
    static LINES: Repeats = Repeats::new(module_path!());
    let (request, cause) = (request_id(), error.with_cause());
    LINES.error(format_args!("request {request:?}: {cause}"));
}

/// `body` as JSON. [`RawJson`](crate::model::RawJson) anywhere inside it is copied as it stands, not parsed.
pub fn json_response<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response {
    match serde_json::to_vec(body) {
        Ok(json) => json_text_response(status, json.into()),
        // Not through `error_response`: that serialises too.
        Err(cause) => {
            log::error!("a response could not be serialised: {cause}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A body that is JSON already.
pub fn json_text_response(status: StatusCode, json: Bytes) -> Response {
    let mut response = Response::new(json.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The status of each error, as the variants of [`Error`] promise.
pub fn status(error: &Error) -> StatusCode {
    match error {
        Error::Validation(_) => StatusCode::BAD_REQUEST,
        Error::Unauthorized(_) => StatusCode::UNAUTHORIZED,
        Error::Forbidden { .. } => StatusCode::FORBIDDEN,
        Error::NotFound { .. }
        | Error::SearchIsOff
        | Error::DirectoryIsOff
        | Error::MessageDeleted(_) => StatusCode::NOT_FOUND,
        Error::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        Error::RequestTimeout | Error::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
        Error::ClientMessageIdReused => StatusCode::CONFLICT,
        Error::PayloadTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Error::UpgradeRequired(_) => StatusCode::UPGRADE_REQUIRED,
        Error::TooManyRequests { .. } | Error::TooManySockets { .. } => {
            StatusCode::TOO_MANY_REQUESTS
        }
        Error::Unavailable { .. } | Error::ReplicaFull { .. } | Error::SearchTimeout => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl Reply for Error {
    fn into_response(self) -> Response {
        error_response(&self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body_util::BodyExt;
    use serde_json::{Value, json};

    use super::*;
    use crate::error::Resource;

    async fn body(response: Response) -> Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn one_fault_is_a_string_and_several_are_an_array() {
        let one = error_response(&Error::invalid("limit is wrong"));
        assert_eq!(one.status(), 400);
        assert_eq!(one.headers()[CONTENT_TYPE], "application/json");
        assert_eq!(
            body(one).await,
            json!({"statusCode": 400, "error": "Bad Request", "message": "limit is wrong",
                   "code": "validation_failed"})
        );
        let two = Error::Validation(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            body(error_response(&two)).await["message"],
            json!(["a", "b"])
        );
    }

    #[tokio::test]
    async fn an_internal_cause_is_never_sent() {
        let response = error_response(&Error::Internal("password=hunter2".into()));
        assert_eq!(response.status(), 500);
        let body = body(response).await;
        assert_eq!(body["message"], "internal error");
        assert!(!body.to_string().contains("hunter2"));
    }

    #[tokio::test]
    async fn retry_after_is_whole_seconds_and_never_zero() {
        for (millis, seconds) in [(0, "1"), (200, "1"), (1000, "1"), (1001, "2")] {
            let response = error_response(&Error::TooManyRequests {
                message: "slow down".to_owned(),
                retry_after: Duration::from_millis(millis),
            });
            assert_eq!(response.status(), 429);
            assert_eq!(response.headers()[RETRY_AFTER], seconds);
        }
        let busy = error_response(&Error::unavailable("busy"));
        assert_eq!(
            (busy.status().as_u16(), &busy.headers()[RETRY_AFTER]),
            (503, &"1".parse().unwrap())
        );
        assert!(
            !error_response(&Error::MethodNotAllowed)
                .headers()
                .contains_key(RETRY_AFTER)
        );
    }

    #[tokio::test]
    async fn not_found_names_what_and_which() {
        let body = body(error_response(&Error::not_found(
            Resource::Conversation,
            "6f",
        )))
        .await;
        assert_eq!(body["error"], "Not Found");
        assert_eq!(body["code"], "conversation_not_found");
        assert_eq!(body["message"], "conversation 6f does not exist");
    }
}
