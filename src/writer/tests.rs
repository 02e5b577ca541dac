use std::sync::Mutex;

use super::*;
use crate::model::{ConversationId, MessageType, UserId};
use crate::sync::lock;
use crate::testing;

/// At a database that nobody reaches.
fn writer() -> Writer {
    let hub = testing::hub(1);
    let minute = Duration::from_secs(60);
    testing::services(hub, minute, minute).writer
}

fn message(sender: u128, bytes: usize) -> NewMessage {
    NewMessage {
        conversation: ConversationId(Uuid::nil()),
        sender: UserId(Uuid::from_u128(sender)),
        content: "x".repeat(bytes),
        message_type: MessageType::Text,
        client_message_id: None,
    }
}

#[tokio::test]
async fn what_waits_is_bounded_in_bytes_and_a_sender_has_an_eighth_of_them() {
    const LONG: usize = 64 * 1024;
    const SHARE: usize = MAX_WAITING_BYTES / LONG / 8;
    let writer = writer();
    // The writer has no turn meanwhile.
    let refused = Arc::new(Mutex::new(0));
    let send = |sender, bytes| {
        let before = *lock(&refused);
        let refused_here = Arc::clone(&refused);
        writer.submit(message(sender, bytes), Protocol::Http, move |_| {
            *lock(&refused_here) += 1;
        });
        *lock(&refused) == before
    };
    for sender in 0..8 {
        for _ in 0..SHARE {
            assert!(send(sender, LONG));
        }
        assert!(!send(sender, LONG), "more than an eighth");
        assert!(send(sender, SMALL_MESSAGE), "a small one");
    }
    assert!(!send(8, LONG), "all of it is taken");
    assert_eq!(writer.stats().refused.load(Ordering::Relaxed), 9);
    assert_eq!(writer.unanswered(), 8 * (SHARE as u64 + 1));
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_stops_goes_on_until_all_that_waits_is_answered() {
    let hub = testing::hub(1);
    let minute = Duration::from_secs(60);
    let services = testing::services(hub, minute, minute);
    let (writer, lifecycle) = (&services.writer, &services.lifecycle);
    let (reply, mut answer) = oneshot::channel();
    writer.submit(message(1, 1), Protocol::Http, move |result| {
        let _ = reply.send(result.map(|sent| sent.repeated));
    });
    while writer.depth() > 0 {
        tokio::task::yield_now().await;
    }
    // It is in a batch, and still counts.
    assert_eq!(writer.unanswered(), 1);
    lifecycle.stopping.cancel();
    lifecycle.tasks.close();
    lifecycle.tasks.wait().await;
    let answer = answer.try_recv().expect("an answer");
    let late = answer.expect_err("nobody stores it").to_string();
    assert_eq!(late, "the message could not be stored in time");
    assert_eq!(writer.unanswered(), 0);
}
