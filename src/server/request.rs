//! One request: its id, its line in the log, and what no route should see of it.

use std::convert::Infallible;
use std::time::Instant;

use hyper::Request;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{EXPECT, HOST};
use hyper::service::Service;
use uuid::Uuid;
use warp::http::HeaderValue;
use warp::reply::Response;

use super::phase::Phase;
use super::unread_body::SharedBody;
use crate::error::Error;
use crate::http::security;
use crate::logging::REQUEST_ID;
use crate::reply::error_response;

/// Answers one request by `routes`, with its id on the response and a line in the log.
pub(super) async fn answer<R>(
    routes: R,
    phase: Phase,
    request: Request<Incoming>,
) -> Result<Response, Infallible>
where
    R: Service<Request<SharedBody>, Response = Response, Error = Infallible>,
{
    let number = phase.request_begins();
    let started = Instant::now();
    let id = request_id(request.headers().get(REQUEST_ID_HEADER));
    let method = request.method().clone();
    let path = log::log_enabled!(log::Level::Debug).then(|| request.uri().path().to_owned());
    let waits = request.headers().contains_key(EXPECT);
    let request = request.map(SharedBody::of);
    let body = request.body().clone();

    let mut response = match fault(&request) {
        None => REQUEST_ID.scope(id.clone(), routes.call(request)).await?,
        Some(fault) => security::with_headers(error_response(&Error::invalid(fault))),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    if let Some(path) = path {
        let (status, took) = (response.status().as_u16(), started.elapsed());
        // The path is quoted: it is the caller's text, and a line of the log is ours.
        log::debug!(
            requestId = id.as_str(), method = method.as_str(), path = path.as_str(), status = status, durationMs = took.as_secs_f64() * 1e3;
            "{method} {path:?} {status} {} ms {id}", took.as_millis()
        );
    }
    match (response.status(), body.unread(waits)) {
        // There is no further request on this connection.
        (StatusCode::SWITCHING_PROTOCOLS, _) => {}
        // A client that did not send its body in time is not waited for again.
        (status, Some(rest)) if status != StatusCode::REQUEST_TIMEOUT => {
            tokio::spawn(async move {
                rest.discard().await;
                phase.request_ends(number);
            });
        }
        _ => phase.request_ends(number),
    }
    Ok(response)
}

/// What hyper passes on and no route should see.
fn fault<B>(request: &Request<B>) -> Option<&'static str> {
    // `CONNECT host:1`, or any method with a host: nothing here is a proxy, and warp has no word for a request without a path.
    if request.uri().path_and_query().is_none() {
        return Some("the request's target must be a path");
    }
    // RFC 9112 section 3.2: a proxy in front may have gone by the other one. A request without any is served, also of HTTP/1.1: nginx
    // leaves the header out for callers of HTTP/1.0 and HTTP/3.
    if request.headers().get_all(HOST).iter().count() > 1 {
        return Some("the header Host must be given only once");
    }
    None
}

pub(super) const REQUEST_ID_HEADER: &str = "x-request-id";

/// The caller's id if it is 1 to 128 visible ASCII characters, else a new one.
fn request_id(sent: Option<&HeaderValue>) -> String {
    match sent.map(HeaderValue::as_bytes) {
        Some(id) if (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic) => {
            String::from_utf8_lossy(id).into_owned()
        }
        _ => Uuid::new_v4().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_request_id_is_taken_over() {
        let of = |sent: &[u8]| request_id(Some(&HeaderValue::from_bytes(sent).unwrap()));
        assert_eq!(of(b"abc"), "abc");
        assert_eq!(of(&[b'x'; 128]).len(), 128);
        for wrong in [&[b'x'; 129][..], b"", b"a b", b"\xe4"] {
            assert_eq!(of(wrong).len(), 36);
        }
    }
}
