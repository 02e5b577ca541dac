//! Conversations: the list of a user, opening one, marking one as read, and the unread count.

use std::sync::Arc;

use serde::Serialize;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use super::body::{Body, BodyLimits, body};
use super::extract::{Call, Segment, both, call, get, post, put};
use super::{any_of, route};
use crate::app::Services;
use crate::error::Error;
use crate::model::{ConversationId, RawJson, Seq, UserId};
use crate::reply::json_response;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

/// One segment after `conversations` is a user; a conversation has another segment behind it.
pub fn routes(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    let body = body(BodyLimits::from(&*services.config));
    let path = warp::path!("api" / "v1" / "chat" / ..);
    any_of([
        route(
            path.and(warp::path!("conversations" / Segment))
                .and(get())
                .and(call(services))
                .then(list),
        ),
        route(
            path.and(warp::path!("conversations"))
                .and(post())
                .and(call(services))
                .and(body)
                .then(open),
        ),
        route(
            path.and(warp::path!("conversations" / Segment / "read"))
                .and(put())
                .and(call(services))
                .then(mark_read),
        ),
        route(
            path.and(warp::path!("users" / Segment / "unread-count"))
                .and(get())
                .and(call(services))
                .then(unread_count),
        ),
    ])
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conversations<'a> {
    conversations: &'a [RawJson],
    has_more: bool,
}

async fn list(user: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller()?;
    let page = call.query.page(DEFAULT_LIMIT, MAX_LIMIT);
    let (user, page) = both(user.id::<UserId>("user_id"), page).map_err(Error::Validation)?;
    caller.act_for(user)?;
    let listing = call.services.store.conversations(user, page).await?;
    let conversations = Conversations {
        conversations: &listing.items,
        has_more: listing.has_more,
    };
    Ok(json_response(StatusCode::OK, &conversations))
}

async fn open(call: Call, body: Body) -> Result<Response, Error> {
    let caller = call.caller()?;
    let mut fields = body.fields().await?;
    let users = both(
        fields.id::<UserId>("user1Id"),
        fields.id::<UserId>("user2Id"),
    );
    let (user1, user2) = users.map_err(Error::Validation)?;
    if user1 == user2 {
        return Err(Error::invalid(
            "user1Id and user2Id must be two different users",
        ));
    }
    caller.act_for_one_of(&[user1, user2])?;
    let opened = call.services.store.open_conversation(user1, user2).await?;
    let status = match opened.created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    Ok(json_response(status, &opened.conversation))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    conversation_id: ConversationId,
    user_id: UserId,
    marked_count: i64,
    read_seq: Seq,
}

async fn mark_read(conversation: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller()?;
    let conversation = conversation.id::<ConversationId>("conversation_id");
    let reader = call.query.required_id::<UserId>("user_id");
    let up_to = call.query.seq("up_to_seq");
    let (conversation, (reader, up_to)) =
        both(conversation, both(reader, up_to)).map_err(Error::Validation)?;
    caller.act_for(reader)?;
    let marked = call
        .services
        .store
        .mark_read(conversation, reader, up_to)
        .await?;
    let read = Read {
        conversation_id: conversation,
        user_id: reader,
        marked_count: marked.marked_count,
        read_seq: marked.read_seq,
    };
    Ok(json_response(StatusCode::OK, &read))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Unread {
    user_id: UserId,
    unread_count: i64,
}

async fn unread_count(user: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller()?;
    let user: UserId = user.id("user_id").map_err(Error::Validation)?;
    caller.act_for(user)?;
    let unread = Unread {
        user_id: user,
        unread_count: call.services.store.unread_count(user).await?,
    };
    Ok(json_response(StatusCode::OK, &unread))
}
