//! A wait that may have no end.

use std::future::pending;

use tokio::time::{Instant, sleep_until};

/// Resolves at this time; `None`: never.
pub async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
