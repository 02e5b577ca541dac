//! One connection that has room: hyper with the limits of the transport, and when it is shut down.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::http::HeaderValue;
use warp::reply::Response;

use super::ServerLimits;
use super::phase::Phase;
use super::request::answer;
use super::timeout_stream::TimeoutStream;
use crate::lifecycle::{Arrival, Lifecycle};

/// hyper's buffer of one connection; grows to this only while a large body passes.
const MAX_BUFFER_BYTES: usize = 64 * 1024;

/// For the first byte of the first request of a connection that comes while the replica closes, or just before: a proxy or
/// a probe has sent it already, and the drain waits for one that has not.
const LATE_PATIENCE: Duration = Duration::from_secs(1);

/// One connection, until it ends or is upgraded. The permit goes with the stream into an upgrade, so it
/// counts the socket as well. One that comes late, since the replica closes already, is not shut down before its
/// only answer, and asks for it soon.
pub(super) fn serve(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    routes: BoxedFilter<(Response,)>,
    limits: ServerLimits,
    lifecycle: &Lifecycle,
    arrival: Arrival,
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
        told_of_drain(answered, draining.clone())
    });
    let serving = transport(limits)
        // hyper starts this timer when the connection becomes idle, so it is the idle limit;
        // the limit of the head is kept by `TimeoutStream`.
        .header_read_timeout(match arrival {
            Arrival::Late => limits.idle.min(LATE_PATIENCE),
            Arrival::InTime => limits.idle,
        })
        .keep_alive(arrival == Arrival::InTime)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    async move {
        let mut serving = pin!(serving);
        let mut time_to_close = pin!(time_to_close);
        let mut told = arrival == Arrival::Late;
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

/// The answer; during a drain it says that the connection ends, so that proxies take their next request to another replica before this
/// one closes on it.
async fn told_of_drain(
    answered: impl Future<Output = Result<Response, Infallible>>,
    draining: CancellationToken,
) -> Result<Response, Infallible> {
    let mut response = answered.await?;
    if draining.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}

/// Resolves when a connection may be shut down. A connection without a request so far was opened a moment ago, and its first request may be
/// on its way: hyper would close without reading it, and a proxy does not repeat a POST that it has sent.
async fn time_to_close(closing: CancellationToken, phase: Phase) {
    closing.cancelled().await;
    if phase.is_first_head() {
        tokio::time::sleep(LATE_PATIENCE).await;
    }
}

/// hyper, with the limits of a request.
pub(super) fn transport(limits: ServerLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .max_header_size(limits.head_bytes)
        .max_headers(limits.fields)
        .max_buf_size(MAX_BUFFER_BYTES);
    builder
}
