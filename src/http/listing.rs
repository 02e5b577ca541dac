//! A page of a list as an answer. It is in memory until its client has taken it, so large ones are counted.

use bytes::Bytes;
use warp::http::StatusCode;
use warp::reply::Response;

use crate::error::Error;
use crate::limits::{Holder, Reservation};
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
    let size = items.iter().map(|item| item.len() + 1).sum::<usize>() + name.len() + 32;
    let Some(reservation) = services.answers.reserve(holder, size) else {
        return Err(Error::unavailable(
            "too many large answers are on their way",
        ));
    };
    let mut text = String::with_capacity(size);
    text.push_str("{\"");
    text.push_str(name);
    text.push_str("\":[");
    for (place, item) in items.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        text.push_str(&item);
    }
    text.push_str("],\"hasMore\":");
    text.push_str(if has_more { "true}" } else { "false}" });
    let text = Bytes::from_owner(Unsent {
        text,
        _reservation: reservation,
    });
    Ok(json_text_response(StatusCode::OK, text))
}

/// The server drops it with the last byte that it has written.
struct Unsent {
    text: String,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}
