//! The texts that scrapes are answered with, shared by scrapes at the same time: anybody may ask, and a client that takes nothing of its
//! answer keeps the text in memory.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::TextFormat;
use crate::sync::lock;

/// Texts in memory up to which each question may have one of its own.
const PLENTY: usize = 64;

/// How old a text is given where there are as many as [`PLENTY`].
const MAX_AGE: Duration = Duration::from_secs(10);

/// The last ones, and those that clients have not taken yet, the newest behind. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Texts(Arc<Mutex<Vec<Made>>>);

struct Made {
    format: TextFormat,
    began: Instant,
    text: Bytes,
}

impl Texts {
    /// A text that will do for a scrape that came at `asked`: one that was begun since, or, while many texts are in memory, one that is a few
    /// seconds old.
    pub fn good_for(&self, format: TextFormat, asked: Instant) -> Option<Bytes> {
        let mut texts = lock(&self.0);
        texts.retain(|made| made.began >= asked || !made.text.is_unique());
        let oldest = match texts.len() < PLENTY {
            true => Some(asked),
            false => asked.checked_sub(MAX_AGE),
        };
        let newest = texts.iter().rfind(|made| made.format == format)?;
        // `None`: the system has not been up for so long.
        let will_do = oldest.is_none_or(|oldest| newest.began >= oldest);
        will_do.then(|| newest.text.clone())
    }

    /// Keeps a text that was begun at `began`, for the other scrapes that wait.
    pub fn keep(&self, format: TextFormat, began: Instant, text: String) -> Bytes {
        let text = Bytes::from(text);
        lock(&self.0).push(Made {
            format,
            began,
            text: text.clone(),
        });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: TextFormat = TextFormat::Older;

    #[test]
    fn a_text_will_do_for_those_who_asked_before_it_was_begun() {
        let texts = Texts::default();
        let began = Instant::now();
        let moment = Duration::from_millis(1);
        assert!(texts.good_for(FORMAT, began).is_none(), "there is none yet");
        let _first = texts.keep(FORMAT, began, "figures".to_owned());
        assert_eq!(texts.good_for(FORMAT, began).unwrap(), "figures");
        assert!(texts.good_for(TextFormat::OpenMetrics, began).is_none());
        assert!(texts.good_for(FORMAT, began + moment).is_none(), "too old");
    }

    #[test]
    fn those_who_take_nothing_of_theirs_hold_a_bounded_number() {
        let texts = Texts::default();
        let first = Instant::now();
        let mut held = Vec::new();
        for number in 0..1000 {
            // One after the other, five a second.
            let asked = first + Duration::from_millis(200) * number;
            held.push(
                texts
                    .good_for(FORMAT, asked)
                    .unwrap_or_else(|| texts.keep(FORMAT, asked, "figures".to_owned())),
            );
        }
        let in_memory = || lock(&texts.0).len();
        // A new one every ten seconds, of 200.
        let most = PLENTY + 1 + 20;
        assert!((PLENTY..=most).contains(&in_memory()), "{}", in_memory());
        drop(held);
        let later = first + Duration::from_secs(200);
        assert!(texts.good_for(FORMAT, later).is_none(), "nobody holds any");
        assert_eq!(in_memory(), 0);
    }
}
