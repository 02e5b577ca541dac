//! Tickets: what a browser opens a socket with, since it cannot put a header on a handshake.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::StatusCode;
use warp::reply::Response;

use super::call::{Call, call};
use super::methods::post;
use super::route;
use crate::error::Error;
use crate::model::RawJson;
use crate::reply::json_response;
use crate::services::Services;

pub fn routes(services: &Arc<Services>) -> BoxedFilter<(Response,)> {
    route(
        warp::path!("api" / "v1" / "ws" / "ticket")
            .and(post())
            .and(call(services))
            .then(issue),
    )
}

/// A ticket, which opens one socket, once.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ticket)]
pub(super) struct Issued<'a> {
    /// For the parameter `ticket` of `/ws`.
    ticket: &'a str,
    /// Until then it opens a socket.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    expires_at: &'a RawJson,
}

/// Makes a ticket for `/ws?ticket=…`, which opens one socket, once, within 30 seconds (`TICKET_SECONDS`), on any replica.
///
/// For browsers, which cannot set headers on a WebSocket handshake. The socket ends with the token that the ticket was
/// made with.
#[utoipa::path(
    post, path = "/api/v1/ws/ticket", tag = "tickets", operation_id = "createTicket",
    params(
        ("user_id" = Option<Uuid>, Query, description = "whose socket; in jwt mode defaults to the token's user", example = "11111111-1111-4111-8111-111111111111"),
    ),
    responses((status = 201, description = "a new one", body = Issued), (status = 400), (status = 404), (status = 429)),
)]
pub(super) async fn issue(call: Call) -> Result<Response, Error> {
    let caller = call.caller().await?;
    let user = call.user_id(&caller).map_err(Error::Validation)?;
    let user = caller.act_for(user)?;
    call.services.other_limiter.check(user)?;
    let (ticket, expires_at) = call.services.auth.issue_ticket(&caller, user).await?;
    let issued = Issued {
        ticket: &ticket,
        expires_at: &expires_at,
    };
    Ok(json_response(StatusCode::CREATED, &issued))
}
