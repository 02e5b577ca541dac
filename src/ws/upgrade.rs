//! The `/ws` route: checks the handshake (RFC 6455 section 4.2), answers it, and starts the session.
//!
//! warp's own `ws()` would give each socket a read buffer of 128 KiB, with no way to set it; ours is 1 KiB.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use warp::filters::BoxedFilter;
use warp::http::header::{
    ALLOW, CONNECTION, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Reply};

use super::limited_stream::{IncomingBudget, LimitedStream};
use super::protocol::SUBPROTOCOL;
use super::session::Session;
use crate::auth::{Caller, ME, NamedUser, Presented};
use crate::config::{Config, Limits};
use crate::error::{Denial, Error};
use crate::header_list;
use crate::hub::Subscription;
use crate::limits::Holder;
use crate::logging::{Repeats, request_id};
use crate::model::{ConnectionId, UserId};
use crate::query_string::{Query, id};
use crate::reply::error_response;
use crate::services::Services;

/// Resident for each socket, whether it talks or not. Most frames of clients are smaller; larger ones take more reads.
const READ_BUFFER: usize = 1024;

/// Frames are collected up to this size before they are written; most turns of a session send less, in one write.
const WRITE_BUFFER: usize = 4 * 1024;

/// `GET /ws?user_id=uuid[&ticket=…][&cursor=…][&active=false]`. A refused handshake is an ordinary error reply, 405 for another method;
/// OPTIONS is answered as it is at every route.
pub fn route(services: Services) -> BoxedFilter<(Response,)> {
    let services = Arc::new(services);
    warp::path("ws")
        .and(warp::path::end())
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::ext::optional::<OnUpgrade>())
        .then(move |method, headers, query: String, on_upgrade| {
            let query = Query::parse(&query);
            answer(Arc::clone(&services), method, headers, query, on_upgrade)
        })
        .boxed()
}

async fn answer(
    services: Arc<Services>,
    method: Method,
    headers: HeaderMap,
    query: Query,
    on_upgrade: Option<OnUpgrade>,
) -> Response {
    match method {
        Method::GET => {}
        Method::OPTIONS => return with_methods(StatusCode::NO_CONTENT.into_response()),
        // HEAD as well: a handshake is a GET (RFC 6455 section 4.2.1), and there is nothing else here to be had.
        _ => return with_methods(refuse(&Error::MethodNotAllowed)),
    }
    match handshake(Arc::clone(&services), &headers, &query, on_upgrade).await {
        Ok(response) => response,
        Err(error) => {
            turn_of_refusal(&services, &error).await;
            refuse(&error)
        }
    }
}

/// Resolves when a handshake may be refused for this.
async fn turn_of_refusal(services: &Services, error: &Error) {
    static LINES: Repeats = Repeats::new(module_path!());
    match error {
        // A handshake that is refused for want of room does not wait: each that waits here takes one of the connections beside the sockets.
        // Few of them have cost a query: only those that were let pass while there was still room.
        Error::ReplicaFull { limit } => LINES.warn(format_args!(
            "as many sockets are open as may be (MAX_CONNECTIONS, {limit}): handshakes get a 503"
        )),
        // A drain waits for nobody who is refused.
        _ => tokio::select! {
            () = services.refusals.turn() => {}
            () = services.lifecycle.draining.cancelled() => {}
        },
    }
}

/// From the cheapest check to the dearest: the database is asked only for a handshake that could become a socket, and no handshake waits for it
/// whose credentials or parameters are refused by themselves. Users who are unknown or deactivated are told so first, as everywhere: so
/// whether they act for themselves, and may have another socket, is checked after that.
async fn handshake(
    services: Arc<Services>,
    headers: &HeaderMap,
    query: &Query,
    on_upgrade: Option<OnUpgrade>,
) -> Result<Response, Error> {
    let key = websocket_key(headers)?;
    // Absent in HTTP/1.0, whatever its headers say.
    let on_upgrade = on_upgrade
        .ok_or_else(|| Error::UpgradeRequired("the connection cannot be upgraded".to_owned()))?;
    check_origin(headers, &services.config)?;
    let ticket = parameter(query, "ticket")?;
    // Whatever it is, the client is let in: a cursor that is none of ours makes it reload.
    let cursor = query.token("cursor").map_err(Error::Validation)?;
    let cursor = cursor.filter(|text| !text.is_empty()).map(str::to_owned);
    let active = query.choice("active").map_err(Error::Validation)?;
    // Before a ticket is used up: with it, a client that is refused here may go to another replica.
    if services.lifecycle.draining.is_cancelled() {
        return Err(Error::unavailable("this replica is closing"));
    }
    services.hub.require_room()?;
    let presented = services.auth.presented(headers, ticket)?;
    let whose = whose(query)?;
    if let Presented::Caller(caller) = &presented {
        named_or_own(whose, caller)?;
    }
    let caller = services.auth.socket(presented).await?;
    let user = caller.act_for(named_or_own(whose, &caller)?)?;
    services.hub.require_room_for(user)?;
    services.auth.require_connectable(user).await?;
    let subscription = services.hub.register(user)?;
    log_connected(subscription.connection_id(), user);

    let connections = services.lifecycle.connections.clone();
    connections.spawn(open(
        services,
        caller,
        user,
        subscription,
        cursor,
        active.unwrap_or(true),
        on_upgrade,
    ));
    Ok(switching_protocols(
        &key,
        offers(headers, SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
    ))
}

/// Ties a connection to the request that became it; what follows has the connection's id alone.
fn log_connected(id: ConnectionId, user: UserId) {
    if !log::log_enabled!(log::Level::Debug) {
        return;
    }
    let request = request_id();
    log::debug!(connectionId:% = id, userId:% = user; "socket {id} of user {user}: connected by request {request:?}");
}

/// The task of a socket, from the 101 to the end of its connection.
#[expect(
    clippy::manual_async_fn,
    reason = "small, for the reason of Session::run"
)]
fn open(
    services: Arc<Services>,
    caller: Caller,
    user: UserId,
    subscription: Subscription,
    cursor: Option<String>,
    is_active: bool,
    on_upgrade: OnUpgrade,
) -> impl Future<Output = ()> + Send {
    async move {
        // Resolves when the 101 is written, or when its connection ended before: no deadline is needed here.
        let upgraded = match on_upgrade.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => {
                let id = subscription.connection_id();
                return log::debug!(connectionId:% = id, userId:% = user; "socket {id} of user {user}: not upgraded: {error}");
            }
        };
        let stream = socket(upgraded, &services, user).await;
        Session::new(services, caller, user, stream, subscription, is_active)
            .run(cursor)
            .await;
    }
}

/// The server's side of a connection that is upgraded.
pub(super) async fn socket<S>(
    io: S,
    services: &Services,
    user: UserId,
) -> WebSocketStream<LimitedStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Config {
        limits, timeouts, ..
    } = &*services.config;
    let (budget, holder) = (services.incoming.clone(), Holder::User(user));
    let incoming = IncomingBudget::new(budget, holder, limits.body_bytes);
    let limited = LimitedStream::new(io, timeouts.body, incoming);
    WebSocketStream::from_raw_socket(limited, Role::Server, Some(socket_config(limits))).await
}

/// Buffers and limits of one socket.
fn socket_config(limits: &Limits) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        // No bound here: a session waits until the buffer is taken, so that one frame is in it, of whatever size
        // another program has inserted.
        .max_message_size(Some(limits.body_bytes))
        .max_frame_size(Some(limits.body_bytes))
}

/// The client's `Sec-WebSocket-Key`, if this is a handshake of version 13.
fn websocket_key(headers: &HeaderMap) -> Result<HeaderValue, Error> {
    let required = |what: &str| Error::UpgradeRequired(format!("a WebSocket handshake {what}"));
    if !offers(headers, CONNECTION, "upgrade") {
        return Err(required("has the header Connection: Upgrade"));
    }
    if !offers(headers, UPGRADE, "websocket") {
        return Err(required("has the header Upgrade: websocket"));
    }
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != "13")
    {
        return Err(required("has the header Sec-WebSocket-Version: 13"));
    }
    headers
        .get(SEC_WEBSOCKET_KEY)
        .filter(|key| is_base64_of_16_bytes(key.as_bytes()))
        .cloned()
        .ok_or_else(|| required("has a Sec-WebSocket-Key of 16 bytes in base64"))
}

/// 16 bytes are 22 characters and two of padding. The last character carries four bits too many, which
/// lenient encoders leave set: they are not looked at.
fn is_base64_of_16_bytes(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22]
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

/// Whether one of the members of a header is `wanted`, in any case of letters.
fn offers(headers: &HeaderMap, name: HeaderName, wanted: &str) -> bool {
    header_list::members(headers, name).any(|member| member.eq_ignore_ascii_case(wanted))
}

/// Keeps foreign web pages from opening sockets in a visitor's name (RFC 6455 section 10.2). A handshake without
/// `Origin` comes from no browser.
fn check_origin(headers: &HeaderMap, config: &Config) -> Result<(), Error> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    match config.allowed_origins.may_open_socket(origin, host) {
        true => Ok(()),
        false => Err(Error::Forbidden(Denial::OriginNotAllowed)),
    }
}

/// Whose socket it is to be.
#[derive(Clone, Copy)]
enum Whose {
    Named(NamedUser),
    /// `user_id` is [`ME`].
    Me,
    /// There is no `user_id`.
    Unsaid,
}

fn whose(query: &Query) -> Result<Whose, Error> {
    match parameter(query, "user_id")? {
        None => Ok(Whose::Unsaid),
        Some(ME) => Ok(Whose::Me),
        Some(text) => {
            let named = id("user_id", text).map(Whose::Named);
            named.map_err(Error::Validation)
        }
    }
}

/// The caller's own user where none is named.
fn named_or_own(whose: Whose, caller: &Caller) -> Result<NamedUser, Error> {
    let missing = match whose {
        Whose::Named(named) => return Ok(named),
        Whose::Me => "user_id can be me only with a user's token",
        Whose::Unsaid => "user_id is required",
    };
    caller.own_user().ok_or_else(|| Error::invalid(missing))
}

/// An id or a ticket. An empty value is as good as none.
fn parameter<'a>(query: &'a Query, name: &str) -> Result<Option<&'a str>, Error> {
    let text = query.text(name).map_err(Error::Validation)?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn switching_protocols(key: &HeaderValue, subprotocol: bool) -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    // Base64 is always a valid header value.
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
    if subprotocol {
        headers.insert(
            SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(SUBPROTOCOL),
        );
    }
    response
}

fn with_methods(mut response: Response) -> Response {
    let methods = HeaderValue::from_static("GET, OPTIONS");
    response.headers_mut().insert(ALLOW, methods);
    response
}

fn refuse(error: &Error) -> Response {
    let mut response = error_response(error);
    if let Error::UpgradeRequired(_) = error {
        let headers = response.headers_mut();
        // RFC 9110 section 15.5.22 wants the first two, RFC 6455 section 4.2.2 the version.
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    response
}

#[cfg(test)]
mod tests;
