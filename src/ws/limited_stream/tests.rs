use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use uuid::Uuid;

use super::*;
use crate::model::UserId;

const TEXT: u8 = 0x1;
const CONTINUATION: u8 = 0x0;
const PING: u8 = 0x9;
const LAST: u8 = 0x80;

fn frame(first: u8, payload: usize) -> Vec<u8> {
    let mut frame = vec![first];
    match u16::try_from(payload) {
        Ok(short) if short < 126 => frame.push(0x80 | payload as u8),
        Ok(short) => {
            frame.push(0x80 | 126);
            frame.extend(short.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload as u64).to_be_bytes());
        }
    }
    // A mask, and a payload that looks like heads of frames.
    frame.resize(frame.len() + 4 + payload, 0x81);
    frame
}

#[test]
fn frames_are_told_in_whatever_pieces_they_come() {
    let sent = [
        frame(TEXT | LAST, 0),
        frame(TEXT, 125),
        frame(PING | LAST, 3),
        frame(CONTINUATION, 126),
        frame(CONTINUATION | LAST, 70_000),
        frame(TEXT | LAST, 65_535),
        frame(TEXT, 5),
    ];
    let bytes = sent.concat();
    for piece in [1, 2, 3, 7, 1024, bytes.len()] {
        let mut frames = FrameScanner::default();
        for piece in bytes.chunks(piece) {
            frames.scan(piece);
        }
        let told = (frames.begun, frames.completed, frames.of_message);
        assert_eq!(told, (7, 3, 1), "in pieces of {piece}");
        assert!(frames.is_open);
    }
    let mut frames = FrameScanner::default();
    for (number, (bytes, (open, of_message))) in sent
        .iter()
        .zip([
            (false, 1),
            (true, 1),
            (true, 1),
            (true, 2),
            (false, 3),
            (false, 1),
            (true, 1),
        ])
        .enumerate()
    {
        frames.scan(bytes);
        let told = (frames.is_open, frames.of_message);
        assert_eq!(told, (open, of_message), "frame {number}");
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

fn limited() -> (DuplexStream, LimitedStream<DuplexStream>) {
    limited_in(&MemoryBudget::new(0), 1)
}

fn limited_in(budget: &MemoryBudget, user: u128) -> (DuplexStream, LimitedStream<DuplexStream>) {
    let (theirs, ours) = duplex(8 * LARGE);
    let holder = Holder::User(UserId(Uuid::from_u128(user)));
    let incoming = IncomingBudget::new(budget.clone(), holder, LARGE);
    (theirs, LimitedStream::new(ours, PATIENCE, incoming))
}

/// A message that is counted; no larger one comes.
const LARGE: usize = 2 * SMALL;

fn why(error: &io::Error) -> Option<&LimitExceeded> {
    error.get_ref()?.downcast_ref()
}

/// Reads until there is an error, or nothing for an hour.
async fn fate(stream: &mut LimitedStream<DuplexStream>) -> Option<LimitExceeded> {
    let mut buffer = [0; 1024];
    let reading = async {
        loop {
            if let Err(error) = stream.read(&mut buffer).await {
                return why(&error).copied();
            }
        }
    };
    let hour = Duration::from_secs(3600);
    tokio::time::timeout(hour, reading).await.unwrap_or(None)
}

#[tokio::test(start_paused = true)]
async fn a_message_has_a_time_to_be_complete_whatever_comes_between_its_frames() {
    for begun in [frame(TEXT, 100), frame(TEXT | LAST, 100)[..50].to_vec()] {
        let (mut client, mut stream) = limited();
        let started = Instant::now();
        let pings = begun.len() == frame(TEXT, 100).len();
        let talking = async {
            client.write_all(&begun).await.unwrap();
            while client.write_all(&frame(PING | LAST, 0)).await.is_ok() && pings {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            std::future::pending::<()>().await;
        };
        let fate = tokio::select! {
            () = talking => None,
            fate = fate(&mut stream) => fate,
        };
        assert_eq!(fate, Some(LimitExceeded::Unfinished));
        assert_eq!(started.elapsed(), PATIENCE);
        // What is left is read for the sake of the close handshake.
        client.write_all(b"more").await.unwrap();
        assert!(stream.read(&mut [0; 8]).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn one_message_after_the_other_may_be_incomplete_for_ever() {
    let (mut client, mut stream) = limited();
    let talking = async {
        client.write_all(&frame(TEXT, 10)).await.unwrap();
        for _ in 0..100 {
            tokio::time::sleep(PATIENCE / 2).await;
            // The end of one and the beginning of the next in the same read.
            let next = [frame(CONTINUATION | LAST, 10), frame(TEXT, 10)].concat();
            client.write_all(&next).await.unwrap();
        }
        client
            .write_all(&frame(CONTINUATION | LAST, 0))
            .await
            .unwrap();
        std::future::pending::<()>().await;
    };
    let fate = tokio::select! {
        () = talking => None,
        fate = fate(&mut stream) => fate,
    };
    assert_eq!(fate, None);
    assert!(stream.timer.is_none() && stream.deadline.is_none());
}

#[tokio::test(start_paused = true)]
async fn what_the_session_did_not_read_in_time_is_read_first() {
    let (mut client, mut stream) = limited();
    let mut buffer = [0; 64];
    client.write_all(&frame(TEXT, 10)).await.unwrap();
    stream.read_exact(&mut buffer[..16]).await.unwrap();
    client
        .write_all(&frame(CONTINUATION | LAST, 40))
        .await
        .unwrap();
    tokio::time::advance(PATIENCE + PATIENCE / 2).await;
    stream.read_exact(&mut buffer[..10]).await.unwrap();
    stream.read_exact(&mut buffer[..36]).await.unwrap();

    // But not for ever: a client that always has something to read would never be late.
    client.write_all(&frame(TEXT, 10)).await.unwrap();
    stream.read_exact(&mut buffer[..16]).await.unwrap();
    client.write_all(&frame(PING | LAST, 0)).await.unwrap();
    tokio::time::advance(PATIENCE * 2).await;
    let error = stream.read(&mut buffer).await.unwrap_err();
    assert_eq!(why(&error), Some(&LimitExceeded::Unfinished));
}

#[tokio::test]
async fn a_message_may_come_in_so_many_frames_and_no_more() {
    for (count, wanted) in [
        (MAX_FRAMES - 1, None),
        (MAX_FRAMES, Some(LimitExceeded::TooManyFrames)),
    ] {
        let (mut client, mut stream) = limited();
        let mut bytes = frame(TEXT, 1);
        for _ in 0..count {
            bytes.extend(frame(CONTINUATION, 0));
        }
        client.write_all(&bytes).await.unwrap();
        drop(client);
        let mut buffer = vec![0; bytes.len()];
        let read = stream.read_exact(&mut buffer).await;
        let fate = read.err().and_then(|error| why(&error).copied());
        assert_eq!(fate, wanted, "{count} continuations");
        if wanted.is_none() {
            assert_eq!(stream.take_frames(), MAX_FRAMES);
            assert_eq!(stream.take_frames(), 0);
        }
    }
}

#[tokio::test]
async fn large_messages_that_are_not_complete_share_a_budget_and_small_ones_are_free() {
    // A share is one of them.
    let budget = MemoryBudget::new(8 * LARGE);
    let says = async |stream: &mut (DuplexStream, LimitedStream<DuplexStream>), bytes: &[u8]| {
        stream.0.write_all(bytes).await.unwrap();
        let read = stream.1.read_exact(&mut vec![0; bytes.len()]).await;
        read.err().and_then(|error| why(&error).copied())
    };
    let large = frame(TEXT | LAST, LARGE);
    let (head, rest) = large.split_at(100);
    let mut first = limited_in(&budget, 1);
    assert_eq!(says(&mut first, head).await, None);
    let mut second = limited_in(&budget, 1);
    assert_eq!(says(&mut second, &frame(TEXT, SMALL)).await, None);
    // By its second frame it is large, too.
    let over_budget = Some(LimitExceeded::OverBudget);
    assert_eq!(
        says(&mut second, &frame(CONTINUATION, 1)).await,
        over_budget
    );
    assert_eq!(says(&mut limited_in(&budget, 1), head).await, over_budget);
    let mut another = limited_in(&budget, 2);
    assert_eq!(says(&mut another, head).await, None);

    // What has arrived in full counts for as long as its reader wants, and one that is too large takes no more than the largest.
    assert_eq!(says(&mut first, rest).await, None);
    assert_eq!(says(&mut limited_in(&budget, 1), head).await, over_budget);
    let reservation = first.1.take_reservation();
    assert!(reservation.is_some() && first.1.take_reservation().is_none());
    assert_eq!(says(&mut limited_in(&budget, 1), head).await, over_budget);
    drop(reservation);
    assert_eq!(says(&mut limited_in(&budget, 1), head).await, None);
    let mut too_large = frame(TEXT | LAST, 100 * LARGE);
    too_large.truncate(100);
    assert_eq!(says(&mut limited_in(&budget, 3), &too_large).await, None);
}
