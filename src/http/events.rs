//! What has happened to a user since a cursor, for callers without a socket.

use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::call::{Call, call};
use super::extract::{Segment, all};
use super::listing::events_response;
use super::methods::get;
use super::route;
use crate::error::Error;
use crate::limits::Holder;
use crate::schema::objects;
use crate::services::{ANSWERS_BYTES, Services};

/// Of events in an answer, whatever `REPLAY_BYTES` allows a socket: with what stands around each event, the answer has to fit into the room for
/// all of them.
const MOST_BYTES: usize = ANSWERS_BYTES / 2;

pub fn routes(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    route(
        warp::path!("api" / "v1" / "chat" / "users" / Segment / "events")
            .and(get())
            .and(call(services))
            .then(events),
    )
}

/// What a user has missed since a cursor: what a socket that reconnects with it would be sent, in one answer.
///
/// Without `cursor`: no events, and the cursor to continue from. Ask for it first, then load what you show, then ask with it.
/// Keep the `cursor` of each answer once you have applied its `events`: it is the position after all of them.
/// The answer is complete. If it would exceed `REPLAY_EVENTS` (1,000) or `REPLAY_BYTES` (8 MiB; never more than 32 MiB), or if the cursor cannot be used, its only event is `resync_required`: load everything again.
/// An event may come again in the next answer: recognise it by its `type`, `id` and `updatedAt`.
#[utoipa::path(
    get, path = "/api/v1/chat/users/{user_id}/events", tag = "events", operation_id = "listEvents",
    params(
        ("user_id" = Uuid, Path, description = "whose events", example = "11111111-1111-4111-8111-111111111111"),
        ("cursor" = Option<String>, Query, description = "of the last answer, or of a socket's frame: what has happened since then is returned"),
    ),
    responses((status = 200, description = "the events, in the order in which they may be applied", body = objects::Events), (status = 400), (status = 404), (status = 429)),
)]
pub(super) async fn events(user: Segment, call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let (user, cursor) =
        all((user.user(&caller), call.query.token("cursor"))).map_err(Error::Validation)?;
    let user = caller.act_for(user)?;
    let cursor = cursor.filter(|text| !text.is_empty());
    let Services {
        reads,
        replay,
        frame_limiter,
        ..
    } = &*call.services;
    // As the replay of a socket. Servers and gateways ask for whomever they like.
    if let (Some(_), Holder::User(user)) = (cursor, caller.holder(Holder::Anybody)) {
        frame_limiter.check_replay(user)?;
    }
    let turn = reads.replay_turn(replay, user).await?;
    let told = replay.catch_up(turn, cursor, MOST_BYTES).await?;
    let holder = caller.holder(Holder::User(user));
    events_response(&call.services, holder, told)
}
