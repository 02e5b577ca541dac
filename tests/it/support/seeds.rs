//! The seeds of a test that draws its cases.

use std::time::{Duration, Instant};

/// From `PGCHAT_TEST_SEED` on (else 0, so that `make test` draws the same each time), `PGCHAT_TEST_CASES` of them (else as many as
/// begin within `time`, and `least` of them). The last one that was printed is the case that failed.
pub fn seeds(least: u64, time: Duration) -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let first = number("PGCHAT_TEST_SEED").unwrap_or(0);
    let cases = number("PGCHAT_TEST_CASES");
    let end = Instant::now() + time;
    (first..)
        .take_while(move |seed| match cases {
            Some(cases) => seed - first < cases,
            None => seed - first < least || Instant::now() < end,
        })
        .inspect(|seed| eprintln!("--- PGCHAT_TEST_SEED={seed}"))
}
