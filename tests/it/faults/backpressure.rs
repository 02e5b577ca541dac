//! Who is slow or sends too much: bounded memory, a clear refusal, and no delay for anybody else.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::*;
use crate::security::attackers::read_until;

/// No limit on the rate of sends: the limits below it are tested.
const UNLIMITED: [(&str, &str); 2] = [("RATE_LIMIT_PER_SECOND", "0"), ("RATE_LIMIT_BURST", "0")];

/// Sends until the slow socket is given up, and checks that the quick one of the same user is told of
/// everything at once. The answer is how many messages it took.
async fn overwhelm(replica: &Replica, quick: &mut Socket, conversation: uuid::Uuid) -> usize {
    let api = replica.api();
    let content = "x".repeat(50_000);
    for number in 1..=1_000 {
        let sent = Instant::now();
        let message = api.send(conversation, ALICE, &content).await;
        let told = quick.expect("chat_message").await;
        assert_eq!(told["data"]["id"], message["id"]);
        assert!(
            sent.elapsed() < Duration::from_secs(10),
            "{:?}",
            sent.elapsed()
        );
        if api.metric("pgchat_slow_consumers_total").await > 0.0 {
            return number;
        }
    }
    panic!("a socket that does not read is still open after 50 MB");
}

async fn stage() -> (Database, Replica, uuid::Uuid) {
    let database = Database::fresh().await;
    // Whoever waited for the slow socket would wait until it is given up for what it does not take, far longer than `overwhelm` does.
    let slow = [("SOCKET_QUEUE", "8"), ("STALL_TIMEOUT_SECONDS", "300")];
    let settings = [&UNLIMITED[..], &slow].concat();
    let replica = Replica::start(&database, &quick(&settings)).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    (database, replica, conversation)
}

#[tokio::test]
async fn a_socket_that_does_not_read_is_closed_with_1013_and_delays_no_other() {
    let (_database, replica, conversation) = stage().await;
    let mut slow = Socket::connect_narrow(&replica, BORIS).await;
    let mut fast = Socket::connect(&replica, BORIS).await;

    let count = overwhelm(&replica, &mut fast, conversation).await;
    assert_eq!(slow.closed().await, Some(1013), "it reads at last");
    let closes = r#"pgchat_socket_closes_total{reason="too_slow"}"#;
    assert_eq!(replica.api().metric(closes).await, 1.0);

    // It has its place again, and comes back with its cursor.
    let cursor = cursor_of(&slow.connected);
    let mut slow = Socket::resume(&replica, BORIS, &cursor).await;
    assert!(slow.collect_messages(count).await.len() == count);
}

#[tokio::test]
async fn a_socket_that_never_reads_is_cut() {
    let (_database, replica, conversation) = stage().await;
    let slow = Socket::connect_narrow(&replica, BORIS).await;
    let mut fast = Socket::connect(&replica, BORIS).await;
    let (server, client) = (replica.port(), slow.port());
    assert!(is_established(server, client));

    overwhelm(&replica, &mut fast, conversation).await;

    eventually("the server's end is closed", || async {
        (!is_established(server, client)).then_some(())
    })
    .await;
}

/// Whether the system knows the connection from `local` to `remote`, both on loopback, as open.
fn is_established(local: u16, remote: u16) -> bool {
    const LOOPBACK: &str = "0100007F";
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of connections");
    let ends = [
        format!("{LOOPBACK}:{local:04X}"),
        format!("{LOOPBACK}:{remote:04X}"),
    ];
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(&ends[0])
            && fields.next() == Some(&ends[1])
            && fields.next() == Some(ESTABLISHED)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_past_the_bound_of_the_writer_is_refused_at_once() {
    const BURST: usize = 200;
    let database = Database::fresh().await;
    let proxy = Proxy::before(&database).await;
    let bounds = [
        ("WRITER_QUEUE", "10"),
        ("WRITER_BATCH", "5"),
        ("WRITE_TIMEOUT_SECONDS", "30"),
    ];
    let settings = [&UNLIMITED[..], &proxy.for_all(), &bounds].concat();
    let replica = Replica::start(&database, &quick(&settings)).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    // Connections are open before the database falls silent.
    api.send(conversation, ALICE, "before").await;

    proxy.mute();
    let mut sends = JoinSet::new();
    for number in 0..BURST {
        let api = api.clone();
        sends.spawn(async move {
            let id = format!("m-{number}");
            api.send_once(conversation, ALICE, &id, &id).await
        });
    }
    until_metric_above(&replica, "pgchat_writer_queue_depth", 9.0).await;
    let (mut at_once, mut waited) = (0, 0);
    while let Some(done) = sends.join_next().await {
        let reply = done.expect("a send");
        let reason = reply.refused(503, "unavailable");
        if reason.contains("too many") {
            at_once += 1;
            assert_eq!(waited, 0, "refused after what waited for its deadline");
        } else {
            waited += 1;
        }
    }
    // Ten in the queue, one batch on its way and one that is being made up.
    assert!(waited <= 10 + 2 * 5, "{waited} waited");
    assert_eq!(at_once, BURST - waited);
    assert!(api.metric("pgchat_writer_refused_total").await >= 180.0);

    proxy.cut_open();
    proxy.unmute();
    until_healthy(&replica).await;
    for number in 0..BURST {
        let id = format!("m-{number}");
        let repeat = api.send_once(conversation, ALICE, &id, &id).await;
        assert!(matches!(repeat.status, 200 | 201), "{repeat:?}");
    }
    assert_eq!(api.history(conversation).await.len(), BURST + 1);
}

/// Each message is a transaction of its own here, and takes 5 s: the last one has less than that left when it is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_database_stores_what_is_nearly_late_when_it_is_sent() {
    let database = with_pace().await;
    let settings = [("WRITER_BATCH", "1"), ("WRITE_TIMEOUT_SECONDS", "14")];
    let replica = Replica::start(&database, &settings).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    // By these the replica learns that answers take their time: it would not wait for 5 s at once.
    for seconds in [1.0, 2.5] {
        takes(&database, seconds).await;
        replica.api().send(conversation, ALICE, "slow").await;
    }
    takes(&database, 5.0).await;
    let mut sends = JoinSet::new();
    for number in 0..3 {
        let api = replica.api();
        sends.spawn(async move {
            let content = number.to_string();
            api.try_send(conversation, ALICE, &content).await
        });
    }
    while let Some(reply) = sends.join_next().await {
        reply.expect("a send").ok(201);
    }
}

/// Nothing has told the replica that answers take so long.
#[tokio::test]
async fn what_is_sent_again_has_more_time_each_time() {
    let database = with_pace().await;
    let replica = Replica::start(&database, &[("WRITE_TIMEOUT_SECONDS", "60")]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    takes(&database, 5.0).await;
    replica.api().send(conversation, ALICE, "slow").await;
}

/// A database that takes as long for a message as `takes` says.
async fn with_pace() -> Database {
    let database = Database::fresh().await;
    database
        .execute_as_owner(
            "create table host_pace as select 0.0::float as seconds;
             create function host_slow() returns trigger language plpgsql security definer as $$
             begin
               perform pg_sleep((select seconds from public.host_pace));
               return null;
             end $$;
             create trigger host_slow after insert on messages for each statement execute function host_slow()",
        )
        .await;
    database
}

async fn takes(database: &Database, seconds: f64) {
    let pace = format!("update host_pace set seconds = {seconds}");
    database.execute_as_owner(&pace).await;
}

/// It sends frames, and takes no answers: after some time its own sends must block.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_floods_frames_is_slowed_by_not_being_read() {
    const FRAMES: usize = 5_000;
    const BLOCKED: Duration = Duration::from_secs(3);
    const READ: &str = r#"pgchat_frames_total{direction="received",type="edit_message"}"#;
    let database = Database::fresh().await;
    // Nobody cuts it off.
    let patient = [
        ("STALL_TIMEOUT_SECONDS", "300"),
        ("HEARTBEAT_SECONDS", "3600"),
    ];
    let settings = [&UNLIMITED[..], &patient].concat();
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let long = "x".repeat(60_000);
    let own = api.open_conversation(ALICE, CARLA).await;
    let message = id_of(&api.send(own, CARLA, &long).await);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("its buffer");
    let address = ([127, 0, 0, 1], replica.port()).into();
    let stream = socket.connect(address).await.expect("a connection");
    let (from, mut to) = stream.into_split();
    let handshake = handshake_text(&format!("/ws?user_id={CARLA}"));
    to.write_all(handshake.as_bytes())
        .await
        .expect("a handshake");
    let before = replica.resident_kib();

    let mut left = Vec::new();
    let mut written = 0;
    let mut read = -1.0;
    'flood: for number in 0..FRAMES {
        // One that takes a statement, tells nobody, and has a long answer: the message, which is that already.
        let data = json!({"messageId": message, "content": long});
        let frame = json!({"type": "edit_message", "requestId": number.to_string(), "data": data});
        left = text_frame(&frame.to_string());
        while !left.is_empty() {
            if let Ok(taken) = tokio::time::timeout(BLOCKED, to.write(&left)).await {
                let taken = taken.expect("an open connection");
                left.drain(..taken);
                written += taken;
                continue;
            }
            // A slow machine goes on; here nothing more is read.
            let before = std::mem::replace(&mut read, api.metric(READ).await);
            if read == before {
                break 'flood;
            }
        }
    }
    assert!(
        !left.is_empty(),
        "{written} bytes were taken from a client that reads nothing"
    );
    assert!(written < 100_000_000, "{written} bytes were taken");
    if let (Some(before), Some(now)) = (before, replica.resident_kib()) {
        assert!(now < before + 50_000, "{before} KiB before, {now} KiB now");
    }

    // Others are served as ever, and it is read again as soon as it reads.
    api.send(conversation, ALICE, "meanwhile").await;
    let ping = json!({"type": "ping", "requestId": "the last", "data": {}});
    left.extend(text_frame(&ping.to_string()));
    let asked = async { to.write_all(&left).await.expect("an open connection") };
    let answered = read_until(from, "the last");
    within("the last answer", async { tokio::join!(asked, answered) }).await;
}

/// Events that a slow socket was too slow for are not lost to it: the next socket has them by its cursor.
#[tokio::test]
async fn a_client_that_was_too_slow_goes_on_where_it_was() {
    let (_database, replica, conversation) = stage().await;
    let mut slow = Socket::connect_narrow(&replica, BORIS).await;
    let mut fast = Socket::connect(&replica, BORIS).await;
    let first = replica.api().send(conversation, ALICE, "first").await;
    let seen: Value = slow.expect("chat_message").await;
    assert_eq!(seen["data"], first);
    fast.expect("chat_message").await;

    let count = overwhelm(&replica, &mut fast, conversation).await;
    slow.send_unwelcome(Message::Text(Utf8Bytes::from_static("{}")))
        .await;
    let mut again = Socket::resume(&replica, BORIS, &cursor_of(&seen)).await;
    let last = i64::try_from(count).expect("a count") + 1;
    let told = again
        .expect_where("the last message", |frame| frame["data"]["seq"] == last)
        .await;
    assert_eq!(told["type"], "chat_message");
    let mut seqs: Vec<i64> = super::ledger::seqs(&again.arrived(), conversation);
    seqs.retain(|seq| *seq > 1);
    assert_eq!(seqs, (2..last).collect::<Vec<_>>());
}
