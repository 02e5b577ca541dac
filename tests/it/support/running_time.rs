//! A clock for what is to happen soon.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(20);

/// The time in which this machine has run. While it stands still, or has no time for this process, that is two steps at most: a
/// bound on it tells what waits for long from what a busy machine holds up.
pub struct RunningTime(Arc<AtomicU64>);

impl RunningTime {
    pub fn start() -> Self {
        let micros = Arc::new(AtomicU64::new(0));
        let counted = Arc::downgrade(&micros);
        thread::spawn(move || {
            loop {
                let began = Instant::now();
                thread::sleep(STEP);
                let Some(micros) = counted.upgrade() else {
                    return;
                };
                let passed = began.elapsed().min(STEP * 2).as_micros();
                micros.fetch_add(u64::try_from(passed).unwrap_or(0), Ordering::Relaxed);
            }
        });
        Self(micros)
    }

    /// Since the start, a step more or less.
    pub fn elapsed(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}
