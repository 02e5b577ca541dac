//! A client that has sent and is gone: what becomes of that, and of its place.

use tokio::net::TcpListener;

use super::super::answering::START_PATIENCE;
use super::*;

fn send_to(conversation: Uuid) -> String {
    let data = json!({"conversationId": conversation, "content": "the last words"});
    json!({"type": "send_message", "data": data}).to_string()
}

/// It meets the end of its own session where it is told of the first one.
#[tokio::test]
async fn what_was_sent_behind_a_frame_whose_answer_finds_nobody_is_carried_out() {
    let stage = Stage::calm();
    let (mut client, session) = stage.connect(64 * 1024).await;
    next(&mut client).await.unwrap();
    for frame in ["{", &send_to(Uuid::nil()), "{", &send_to(Uuid::max())] {
        client.feed(Message::text(frame)).await.unwrap();
    }
    client.flush().await.unwrap();
    drop(client);
    session.await.unwrap();
    assert_eq!(stage.services.writer.unanswered(), 2);
}

/// What it sent last waits for a mark, and that for a database that says nothing. By a clock that stands still while anybody is busy.
#[tokio::test(start_paused = true)]
async fn whoever_has_gone_leaves_their_place_at_once_though_their_last_commands_wait() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let services = testing::services_with_database_at(port, testing::hub(16));
    let stage = Stage {
        services: Arc::new(services),
        user: UserId(Uuid::from_u128(1)),
    };
    let (mut client, session) = stage.connect(64 * 1024).await;
    next(&mut client).await.unwrap();
    let mark = json!({"type": "mark_read", "data": {"conversationId": Uuid::nil()}});
    say(&mut client, &mark.to_string()).await;
    say(&mut client, &send_to(Uuid::nil())).await;
    let closed = Instant::now();
    client.send(Message::Close(None)).await.unwrap();
    while stage.services.hub.connections() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(closed.elapsed() < START_PATIENCE / 2);
    assert!(!session.is_finished(), "its last commands wait");
    session.await.unwrap();
    assert_eq!(closed.elapsed().as_secs(), START_PATIENCE.as_secs());
}
