//! The accept loop. warp's own server has no time limit for a request's head and does not wait for sockets;
//! this one serves the same routes under hyper with both, a connection limit, and a drain.
//!
//! What hyper answers by itself, before there is a request, has no body and no `x-request-id`: 400 for what
//! is not HTTP, 431 for a head that is too long (`MAX_HEADER_BYTES`) or has too many fields (`MAX_HEADERS`).

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::http::Routes;
use crate::lifecycle::Lifecycle;
use crate::logging::Repeats;
use crate::metrics::ConnectionCounts;

mod connection;
mod final_response;
mod phase;
mod request;
mod timeout_stream;
mod unread_body;
mod without_room;

/// Between a socket's giving up a client that takes nothing, and the transport's.
const STALL_MARGIN: Duration = Duration::from_secs(10);

/// Connections over the limit that have a place at a time, to be told so or to be answered as a probe; the others are just closed.
const REFUSALS: usize = 64;

/// Connections that wait in the kernel until they are accepted (fewer where `net.core.somaxconn` is lower): clients that come back by the
/// thousand do not come one by one.
pub const BACKLOG: u32 = 1024;

/// Bounds of the transport.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Open connections, upgraded ones included; `None` is no limit. One more gets a 503, unless it asks how the replica is or is a
    /// browser's preflight, and is closed: a connection that waits unaccepted looks like a dead server to its peer.
    pub connections: Option<NonZeroUsize>,
    /// A request's head: the line and all fields, in bytes.
    pub head_bytes: usize,
    /// Fields of a request's head.
    pub fields: usize,
    /// From the first byte of a request's head to its last; then a 408.
    pub head: Duration,
    /// A connection without a request.
    pub idle: Duration,
    /// How long a peer may take nothing of a response before it is cut off.
    pub write_stall: Duration,
}

impl From<&Config> for ServerLimits {
    fn from(config: &Config) -> Self {
        Self {
            // Room for plain HTTP beside the WebSockets, probes among them.
            connections: config
                .limits
                .connections
                .map(|sockets| sockets.saturating_add(config.limits.http_connections)),
            head_bytes: config.limits.header_bytes,
            fields: config.limits.headers,
            head: config.timeouts.header,
            idle: config.timeouts.idle,
            // After a socket's own, which ends with a close frame.
            write_stall: config.timeouts.stall + STALL_MARGIN,
        }
    }
}

impl ServerLimits {
    /// How many connections have room.
    fn room(&self) -> usize {
        let most = self.connections.map_or(usize::MAX, NonZeroUsize::get);
        most.min(Semaphore::MAX_PERMITS)
    }
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
    figures: ConnectionCounts,
) {
    let acceptor = Acceptor {
        routes,
        limits,
        connections: Arc::new(Semaphore::new(limits.room())),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
        lifecycle,
        figures,
    };
    match acceptor.take_those_who_come(&listener).await {
        Until::Refusing => acceptor.take_those_who_wait(listener),
        Until::Stopping => {}
    }
}

/// Why no more connections are accepted.
enum Until {
    Refusing,
    Stopping,
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
    figures: ConnectionCounts,
}

impl Acceptor {
    async fn take_those_who_come(&self, listener: &TcpListener) -> Until {
        let Lifecycle {
            refusing, stopping, ..
        } = &self.lifecycle;
        let mut backoff = Duration::ZERO;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = refusing.cancelled() => return Until::Refusing,
                () = stopping.cancelled() => return Until::Stopping,
            };
            match accepted {
                Ok((stream, _)) => {
                    backoff = Duration::ZERO;
                    self.take(stream);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Out of file descriptors, most likely: only time, or a connection that ends, helps.
                    backoff =
                        (backoff * 2).clamp(Duration::from_millis(50), Duration::from_secs(1));
                    static LINES: Repeats = Repeats::new(module_path!());
                    LINES.error(format_args!(
                        "accepting a connection failed, next try in {backoff:?}: {error}"
                    ));
                    tokio::select! {
                        () = tokio::time::sleep(backoff) => {}
                        () = refusing.cancelled() => return Until::Refusing,
                        () = stopping.cancelled() => return Until::Stopping,
                    }
                }
            }
        }
    }

    /// Takes the connections that wait in the kernel's queue. Their peers believe that they are connected, and may have sent their request:
    /// closing the listening socket would reset them, and a proxy does not repeat a POST that it has sent. The kernel itself is asked, since
    /// tokio may not have heard of the last ones.
    fn take_those_who_wait(&self, listener: TcpListener) {
        match listener.into_std() {
            Ok(listener) => {
                // No more than the queue has held (Linux keeps one more): others may come as fast as they are taken.
                let waiting = std::iter::from_fn(|| next_waiting(&listener));
                for stream in waiting.take(BACKLOG as usize + 1) {
                    self.take(stream);
                }
            }
            Err(error) => log::warn!("the last connections are not accepted: {error}"),
        }
    }

    /// Serves a connection, or no more of it than a probe where there is no room, or just closes it where there are many such.
    fn take(&self, stream: TcpStream) {
        let Self {
            lifecycle, limits, ..
        } = self;
        let (place, arrival) = lifecycle.admit();
        let tracker = place.task_tracker();
        match self.connections.clone().try_acquire_owned() {
            Ok(permit) => {
                let routes = self.routes.all.clone();
                let serving =
                    connection::serve(stream, permit, routes, *limits, lifecycle, arrival);
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
                    limits.room()
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

#[cfg(test)]
mod tests;
