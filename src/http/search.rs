//! Search in a user's own conversations.

use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::call::{Call, call};
use super::extract::{Checked, Segment, all};
use super::listing::page_response;
use super::methods::get;
use super::route;
use crate::error::Error;
use crate::limits::Holder;
use crate::model::ConversationId;
use crate::schema::objects;
use crate::services::Services;
use crate::store::Search;

const DEFAULT_LIMIT: i64 = 20;
const MAX_LIMIT: i64 = 200;
/// How deep one can page: a user who has not found it among a thousand results had better search for something else.
const MAX_OFFSET: i64 = 1000;

pub fn routes(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    route(
        warp::path!("api" / "v1" / "chat" / "users" / Segment / "search")
            .and(get())
            .and(call(services))
            .then(search),
    )
}

/// Messages in a user's own conversations that match a text.
///
/// `q` takes words, "quoted phrases", `or` and `-not`. The newest hundred matches come by rank, then the hundred
/// before them by rank, and so on. A deleted message is not found, an edited one by its new content only.
/// Each message says with whom the conversation is (`otherParticipant`).
/// A page ends early where it would exceed 4 MiB: then it has fewer items than `limit`, and `hasMore` is true.
/// 503 while the index is being built, or if the search takes too long (`SEARCH_TIMEOUT_SECONDS`) or waits too long for its turn: a user has one at a time.
#[utoipa::path(
    get, path = "/api/v1/chat/users/{user_id}/search", tag = "messages", operation_id = "searchMessages",
    params(
        ("user_id" = Uuid, Path, description = "who searches", example = "11111111-1111-4111-8111-111111111111"),
        ("q" = String, Query, description = "what to look for; not only white space, at most MAX_QUERY_BYTES (256) bytes", min_length = 1, example = "flat"),
        ("limit" = Option<i64>, Query, description = "items of one page", minimum = 1, maximum = 200, example = 20),
        ("offset" = Option<i64>, Query, description = "items to skip", minimum = 0, maximum = 1000, example = 0),
        ("conversation_id" = Option<Uuid>, Query, description = "in this conversation only", example = "c0000000-0000-4000-8000-000000000001"),
        ("snippets" = Option<bool>, Query, description = "whether each message gets a `snippet`", example = true),
    ),
    responses((status = 200, description = "a page", body = objects::SearchResults), (status = 400), (status = 403), (status = 404), (status = 429)),
)]
pub(super) async fn search(user: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let user = user.user(&caller);
    let conversation = call.query.id::<ConversationId>("conversation_id");
    let page = call.query.page_within(DEFAULT_LIMIT, MAX_LIMIT, MAX_OFFSET);
    let snippets = call.query.flag("snippets");
    let (user, conversation, words, page, snippets) =
        all((user, conversation, words(&call), page, snippets)).map_err(Error::Validation)?;
    let user = caller.act_for(user)?;
    let Some(language) = &call.services.config.search_language else {
        return Err(Error::SearchIsOff);
    };
    call.services.other_limiter.check(user)?;
    let search = Search {
        reader: user,
        words,
        conversation,
        language,
        snippets,
    };
    let listing = call.services.store.search(search, page).await;
    let listing = listing.map_err(|error| caller.concealed(error))?;
    let holder = caller.holder(Holder::User(user));
    page_response(&call.services, holder, "messages", listing)
}

fn words(call: &Call) -> Checked<&str> {
    match call.search_text()? {
        Some(q) if q.trim().is_empty() => {
            Err(vec!["q must not be empty or only white space".to_owned()])
        }
        Some(q) => Ok(q),
        None => Err(vec!["q is required".to_owned()]),
    }
}
