//! The loop that sends: it waits for the clock alone.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pgchat_harness::Failure;

use super::nanos;
use crate::load::{Alarm, Schedule};

/// What became of messages, where it was nothing good.
#[derive(Default)]
pub struct Answers {
    pub refused: u64,
    pub unanswered: u64,
    /// The first refusal.
    pub complaint: Option<Failure>,
}

/// Sends each message when it is due, whatever comes back; `patience` after the last one was due no answer is waited for any more.
pub async fn send_each<Sent: Future<Output = Result<(), Failure>>>(
    schedule: Schedule,
    total: u64,
    patience: Duration,
    send: impl Fn(u32, u64) -> Sent,
) -> Result<Answers, Failure> {
    let alarm = Alarm::new()?;
    let until = schedule.due(total) + nanos(patience);
    let start = Instant::now();
    let mut answers = Answers::default();
    let mut under_way = FuturesUnordered::new();
    let mut sent = 0;
    loop {
        let now = nanos(start.elapsed());
        let next = if sent < total {
            schedule.due(sent)
        } else if under_way.is_empty() {
            break;
        } else {
            until
        };
        if next > now {
            tokio::select! {
                Some(stored) = under_way.next() => if let Err(failure) = stored {
                    answers.refused += 1;
                    answers.complaint.get_or_insert(failure);
                },
                slept = alarm.sleep(Duration::from_nanos(next - now)) => slept?,
            }
        } else if sent < total {
            under_way.push(send(u32::try_from(sent)?, next));
            sent += 1;
        } else {
            answers.unanswered = under_way.len() as u64;
            break;
        }
    }
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_message_that_is_refused_or_never_answered_is_a_fault_and_keeps_none_from_being_sent()
    {
        let sent = RefCell::new(Vec::new());
        let patience = Duration::from_millis(50);
        let answers = send_each(Schedule::new(1_000), 5, patience, |number, due| {
            sent.borrow_mut().push((number, due));
            async move {
                match number {
                    1 => Err("no".into()),
                    2 => pending().await,
                    _ => Ok(()),
                }
            }
        });
        let answers = answers.await.unwrap();
        assert_eq!((answers.refused, answers.unanswered), (1, 1));
        assert_eq!(answers.complaint.unwrap().to_string(), "no");
        let due = [0, 1, 2, 3, 4].map(|number| (number, 1_000_000 * u64::from(number)));
        assert_eq!(*sent.borrow(), due);
    }
}
