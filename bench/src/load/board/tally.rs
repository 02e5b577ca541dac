use hdrhistogram::Histogram;

use super::super::checker::Faults;

/// Longest latency that is told apart, in nanoseconds.
const LONGEST: u64 = 300_000_000_000;
/// How many complaints are kept word by word.
const COMPLAINTS: usize = 5;

/// What a run came to.
pub struct Tally {
    pub faults: Faults,
    /// Sent in all, warm-up included.
    pub sent: u64,
    /// Acknowledged and seen by every socket, within the window.
    pub completed: u64,
    /// Frames of messages within the window.
    pub frames: u64,
    /// Seen again after a reconnect with a cursor.
    pub repeats: u64,
    /// From the intended time to the other participant's sockets, in nanoseconds, for messages that were
    /// due within the window.
    pub end_to_end: Histogram<u64>,
    /// From the intended time to the answer.
    pub answers: Histogram<u64>,
    pub complaints: Vec<String>,
}

impl Tally {
    pub fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            faults: Faults::default(),
            sent: 0,
            completed: 0,
            frames: 0,
            repeats: 0,
            end_to_end: Histogram::new_with_bounds(1_000, LONGEST, 3)?,
            answers: Histogram::new_with_bounds(1_000, LONGEST, 3)?,
            complaints: Vec::new(),
        })
    }

    pub fn complain(&mut self, text: impl FnOnce() -> String) {
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(text());
        }
    }
}
