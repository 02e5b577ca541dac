//! A connection over the limit. It has a place for a moment, so that a probe or a scrape gets through: otherwise an orchestrator would end
//! a replica that is full and well, with all its sockets, and nobody would see why. Any other request on it gets a 503.

use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use warp::filters::BoxedFilter;
use warp::reply::Response;

use super::ServerLimits;
use super::connection::transport;
use super::phase::Phase;
use super::request::answer;
use super::timeout_stream::TimeoutStream;
use crate::lifecycle::Lifecycle;
use crate::metrics::ConnectionCounts;

/// From the accept of the connection to the last byte of its request's head; then a 503, whatever the request would have been.
const HEAD_PATIENCE: Duration = Duration::from_secs(1);

/// For all of it: longer than the database is waited for by a probe, and shorter than a probe waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// From its answer to the end of the connection. The rest of a body is read for as long, and no longer: a client that sends a byte now and
/// then would keep the place.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// Answers one request by `routes`, which count what they refuse; counts in `figures` what is refused without them.
pub(super) async fn serve(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    routes: BoxedFilter<(Response,)>,
    limits: ServerLimits,
    lifecycle: Lifecycle,
    figures: ConnectionCounts,
) {
    let phase = Phase::default();
    let stream = TimeoutStream::without_room(
        stream,
        phase.clone(),
        limits,
        permit,
        HEAD_PATIENCE,
        figures.clone(),
    );
    let routes = TowerToHyperService::new(warp::service(routes));
    let answered = CancellationToken::new();
    let service = service_fn(|request| {
        let (answer, answered) = (answer(routes.clone(), phase.clone(), request), &answered);
        async move {
            let response = answer.await;
            answered.cancel();
            response
        }
    });
    let serving = transport(limits)
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let time_to_end = async {
        answered.cancelled().await;
        sleep(END_PATIENCE).await;
    };
    tokio::select! {
        ended = serving => {
            if let Err(error) = ended {
                log::debug!("connection over the limit: {error:?}");
            }
        }
        () = time_to_end => {}
        () = sleep(PATIENCE) => {
            if !answered.is_cancelled() {
                figures.refused();
            }
        }
        () = lifecycle.stopping.cancelled() => {}
    }
}
