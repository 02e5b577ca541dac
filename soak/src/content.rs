//! What the messages say: a text that is a function of the seed and the message's key, so that any
//! sighting of a message can be checked to the byte without keeping the text.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::model::Key;

/// Sizes in bytes, and how often: most are short, some need several reads, a few can't travel in a
/// notification (8000 bytes) and have to be fetched by the listener.
const SIZES: [(f64, std::ops::Range<usize>); 3] =
    [(0.94, 0..200), (0.05, 1_000..6_000), (0.01, 8_500..20_000)];

/// Characters that have to survive JSON, SQL and UTF-8 boundaries; the rest is plain.
const AWKWARD: [&str; 12] = [
    "\"", "\\", "'", "\n", "\t", "é", "ж", "漢", "🙂", "\u{7f}", "\u{2028}", "$1",
];

/// The text of message `key`: its key in front, so that [`key_of`] finds it.
pub fn make(seed: u64, key: Key) -> String {
    let mut rng = StdRng::seed_from_u64(seed ^ (u64::from(key) << 20));
    let mut dice: f64 = rng.random();
    let mut size = 0;
    for (share, sizes) in SIZES {
        size = rng.random_range(sizes);
        dice -= share;
        if dice < 0.0 {
            break;
        }
    }
    let mut text = format!("#{key} ");
    let end = text.len() + size;
    while text.len() < end {
        if rng.random_ratio(1, 24) {
            text.push_str(AWKWARD[rng.random_range(0..AWKWARD.len())]);
        } else {
            text.push(char::from(rng.random_range(b'a'..=b'z')));
        }
    }
    text
}

/// What its sender edits it to.
pub fn edited(seed: u64, key: Key) -> String {
    format!("{} edited", make(seed, key))
}

/// The key that a text claims to be of.
pub fn key_of(content: &str) -> Option<Key> {
    let (number, _) = content.strip_prefix('#')?.split_once(' ')?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_names_its_key_and_is_always_the_same() {
        for key in [0, 1, 77, 123_456] {
            assert_eq!(key_of(&make(9, key)), Some(key));
            assert_eq!(make(9, key), make(9, key));
        }
        assert_ne!(make(9, 5), make(10, 5).replace("#10", "#9"));
        assert_eq!(key_of("hello"), None);
        assert_eq!(key_of("#x y"), None);
    }

    #[test]
    fn some_texts_are_too_big_for_a_notification() {
        assert!((0..1_000).any(|key| make(1, key).len() > 8_000));
    }
}
