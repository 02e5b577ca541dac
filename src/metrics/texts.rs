//! The texts that scrapes are answered with, shared by scrapes at the same time: anybody may ask, and a client that takes nothing of its
//! answer keeps the text in memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::TextFormat;
use crate::sync::lock;

/// Texts in memory, the newest of each format included, up to which each question may have one of its own.
const PLENTY: usize = 64;

/// How old a text is given where there are more than [`PLENTY`].
const MAX_AGE: Duration = Duration::from_secs(10);

/// Clones share them.
#[derive(Clone, Default)]
pub(super) struct Texts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// The newest of each format.
    newest: Mutex<[Option<Made>; 2]>,
    in_memory: Arc<AtomicUsize>,
}

struct Made {
    began: Instant,
    text: Bytes,
}

impl Texts {
    /// A text that will do for a scrape that came at `asked`: one that was begun since, or, while many texts are in memory, one that is a few
    /// seconds old.
    pub fn good_for(&self, format: TextFormat, asked: Instant) -> Option<Bytes> {
        let newest = lock(&self.0.newest);
        let made = newest[place(format)].as_ref()?;
        let may_be_old = self.0.in_memory.load(Ordering::Relaxed) > PLENTY;
        let oldest = match may_be_old {
            true => asked.checked_sub(MAX_AGE),
            false => Some(asked),
        };
        // `None`: the system has not been up for so long.
        let will_do = oldest.is_none_or(|oldest| made.began >= oldest);
        will_do.then(|| made.text.clone())
    }

    /// Keeps a text that was begun at `began`, for the other scrapes that wait.
    pub fn keep(&self, format: TextFormat, began: Instant, text: String) -> Bytes {
        self.0.in_memory.fetch_add(1, Ordering::Relaxed);
        let text = Bytes::from_owner(Text {
            text,
            in_memory: Arc::clone(&self.0.in_memory),
        });
        let made = Made {
            began,
            text: text.clone(),
        };
        let former = lock(&self.0.newest)[place(format)].replace(made);
        drop(former);
        text
    }
}

fn place(format: TextFormat) -> usize {
    match format {
        TextFormat::OpenMetrics => 0,
        TextFormat::Older => 1,
    }
}

/// A text, counted until the last client that it was given to has taken it.
struct Text {
    text: String,
    in_memory: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.in_memory.fetch_sub(1, Ordering::Relaxed);
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
        texts.keep(FORMAT, began, "figures".to_owned());
        assert_eq!(texts.good_for(FORMAT, began).unwrap(), "figures");
        assert!(texts.good_for(FORMAT, began + moment).is_none(), "too old");
        assert!(texts.good_for(TextFormat::OpenMetrics, began).is_none());
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
        let in_memory = || texts.0.in_memory.load(Ordering::Relaxed);
        // A new one every ten seconds, of 200.
        let most = PLENTY + 1 + 20;
        assert!((PLENTY..=most).contains(&in_memory()), "{}", in_memory());
        drop(held);
        assert_eq!(in_memory(), 1, "the newest");
        let later = first + Duration::from_secs(200);
        assert!(texts.good_for(FORMAT, later).is_none(), "nobody holds any");
    }
}
