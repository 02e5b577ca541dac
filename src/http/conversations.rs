//! Conversations: the list of a user, one of them, opening one, marking one as read, and the unread count.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use super::body::{Body, BodyLimits, body};
use super::call::{Call, call};
use super::extract::{Segment, all};
use super::listing::{object_response, page_response};
use super::methods::{get, post, put};
use super::{any_of, route};
use crate::auth::NamedUser;
use crate::error::Error;
use crate::limits::Holder;
use crate::model::{ConversationId, Seq, UserId};
use crate::reply::json_response;
use crate::schema::objects::{self, OpenConversation};
use crate::services::Services;
use crate::store::{ConversationFilter, Gone};

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;

/// A lone segment after `conversations` is a user; a conversation has another segment behind it.
pub fn routes(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    let limits = BodyLimits::from(&*services.config);
    let body = body(limits, services.incoming.clone());
    let path = warp::path!("api" / "v1" / "chat" / ..);
    any_of([
        route(
            path.and(warp::path!("users" / Segment / "conversations"))
                .and(get())
                .and(call(services))
                .then(list),
        ),
        route(
            path.and(warp::path!("conversations" / Segment))
                .and(get())
                .and(call(services))
                .then(list_by_old_path),
        ),
        route(
            path.and(warp::path!("users" / Segment / "conversations" / Segment))
                .and(get())
                .and(call(services))
                .then(one),
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

/// A user's conversations, most recently active first: all of them, or only those that match `unread`, `q` and `with`.
///
/// Filters combine. If `with` matches none, the page is empty, and no conversation is opened.
/// A page ends early where it would exceed 4 MiB: then it has fewer items than `limit`, and `hasMore` is true.
#[utoipa::path(
    get, path = "/api/v1/chat/users/{user_id}/conversations", tag = "conversations", operation_id = "listConversations",
    params(
        ("user_id" = Uuid, Path, description = "the user", example = "11111111-1111-4111-8111-111111111111"),
        ("limit" = Option<i64>, Query, description = "items of one page", minimum = 1, maximum = 200, example = 50),
        ("offset" = Option<i64>, Query, description = "items to skip", minimum = 0, maximum = 2147483647, example = 0),
        ("unread" = Option<bool>, Query, description = "true: only those with unread messages of this user's; false, or left out: all"),
        ("q" = Option<String>, Query, description = "only those whose other participant has this in their name: any part of the full name, first or last name first, in any case; at most MAX_QUERY_BYTES (256) bytes"),
        ("with" = Option<Uuid>, Query, description = "only the one with this user, if there is one"),
    ),
    responses((status = 200, description = "a page", body = objects::Conversations), (status = 400), (status = 404), (status = 429)),
)]
pub(super) async fn list(user: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let page = call.query.page(DEFAULT_LIMIT, MAX_LIMIT);
    let other = call.optional_user("with", &caller);
    let unread = call.query.flag("unread");
    let (user, page, other, unread_only, query) =
        all((user.user(&caller), page, other, unread, call.name_query()))
            .map_err(Error::Validation)?;
    let user = caller.act_for(user)?;
    let holder = caller.holder(Holder::User(user));
    let filter = ConversationFilter {
        other: other.map(NamedUser::as_the_other),
        unread_only,
        query,
    };
    let store = call.services.reads.turn(holder).await?;
    let listing = store.conversations(user, filter, page).await?;
    page_response(&call.services, holder, "conversations", listing)
}

/// The same list at the Go chat service's path, which has a user's id in the place of a conversation's.
#[utoipa::path(
    get, path = "/api/v1/chat/conversations/{user_id}", tag = "conversations", operation_id = "listConversationsByOldPath",
    params(
        ("user_id" = Uuid, Path, description = "the user", example = "11111111-1111-4111-8111-111111111111"),
        ("limit" = Option<i64>, Query, description = "items of one page", minimum = 1, maximum = 200, example = 50),
        ("offset" = Option<i64>, Query, description = "items to skip", minimum = 0, maximum = 2147483647, example = 0),
        ("unread" = Option<bool>, Query, description = "true: only those with unread messages of this user's; false, or left out: all"),
        ("q" = Option<String>, Query, description = "only those whose other participant has this in their name: any part of the full name, first or last name first, in any case; at most MAX_QUERY_BYTES (256) bytes"),
        ("with" = Option<Uuid>, Query, description = "only the one with this user, if there is one"),
    ),
    responses((status = 200, description = "a page", body = objects::Conversations), (status = 400), (status = 404), (status = 429)),
)]
pub(super) async fn list_by_old_path(user: Segment, call: Call) -> Result<Response, Error> {
    list(user, call).await
}

/// One conversation of a user, as in the list of their conversations.
#[utoipa::path(
    get, path = "/api/v1/chat/users/{user_id}/conversations/{conversation_id}", tag = "conversations", operation_id = "getConversation",
    params(
        ("user_id" = Uuid, Path, description = "one of its two participants: whose unread messages are counted", example = "11111111-1111-4111-8111-111111111111"),
        ("conversation_id" = Uuid, Path, description = "the conversation", example = "c0000000-0000-4000-8000-000000000001"),
    ),
    responses((status = 200, description = "the conversation", body = objects::Conversation), (status = 400), (status = 403), (status = 404), (status = 429)),
)]
pub(super) async fn one(
    user: Segment,
    conversation: Segment,
    call: Call,
) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let conversation = conversation.id::<ConversationId>("conversation_id");
    let (user, conversation) =
        all((user.user(&caller), conversation)).map_err(Error::Validation)?;
    let user = caller.act_for(user)?;
    let holder = caller.holder(Holder::User(user));
    let store = call.services.reads.turn(holder).await?;
    let found = store.conversation(conversation, user).await;
    let found = found.map_err(|error| caller.concealed(error))?;
    object_response(&call.services, holder, StatusCode::OK, &found)
}

/// Opens the conversation of two users, or returns the one they have.
///
/// `unreadCount` is that of the token's user, or of `user1Id` without a user's token.
#[utoipa::path(
    post, path = "/api/v1/chat/conversations", tag = "conversations", operation_id = "openConversation",
    request_body(content = OpenConversation, example = json!({"user1Id": "11111111-1111-4111-8111-111111111111", "user2Id": "22222222-2222-4222-8222-222222222222"})),
    responses(
        (status = 201, description = "a new one", body = objects::Conversation),
        (status = 200, description = "the one that exists", body = objects::Conversation),
        (status = 400), (status = 404), (status = 429),
    ),
)]
pub(super) async fn open(call: Call, body: Body) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let holder = caller.holder(Holder::Anybody);
    let body = body.json(holder).await?;
    let fields = body.fields(&["user1Id", "user2Id"])?;
    let users = all((
        fields.user_or_own("user1Id", &caller),
        fields.user("user2Id", &caller),
    ));
    let (user1, user2) = users.map_err(Error::Validation)?;
    if user1 == user2 {
        return Err(Error::invalid(
            "user1Id and user2Id must be two different users",
        ));
    }
    // Who asks: their limit, and their unread messages.
    let (asks, [user1, user2]) = caller.act_for_either(user1, user2)?;
    call.services.other_limiter.check(asks)?;
    let store = &call.services.store;
    let opened = store.open_conversation(user1, user2, asks).await?;
    let status = match opened.created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    // Where there is no room, it has been opened all the same, and a repeat finds it.
    let holder = caller.holder(Holder::User(asks));
    object_response(&call.services, holder, status, &opened.conversation)
}

/// What marking as read did.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ReadResult)]
pub(super) struct Read {
    #[schema(value_type = Uuid)]
    conversation_id: ConversationId,
    #[schema(value_type = Uuid)]
    user_id: UserId,
    /// Messages that were unread before.
    #[schema(minimum = 0)]
    marked_count: i64,
    /// The `seq` up to which this user has now read; 0 when nothing was.
    #[schema(value_type = i64, minimum = 0)]
    read_seq: Seq,
}

/// Marks the other participant's messages as read, all of them or those up to a `seq`.
#[utoipa::path(
    put, path = "/api/v1/chat/conversations/{conversation_id}/read", tag = "conversations", operation_id = "markRead",
    params(
        ("conversation_id" = Uuid, Path, description = "the conversation", example = "c0000000-0000-4000-8000-000000000001"),
        ("user_id" = Option<Uuid>, Query, description = "who has read; in jwt mode defaults to the token's user", example = "22222222-2222-4222-8222-222222222222"),
        ("up_to_seq" = Option<i64>, Query, description = "the seq of the last message that was read; beyond the end, or left out: all", minimum = 0, example = 1),
    ),
    responses((status = 200, description = "what was marked", body = Read), (status = 400), (status = 403), (status = 404), (status = 429)),
)]
pub(super) async fn mark_read(conversation: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let conversation = conversation.id::<ConversationId>("conversation_id");
    let reader = call.user_id(&caller);
    let up_to = call.query.seq("up_to_seq");
    let (conversation, reader, up_to) =
        all((conversation, reader, up_to)).map_err(Error::Validation)?;
    let reader = caller.act_for(reader)?;
    call.services.other_limiter.check(reader)?;
    let marked = call
        .services
        .store
        .mark_read(conversation, reader, up_to, Gone::never())
        .await
        .map_err(|error| caller.concealed(error))?;
    let read = Read {
        conversation_id: conversation,
        user_id: reader,
        marked_count: marked.marked_count,
        read_seq: marked.read_seq,
    };
    Ok(json_response(StatusCode::OK, &read))
}

/// A user's unread messages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UnreadCount)]
pub(super) struct Unread {
    #[schema(value_type = Uuid)]
    user_id: UserId,
    /// Messages.
    #[schema(minimum = 0)]
    unread_count: i64,
    /// Conversations that have some of them.
    #[schema(minimum = 0)]
    unread_conversations: i64,
}

/// How many messages a user has not read, and in how many conversations.
#[utoipa::path(
    get, path = "/api/v1/chat/users/{user_id}/unread-count", tag = "conversations", operation_id = "unreadCount",
    params(("user_id" = Uuid, Path, description = "the user", example = "11111111-1111-4111-8111-111111111111")),
    responses((status = 200, description = "the count", body = Unread), (status = 400), (status = 404), (status = 429)),
)]
pub(super) async fn unread_count(user: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let user = user.user(&caller).map_err(Error::Validation)?;
    let user = caller.act_for(user)?;
    let holder = caller.holder(Holder::User(user));
    let store = call.services.reads.turn(holder).await?;
    let unread = store.unread_count(user).await?;
    let unread = Unread {
        user_id: user,
        unread_count: unread.messages,
        unread_conversations: unread.conversations,
    };
    Ok(json_response(StatusCode::OK, &unread))
}
