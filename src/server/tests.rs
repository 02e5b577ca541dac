//! The accept loop over real sockets, with routes small enough to see through.

use std::io::Write;
use std::net::SocketAddr;

use hyper::upgrade::OnUpgrade;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use warp::{Filter, Reply};

use super::*;
use crate::error::Error;
use crate::reply::json_response;

const LIMITS: ServerLimits = ServerLimits {
    connections: 0,
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
    let routes = routes(release.clone(), begun.clone());
    let accepting = tokio::spawn(serve(listener, routes, limits, lifecycle.clone()));
    Server {
        address,
        lifecycle,
        accepting,
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

impl Server {
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

/// What comes until the server closes; a reset counts as a close.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    let _ = read.expect("the server did not close the connection");
    String::from_utf8_lossy(&all).into_owned()
}

async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut all = String::new();
    while !all.ends_with(end) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await;
        all.push(char::from(byte.expect(&all).expect(&all)));
    }
    all
}

fn header<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let head = response.split("\r\n\r\n").next()?;
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[tokio::test]
async fn a_half_sent_head_gets_a_408_in_time_however_it_drips() {
    let server = server(LIMITS).await;
    let started = Instant::now();
    let half = "GET /ok HTTP/1.1\r\nhost: x\r\n";
    assert_head_timeout(&server.says(half).await);
    assert!(started.elapsed() >= LIMITS.head);

    let mut second = server.connect().await;
    let whole = format!("{half}\r\n");
    second.write_all(whole.as_bytes()).await.unwrap();
    until(&mut second, "fine").await;
    second.write_all(half.as_bytes()).await.unwrap();
    assert_head_timeout(&rest(&mut second).await);

    let mut stream = server.connect().await;
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        loop {
            if writer.write_all(b"G").await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut said = Vec::new();
    tokio::select! {
        _ = tokio::time::timeout(PATIENCE, drip) => {}
        closed = reader.read_to_end(&mut said) => drop(closed),
    }
    assert!(started.elapsed() < PATIENCE);
    assert_head_timeout(&String::from_utf8_lossy(&said));
}

fn assert_head_timeout(said: &str) {
    assert!(
        said.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{said}"
    );
    let (_, body) = said.split_once("\r\n\r\n").expect(said);
    assert_eq!(
        body,
        r#"{"statusCode":408,"error":"Request Timeout","message":"the request head did not arrive in time","code":"request_timeout"}"#
    );
    let length = body.len().to_string();
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-length", &length),
        ("connection", "close"),
    ] {
        assert_eq!(header(said, name), Some(value), "{said}");
    }
    assert_eq!(
        header(said, "x-request-id").map(str::len),
        Some(36),
        "{said}"
    );
}

#[tokio::test]
async fn a_half_sent_head_behind_a_slow_response_gets_its_408_after_that() {
    let server = server(LIMITS).await;
    let mut stream = server.connect().await;
    let whole = b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(whole).await.unwrap();
    until(&mut stream, "\r\n\r\n").await;
    stream.write_all(b"GET /ok").await.unwrap();
    // The response is stuck meanwhile: it is more than the sockets' buffers hold.
    tokio::time::sleep(LIMITS.head * 2).await;
    let said = rest(&mut stream).await;
    let (body, after) = said.split_at(64 << 20);
    assert!(body.bytes().all(|byte| byte == b'x'));
    assert_head_timeout(after);
}

#[tokio::test]
async fn an_idle_connection_outlives_the_heads_limit_and_ends_at_its_own() {
    let idle = LIMITS.head * 15;
    let server = server(ServerLimits { idle, ..LIMITS }).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        stream
            .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        until(&mut stream, "fine").await;
        tokio::time::sleep(LIMITS.head * 2).await;
    }
    let started = Instant::now();
    assert_eq!(rest(&mut stream).await, "");
    assert!(started.elapsed() < idle * 3);
}

#[tokio::test]
async fn a_head_in_pieces_is_served_and_so_is_the_next_one() {
    let head = Duration::from_secs(1);
    let server = server(ServerLimits { head, ..LIMITS }).await;
    let mut stream = server.connect().await;
    // Together they take longer than one head may.
    for _ in 0..3 {
        stream.write_all(b"GET /ok HT").await.unwrap();
        tokio::time::sleep(head / 5 * 2).await;
        stream
            .write_all(b"TP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        until(&mut stream, "fine").await;
    }
}

#[tokio::test]
async fn every_response_carries_a_request_id() {
    let server = server(LIMITS).await;
    for path in ["ok", "fails", "no-such-route", "json"] {
        let request = format!("GET /{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let response = server.says(&request).await;
        let id = header(&response, "x-request-id").expect(&response);
        assert_eq!(id.len(), 36, "{response}");
    }
    let named = "GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-request-id: abc-1\r\n\r\n";
    assert_eq!(
        header(&server.says(named).await, "x-request-id"),
        Some("abc-1")
    );
}

#[test]
fn only_a_plain_request_id_is_taken_over() {
    let of = |sent: &[u8]| request_id(Some(&HeaderValue::from_bytes(sent).unwrap()));
    assert_eq!(of(b"abc"), "abc");
    assert_eq!(of(&[b'x'; 128]).len(), 128);
    for wrong in [&[b'x'; 129][..], b"", b"a b", b"\xe4"] {
        assert_eq!(of(wrong).len(), 36);
    }
}

#[tokio::test]
async fn an_upgrade_reaches_its_handler_and_carries_the_request_id() {
    let server = server(LIMITS).await;
    let mut stream = server.connect().await;
    let request = "GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\nx-request-id: u1\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let head = until(&mut stream, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert_eq!(header(&head, "x-request-id"), Some("u1"));
    // Longer than a head may take: the limits of HTTP don't hold for what comes after it.
    stream.write_all(b"pi").await.unwrap();
    tokio::time::sleep(LIMITS.head * 2).await;
    stream.write_all(b"ng").await.unwrap();
    assert_eq!(until(&mut stream, "ping").await, "ping");
}

#[tokio::test]
async fn a_drain_finishes_the_requests_in_flight_and_answers_probes_until_its_end() {
    let server = server(LIMITS).await;
    let mut busy = server.connect().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut idle, "fine").await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    server.begun.notified().await;

    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    assert_eq!(rest(&mut idle).await, "");
    let mut probe = server.connect().await;
    probe
        .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut probe).await;
    assert!(answer.ends_with("fine"), "{answer}");
    server.release.notify_one();
    let response = rest(&mut busy).await;
    assert!(response.ends_with("done"), "{response}");
    assert_eq!(header(&response, "connection"), Some("close"));
    server.lifecycle.connections.close();
    server.lifecycle.connections.wait().await;
    server.lifecycle.stopping.cancel();
    server.accepting.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn while_draining_new_connections_are_served_and_closed_after_one_answer() {
    let server = server(LIMITS).await;
    server.lifecycle.draining.cancel();
    let response = server.says("GET /ok HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(response.ends_with("fine"), "{response}");
    assert_eq!(header(&response, "connection"), Some("close"));
}

// One thread, which this test does not let go while the connections come: the accept loop has not seen them.
#[tokio::test]
async fn those_that_wait_to_be_accepted_at_the_end_are_answered() {
    let server = server(LIMITS).await;
    tokio::task::yield_now().await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        stream
            .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        stream.set_nonblocking(true).unwrap();
        waiting.push(TcpStream::from_std(stream).unwrap());
    }
    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    server.lifecycle.refusing.cancel();
    for stream in &mut waiting {
        let answer = rest(stream).await;
        assert!(answer.ends_with("fine"), "{answer:?}");
    }
    server.accepting.await.unwrap();
    server.lifecycle.late.close();
    server.lifecycle.late.wait().await;
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_connection_that_comes_late_and_asks_nothing_does_not_hold_the_drain_up() {
    let server = server(LIMITS).await;
    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    let mut silent = server.connect().await;
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn a_connection_opened_just_before_the_drain_closes_has_its_request_answered() {
    let server = server(LIMITS).await;
    let mut asking = server.connect().await;
    let mut silent = server.connect().await;
    while server.lifecycle.connections.len() < 2 {
        tokio::task::yield_now().await;
    }
    server.lifecycle.draining.cancel();
    server.lifecycle.closing.cancel();
    // Time enough to close it over its request.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let request = b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n";
    asking.write_all(request).await.unwrap();
    let answer = rest(&mut asking).await;
    assert!(answer.ends_with("fine"), "{answer:?}");
    assert_eq!(header(&answer, "connection"), Some("close"));
    // One that asks for nothing does not hold it up.
    assert_eq!(rest(&mut silent).await, "");
}

#[tokio::test]
async fn what_is_left_at_the_end_of_the_drain_is_dropped() {
    let server = server(LIMITS).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    server.begun.notified().await;
    server.lifecycle.closing.cancel();
    server.lifecycle.stopping.cancel();
    assert_eq!(rest(&mut busy).await, "");
    server.lifecycle.connections.close();
    server.lifecycle.connections.wait().await;
}

#[tokio::test]
async fn a_connection_over_the_limit_gets_a_503_until_one_is_free() {
    let server = server(ServerLimits {
        connections: 1,
        ..LIMITS
    })
    .await;
    let mut first = server.connect().await;
    first
        .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut first, "fine").await;
    let request = "GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let refused = server.says(request).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert_eq!(header(&refused, "retry-after"), Some("1"));
    drop(first);
    let deadline = Instant::now() + PATIENCE;
    while !server.says(request).await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "the place was never free again");
    }
}

#[tokio::test]
async fn only_so_many_are_told_at_a_time_that_there_is_no_room() {
    let server = server(ServerLimits {
        connections: 1,
        ..LIMITS
    })
    .await;
    let mut first = server.connect().await;
    first
        .write_all(b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    until(&mut first, "fine").await;
    let started = Instant::now();
    let mut refused = Vec::new();
    for _ in 0..REFUSALS * 4 {
        refused.push(server.connect().await);
    }
    let mut told = 0;
    for stream in &mut refused {
        let mut byte = [0];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await;
        told += read.expect("neither told nor closed").unwrap_or(0);
    }
    // Each of them is waited for a second, since they do not close.
    let rounds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    assert!((REFUSALS..=REFUSALS * rounds).contains(&told), "{told}");
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_place() {
    let server = server(ServerLimits {
        connections: 1,
        ..LIMITS
    })
    .await;
    let mut socket = server.connect().await;
    let upgrade = "GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    until(&mut socket, "\r\n\r\n").await;
    let refused = server
        .says("GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut_off() {
    let write_stall = Duration::from_millis(200);
    let server = server(ServerLimits {
        write_stall,
        ..LIMITS
    })
    .await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    // There is a connection to wait for.
    until(&mut stream, "\r\n\r\n").await;
    server.lifecycle.connections.close();
    let ended = server.lifecycle.connections.wait();
    tokio::time::timeout(PATIENCE, ended)
        .await
        .expect("still writing");
}

#[tokio::test]
async fn a_head_over_the_limit_is_a_431() {
    let server = server(LIMITS).await;
    let of_bytes = |count: usize| {
        let frame = "GET /ok? HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let query = "q".repeat(count - frame.len());
        frame.replace('?', &format!("?{query}"))
    };
    let response = server.says(&of_bytes(LIMITS.head_bytes)).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let response = server.says(&of_bytes(LIMITS.head_bytes + 1)).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}

#[tokio::test]
async fn a_head_with_too_many_fields_is_a_431() {
    let server = server(LIMITS).await;
    let with_fields = |count: usize| {
        let more: String = (2..count).map(|n| format!("x-{n}: 1\r\n")).collect();
        format!("GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{more}\r\n")
    };
    let response = server.says(&with_fields(LIMITS.fields)).await;
    assert!(response.starts_with("HTTP/1.1 200"), "{response}");
    let response = server.says(&with_fields(LIMITS.fields + 1)).await;
    assert!(response.starts_with("HTTP/1.1 431"), "{response}");
}
