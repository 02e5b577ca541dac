//! A session that waits for its permit to be read for: nothing reaches the database, for another socket of its user has it.

use tokio::time::timeout;

use super::*;
use crate::replay::ReplayTurn;

impl Stage {
    /// A client that comes back, and waits while the permit is taken.
    async fn waiting(&self, expiry: Option<Expiry>) -> (Client, JoinHandle<()>, ReplayTurn) {
        let permit = self
            .services
            .replay
            .acquire(self.user, std::future::ready(()))
            .await
            .unwrap();
        let (ours, theirs) = duplex(64 * 1024);
        let stream = socket(ours, &self.services, self.user).await;
        let mut session = self.session(stream);
        session.expiry = expiry.unwrap_or(session.expiry);
        let session = tokio::spawn(session.run(Some("a cursor".to_owned())));
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        (client, session, permit)
    }
}

#[tokio::test]
async fn a_drain_ends_the_wait() {
    let stage = Stage::new(Duration::from_secs(60), Duration::from_millis(300));
    let (mut client, session, _turn) = stage.waiting(None).await;
    stage.services.lifecycle.closing.cancel();
    assert_eq!(next(&mut client).await, Err(1012));
    session.await.unwrap();
}

#[tokio::test]
async fn the_tokens_end_is_the_end_of_the_wait() {
    let stage = Stage::calm();
    let soon = Expiry::at(Instant::now() + Duration::from_millis(50));
    let (mut client, session, _turn) = stage.waiting(Some(soon)).await;
    assert_eq!(next(&mut client).await, Err(4401));
    session.await.unwrap();
}

#[tokio::test]
async fn a_user_who_is_deactivated_waits_no_longer() {
    let stage = Stage::calm();
    let (mut client, session, _turn) = stage.waiting(None).await;
    stage.services.hub.dismiss(stage.user);
    assert_eq!(next(&mut client).await, Err(4403));
    session.await.unwrap();
}

#[tokio::test]
async fn who_breaks_the_rules_while_they_wait_is_closed() {
    let stage = Stage::calm();
    let (client, session, _turn) = stage.waiting(None).await;
    let longest = stage.services.config.limits.body_bytes;
    let too_long = Message::text("x".repeat(longest + 1));
    // It may be closed before all of it is sent.
    let (_, said) = {
        let (mut sink, mut stream) = client.split();
        let closed = async {
            loop {
                match stream.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                    Some(Ok(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::join!(sink.send(too_long), closed)
    };
    assert_eq!(said, Some(1009));
    session.await.unwrap();
}

#[tokio::test]
async fn who_has_gone_waits_no_longer_and_what_waits_behind_them_is_next() {
    let stage = Stage::calm();
    let (client, session, permit) = stage.waiting(None).await;
    drop(client);
    session.await.unwrap();
    assert_eq!(stage.services.hub.connections(), 0);
    drop(permit);
    stage
        .services
        .replay
        .acquire(stage.user, std::future::ready(()))
        .await
        .unwrap();
}

/// Also behind what is not a command, and behind other commands.
#[tokio::test]
async fn what_one_sends_before_they_are_greeted_and_close_is_carried_out() {
    let edit = json!({
        "type": "edit_message",
        "data": {"messageId": Uuid::nil(), "content": "hello"},
    });
    let send = json!({
        "type": "send_message",
        "data": {"conversationId": Uuid::nil(), "content": "hello"},
    });
    for closes in [true, false] {
        for first in ["{".to_owned(), edit.to_string()] {
            let stage = Stage::calm();
            let (mut client, session, _turn) = stage.waiting(None).await;
            for frame in [&first, &first, &first, &first, &send.to_string()] {
                say(&mut client, frame).await;
            }
            if closes {
                client.send(Message::Close(None)).await.unwrap();
            }
            drop(client);
            session.await.unwrap();
            assert_eq!(
                stage.services.writer.unanswered(),
                1,
                "{closes} {first:.20}"
            );
        }
    }
}

/// Those frames have been counted when they came; the close is one more. By a clock that stands still while anybody is busy.
#[tokio::test(start_paused = true)]
async fn what_one_sends_before_they_are_greeted_is_carried_out_though_more_frames_are_too_many() {
    let send = json!({
        "type": "send_message",
        "data": {"conversationId": Uuid::nil(), "content": "hello"},
    });
    let stage = Stage::calm();
    let (mut client, session, _turn) = stage.waiting(None).await;
    for frame in ["{", "{", "{", &send.to_string()] {
        say(&mut client, frame).await;
    }
    // They are read.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let limiter = &stage.services.frame_limiter;
    while limiter.pause(stage.user, &mut 1).is_none() {}
    client.send(Message::Close(None)).await.unwrap();
    drop(client);
    session.await.unwrap();
    assert_eq!(stage.services.writer.unanswered(), 1);
}

#[tokio::test]
async fn frames_of_one_who_waits_count_like_any_others() {
    const PINGS: u32 = 60;
    let stage = Stage::calm();
    let started = Instant::now();
    // 500 a second are welcome from now on.
    while stage
        .services
        .frame_limiter
        .pause(stage.user, &mut 1)
        .is_none()
    {}
    let (mut client, _session, _turn) = stage.waiting(None).await;
    for _ in 0..PINGS {
        client
            .send(Message::Ping(Default::default()))
            .await
            .unwrap();
    }
    let mut pongs = 0;
    while pongs < PINGS {
        pongs += u32::from(client.next().await.unwrap().unwrap().is_pong());
    }
    // All but the last one, which is read ahead.
    assert!(started.elapsed() >= Duration::from_millis(2) * (PINGS - 2));
}

#[tokio::test(start_paused = true)]
async fn what_one_sends_before_they_are_greeted_takes_room_until_it_is_done() {
    let mut stage = Stage::calm();
    let largest = stage.services.config.limits.body_bytes;
    // Of which one user's share is one of the largest.
    Arc::get_mut(&mut stage.services).unwrap().incoming = MemoryBudget::new(8 * largest);
    let has_room = || {
        let incoming = &stage.services.incoming;
        incoming
            .reserve(Holder::User(stage.user), largest)
            .is_some()
    };
    let (ours, theirs) = duplex(2 * largest);
    let mut session = stage.session(socket(ours, &stage.services, stage.user).await);
    let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
    say(&mut client, &"x".repeat(largest)).await;
    assert!(has_room());
    // Until there is nothing left to read.
    let waited = timeout(Duration::from_secs(1), session.watch()).await;
    assert!(waited.is_err(), "nobody greets it");
    assert!(!has_room(), "it waits");
    let early = next_frame(&mut session.early, &mut session.stream).await;
    assert!(!has_room(), "it is being done");
    drop(early);
    assert!(has_room());
}

/// Behind that TCP holds the client back.
#[tokio::test(start_paused = true)]
async fn what_one_sends_before_they_are_greeted_is_kept_up_to_so_many_frames_and_bytes() {
    for (bytes, kept) in [(1, 32), (40 * 1024, 2)] {
        let stage = Stage::calm();
        let (ours, theirs) = duplex(4 << 20);
        let mut session = stage.session(socket(ours, &stage.services, stage.user).await);
        let mut client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        for _ in 0..50 {
            say(&mut client, &"x".repeat(bytes)).await;
        }
        // Until nothing more is read.
        let waited = timeout(Duration::from_secs(1), session.watch()).await;
        assert!(waited.is_err(), "nobody greets it");
        let early = session.early.map_or(0, |early| early.0.len());
        assert_eq!(early, kept, "frames of {bytes} bytes");
    }
}
