//! Who is taken for dead or stuck, and who is not. By a clock that stands still while either of them is busy: whatever the machine
//! does, an answer is in time.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_client_without_pongs_is_closed_with_4408() {
    let stage = Stage::new(Duration::from_secs(30), Duration::from_secs(3));
    let (ours, mut theirs) = duplex(64 * 1024);
    let stream = socket(ours, &stage.services, stage.user).await;
    let session = tokio::spawn(stage.session(stream).run(None));
    // Reads, but does not speak the protocol, so that nothing answers the pings.
    let mut bytes = Vec::new();
    let code = 4408u16.to_be_bytes();
    while !bytes.windows(2).any(|two| two == code) {
        let read = theirs.read_buf(&mut bytes);
        assert_ne!(read.await.unwrap(), 0, "ended without 4408");
    }
    drop(theirs);
    session.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_pings_stays() {
    let stage = Stage::new(Duration::from_secs(30), Duration::from_secs(3));
    let (mut client, session) = stage.connect(64 * 1024).await;
    let mut pings = 0;
    while pings < 10 {
        if let Message::Ping(_) = client.next().await.unwrap().unwrap() {
            pings += 1;
        }
    }
    assert!(!session.is_finished());
}

/// Its pongs may stand behind a large upload, or nobody answers pings there.
#[tokio::test(start_paused = true)]
async fn a_client_that_says_anything_stays_without_a_pong() {
    let interval = Duration::from_secs(30);
    let stage = Stage::new(interval, Duration::from_secs(3));
    let (ours, mut theirs) = duplex(64 * 1024);
    let stream = socket(ours, &stage.services, stage.user).await;
    let session = tokio::spawn(stage.session(stream).run(None));
    let (mut read, mut write) = tokio::io::split(&mut theirs);
    let talking = async {
        // A text without content, masked with zeros.
        for _ in 0..20 {
            write.write_all(&[0x81, 0x80, 0, 0, 0, 0]).await.unwrap();
            tokio::time::sleep(interval).await;
        }
    };
    let mut taken = Vec::new();
    tokio::select! {
        () = talking => {}
        ended = read.read_to_end(&mut taken) => panic!("{ended:?}: {taken:?}"),
    }
    assert!(!session.is_finished());
}

/// What it has sent waits for its turn, its pongs too: they are not missed.
#[tokio::test(start_paused = true)]
async fn a_client_whose_frames_are_not_read_is_not_taken_for_dead() {
    let stage = Stage::new(Duration::from_secs(1), Duration::from_secs(3));
    let (mut client, _session) = stage.connect(64 * 1024).await;
    next(&mut client).await.unwrap();
    // There is no database: the first one waits for as long as a message may, and the second one for the first.
    let data = json!({"conversationId": Uuid::nil(), "content": "hello"});
    let started = Instant::now();
    for kind in ["send_message", "mark_read"] {
        let command = json!({"type": kind, "requestId": kind, "data": data});
        say(&mut client, &command.to_string()).await;
    }
    for kind in ["send_message", "mark_read"] {
        let answer = next(&mut client).await.unwrap();
        assert_eq!(answer["data"]["requestId"], kind);
        assert_eq!(answer["data"]["code"], "unavailable");
    }
    assert!(
        started.elapsed() > Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_stuck_is_given_up_after_twice_the_heartbeat_or_the_stall_if_that_is_less()
{
    let stall = Stage::calm().services.config.timeouts.stall;
    for (heartbeat, patience) in [(stall / 4, stall / 2), (stall * 4, stall)] {
        let stage = Stage::new(heartbeat, Duration::from_secs(3));
        let (stuck, _session) = stage.connect(512).await;
        // Enough to get stuck, not enough to overflow.
        for number in 0..8 {
            stage.publish(number, 2000);
        }
        let started = Instant::now();
        let given_up = async {
            while stage.services.hub.connections() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let given_up = tokio::time::timeout(8 * stall, given_up).await;
        given_up.expect("the client is given up");
        let waited = started.elapsed();
        let rounded = Duration::from_secs(1);
        assert!(
            (patience..patience + rounded).contains(&waited),
            "{waited:?}, not {patience:?}"
        );
        drop(stuck);
    }
}
