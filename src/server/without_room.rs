//! A connection over the limit. It has a place for a moment, so that probes and the figures get through: an orchestrator would end a
//! replica that is full and well, with all its sockets, and nobody would see why. Whatever else it asks for gets a 503.

use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::timeout_stream::{Phase, TimeoutStream};
use super::{ServerLimits, answer, transport};
use crate::lifecycle::Lifecycle;

/// From its being accepted to the last byte of its request's head; then a 503, whatever it would have asked for.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);

/// For all of it: longer than the database is waited for by a probe, and shorter than a probe waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers one request by `routes`.
pub(super) async fn serve(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    routes: BoxedFilter<(Response,)>,
    limits: ServerLimits,
    lifecycle: Lifecycle,
) {
    let phase = Phase::default();
    let stream = TimeoutStream::without_room(stream, phase.clone(), limits, permit, HEAD_PATIENCE);
    let routes = TowerToHyperService::new(warp::service(routes));
    let service = service_fn(move |request| answer(routes.clone(), phase.clone(), request));
    let serving = transport(limits)
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = timeout(PATIENCE, serving) => {
            if let Ok(Err(error)) = ended {
                log::debug!("connection over the limit: {error:?}");
            }
        }
        () = lifecycle.stopping.cancelled() => {}
    }
}
