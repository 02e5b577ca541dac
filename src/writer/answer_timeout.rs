//! How long an answer of the database is waited for.

use std::time::Duration;

/// An answer that takes this long, and this many times as long as answers took of late, is not coming: what was sent is sent
/// again over another connection.
const LEAST: Duration = Duration::from_secs(2);
const TIMES: u32 = 4;

/// What one lane has learnt of late.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerTimeout {
    /// No answer is waited for longer (`WRITE_TIMEOUT_SECONDS`).
    most: Duration,
    /// How long answers take: the longest of late.
    usual: Duration,
    /// What was sent in a row without an answer.
    unanswered: u32,
}

impl AnswerTimeout {
    pub fn new(most: Duration) -> Self {
        Self {
            most,
            usual: Duration::ZERO,
            unanswered: 0,
        }
    }

    /// There was an answer, after this time.
    pub fn answered(&mut self, took: Duration) {
        self.usual = took.max(self.usual.mul_f64(0.9));
        self.unanswered = 0;
    }

    /// There was no answer. The longer that goes on, the longer the next one is waited for.
    pub fn unanswered(&mut self) {
        self.unanswered += 1;
    }

    /// How often in a row there was no answer.
    pub fn unanswered_in_a_row(&self) -> u32 {
        self.unanswered
    }

    /// How long to wait for the answer to what is sent now, the first of which is late after `left`: no longer than that, so that a
    /// late message does not take the time of the others, but at least half of the usual wait. Where much waits for a slow
    /// database, each message is nearly late when it is sent: with less time than answers take, none would ever be stored.
    pub fn bound(&self, left: Duration) -> Duration {
        let full = LEAST
            .max(self.usual * TIMES)
            .saturating_mul(2u32.saturating_pow(self.unanswered.min(8)))
            .min(self.most);
        left.clamp(full / 2, full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_secs(10);

    #[test]
    fn it_follows_how_long_answers_take_and_grows_while_none_come() {
        let mut timeout = AnswerTimeout::new(MOST);
        assert_eq!(timeout.bound(MOST), LEAST);
        timeout.unanswered();
        assert_eq!(timeout.bound(MOST), LEAST * 2);
        for _ in 0..100 {
            timeout.unanswered();
        }
        assert_eq!(timeout.bound(MOST * 2), MOST);
        timeout.answered(Duration::from_secs(1));
        assert_eq!(timeout.bound(MOST), Duration::from_secs(4));
        for _ in 0..100 {
            timeout.answered(Duration::from_millis(1));
        }
        assert_eq!(timeout.bound(MOST), LEAST);
    }

    #[test]
    fn what_is_nearly_late_has_the_time_that_answers_take() {
        let mut timeout = AnswerTimeout::new(MOST);
        let nearly_late = Duration::from_millis(1);
        assert_eq!(timeout.bound(nearly_late), LEAST / 2);
        let took = Duration::from_millis(1200);
        timeout.answered(took);
        assert_eq!(timeout.bound(nearly_late), took * 2);
        // Where nothing is known of slow answers yet, a silence or two tell.
        let mut timeout = AnswerTimeout::new(MOST);
        timeout.unanswered();
        timeout.unanswered();
        assert!(timeout.bound(nearly_late) > took);
        assert_eq!(
            timeout.bound(Duration::from_secs(5)),
            Duration::from_secs(5)
        );
    }
}
