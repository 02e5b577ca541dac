use std::collections::BTreeSet;
use std::time::Instant;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::*;
use crate::metrics::Closed;
use crate::schema::close_codes::CLOSE_CODES;

const LIMIT: usize = 1000;

/// A server that reads until its reader fails or the client closes, then closes as a session does.
async fn socket() -> (TcpStream, JoinHandle<CloseReason>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    let (raw, _) = listener.accept().await.unwrap();
    let server = tokio::spawn(async move {
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .max_message_size(Some(LIMIT))
            .max_frame_size(Some(LIMIT));
        let mut stream = WebSocketStream::from_raw_socket(raw, Role::Server, Some(config)).await;
        let reason = loop {
            match stream.next().await {
                Some(Ok(Message::Close(frame))) => {
                    break CloseReason::ClientClosed(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break CloseReason::from(error),
                None => break CloseReason::Lost("end of stream".to_owned()),
            }
        };
        close(stream, &reason).await;
        reason
    });
    (client, server)
}

async fn client(raw: TcpStream) -> WebSocketStream<TcpStream> {
    WebSocketStream::from_raw_socket(raw, Role::Client, None).await
}

/// The code that the client reads, and that the connection then ends without a reset.
async fn close_code(mut client: WebSocketStream<TcpStream>) -> u16 {
    loop {
        match client.next().await {
            Some(Ok(Message::Close(frame))) => {
                while let Some(next) = client.next().await {
                    next.unwrap();
                }
                return frame.unwrap().code.into();
            }
            Some(Ok(_)) => {}
            other => panic!("no close frame but {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_answered_with_1009_though_its_sender_has_more_to_say() {
    let (raw, server) = socket().await;
    let mut client = client(raw).await;
    for _ in 0..3 {
        client
            .feed(Message::text("x".repeat(40 * LIMIT)))
            .await
            .unwrap();
    }
    client.flush().await.unwrap();
    assert_eq!(close_code(client).await, 1009);
    assert_eq!(server.await.unwrap(), CloseReason::TooBig);
}

#[tokio::test]
async fn fragments_over_the_limit_are_answered_with_1009() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let (raw, server) = socket().await;
    let mut client = client(raw).await;
    for (opcode, last) in [
        (Data::Text, false),
        (Data::Continue, false),
        (Data::Continue, true),
    ] {
        let part = Frame::message("x".repeat(LIMIT / 2), OpCode::Data(opcode), last);
        client.send(Message::Frame(part)).await.unwrap();
    }
    assert_eq!(close_code(client).await, 1009);
    assert_eq!(server.await.unwrap(), CloseReason::TooBig);
}

#[tokio::test]
async fn text_that_is_not_utf8_is_answered_with_1007() {
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let (raw, server) = socket().await;
    let mut client = client(raw).await;
    let frame = Frame::message(vec![0xc3, 0x28], OpCode::Data(Data::Text), true);
    client.send(Message::Frame(frame)).await.unwrap();
    assert_eq!(close_code(client).await, 1007);
    assert_eq!(server.await.unwrap(), CloseReason::InvalidText);
}

#[tokio::test]
async fn an_unmasked_frame_is_answered_with_1002() {
    let (mut raw, server) = socket().await;
    raw.write_all(&[0x81, 0x02, b'h', b'i']).await.unwrap();
    let client = client(raw).await;
    assert_eq!(close_code(client).await, 1002);
    assert!(matches!(server.await.unwrap(), CloseReason::Protocol(_)));
}

#[tokio::test]
async fn a_close_of_the_client_is_answered_with_its_own_code() {
    let (raw, server) = socket().await;
    let mut client = client(raw).await;
    let frame = CloseFrame {
        code: 4000.into(),
        reason: Utf8Bytes::from_static("bye"),
    };
    client.close(Some(frame)).await.unwrap();
    assert_eq!(close_code(client).await, 4000);
    assert_eq!(server.await.unwrap(), CloseReason::ClientClosed(4000));
}

#[tokio::test]
async fn a_client_that_does_not_answer_the_close_is_cut_off() {
    let (mut raw, server) = socket().await;
    let started = Instant::now();
    raw.write_all(&[0x81, 0x02, b'h', b'i']).await.unwrap();
    server.await.unwrap();
    let waited = started.elapsed();
    assert!(
        waited >= LINGER && waited < LINGER + CLOSE_PATIENCE,
        "{waited:?}"
    );
}

#[test]
fn every_close_of_ours_has_its_close_code_and_each_reason_its_figure() {
    let mut kinds = Vec::new();
    for (reason, code) in [
        (CloseReason::TooSlow, 1013),
        (CloseReason::Overloaded, 1013),
        (CloseReason::TooBig, 1009),
        (CloseReason::Unfinished, 1013),
        (CloseReason::InvalidText, 1007),
        (CloseReason::Protocol(String::new()), 1002),
        (CloseReason::NoPong, 4408),
        (CloseReason::TokenExpired, 4401),
        (CloseReason::Deactivated, 4403),
        (CloseReason::Restart, 1012),
    ] {
        let frame = reason.close_frame().unwrap();
        assert_eq!(u16::from(frame.code), code);
        kinds.push(reason.kind());
    }
    for ours_not in [
        CloseReason::ClientClosed(1000),
        CloseReason::Lost(String::new()),
    ] {
        kinds.push(ours_not.kind());
    }
    for kind in Closed::ALL {
        let counted = kinds.iter().filter(|counted| **counted == kind).count();
        assert_eq!(counted, 1, "{kind:?}");
    }
    assert!(CloseReason::ClientClosed(1000).close_frame().is_none());
    assert!(CloseReason::Lost(String::new()).close_frame().is_none());
}

/// What the documents say of them is all that a client may meet.
#[test]
fn the_documented_close_codes_are_those_that_are_sent() {
    let reasons = [
        CloseReason::TooSlow,
        CloseReason::Overloaded,
        CloseReason::TooBig,
        CloseReason::Unfinished,
        CloseReason::InvalidText,
        CloseReason::Protocol(String::new()),
        CloseReason::NoPong,
        CloseReason::TokenExpired,
        CloseReason::Deactivated,
        CloseReason::Restart,
    ];
    let frames = reasons.iter().filter_map(CloseReason::close_frame);
    let sent: BTreeSet<u16> = frames.map(|frame| frame.code.into()).collect();
    let documented: BTreeSet<u16> = CLOSE_CODES.iter().map(|close| close.code).collect();
    assert_eq!(documented.len(), CLOSE_CODES.len());
    assert_eq!(sent, documented);
}
