//! The room for connections: who is refused, and who keeps a place for how long.

use super::*;
use crate::config::Config;

#[test]
fn the_room_and_the_times_are_those_that_are_set() {
    let limits = |set: &[(&str, &str)]| {
        let vars = [&[("DB_HOST", "x")], set].concat();
        ServerLimits::from(&Config::from_vars(&vars).unwrap())
    };
    let set = limits(&[
        ("MAX_CONNECTIONS", "7"),
        ("MAX_HTTP_CONNECTIONS", "20"),
        ("MAX_HEADER_BYTES", "5000"),
        ("MAX_HEADERS", "30"),
        ("HEADER_TIMEOUT_SECONDS", "2"),
        ("IDLE_TIMEOUT_SECONDS", "3"),
        ("STALL_TIMEOUT_SECONDS", "4"),
    ]);
    assert_eq!(set.connections, NonZeroUsize::new(27));
    assert_eq!((set.head_bytes, set.fields), (5000, 30));
    // A socket is given up first, with a close frame.
    let times = [set.head, set.idle, set.write_stall].map(|time| time.as_secs());
    assert_eq!(times, [2, 3, 14]);
    let boundless = limits(&[("MAX_CONNECTIONS", "0"), ("MAX_HTTP_CONNECTIONS", "20")]);
    assert_eq!(boundless.connections, None, "no limit for requests either");
}

const ONE: ServerLimits = ServerLimits {
    connections: Some(NonZeroUsize::MIN),
    ..LIMITS
};

/// A server, and a connection that has asked it for something and got this much of the answer.
async fn answering(limits: ServerLimits, request: &str, answer: &str) -> (Server, TcpStream) {
    let server = server(limits).await;
    let mut stream = server.connect().await;
    stream.write_all(request.as_bytes()).await.unwrap();
    until(&mut stream, answer).await;
    (server, stream)
}

/// One that has room for one connection, and that one.
async fn full_server() -> (Server, TcpStream) {
    answering(ONE, "GET /ok HTTP/1.1\r\nhost: x\r\n\r\n", "fine").await
}

const CLOSING: &str = "GET /ok HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn a_connection_over_the_limit_gets_a_503_until_one_is_free() {
    let (server, first) = full_server().await;
    let refused = server.says(CLOSING).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert_eq!(header(&refused, "retry-after"), Some("1"));
    drop(first);
    let deadline = Instant::now() + PATIENCE;
    while !server.says(CLOSING).await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline, "the place was never free again");
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_is_good_for_one_probe_and_for_nothing_else() {
    let (server, _first) = full_server().await;
    let probe = "GET /probe HTTP/1.1\r\nhost: x\r\n\r\n";
    // Though it does not ask for its end.
    let answer = server.says(&[probe, probe].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(answer.matches("alive").count(), 1, "{answer}");
    assert_eq!(header(&answer, "connection"), Some("close"));
    let refused = server.says("POST /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
}

#[tokio::test]
async fn a_connection_over_the_limit_has_its_place_for_seconds_at_most() {
    let (server, _first) = full_server().await;
    // The longest that its head may take, although a connection with a place could wait for longer.
    for begun in ["", "GET /probe HTTP/1.1\r\nhost:"] {
        let refused = server.says(begun).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert_eq!(header(&refused, "retry-after"), Some("1"));
    }
    let unanswered = server.says("GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(unanswered, "");

    // Nor does one keep it who was answered, and goes on sending.
    let (mut receiving, mut sending) = server.connect().await.into_split();
    let head = "POST /ok HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    sending.write_all(head.as_bytes()).await.unwrap();
    // Counted, and not timed: a machine that stands still for seconds sends nothing meanwhile either.
    let mut sent = 0;
    let dribbling = async {
        while sending.write_all(b"x").await.is_ok() {
            sent += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut answer = Vec::new();
    let answered = async {
        let _ = receiving.read_to_end(&mut answer).await;
    };
    within("the end of what is sent and answered", async {
        tokio::join!(dribbling, answered)
    })
    .await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    // In a second. What reads the rest of a body otherwise does so for five.
    assert!(sent < 100, "{sent} bytes, one each 20 ms");
}

/// What the routes refuse they count themselves.
#[tokio::test]
async fn of_connections_over_the_limit_those_count_that_were_closed_or_told_that_there_is_no_room()
{
    let (server, _first) = full_server().await;
    let is_counted = async |count: u64| {
        let counted = async {
            while server.figures.refused_so_far() < count {
                tokio::task::yield_now().await;
            }
        };
        within("its count", counted).await;
        assert_eq!(server.figures.refused_so_far(), count);
    };
    let probe = server.says("GET /probe HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(probe.starts_with("HTTP/1.1 200"), "{probe}");
    // Its peer has left, as a load balancer does that only connects.
    let mut left = server.connect().await;
    left.shutdown().await.unwrap();
    assert_eq!(rest(&mut left).await, "");
    // It has not asked in time.
    let told = server.says("").await;
    assert!(told.starts_with("HTTP/1.1 503"), "{told}");
    is_counted(1).await;
    // There was no answer in time.
    let stuck = "GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n";
    assert_eq!(server.says(stuck).await, "");
    is_counted(2).await;
    // All places are taken, so that the next one is closed at once.
    let mut waiting = Vec::new();
    for _ in 0..REFUSALS {
        let mut one = server.connect().await;
        one.write_all(stuck.as_bytes()).await.unwrap();
        waiting.push(one);
    }
    assert_eq!(rest(&mut server.connect().await).await, "");
    is_counted(3).await;
}

#[tokio::test]
async fn only_so_many_are_told_at_a_time_that_there_is_no_room() {
    let (server, _first) = full_server().await;
    let started = Instant::now();
    let mut refused = Vec::new();
    for _ in 0..REFUSALS * 4 {
        refused.push(server.connect().await);
    }
    let mut told = 0;
    for stream in &mut refused {
        let mut byte = [0];
        let read = within("an answer or an end", stream.read(&mut byte)).await;
        told += read.unwrap_or(0);
    }
    // Each of them is waited for a second, since they do not close.
    let rounds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    assert!((REFUSALS..=REFUSALS * rounds).contains(&told), "{told}");
}

#[tokio::test]
async fn an_upgraded_connection_keeps_its_place() {
    let upgrade = "GET /up HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";
    let (server, _socket) = answering(ONE, upgrade, "\r\n\r\n").await;
    let refused = server.says(CLOSING).await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_is_cut_off() {
    let write_stall = Duration::from_millis(200);
    let limits = ServerLimits {
        write_stall,
        ..LIMITS
    };
    let request = "GET /big HTTP/1.1\r\nhost: x\r\n\r\n";
    let (server, _stream) = answering(limits, request, "\r\n\r\n").await;
    server.until_connections_end().await;
}

#[tokio::test]
async fn a_peer_that_takes_something_now_and_then_is_served_to_the_end() {
    // A pause is shorter by more than a loaded machine adds.
    let write_stall = Duration::from_secs(4);
    let limits = ServerLimits {
        write_stall,
        ..LIMITS
    };
    let request = "GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (_server, mut stream) = answering(limits, request, "\r\n\r\n").await;
    // Together they are longer than it may take nothing, and in each of them the response is stuck: it is more than the sockets'
    // buffers hold.
    let mut part = vec![0; 8 << 20];
    for _ in 0..3 {
        stream.read_exact(&mut part).await.unwrap();
        tokio::time::sleep(write_stall / 5 * 2).await;
    }
    let taken = 3 * part.len() + rest(&mut stream).await.len();
    assert_eq!(taken, 64 << 20);
}
