//! Messages: the history of a conversation, one of them, sending, editing and deleting.

use std::sync::Arc;

use warp::filters::BoxedFilter;
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::body::{Body, BodyLimits, body};
use super::call::{Call, call};
use super::extract::{Checked, Query, Segment, all};
use super::fields::JsonBody;
use super::listing::{object_response, page_response};
use super::methods::{get, methods, post};
use super::{any_of, route};
use crate::auth::{Caller, NamedUser};
use crate::error::Error;
use crate::limits::Holder;
use crate::logging::request_id;
use crate::model::{Content, ConversationId, MessageId, NewMessage, Reader, check_content};
use crate::reply::json_response;
use crate::schema::objects::{self, EditMessage, SendMessage};
use crate::services::Services;
use crate::store::{Gone, Page, Window};
use crate::writer::{Protocol, SENT_LOG};

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 200;
const ONE_MESSAGE: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";

pub fn routes(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    let limits = BodyLimits::from(&*services.config);
    let body = body(limits, services.incoming.clone());
    let path = warp::path!("api" / "v1" / "chat" / ..);
    any_of([
        route(
            path.and(warp::path!("messages"))
                .and(post())
                .and(call(services))
                .and(body.clone())
                .then(send),
        ),
        route(
            path.and(warp::path!("conversations" / Segment / "messages"))
                .and(get())
                .and(call(services))
                .then(list),
        ),
        route(
            path.and(warp::path!("messages" / Segment))
                .and(methods(
                    |method| matches!(*method, Method::GET | Method::HEAD),
                    ONE_MESSAGE,
                ))
                .and(call(services))
                .then(one),
        ),
        route(
            path.and(warp::path!("messages" / Segment))
                .and(methods(|method| method == Method::PATCH, ONE_MESSAGE))
                .and(call(services))
                .and(body)
                .then(edit),
        ),
        route(
            path.and(warp::path!("messages" / Segment))
                .and(methods(|method| method == Method::DELETE, ONE_MESSAGE))
                .and(call(services))
                .then(delete),
        ),
    ])
}

/// The history of a conversation, newest first, or what came after a message, oldest first.
///
/// `after` asks for the latter. `before`, `after` and `offset` exclude each other; the first two stay fast at any depth. A page ends early where it
/// would exceed 4 MiB: then it has fewer items than `limit`, and `hasMore` is true.
#[utoipa::path(
    get, path = "/api/v1/chat/conversations/{conversation_id}/messages", tag = "messages", operation_id = "listMessages",
    params(
        ("conversation_id" = Uuid, Path, description = "the conversation", example = "c0000000-0000-4000-8000-000000000001"),
        ("user_id" = Option<Uuid>, Query, description = "the participant who reads; left out: the token's user, or, in trusted mode and with a service token, anybody who knows the id", example = "11111111-1111-4111-8111-111111111111"),
        ("limit" = Option<i64>, Query, description = "items of one page", minimum = 1, maximum = 200, example = 50),
        ("offset" = Option<i64>, Query, description = "items to skip", minimum = 0, maximum = 2147483647),
        ("before" = Option<i64>, Query, description = "older than this seq", minimum = 0, example = 4),
        ("after" = Option<i64>, Query, description = "newer than this seq, oldest first", minimum = 0),
    ),
    responses((status = 200, description = "a page", body = objects::Messages), (status = 400), (status = 403), (status = 404), (status = 429)),
)]
pub(super) async fn list(conversation: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let conversation = conversation.id::<ConversationId>("conversation_id");
    let named = call.optional_user("user_id", &caller);
    let (conversation, named, window) =
        all((conversation, named, window(&call.query))).map_err(Error::Validation)?;
    let reader = caller.reader(named)?;
    let holder = caller.holder(match reader {
        Reader::Participant(user) => Holder::User(user),
        Reader::Anyone => Holder::Conversation(conversation),
    });
    let store = call.services.reads.turn(holder).await?;
    let listing = store.messages(conversation, reader, window).await;
    let listing = listing.map_err(|error| caller.concealed(error))?;
    page_response(&call.services, holder, "messages", listing)
}

/// `before`, `after` and `offset` are three ways to say where to start, so only one may be given.
fn window(query: &Query) -> Checked<Window> {
    let (limit, offset, before, after) = all((
        query.limit(DEFAULT_LIMIT, MAX_LIMIT),
        query.offset(),
        query.seq("before"),
        query.seq("after"),
    ))?;
    match (offset, before, after) {
        (offset, None, None) => Ok(Window::Newest(Page {
            limit,
            offset: offset.unwrap_or(0),
        })),
        (None, Some(seq), None) => Ok(Window::Before { seq, limit }),
        (None, None, Some(seq)) => Ok(Window::After { seq, limit }),
        _ => Err(vec![
            "only one of before, after and offset may be given".to_owned(),
        ]),
    }
}

/// One message. A deleted one is a 404.
#[utoipa::path(
    get, path = "/api/v1/chat/messages/{message_id}", tag = "messages", operation_id = "getMessage",
    params(
        ("message_id" = Uuid, Path, description = "the message", example = "d0000000-0000-4000-8000-000000000001"),
        ("user_id" = Option<Uuid>, Query, description = "the participant who reads; left out: the token's user, or, in trusted mode and with a service token, anybody who knows the id", example = "11111111-1111-4111-8111-111111111111"),
    ),
    responses((status = 200, description = "the message", body = objects::Message), (status = 400), (status = 403), (status = 404), (status = 429)),
)]
pub(super) async fn one(message: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let message = message.id::<MessageId>("message_id");
    let (message, named) =
        all((message, call.optional_user("user_id", &caller))).map_err(Error::Validation)?;
    let reader = caller.reader(named)?;
    let holder = caller.holder(match reader {
        Reader::Participant(user) => Holder::User(user),
        Reader::Anyone => Holder::Anybody,
    });
    let store = call.services.reads.turn(holder).await?;
    let found = store.message(message, reader).await;
    let found = found.map_err(|error| caller.concealed(error))?;
    object_response(&call.services, holder, StatusCode::OK, &found)
}

/// Sends a message. The answer comes once it is committed.
///
/// With a `clientMessageId` it is safe to repeat.
#[utoipa::path(
    post, path = "/api/v1/chat/messages", tag = "messages", operation_id = "sendMessage",
    request_body(content = SendMessage, example = json!({
        "conversationId": "c0000000-0000-4000-8000-000000000001", "senderId": "11111111-1111-4111-8111-111111111111",
        "content": "Is Friday fine, too?", "clientMessageId": "example-1"
    })),
    responses(
        (status = 201, description = "stored", body = objects::Message),
        (status = 200, description = "the stored message, if the sender repeats a clientMessageId", body = objects::Message),
        (status = 400), (status = 403), (status = 404), (status = 409), (status = 429),
    ),
)]
pub(super) async fn send(call: Call, body: Body) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let max_bytes = call.services.config.limits.message_bytes;
    let body = body.json(caller.holder(Holder::Anybody)).await?;
    let message = new_message(body, &caller, max_bytes)?;
    let sender = message.sender;
    call.services
        .send_limiter
        .check_content(sender, &message.content)?;
    let sent = call.services.writer.send(message, Protocol::Http).await;
    let sent = sent.map_err(|error| caller.concealed(error))?;
    sent.log(|sent| {
        let request = request_id();
        log::debug!(target: SENT_LOG, userId:% = sender, messageId:% = sent.id, seq = sent.seq.0; "request {request:?} of user {sender}: {sent}");
    });
    let status = match sent.repeated {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    Ok(json_response(status, &sent.message))
}

/// What a message is sent with.
const MEMBERS: [&str; 5] = [
    "conversationId",
    "senderId",
    "content",
    "messageType",
    "clientMessageId",
];

/// All faults of all fields at once: those of the ids, the types, and what [`Content::checked`] finds. Then whether the
/// caller may send as this sender.
fn new_message(
    body: JsonBody,
    caller: &Caller,
    max_content_bytes: usize,
) -> Result<NewMessage, Error> {
    let fields = body.fields(&MEMBERS)?;
    let conversation = fields.id::<ConversationId>("conversationId");
    let sender = fields.user_or_own("senderId", caller);
    let content = all((
        fields.text("content"),
        fields.optional_text("messageType"),
        fields.optional_text("clientMessageId"),
    ));
    let content = content.and_then(|(text, message_type, client_message_id)| {
        let message_type = message_type.as_deref();
        Content::checked(text, message_type, client_message_id, max_content_bytes)
    });
    let (conversation, sender, content) =
        all((conversation, sender, content)).map_err(Error::Validation)?;
    Ok(content.of(caller.act_for(sender)?, conversation))
}

/// Replaces the content of a message. Only its sender may.
#[utoipa::path(
    patch, path = "/api/v1/chat/messages/{message_id}", tag = "messages", operation_id = "editMessage",
    params(
        ("message_id" = Uuid, Path, description = "the message", example = "d0000000-0000-4000-8000-000000000001"),
        ("user_id" = Option<Uuid>, Query, description = "its sender; in jwt mode defaults to the token's user", example = "11111111-1111-4111-8111-111111111111"),
    ),
    request_body(content = EditMessage, example = json!({"content": "Good morning! Is the flat still available?"})),
    responses((status = 200, description = "as it is now", body = objects::Message), (status = 400), (status = 403), (status = 404), (status = 429)),
)]
pub(super) async fn edit(message: Segment, call: Call, body: Body) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let target = target(message, &call, &caller);
    let editor = target.as_ref().ok();
    let named = editor.and_then(|(_, editor)| caller.act_for(*editor).ok());
    let holder = caller.holder(named.map_or(Holder::Anybody, Holder::User));
    let body = body.json(holder).await?;
    let fields = body.fields(&["content"])?;
    let max_bytes = call.services.config.limits.message_bytes;
    let content = fields
        .text("content")
        .and_then(|content| check_content(&content, max_bytes).map(|()| content));
    let ((message, editor), content) = all((target, content)).map_err(Error::Validation)?;
    let editor = caller.act_for(editor)?;
    call.services.send_limiter.check_content(editor, &content)?;
    // Whoever goes away before the answer takes this future with them, between two tries as well.
    let edited = call
        .services
        .store
        .edit_message(message, editor, &content, Gone::never())
        .await
        .map_err(|error| caller.concealed(error))?;
    Ok(json_response(StatusCode::OK, &edited))
}

/// Deletes a message. Only its sender may. The row keeps its place, without its content. Repeating it is fine.
#[utoipa::path(
    delete, path = "/api/v1/chat/messages/{message_id}", tag = "messages", operation_id = "deleteMessage",
    params(
        ("message_id" = Uuid, Path, description = "the message", example = "d0000000-0000-4000-8000-000000000001"),
        ("user_id" = Option<Uuid>, Query, description = "its sender; in jwt mode defaults to the token's user", example = "11111111-1111-4111-8111-111111111111"),
    ),
    responses((status = 204, description = "deleted"), (status = 400), (status = 403), (status = 404), (status = 429)),
)]
pub(super) async fn delete(message: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let (message, deleter) = target(message, &call, &caller).map_err(Error::Validation)?;
    let deleter = caller.act_for(deleter)?;
    call.services.other_limiter.check(deleter)?;
    let deleted = call.services.store.delete_message(message, deleter).await;
    deleted.map_err(|error| caller.concealed(error))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Which message, and who changes it.
fn target(message: Segment, call: &Call, caller: &Caller) -> Checked<(MessageId, NamedUser)> {
    all((message.id("message_id"), call.user_id(caller)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MessageType, Seq};

    #[test]
    fn before_after_and_offset_exclude_each_other() {
        for clash in ["before=5&after=2", "before=5&offset=0", "after=5&offset=1"] {
            let faults = window(&Query::parse(clash)).unwrap_err();
            assert_eq!(
                faults,
                ["only one of before, after and offset may be given"]
            );
        }
        assert!(matches!(
            window(&Query::parse("before=9&limit=7")),
            Ok(Window::Before {
                seq: Seq(9),
                limit: 7
            })
        ));
        assert!(matches!(
            window(&Query::parse("after=0")),
            Ok(Window::After {
                seq: Seq(0),
                limit: 50
            })
        ));
        assert!(matches!(
            window(&Query::parse("")),
            Ok(Window::Newest(Page {
                limit: 50,
                offset: 0
            }))
        ));
    }

    #[test]
    fn a_message_reports_the_faults_of_all_its_fields() {
        let body = JsonBody::of(
            r#"{"conversationId": "x", "content": " ", "messageType": "video", "clientMessageId": ""}"#,
        );
        let Err(Error::Validation(faults)) = new_message(body, &Caller::trusted(), 100) else {
            panic!("accepted");
        };
        assert_eq!(faults.len(), MEMBERS.len(), "{faults:?}");
        for (fault, name) in faults.iter().zip(MEMBERS) {
            assert!(fault.starts_with(name), "{fault}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_null_is_absent() {
        let body = JsonBody::of(
            r#"{"conversationId": "0198d9f0-0000-7000-8000-000000000001", "extra": {},
                "senderId": "0198d9f0-0000-7000-8000-000000000002", "content": "hi", "messageType": null}"#,
        );
        let message = new_message(body, &Caller::trusted(), 100).unwrap();
        assert_eq!(message.message_type, MessageType::Text);
        assert_eq!(message.client_message_id, None);
    }
}
