//! How long an answer of the database is waited for.

use std::time::Duration;

use tokio::time::Instant;

/// An answer that takes this long, and this many times as long as answers took of late, is not coming: what was sent is sent
/// again over another connection.
const LEAST: Duration = Duration::from_secs(2);
const TIMES: u32 = 4;

/// The same where it is told which of several messages has no answer: of halves of five hundred that is known after nine silences.
const BRIEF: Duration = Duration::from_millis(500);

/// So many silences in a row may be as brief. After that it is the database that is slow, more probably than each of the messages, and
/// connections that are given up would cost it more than patience does.
const BRIEF_TRIES: u32 = 6;

/// What is left of how long answers took: after another answer, and after each second. Without the latter, where little is sent, a slow
/// answer of long ago would have a dead connection waited for as if the database were slow now.
const AFTER_AN_ANSWER: f64 = 0.9;
const AFTER_A_SECOND: f64 = 0.95;

/// What one lane has learnt of late.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerTimeout {
    /// Less is never enough.
    least: Duration,
    /// No answer is waited for longer (`WRITE_TIMEOUT_SECONDS`).
    most: Duration,
    /// How long answers took: the longest of late, at that time.
    usual: Duration,
    usual_at: Instant,
    /// What was sent in a row without an answer.
    unanswered: u32,
}

impl AnswerTimeout {
    pub fn new(most: Duration) -> Self {
        Self {
            least: LEAST,
            most,
            usual: Duration::ZERO,
            usual_at: Instant::now(),
            unanswered: 0,
        }
    }

    /// How long answers take, for all that is known by now.
    fn usual(&self) -> Duration {
        let seconds = self.usual_at.elapsed().as_secs();
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        self.usual.mul_f64(AFTER_A_SECOND.powi(seconds))
    }

    /// There was an answer, after this time.
    pub fn answered(&mut self, took: Duration) {
        self.usual = took.max(self.usual().mul_f64(AFTER_AN_ANSWER));
        self.usual_at = Instant::now();
        self.unanswered = 0;
    }

    /// There was an answer, to something that is known to take long: it says nothing of how long others take.
    pub fn heard(&mut self) {
        self.unanswered = 0;
    }

    /// Whether an answer that takes this long is not waited for where it is told which of several messages has none ([`Self::brief`]).
    pub fn is_long(self, took: Duration) -> bool {
        took > BRIEF.max(self.usual() * TIMES)
    }

    /// Takes over how long answers take in the other lane, where that is longer.
    pub fn learn(&mut self, other: Self) {
        if other.usual() > self.usual() {
            self.take_over(other);
        }
    }

    /// The same of a lane that has not been in use, and so knows nothing of late.
    pub fn learn_anew(&mut self, other: Self) {
        self.take_over(other);
        self.unanswered = 0;
    }

    fn take_over(&mut self, other: Self) {
        (self.usual, self.usual_at) = (other.usual, other.usual_at);
    }

    /// For a try that is to tell which of several messages has no answer.
    pub fn brief(self) -> Self {
        match self.unanswered.checked_sub(BRIEF_TRIES) {
            None => Self {
                least: BRIEF,
                unanswered: 0,
                ..self
            },
            Some(more) => Self {
                unanswered: more,
                ..self
            },
        }
    }

    /// For a message that had no answer so many times, and is tried by itself.
    pub fn after(self, silences: u32) -> Self {
        Self {
            unanswered: silences,
            ..self
        }
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
        let full = self
            .least
            .max(self.usual() * TIMES)
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

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_of_long_ago_says_nothing_however_few_there_were_since() {
        let mut timeout = AnswerTimeout::new(MOST);
        timeout.answered(Duration::from_millis(1900));
        assert_eq!(timeout.bound(MOST), Duration::from_millis(7600));
        let mut other = AnswerTimeout::new(MOST);
        other.learn_anew(timeout);
        tokio::time::advance(Duration::from_secs(30)).await;
        for timeout in [timeout, timeout.brief(), other] {
            assert!(timeout.bound(MOST) <= LEAST, "{timeout:?}");
        }
        // One every ten seconds, say.
        timeout.answered(Duration::from_millis(1900));
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(10)).await;
            timeout.answered(Duration::from_millis(1));
        }
        assert_eq!(timeout.bound(MOST), LEAST);
        // Where answers are still slow, that is known.
        timeout.answered(Duration::from_secs(1));
        assert_eq!(timeout.bound(MOST), Duration::from_secs(4));
    }

    /// Each silence costs a connection, and the statement that is given up has to be undone.
    #[test]
    fn where_nothing_has_an_answer_no_more_than_a_few_are_waited_for_briefly() {
        let mut timeout = AnswerTimeout::new(MOST);
        let mut bounds = Vec::new();
        for _ in 0..BRIEF_TRIES + 4 {
            bounds.push(timeout.brief().bound(MOST));
            timeout.unanswered();
        }
        let (brief, patient) = bounds.split_at(BRIEF_TRIES as usize);
        assert!(brief.iter().all(|bound| *bound == BRIEF), "{brief:?}");
        assert_eq!(patient, [LEAST, LEAST * 2, LEAST * 4, MOST]);
        // Of a slow database nothing is given up sooner than its answers come.
        timeout.answered(Duration::from_secs(1));
        assert_eq!(timeout.brief().bound(MOST), Duration::from_secs(4));
    }

    #[test]
    fn what_is_tried_by_itself_has_more_time_each_time() {
        let mut timeout = AnswerTimeout::new(MOST);
        let bounds = [1, 2, 3].map(|silences| timeout.after(silences).bound(MOST));
        assert_eq!(bounds, [LEAST * 2, LEAST * 4, MOST]);
        timeout.unanswered();
        timeout.heard();
        assert_eq!(timeout.bound(MOST), LEAST);
        let mut other = AnswerTimeout::new(MOST);
        other.answered(Duration::from_secs(1));
        timeout.learn(other);
        assert_eq!(timeout.bound(MOST), Duration::from_secs(4));
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
