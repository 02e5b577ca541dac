//! What is read as an answer: a page of a list, or one object. It is in memory until its client has taken it, so large ones are counted.

use bytes::Bytes;
use serde::Serialize;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::error::Error;
use crate::frame::Frame;
use crate::limits::{Holder, Reservation};
use crate::replay::CaughtUp;
use crate::reply::json_text_response;
use crate::services::Services;
use crate::store::Listing;

/// `{"<name>": […], "hasMore": …}`, of items that are JSON already, in `holder`'s share of the budget for large answers. `Unavailable` when
/// there is none left: those that were given before have not been taken yet.
pub(super) fn page_response(
    services: &Services,
    holder: Holder,
    name: &str,
    listing: Listing,
) -> Result<Response, Error> {
    let Listing { items, has_more } = listing;
    let tail = match has_more {
        true => "\"hasMore\":true",
        false => "\"hasMore\":false",
    };
    list_response(services, holder, name, items, tail)
}

/// `{"events": […], "cursor": …}`, in the same budget, and `Unavailable` as there.
pub(super) fn events_response(
    services: &Services,
    holder: Holder,
    told: CaughtUp,
) -> Result<Response, Error> {
    let CaughtUp { events, cursor } = told;
    let events = events.into_iter().map(Frame::into_text).collect();
    // A cursor has nothing that JSON would escape.
    let tail = format!("\"cursor\":\"{cursor}\"");
    list_response(services, holder, "events", events, &tail)
}

/// `{"<name>": […], <tail>}`.
fn list_response<T: AsRef<str>>(
    services: &Services,
    holder: Holder,
    name: &str,
    items: Vec<T>,
    tail: &str,
) -> Result<Response, Error> {
    let items_size: usize = items.iter().map(|item| item.as_ref().len() + 1).sum();
    let size = items_size + name.len() + tail.len() + 8;
    // Before the text is made.
    let reservation = reserve(services, holder, size)?;
    let mut text = String::with_capacity(size);
    text.push_str("{\"");
    text.push_str(name);
    text.push_str("\":[");
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(item.as_ref());
    }
    text.push_str("],");
    text.push_str(tail);
    text.push('}');
    Ok(counted(StatusCode::OK, text.into_bytes(), reservation))
}

/// One object with text of users' in it, such as a message, in `holder`'s share of the same budget, and `Unavailable` as there.
pub(super) fn object_response<T: Serialize + ?Sized>(
    services: &Services,
    holder: Holder,
    status: StatusCode,
    object: &T,
) -> Result<Response, Error> {
    let json = serde_json::to_vec(object).map_err(|error| Error::Internal(error.into()))?;
    let reservation = reserve(services, holder, json.len())?;
    Ok(counted(status, json, reservation))
}

fn reserve(services: &Services, holder: Holder, bytes: usize) -> Result<Reservation, Error> {
    let reservation = services.answers.reserve(holder, bytes);
    reservation.ok_or_else(|| Error::unavailable("too many large answers are on their way"))
}

fn counted(status: StatusCode, json: Vec<u8>, reservation: Reservation) -> Response {
    let unsent = Unsent {
        json,
        _reservation: reservation,
    };
    json_text_response(status, Bytes::from_owner(unsent))
}

/// The server drops it with the last byte that it has written.
struct Unsent {
    json: Vec<u8>,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}
