//! What an attacker can use up, and what is left for the others: limits hold, memory is bounded, and the others are served.
//! The figures of latency under attack are `measured`'s, which `make attack` runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::attackers;
use crate::support::*;

/// What the others do meanwhile: a message from one to the other over sockets, and a page of history over HTTP on a
/// connection of its own.
struct Others<'a> {
    replica: &'a Replica,
    conversation: uuid::Uuid,
    boris: Socket,
    carla: Socket,
    sent: usize,
}

impl<'a> Others<'a> {
    async fn of(database: &Database, replica: &'a Replica) -> Self {
        Self {
            replica,
            conversation: database.conversation(BORIS, CARLA).await,
            boris: Socket::connect(replica, BORIS).await,
            carla: Socket::connect(replica, CARLA).await,
            sent: 0,
        }
    }

    async fn are_served(&mut self) {
        for _ in 0..5 {
            self.sent += 1;
            let content = format!("number {}", self.sent);
            let sent = self.boris.send_message(self.conversation, &content).await;
            let heard = self.carla.expect("chat_message").await;
            assert_eq!(heard["data"], sent);
            let api = self.replica.api();
            let page = api.messages(self.conversation, "limit=1").await;
            assert_eq!(page.ok(200)["messages"][0]["id"], sent["id"]);
        }
    }
}

/// Kibibytes that the replica has taken since `before`.
fn growth(replica: &Replica, before: Option<u64>) -> u64 {
    let now = replica.resident_kib();
    now.zip(before)
        .map_or(0, |(now, before)| now.saturating_sub(before))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_slow_heads_are_cut_off_and_the_others_served() {
    const HEADS: usize = 2000;
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("HEADER_TIMEOUT_SECONDS", "5")]).await;
    let mut others = Others::of(&database, &replica).await;
    others.are_served().await;
    let (memory, files) = (replica.resident_kib(), replica.open_files());

    let mut slow = JoinSet::new();
    for _ in 0..HEADS {
        let mut stream = attackers::slow_head(replica.port()).await;
        slow.spawn(async move {
            // A byte now and then is no progress: the whole head has its time.
            let mut answer = Vec::new();
            let (mut read, mut write) = stream.split();
            let dripping = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    if write.write_all(b"x").await.is_err() {
                        std::future::pending::<()>().await;
                    }
                }
            };
            tokio::select! {
                // Whether it ends or is reset, the server has let go.
                _ = read.read_to_end(&mut answer) => {}
                () = dripping => {}
            }
            String::from_utf8_lossy(&answer).into_owned()
        });
    }
    others.are_served().await;
    let kib = growth(&replica, memory);
    assert!(kib < 32 * HEADS as u64, "{kib} KiB for {HEADS} heads");

    let mut told = 0;
    while let Some(answer) = within("the slow heads are cut off", slow.join_next()).await {
        told += usize::from(answer.expect("no panic").starts_with("HTTP/1.1 408"));
    }
    assert!(told > HEADS / 2, "{told} of {HEADS} were told why");
    eventually("their connections are gone", || async {
        (replica.open_files() <= files + 10).then_some(())
    })
    .await;
    others.are_served().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_over_the_limit_are_refused_and_sockets_that_are_open_are_served() {
    let database = Database::fresh().await;
    let settings = [("MAX_CONNECTIONS", "10"), ("HEADER_TIMEOUT_SECONDS", "300")];
    let replica = Replica::start(&database, &settings).await;
    let conversation = database.conversation(BORIS, CARLA).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut carla = Socket::connect(&replica, CARLA).await;

    // 10 sockets, of which two are there, and 1,000 connections more.
    let mut held = Vec::new();
    for _ in 0..1_008 {
        held.push(attackers::slow_head(replica.port()).await);
    }
    let refused = (0..500).map(|_| async {
        let mut stream = attackers::slow_head(replica.port()).await;
        let mut first = [0; 12];
        // The server speaks first to those that it refuses, or cuts them off; the last held one is told in minutes.
        let read = within("the refusal", stream.read_exact(&mut first)).await;
        if read.is_ok() {
            assert_eq!(&first, b"HTTP/1.1 503");
        }
        usize::from(read.is_ok())
    });
    let told: usize = join_all(refused).await.into_iter().sum();
    assert!(told > 0, "nobody was told why");
    for number in 0..5 {
        let sent = boris.send_message(conversation, &number.to_string()).await;
        assert_eq!(carla.expect("chat_message").await["data"], sent);
    }

    drop(held);
    until_healthy(&replica).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_handshakes_gets_as_many_sockets_as_a_user_may_have() {
    const LIMIT: usize = 20;
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let mut others = Others::of(&database, &replica).await;
    let memory = replica.resident_kib();

    let port = replica.port();
    let mut open = Vec::new();
    for _ in 0..10 {
        let answers = join_all((0..100).map(|_| attackers::handshake(port, ALICE)));
        let (answers, ()) = tokio::join!(answers, others.are_served());
        for (status, stream) in answers {
            match status {
                101 => open.push(stream),
                status => assert_eq!(status, 429),
            }
        }
    }
    assert_eq!(open.len(), LIMIT);
    let strangers = join_all((0..100).map(|_| attackers::handshake(port, NOBODY))).await;
    assert!(strangers.iter().all(|(status, _)| *status == 404));
    let connections = replica.api().metric("pgchat_connections").await;
    assert_eq!(connections, LIMIT as f64 + 2.0);
    let kib = growth(&replica, memory);
    assert!(kib < 32 * 1024, "{kib} KiB after 1,100 handshakes");

    // The places of those that are gone are free again.
    drop(open);
    until_metric(&replica, "pgchat_connections", 2.0).await;
    assert_eq!(attackers::handshake(port, ALICE).await.0, 101);
}

/// Nobody answers there: whoever was asked for waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_has_all_their_sockets_is_refused_without_a_question_to_the_database() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("MAX_CONNECTIONS_PER_USER", "2")]).await;
    let _open = [
        Socket::connect(&replica, ALICE).await,
        Socket::connect(&replica, ALICE).await,
    ];
    let holder = database
        .holding("lock table users in access exclusive mode")
        .await;
    let refused = attackers::handshake(replica.port(), ALICE);
    assert_eq!(within("a refusal", refused).await.0, 429);
    holder.batch_execute("commit").await.expect("its end");
    assert_eq!(attackers::handshake(replica.port(), BORIS).await.0, 101);
}

/// Who is let in does not wait for those who are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_come_one_after_the_other_and_good_handshakes_pass_them_by() {
    /// Fewer than would be refused for their patience.
    const IN_LINE: usize = 4;
    let database = Database::fresh().await;
    let settings = [("REFUSED_HANDSHAKES_PER_SECOND", "1")];
    let replica = Replica::start(&database, &settings).await;
    let port = replica.port();
    let refused = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut line = JoinSet::new();
    for _ in 0..IN_LINE {
        let refused = refused.clone();
        line.spawn(async move {
            loop {
                assert_eq!(attackers::handshake(port, NOBODY).await.0, 404);
                refused.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let refusals = || refused.load(Ordering::Relaxed);
    eventually("each has been refused, and one once more", || async {
        (refusals() > IN_LINE).then_some(())
    })
    .await;
    let took = started.elapsed();
    assert!(took >= Duration::from_secs(IN_LINE as u64), "{took:?}");
    // Behind all who stand in line she would come each time, and on a slow machine now and then.
    eventually("she passes by those who stand in line", || async {
        let before = refusals();
        assert_eq!(attackers::handshake(port, ALICE).await.0, 101);
        (refusals() < before + IN_LINE - 1).then_some(())
    })
    .await;
    assert!(line.try_join_next().is_none(), "they stand there still");
}

/// A balancer takes them elsewhere: one a second would be a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_closes_refuses_handshakes_at_once() {
    let database = Database::fresh().await;
    let settings = [
        ("REFUSED_HANDSHAKES_PER_SECOND", "1"),
        ("SHUTDOWN_DELAY_SECONDS", "300"),
        ("SHUTDOWN_GRACE_SECONDS", "600"),
    ];
    let replica = Replica::start(&database, &settings).await;
    replica.terminate();
    eventually("it takes no sockets", || async {
        (attackers::handshake(replica.port(), ALICE).await.0 == 503).then_some(())
    })
    .await;
    let refusals = async {
        for _ in 0..60 {
            assert_eq!(attackers::handshake(replica.port(), NOBODY).await.0, 503);
        }
    };
    within("all are refused", refusals).await;
}

/// One after the other they would wait for six times the database's deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_wait_for_a_silent_database_are_refused_in_its_time() {
    let database = Database::fresh().await;
    let settings = [("DB_POOL_SIZE", "4"), ("DB_TIMEOUT_SECONDS", "10")];
    let replica = Replica::start(&database, &settings).await;
    let holder = database
        .holding("lock table users in access exclusive mode")
        .await;
    let first = tokio::spawn(attackers::handshake(replica.port(), ALICE));
    until_lock_waiters(&database, 1).await;
    let waiting = join_all((0..12).map(|_| attackers::handshake(replica.port(), ALICE)));
    let figure = "pgchat_turns_waiting{kind=\"user_lookups\"}";
    let (answers, ()) = tokio::join!(
        within("answers", waiting),
        until_metric(&replica, figure, 12.0)
    );
    for (status, _) in answers {
        assert_eq!(status, 503);
    }
    assert_eq!(first.await.expect("an answer").0, 503);
    holder.batch_execute("commit").await.expect("its end");
    assert_eq!(attackers::handshake(replica.port(), ALICE).await.0, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_a_thousand_sockets_delays_nobody_and_costs_a_bounded_amount() {
    const SOCKETS: usize = 1000;
    const MESSAGES: usize = 20;
    let database = Database::fresh().await;
    let settings = [
        ("MAX_CONNECTIONS_PER_USER", "1000"),
        // Nobody reads them, nor answers pings, until all are there.
        ("HEARTBEAT_SECONDS", "3600"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let mut others = Others::of(&database, &replica).await;
    let conversation = database.conversation(ALICE, DAVID).await;
    let memory = replica.resident_kib();

    let mut open: Vec<TcpStream> = Vec::new();
    while open.len() < SOCKETS {
        let (status, stream) = attackers::handshake(replica.port(), ALICE).await;
        assert_eq!(status, 101);
        open.push(stream);
    }
    assert_eq!(attackers::handshake(replica.port(), ALICE).await.0, 429);
    for number in 0..MESSAGES {
        let api = replica.api();
        api.send(conversation, DAVID, &number.to_string()).await;
    }
    others.are_served().await;
    let kib = growth(&replica, memory);
    assert!(kib < 48 * SOCKETS as u64, "{kib} KiB for {SOCKETS} sockets");

    // Each of them has it all, down to the last.
    let last = json!((MESSAGES - 1).to_string());
    let last = format!("\"content\":{last}");
    let readers = open
        .into_iter()
        .map(|stream| attackers::read_until(stream, &last));
    within("every socket hears the last message", join_all(readers)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_frames_is_answered_at_its_own_cost() {
    const SOCKETS: usize = 5;
    const FRAMES: usize = 600;
    /// Sends at once and in a second; ten times as many frames are read.
    const RATE: usize = 100;
    let database = Database::fresh().await;
    let rate = RATE.to_string();
    let settings = [
        ("RATE_LIMIT_PER_SECOND", rate.as_str()),
        ("RATE_LIMIT_BURST", &rate),
    ];
    let replica = Replica::start(&database, &settings).await;
    let conversation = database.conversation(ALICE, DAVID).await;
    let memory = replica.resident_kib();

    let started = std::time::Instant::now();
    let mut flooding = JoinSet::new();
    for _ in 0..SOCKETS {
        let (status, stream) = attackers::handshake(replica.port(), ALICE).await;
        assert_eq!(status, 101);
        flooding.spawn(attackers::flood(stream, conversation, FRAMES));
    }
    // Others, within their own limit.
    let theirs = database.conversation(BORIS, CARLA).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut carla = Socket::connect(&replica, CARLA).await;
    for number in 0..5 {
        let sent = boris.send_message(theirs, &number.to_string()).await;
        assert_eq!(carla.expect("chat_message").await["data"], sent);
    }
    while let Some(answered) = within("every frame is answered", flooding.join_next()).await {
        assert_eq!(answered.expect("no panic"), FRAMES);
    }
    let took = started.elapsed();
    // Each socket is read one frame ahead; all others beyond the burst had to wait for their turn.
    let waited = SOCKETS * FRAMES - 10 * RATE - SOCKETS;
    let least = Duration::from_secs_f64(waited as f64 / (10 * RATE) as f64);
    assert!(took >= least, "{took:?}: nobody was held back");
    let kib = growth(&replica, memory);
    assert!(kib < 48 * 1024, "{kib} KiB");
    let of_theirs = format!("messages where conversation_id = '{conversation}'");
    let stored = usize::try_from(database.count(&of_theirs).await).expect("a count");
    let most = RATE + RATE * took.as_secs() as usize + RATE;
    assert!((RATE..most).contains(&stored), "{stored} were stored");
}
