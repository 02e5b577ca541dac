//! A replica that closes: its sockets are told, and end in time.

use futures_util::future::join_all;

use super::*;
use crate::ws::session::leaving::RECONNECT_MS;

#[tokio::test(start_paused = true)]
async fn a_drain_says_so_delivers_until_then_and_closes_with_1012() {
    let stage = Stage::calm();
    let (mut client, session) = stage.connect(64 * 1024).await;
    next(&mut client).await.unwrap();
    stage.services.lifecycle.closing.cancel();
    stage.publish(7, 0);
    assert_eq!(next(&mut client).await.unwrap()["data"], 7);
    let closing = next(&mut client).await.unwrap();
    assert_eq!(closing["type"], "server_closing");
    let wait = closing["data"]["reconnectAfterMs"].as_u64().unwrap();
    assert!(RECONNECT_MS.contains(&wait));
    // The client answers the close, and the server ends the connection without waiting for anything else.
    let said = Instant::now();
    assert_eq!(next(&mut client).await, Err(1012));
    session.await.unwrap();
    assert_eq!(said.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_drain_waits_for_the_answer_of_a_command_and_not_for_ever() {
    let stage = Stage::new(Duration::from_secs(60), Duration::from_millis(300));
    let (mut client, session) = stage.connect(64 * 1024).await;
    next(&mut client).await.unwrap();
    // There is no database: this one waits.
    let send = json!({
        "type": "send_message", "requestId": "waits",
        "data": {"conversationId": Uuid::nil(), "content": "hello"},
    });
    say(&mut client, &send.to_string()).await;
    say(
        &mut client,
        r#"{"type": "ping", "requestId": "read", "data": {}}"#,
    )
    .await;
    let answer = next(&mut client).await.unwrap();
    assert_eq!(answer["data"]["requestId"], "read");

    let closing = Instant::now();
    stage.services.lifecycle.closing.cancel();
    let said = next(&mut client).await.unwrap();
    assert_eq!(said["type"], "server_closing");
    assert!(closing.elapsed() >= ANSWER_PATIENCE);
    assert_eq!(next(&mut client).await, Err(1012));
    session.await.unwrap();
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_client_that_does_not_read() {
    let stage = Stage::new(Duration::from_secs(60), Duration::from_millis(300));
    let (slow, session) = stage.connect(512).await;
    // Enough to get stuck, not enough to overflow.
    for number in 0..8 {
        stage.publish(number, 2000);
    }
    stage.services.lifecycle.closing.cancel();
    session.await.unwrap();
    drop(slow);
}

/// So that most of it stays for the close handshakes, and not all of them come to the other replicas at once.
#[tokio::test(start_paused = true)]
async fn sockets_leave_over_a_third_of_what_the_delay_leaves_of_the_grace() {
    const SOCKETS: usize = 64;
    for (grace, delay, spread) in [(30, 0, 5), (30, 27, 1), (6, 0, 2)] {
        let [grace, delay, spread] = [grace, delay, spread].map(Duration::from_secs);
        let mut stage = Stage::new(Duration::from_secs(60), grace);
        let services = Arc::get_mut(&mut stage.services).unwrap();
        let config = Arc::get_mut(&mut services.config).unwrap();
        config.timeouts.shutdown_delay = delay;
        let mut clients = Vec::new();
        for _ in 0..SOCKETS {
            let (mut client, _session) = stage.connect(1024).await;
            next(&mut client).await.unwrap();
            clients.push(client);
        }
        let closing = Instant::now();
        stage.services.lifecycle.closing.cancel();
        let leaving = clients.into_iter().map(async |mut client| {
            while next(&mut client).await.is_ok() {}
            closing.elapsed()
        });
        let mut took = join_all(leaving).await;
        took.sort_unstable();
        let last = took[SOCKETS - 1];
        assert!(last <= spread, "{last:?} of {spread:?}");
        assert!(last > spread / 2, "{last:?} of {spread:?}");
        // In no short moment most of them.
        let half = SOCKETS / 2;
        let crowd = took
            .windows(half)
            .map(|some| some[half - 1] - some[0])
            .min();
        assert!(crowd > Some(spread / 20), "half of them within {crowd:?}");
    }
}

/// Its cursor is from before, so at another replica it is told to reload.
#[tokio::test(start_paused = true)]
async fn a_socket_that_leaves_before_its_turn_to_reload_is_told_nothing_from_behind_it() {
    const CLIENTS: usize = 16;
    let stage = Stage::calm();
    let hub = &stage.services.hub;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let (mut client, session) = stage.connect(64 * 1024).await;
        next(&mut client).await.unwrap();
        clients.push((client, session));
    }
    // So many that most are told after all have left.
    let others: Vec<_> = (2..10_000)
        .map(|n| hub.register(UserId(Uuid::from_u128(n))).unwrap())
        .collect();
    hub.resync_all("another database", crate::hub::Pace::Spread);
    stage.publish(1, 0);
    stage.services.lifecycle.closing.cancel();
    let ends = clients.into_iter().map(|(mut client, session)| async move {
        let mut told = Vec::new();
        let code = loop {
            match next(&mut client).await {
                Ok(frame) => told.push(frame["type"].as_str().unwrap().to_owned()),
                Err(code) => break code,
            }
        };
        session.await.unwrap();
        (told, code)
    });
    for (told, code) in join_all(ends).await {
        assert_eq!(code, 1012);
        let reloads = told.len() > 1;
        let all = ["resync_required", "chat_message", "server_closing"];
        assert_eq!(told, all[if reloads { 0 } else { 2 }..]);
    }
    drop(others);
}

/// By its cursor alone it would not reload.
#[tokio::test(start_paused = true)]
async fn a_socket_that_is_to_be_told_to_reload_at_once_is_told_before_it_leaves() {
    const CLIENTS: usize = 32;
    // More than goes out with one flush, and as much as waits for a socket by default.
    for events in [0, 200] {
        // Without any time, all of them leave at once.
        let stage = Stage::with_queue(256, Duration::from_secs(60), Duration::ZERO);
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let (mut client, session) = stage.connect(64 * 1024).await;
            next(&mut client).await.unwrap();
            clients.push((client, session));
        }
        let hub = &stage.services.hub;
        stage.services.lifecycle.closing.cancel();
        for number in 0..events {
            stage.publish(number, 0);
        }
        hub.resync_all("a crash", crate::hub::Pace::AtOnce);
        for (mut client, session) in clients {
            for number in 0..events {
                assert_eq!(next(&mut client).await.unwrap()["data"], number);
            }
            let reload = next(&mut client).await.unwrap();
            assert_eq!(reload["type"], "resync_required");
            let closing = next(&mut client).await.unwrap();
            assert_eq!(closing["type"], "server_closing");
            assert_eq!(next(&mut client).await, Err(1012));
            session.await.unwrap();
        }
    }
}
