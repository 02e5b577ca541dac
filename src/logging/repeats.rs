//! Lines of the log that each of many requests would write.

use std::fmt::{self, Display};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::Level;

use crate::sync::lock;

/// Between two of a kind. While a database takes no connection, there may be thousands of requests in a second.
const APART: Duration = Duration::from_secs(1);

/// One kind of line, at most one of which is written in a second; the others only at the level `debug`.
pub(crate) struct Repeats {
    /// The module that the lines are about, which is not this one.
    target: &'static str,
    kind: Mutex<Kind>,
}

struct Kind {
    last: Option<Instant>,
    left_out: u64,
}

impl Repeats {
    /// `target` is the name by which `RUST_LOG` selects the lines: the `module_path!()` of the module that writes them.
    pub const fn new(target: &'static str) -> Self {
        Self {
            target,
            kind: Mutex::new(Kind {
                last: None,
                left_out: 0,
            }),
        }
    }

    pub fn warn(&self, line: impl Display) {
        self.write(Level::Warn, line);
    }

    pub fn error(&self, line: impl Display) {
        self.write(Level::Error, line);
    }

    fn write(&self, level: Level, line: impl Display) {
        let (level, left_out) = self.next(level);
        log::log!(target: self.target, level, "{line}{left_out}");
    }

    /// The level of a line that is to be written now, and what stands at its end. For lines with fields of their own.
    pub fn next(&self, level: Level) -> (Level, LeftOut) {
        match self.turn(Instant::now()) {
            Some(left_out) => (level, LeftOut(left_out)),
            None => (Level::Debug, LeftOut(0)),
        }
    }

    /// Whether one may be written; then, how many were not since the last one.
    fn turn(&self, now: Instant) -> Option<u64> {
        let mut kind = lock(&self.kind);
        if kind.last.is_some_and(|last| now < last + APART) {
            kind.left_out += 1;
            return None;
        }
        kind.last = Some(now);
        Some(std::mem::take(&mut kind.left_out))
    }
}

/// How many lines were left out before this one, in words; nothing where none was.
pub(crate) struct LeftOut(u64);

impl Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            others => write!(f, " (and {others} such lines before, left out)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_requests_fail_one_line_a_second_says_why_and_for_how_many() {
        let repeats = Repeats::new(module_path!());
        let start = Instant::now();
        let turn = |millis| repeats.turn(start + Duration::from_millis(millis));
        assert_eq!(turn(0), Some(0));
        assert_eq!(turn(0), None);
        assert_eq!(turn(999), None);
        assert_eq!(turn(1_000), Some(2));
        assert_eq!(turn(1_001), None);
        assert_eq!(turn(5_000), Some(1));
        assert_eq!(turn(9_000), Some(0));
        assert_eq!(LeftOut(0).to_string(), "");
        let left_out = " (and 2 such lines before, left out)";
        assert_eq!(LeftOut(2).to_string(), left_out);
    }
}
