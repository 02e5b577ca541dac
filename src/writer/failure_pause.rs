//! How long a lane leaves the database alone after failures that are the database's own.

use std::time::Duration;

const LEAST: Duration = Duration::from_millis(50);
const MOST: Duration = Duration::from_secs(1);

/// Before the next try, after so many failures in a row before the last one.
pub(super) fn failure_pause(failures: u32) -> Duration {
    (LEAST * 2u32.saturating_pow(failures.min(6))).min(MOST)
}
