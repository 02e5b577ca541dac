//! What one participant has seen of one conversation.

use std::collections::BTreeSet;

/// All up to `whole`, and single ones above it.
#[derive(Debug, Default)]
pub struct Progress {
    whole: u32,
    above: BTreeSet<u32>,
}

impl Progress {
    /// Notes a `seq`. When it is past the highest so far by more than one, the first and last of those
    /// between are returned; each hole is reported once, by the message that made it.
    pub fn saw(&mut self, seq: u32) -> Option<(u32, u32)> {
        if seq <= self.whole {
            return None;
        }
        let highest = self.highest();
        self.above.insert(seq);
        while self.above.remove(&(self.whole + 1)) {
            self.whole += 1;
        }
        (seq > highest + 1).then(|| (highest + 1, seq - 1))
    }

    /// All messages up to this `seq` have been seen.
    pub fn whole(&self) -> u32 {
        self.whole
    }

    pub fn highest(&self) -> u32 {
        self.above.last().copied().unwrap_or(self.whole)
    }

    /// The first `seq` that is missing below one that was seen.
    pub fn first_hole(&self) -> Option<u32> {
        (!self.above.is_empty()).then_some(self.whole + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_told_once_and_can_be_filled() {
        let mut progress = Progress::default();
        assert_eq!(progress.saw(1), None);
        assert_eq!(progress.saw(4), Some((2, 3)));
        assert_eq!(progress.saw(5), None);
        assert_eq!((progress.whole(), progress.highest()), (1, 5));
        assert_eq!(progress.first_hole(), Some(2));
        assert_eq!(progress.saw(2), None);
        assert_eq!(progress.saw(3), None);
        assert_eq!(progress.saw(3), None);
        assert_eq!((progress.whole(), progress.first_hole()), (5, None));
    }
}
