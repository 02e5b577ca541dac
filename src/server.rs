//! The accept loop. warp's own server has no time limit for a request's head and does not wait for sockets;
//! this one serves the same routes under hyper with both, a connection limit, and a drain.
//!
//! What hyper answers by itself, before there is a request, has no body and no `x-request-id`: 400 for what
//! is not HTTP, 431 for a head that is too long (`MAX_HEADER_BYTES`) or has too many fields (`MAX_HEADERS`).

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::header::{CONNECTION, EXPECT, HOST};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use warp::filters::BoxedFilter;
use warp::http::HeaderValue;
use warp::reply::Response;

use crate::config::Config;
use crate::error::Error;
use crate::http::security;
use crate::lifecycle::Lifecycle;
use crate::logging::REQUEST_ID;
use crate::logging::Repeats;
use crate::metrics::Connections;
use crate::reply::error_response;

mod final_response;
mod timeout_stream;
mod unread_body;
mod without_room;

use timeout_stream::{Phase, TimeoutStream};
use unread_body::SharedBody;

/// hyper's buffer of one connection; grows to this only while a large body passes.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// Between a socket's giving up a client that takes nothing, and the transport's.
const STALL_MARGIN: Duration = Duration::from_secs(10);
/// Connections over the limit that have a place at a time, to be told so or to be answered as a probe; the others are just closed.
const REFUSALS: usize = 64;
/// Connections that wait in the kernel until they are accepted (less where `net.core.somaxconn` is): those who come back by the thousand
/// do not come one by one.
pub const BACKLOG: u32 = 1024;
/// For the first byte of the first request of a connection that comes while the replica closes, or just before: a proxy or
/// a probe has sent it already, and the drain waits for one that has not.
const LATE_PATIENCE: Duration = Duration::from_secs(1);

/// Bounds of the transport.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Open connections, upgraded ones included; 0 is no limit. One more gets a 503, unless it asks how the replica is or is a
    /// browser's preflight, and is closed: a connection that waits unaccepted looks like a dead server to its peer.
    pub connections: usize,
    /// A request's head: the line and all fields, in bytes.
    pub head_bytes: usize,
    /// Its fields.
    pub fields: usize,
    /// From the first byte of a request's head to its last; then a 408.
    pub head: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// A peer that takes nothing of a response for so long is cut off.
    pub write_stall: Duration,
}

impl From<&Config> for ServerLimits {
    fn from(config: &Config) -> Self {
        Self {
            connections: match config.limits.connections {
                0 => 0,
                // Room for plain HTTP beside the WebSockets, probes among them.
                sockets => sockets.saturating_add(config.limits.http_connections),
            },
            head_bytes: config.limits.header_bytes,
            fields: config.limits.headers,
            head: config.timeouts.header,
            idle: config.timeouts.idle,
            // After a socket's own, which ends with a close frame.
            write_stall: config.timeouts.stall + STALL_MARGIN,
        }
    }
}

/// What requests are answered by.
#[derive(Clone)]
pub struct Routes {
    pub all: BoxedFilter<(Response,)>,
    /// On a connection over the limit, which has one request: how the replica is, what a browser asks before a request of a page, and a 503
    /// for everything else, which these routes count as refused.
    pub without_room: BoxedFilter<(Response,)>,
}

/// Serves `routes` until `lifecycle.refusing`, and then those that wait to be accepted. From `lifecycle.closing`
/// on, the connections that are there, tracked in `lifecycle.connections`, finish their requests and end; new
/// ones, tracked in `lifecycle.late`, get one answer each, so that a proxy that does not know yet loses no
/// request and probes see a draining replica and not a dead one. Those that are left at `stopping` are dropped.
///
/// A handler of an upgrade finds hyper's `OnUpgrade` in the request's extensions.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    limits: ServerLimits,
    lifecycle: Lifecycle,
    figures: Connections,
) {
    let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
    let acceptor = Acceptor {
        routes,
        limits,
        connections: permits(match limits.connections {
            0 => usize::MAX,
            some => some,
        }),
        refusals: permits(REFUSALS),
        lifecycle: lifecycle.clone(),
        figures,
    };
    let mut backoff = Duration::ZERO;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = lifecycle.refusing.cancelled() => break,
            () = lifecycle.stopping.cancelled() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                // Out of file descriptors, most likely: only time, or a connection that ends, helps.
                backoff = (backoff * 2).clamp(Duration::from_millis(50), Duration::from_secs(1));
                static LINES: Repeats = Repeats::new(module_path!());
                LINES.error(format_args!(
                    "accepting a connection failed, next try in {backoff:?}: {error}"
                ));
                tokio::select! {
                    () = tokio::time::sleep(backoff) => continue,
                    () = lifecycle.refusing.cancelled() => break,
                    () = lifecycle.stopping.cancelled() => return,
                }
            }
        };
        backoff = Duration::ZERO;
        acceptor.take(stream);
    }
    // Their peers believe that they are connected, and may have sent their request: a socket that is closed over
    // them resets them, and a proxy does not repeat a POST that it has sent. Asked of the kernel itself, since tokio
    // may not have heard of the last ones.
    match listener.into_std() {
        Ok(listener) => {
            // No more than the queue has held (Linux keeps one more): others may come as fast as they are taken.
            let waiting = std::iter::from_fn(|| next_waiting(&listener));
            for stream in waiting.take(BACKLOG as usize + 1) {
                acceptor.take(stream);
            }
        }
        Err(error) => log::warn!("the last connections are not accepted: {error}"),
    }
}

/// The next connection of the kernel's queue, without waiting for one.
fn next_waiting(listener: &std::net::TcpListener) -> Option<TcpStream> {
    loop {
        let accepted = listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            TcpStream::from_std(stream)
        });
        match accepted {
            Ok(stream) => return Some(stream),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    log::warn!("the last connections are not accepted: {error}");
                }
                return None;
            }
        }
    }
}

/// What becomes of accepted connections.
struct Acceptor {
    routes: Routes,
    limits: ServerLimits,
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    lifecycle: Lifecycle,
    figures: Connections,
}

impl Acceptor {
    /// Serves a connection, or no more of it than a probe where there is no room, or just closes it where there are many such.
    fn take(&self, stream: TcpStream) {
        let Self {
            lifecycle, limits, ..
        } = self;
        let (place, late) = lifecycle.admit();
        let tracker = place.task_tracker();
        match self.connections.clone().try_acquire_owned() {
            Ok(permit) => {
                let routes = self.routes.all.clone();
                let serving = connection(stream, permit, routes, *limits, lifecycle, late);
                let open = self.figures.opened();
                tracker.spawn(async move {
                    let _open = open;
                    serving.await;
                });
            }
            Err(_) => {
                static LINES: Repeats = Repeats::new(module_path!());
                LINES.warn(format_args!(
                    "all {} connections (MAX_CONNECTIONS and MAX_HTTP_CONNECTIONS together) are open: others are refused, unless they ask how the replica is",
                    limits.connections
                ));
                let Ok(permit) = self.refusals.clone().try_acquire_owned() else {
                    return self.figures.refused();
                };
                let routes = self.routes.without_room.clone();
                let (lifecycle, figures) = (lifecycle.clone(), self.figures.clone());
                tracker.spawn(without_room::serve(
                    stream, permit, routes, *limits, lifecycle, figures,
                ));
            }
        }
    }
}

/// Errors of `accept` that concern the connection that was next, and say nothing about the others.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// One connection, until it ends or is upgraded. The permit goes with the stream into an upgrade, so it
/// counts the socket as well. One that is `late`, since the replica closes already, is not shut down before its
/// only answer, and asks for it soon.
fn connection(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    routes: BoxedFilter<(Response,)>,
    limits: ServerLimits,
    lifecycle: &Lifecycle,
    late: bool,
) -> impl Future<Output = ()> + Send + 'static {
    let stopping = lifecycle.stopping.clone();
    if let Err(error) = stream.set_nodelay(true) {
        log::debug!("TCP_NODELAY: {error}");
    }
    let phase = Phase::default();
    let time_to_close = time_to_close(lifecycle.closing.clone(), phase.clone());
    let stream = TimeoutStream::new(stream, phase.clone(), limits, permit);
    let routes = TowerToHyperService::new(warp::service(routes));
    let draining = lifecycle.draining.clone();
    let service = service_fn(move |request| {
        let answered = answer(routes.clone(), phase.clone(), request);
        let draining = draining.clone();
        async move {
            let mut response = answered.await?;
            // Proxies take their next request to another replica, before this one closes on it.
            if draining.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let serving = transport(limits)
        // hyper starts this timer when the connection becomes idle, so it is the idle limit;
        // the limit of the head is kept by `TimeoutStream`.
        .header_read_timeout(match late {
            true => limits.idle.min(LATE_PATIENCE),
            false => limits.idle,
        })
        .keep_alive(!late)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    async move {
        let mut serving = pin!(serving);
        let mut time_to_close = pin!(time_to_close);
        let mut told = late;
        loop {
            tokio::select! {
                ended = &mut serving => {
                    if let Err(error) = ended {
                        log::debug!("connection: {error:?}");
                    }
                    return;
                }
                () = &mut time_to_close, if !told => {
                    told = true;
                    serving.as_mut().graceful_shutdown();
                }
                () = stopping.cancelled() => return,
            }
        }
    }
}

/// hyper, with the limits of a request.
fn transport(limits: ServerLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .max_header_size(limits.head_bytes)
        .max_headers(limits.fields)
        .max_buf_size(MAX_BUFFER_BYTES);
    builder
}

/// When a connection is shut down. One that has not asked for anything was opened a moment ago, and its first request may be on
/// its way: hyper would close over it, and a proxy does not repeat a POST that it has sent.
async fn time_to_close(closing: CancellationToken, phase: Phase) {
    closing.cancelled().await;
    if phase.is_first_head() {
        tokio::time::sleep(LATE_PATIENCE).await;
    }
}

/// Answers one request by `routes`, with its id on the response and a line in the log.
async fn answer<R>(
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
        // Who did not send it in time is not waited for again.
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

const REQUEST_ID_HEADER: &str = "x-request-id";

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
mod tests;
