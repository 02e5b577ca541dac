use std::collections::HashSet;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::protocol::Role;
use uuid::Uuid;

use super::delivering::BATCH;
use super::*;
use crate::hub::{Event, Subject};
use crate::limits::{Holder, MemoryBudget, SMALL};
use crate::model::MessageId;
use crate::position::{Horizon, Xid};
use crate::testing;
use crate::ws::limited_stream::LimitedStream;
use crate::ws::upgrade::socket;

mod draining;
mod gone;
mod liveness;
mod waiting;

type Client = WebSocketStream<DuplexStream>;

/// Replica, user and hub of a session under test. Nothing here needs a database.
struct Stage {
    services: Arc<Services>,
    user: UserId,
}

impl Stage {
    fn new(heartbeat: Duration, grace: Duration) -> Self {
        Self::with_queue(16, heartbeat, grace)
    }

    fn with_queue(socket_queue: usize, heartbeat: Duration, grace: Duration) -> Self {
        let hub = testing::hub(socket_queue);
        Self {
            services: Arc::new(testing::services(hub, heartbeat, grace)),
            user: UserId(Uuid::from_u128(1)),
        }
    }

    fn calm() -> Self {
        Self::new(Duration::from_secs(60), Duration::from_secs(3))
    }

    fn session<S>(&self, stream: WebSocketStream<LimitedStream<S>>) -> Session<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let subscription = self.services.hub.register(self.user).unwrap();
        let caller = Caller::trusted();
        Session::new(
            Arc::clone(&self.services),
            caller,
            self.user,
            stream,
            subscription,
            true,
        )
    }

    /// A client and its session; `pipe` bytes fit between the two.
    async fn connect(&self, pipe: usize) -> (Client, JoinHandle<()>) {
        let (ours, theirs) = duplex(pipe);
        let stream = socket(ours, &self.services, self.user).await;
        let session = tokio::spawn(self.session(stream).run(None));
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        (client, session)
    }

    fn publish(&self, number: usize, padding: usize) {
        self.publish_row(MessageId(Uuid::new_v4()), number, padding);
    }

    fn publish_row(&self, row: MessageId, number: usize, padding: usize) {
        let frame = json!({"type": "chat_message", "data": number, "x": "x".repeat(padding)});
        let event = Event {
            subject: Subject::Row(row),
            version: 0,
            xid: Xid(number as u64),
            horizon: Horizon(Xid(1)),
            frame: frame.to_string().into(),
            made_at: None,
            as_update: None,
            counted: Default::default(),
        };
        self.services.hub.publish(&[self.user], &Arc::new(event));
    }
}

/// The next text frame, or the code of a close.
async fn next(client: &mut Client) -> Result<Value, u16> {
    loop {
        match client.next().await {
            Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => {
                // Answers the close, as clients do, until the server ends the connection.
                while let Some(Ok(_)) = client.next().await {}
                return Err(frame.map_or(1005, |frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn say(client: &mut Client, text: &str) {
    client.send(Message::text(text)).await.unwrap();
}

#[tokio::test]
async fn the_first_frame_is_connected_and_events_follow_in_order() {
    let stage = Stage::calm();
    let (mut client, _session) = stage.connect(64 * 1024).await;
    let hub = &stage.services.hub;
    let registered = hub.position().unwrap();
    for number in 0..10 {
        stage.publish(number, 0);
    }
    // What comes between the registration and the greeting is still to be sent.
    hub.advance(&registered.identity, Horizon(Xid(9)));
    let connected = next(&mut client).await.unwrap();
    assert_eq!(connected["type"], "connected");
    assert_eq!(connected["userId"], stage.user.to_string());
    assert_eq!(connected["data"]["resumed"], false);
    assert_eq!(connected["data"]["heartbeatSeconds"], 60);
    assert_eq!(connected["data"]["cursor"], registered.encode());
    for number in 0..10 {
        assert_eq!(next(&mut client).await.unwrap()["data"], number);
    }
}

/// The horizon has passed the replay by then, and what was replayed waits in the queue still.
#[tokio::test]
async fn a_heartbeat_between_the_replay_and_what_it_repeats_makes_no_repeat() {
    let stage = Stage::calm();
    let (ours, theirs) = duplex(64 * 1024);
    let mut session = stage.session(socket(ours, &stage.services, stage.user).await);
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let hub = &stage.services.hub;
    let (replayed, end) = (MessageId(Uuid::new_v4()), 2);
    session.replayed = Some(Box::new(Missed::of_row(replayed, 0, end)));
    session.forget_replay();
    assert!(session.replayed.is_some(), "a repeat may come yet");

    stage.publish_row(replayed, 1, 0);
    hub.advance(&hub.position().unwrap().identity, Horizon(Xid(end + 1)));
    session.forget_replay();
    stage.publish(2, 0);
    let first = session.subscription.next().await;
    session.deliver(first).await.unwrap();
    session.flush().await.unwrap();
    assert_eq!(next(&mut client).await.unwrap()["data"], 2);
    // And where nothing waits any more, it is forgotten.
    session.forget_replay();
    assert!(session.replayed.is_none());
}

/// By its horizon no repeat can come any more.
#[tokio::test]
async fn an_event_from_behind_all_repeats_is_delivered_and_the_replay_forgotten() {
    let stage = Stage::calm();
    let (ours, theirs) = duplex(64 * 1024);
    let mut session = stage.session(socket(ours, &stage.services, stage.user).await);
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let row = MessageId(Uuid::new_v4());
    session.replayed = Some(Box::new(Missed::of_row(row, 0, 0)));
    stage.publish_row(row, 1, 0);
    let first = session.subscription.next().await;
    session.deliver(first).await.unwrap();
    session.flush().await.unwrap();
    assert_eq!(next(&mut client).await.unwrap()["data"], 1);
    assert!(session.replayed.is_none());
}

/// After a failover or a crash, revisions and the numbers of transactions may be given anew.
#[tokio::test]
async fn behind_a_reload_nothing_counts_as_a_repeat_of_the_replay() {
    let stage = Stage::calm();
    let (ours, theirs) = duplex(64 * 1024);
    let mut session = stage.session(socket(ours, &stage.services, stage.user).await);
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    let row = MessageId(Uuid::new_v4());
    session.replayed = Some(Box::new(Missed::of_row(row, 0, 2)));
    stage
        .services
        .hub
        .resync_all("another database", crate::hub::Pace::AtOnce);
    stage.publish_row(row, 1, 0);
    stage.publish(2, 0);
    let first = session.subscription.next().await;
    session.deliver(first).await.unwrap();
    session.flush().await.unwrap();
    let reload = next(&mut client).await.unwrap();
    assert_eq!(reload["type"], "resync_required");
    assert_eq!(next(&mut client).await.unwrap()["data"], 1);
}

#[tokio::test]
async fn a_malformed_frame_is_answered_and_the_socket_stays_open() {
    let stage = Stage::calm();
    let (mut client, session) = stage.connect(64 * 1024).await;
    next(&mut client).await.unwrap();
    for text in ["", "{", r#"{"type":"dance","requestId":"r"}"#] {
        say(&mut client, text).await;
        let error = next(&mut client).await.unwrap();
        assert_eq!(error["type"], "error");
        assert_eq!(error["data"]["code"], "validation_failed");
    }
    client.send(Message::binary("x")).await.unwrap();
    assert_eq!(
        next(&mut client).await.unwrap()["data"]["code"],
        "validation_failed"
    );
    say(&mut client, r#"{"type":"ping","requestId":"r9"}"#).await;
    let ack = next(&mut client).await.unwrap();
    assert_eq!(
        (&ack["type"], &ack["data"]),
        (&json!("ack"), &json!({"requestId": "r9"}))
    );
    client.close(None).await.unwrap();
    session.await.unwrap();
    assert_eq!(stage.services.hub.connections(), 0);
}

#[tokio::test]
async fn every_ping_of_a_flood_is_answered_in_the_end() {
    let stage = Stage::calm();
    // Smaller than the flood: the client's frames must wait in the pipe while too much is in flight.
    let (mut client, _session) = stage.connect(1024).await;
    next(&mut client).await.unwrap();
    const FLOOD: usize = 500;
    let (mut sink, mut stream) = client.split();
    let sender = tokio::spawn(async move {
        for n in 0..FLOOD {
            let text = json!({"type": "ping", "requestId": n.to_string()}).to_string();
            sink.send(Message::text(text)).await.unwrap();
        }
        sink
    });
    let mut answered = HashSet::new();
    while answered.len() < FLOOD {
        let Some(Ok(Message::Text(text))) = stream.next().await else {
            panic!("the socket ended after {} answers", answered.len());
        };
        let ack: Value = serde_json::from_str(&text).unwrap();
        assert!(answered.insert(ack["data"]["requestId"].as_str().unwrap().to_owned()));
    }
    drop(sender.await.unwrap());
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_with_1013_and_delays_nobody() {
    let stage = Stage::calm();
    let (mut slow, session) = stage.connect(2048).await;
    let (mut healthy, _other) = stage.connect(1024 * 1024).await;
    next(&mut slow).await.unwrap();
    next(&mut healthy).await.unwrap();
    // Enough for the pipe, the write buffer and the queue of the slow one.
    for number in 0..40 {
        stage.publish(number, 1000);
        assert_eq!(next(&mut healthy).await.unwrap()["data"], number);
    }
    // It is out of the hub though its session still tries to send the close frame.
    assert_eq!(stage.services.hub.connections(), 1);
    let mut received = 0;
    let code = loop {
        match next(&mut slow).await {
            Ok(event) => {
                assert_eq!(event["data"], received, "in order, without a gap");
                received += 1;
            }
            Err(code) => break code,
        }
    };
    assert_eq!(code, 1013);
    drop(slow);
    session.await.unwrap();
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let stage = Stage::calm();
    let (slow, session) = stage.connect(512).await;
    for number in 0..40 {
        stage.publish(number, 1000);
    }
    // Bounded by the patience for a close frame.
    session.await.unwrap();
    drop(slow);
    assert_eq!(stage.services.hub.connections(), 0);
}

#[tokio::test]
async fn a_token_ends_while_its_client_does_not_read() {
    let stage = Stage::with_queue(1024, Duration::from_secs(60), Duration::from_secs(3));
    let (ours, theirs) = duplex(1024);
    let stream = socket(ours, &stage.services, stage.user).await;
    let mut session = stage.session(stream);
    session.expiry = Expiry::at(Instant::now() + Duration::from_millis(300));
    let session = tokio::spawn(session.run(None));
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    for number in 0..200 {
        stage.publish(number, 1000);
    }
    // Far sooner than a client is given up that does not read.
    let gone = async {
        while stage.services.hub.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let patience = stage.services.config.timeouts.stall / 2;
    tokio::time::timeout(patience, gone).await.unwrap();
    let code = loop {
        if let Err(code) = next(&mut client).await {
            break code;
        }
    };
    assert_eq!(code, 4401);
    session.await.unwrap();
}

/// There is no database, so it waits; and whoever waits there holds a share of another budget.
#[tokio::test]
async fn a_large_message_that_the_writer_has_holds_nothing_of_the_budget_for_what_is_on_its_way() {
    let mut stage = Stage::calm();
    let limits = &stage.services.config.limits;
    let (content, largest) = ("x".repeat(limits.message_bytes), limits.body_bytes);
    // Of which one user's share is one of the largest.
    let budget = MemoryBudget::new(8 * largest);
    Arc::get_mut(&mut stage.services).unwrap().incoming = budget.clone();
    let (mut client, _session) = stage.connect(2 * largest).await;
    next(&mut client).await.unwrap();
    let send = json!({
        "type": "send_message", "requestId": "waits",
        "data": {"conversationId": Uuid::nil(), "content": content},
    });
    let send = send.to_string();
    assert!(send.len() > SMALL, "it counts");
    say(&mut client, &send).await;
    say(&mut client, r#"{"type": "ping", "requestId": "read"}"#).await;
    let answer = next(&mut client).await.unwrap();
    assert_eq!(answer["data"]["requestId"], "read");
    assert!(budget.reserve(Holder::User(stage.user), largest).is_some());
}

/// A stream that keeps the longest piece that was ever written to it: what the write buffer held.
struct Watched {
    stream: DuplexStream,
    longest: Arc<AtomicUsize>,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.longest.fetch_max(data.len(), Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_long_frame_arrives_whole_and_leaves_no_long_buffer() {
    let stage = Stage::calm();
    let (ours, theirs) = duplex(1024);
    let longest = Arc::new(AtomicUsize::new(0));
    let watched = Watched {
        stream: ours,
        longest: Arc::clone(&longest),
    };
    let stream = socket(watched, &stage.services, stage.user).await;
    let _session = tokio::spawn(stage.session(stream).run(None));
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    next(&mut client).await.unwrap();
    for (number, padding) in [(0, 60_000), (1, 0), (2, 4096), (3, 200_000)] {
        stage.publish(number, padding);
        assert_eq!(next(&mut client).await.unwrap()["data"], number);
    }
    let longest = longest.load(Ordering::Relaxed);
    assert!(longest <= 9 * 1024, "{longest} bytes in the write buffer");
}

/// All that was waiting is sent, though the client's frames get a turn in between.
#[tokio::test]
async fn a_burst_of_events_arrives_whole() {
    const BURST: usize = 3 * BATCH + 5;
    let minute = Duration::from_secs(60);
    let stage = Stage::with_queue(BURST, minute, minute);
    let (mut client, _session) = stage.connect(1 << 20).await;
    next(&mut client).await.unwrap();
    // The session gets no turn before all are in its queue.
    (0..BURST).for_each(|number| stage.publish(number, 0));
    for number in 0..BURST {
        assert_eq!(next(&mut client).await.unwrap()["data"], number);
    }
}

#[tokio::test]
async fn an_idle_session_is_small() {
    let stage = Stage::calm();
    let (ours, _theirs) = duplex(64);
    let stream = socket(ours, &stage.services, stage.user).await;
    let session = stage.session(stream).run(None);
    let size = std::mem::size_of_val(&session);
    // With the read buffer of 1 KiB and what the hub and the transport keep, a few KiB in all.
    assert!(size < 3072, "{size} bytes");
}
