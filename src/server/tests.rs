//! The accept loop over real sockets, with routes small enough to see through.

mod connection_limit;
mod drain;
mod heads;
mod request_ids;

use std::net::SocketAddr;
use std::time::Instant;

use hyper::StatusCode;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use warp::filters::BoxedFilter;
use warp::reply::Response;
use warp::{Filter, Reply};

use super::*;
use crate::error::Error;
use crate::reply::{error_response, json_response};

const LIMITS: ServerLimits = ServerLimits {
    connections: None,
    head_bytes: 16 * 1024,
    fields: 100,
    head: Duration::from_millis(200),
    idle: Duration::from_secs(20),
    write_stall: Duration::from_secs(20),
};
/// Long enough for a loaded machine; no test waits for it unless it fails.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: SocketAddr,
    lifecycle: Lifecycle,
    accepting: JoinHandle<()>,
    figures: ConnectionCounts,
    /// Lets `GET /slow` answer.
    release: Arc<Notify>,
    /// Told when `GET /slow` has begun.
    begun: Arc<Notify>,
}

async fn server(limits: ServerLimits) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let lifecycle = Lifecycle::default();
    let (release, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let routes = Routes {
        all: routes(release.clone(), begun.clone()),
        without_room: without_room(),
    };
    let figures = ConnectionCounts::default();
    let accepting = tokio::spawn(serve(
        listener,
        routes,
        limits,
        lifecycle.clone(),
        figures.clone(),
    ));
    Server {
        address,
        lifecycle,
        accepting,
        figures,
        release,
        begun,
    }
}

fn routes(release: Arc<Notify>, begun: Arc<Notify>) -> BoxedFilter<(Response,)> {
    let ok = warp::path!("ok").map(|| "fine".into_response()).boxed();
    let big = warp::path!("big")
        .map(|| "x".repeat(64 << 20).into_response())
        .boxed();
    let slow = warp::path!("slow")
        .then(move || {
            let (release, begun) = (release.clone(), begun.clone());
            async move {
                begun.notify_one();
                release.notified().await;
                "done".into_response()
            }
        })
        .boxed();
    let up = warp::path!("up")
        .and(warp::ext::optional::<OnUpgrade>())
        .map(|upgrade: Option<OnUpgrade>| {
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.unwrap().await.unwrap());
                let mut word = [0; 4];
                stream.read_exact(&mut word).await.unwrap();
                stream.write_all(&word).await.unwrap();
            });
            StatusCode::SWITCHING_PROTOCOLS.into_response()
        })
        .boxed();
    let fails = warp::path!("fails")
        .map(|| Error::unavailable("busy").into_response())
        .boxed();
    let json = warp::path!("json")
        .map(|| json_response(StatusCode::OK, &[1, 2]))
        .boxed();
    let short = |routes: BoxedFilter<(Response,)>, next| routes.or(next).unify().boxed();
    [big, slow, up, fails, json].into_iter().fold(ok, short)
}

fn without_room() -> BoxedFilter<(Response,)> {
    let probe = warp::path!("probe").map(|| "alive".into_response()).boxed();
    let stuck = warp::path!("stuck").then(std::future::pending).boxed();
    let refused = || error_response(&Error::unavailable("too many connections"));
    let refused = warp::any().map(refused).boxed();
    probe.or(stuck).unify().or(refused).unify().boxed()
}

impl Server {
    /// Waits until `GET /slow` has begun.
    async fn is_busy(&self) {
        within("the slow request", self.begun.notified()).await;
    }

    /// Waits until no connection is left of those that a drain waits for.
    async fn until_connections_end(&self) {
        self.lifecycle.connections.close();
        within("their end", self.lifecycle.connections.wait()).await;
    }

    /// Waits until the accept loop has ended: nothing listens any more.
    async fn until_refusing(self) {
        let ended = within("the end of the accept loop", self.accepting).await;
        ended.unwrap();
        assert!(TcpStream::connect(self.address).await.is_err());
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Everything that the server says to `request` before it closes.
    async fn says(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }
}

/// Bounds what should come by itself.
async fn within<T>(what: &str, awaited: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, awaited).await;
    came.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

/// What comes until the server closes; a reset counts as a close.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = within("the end of the connection", stream.read_to_end(&mut all)).await;
    String::from_utf8_lossy(&all).into_owned()
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = String::new();
    while !all.ends_with(end) {
        let byte = within(&format!("{end:?} after {all:?}"), stream.read_u8()).await;
        all.push(char::from(byte.expect(&all)));
    }
    all
}

fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let head = response.split("\r\n\r\n").next()?;
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
