//! The writer's figures.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::histogram::Histogram;

use super::{Accepted, Failed};

/// Figures since the start of the process.
pub struct Stats {
    /// Messages of one transaction.
    pub batch_sizes: Histogram,
    /// Seconds that a message waits for its first transaction to begin.
    pub waits: Histogram,
    pub accepted: Accepted,
    pub failed: Failed,
    /// Transactions that were tried.
    pub batches: AtomicU64,
    /// Messages in them; one that is tried again counts each time.
    pub messages: AtomicU64,
    /// Transactions of which something is tried again, though no lock was in its way.
    pub retries: AtomicU64,
    /// Flows that went to the slow lane.
    pub slow: AtomicU64,
    /// Messages that are in the slow lane now.
    pub held: AtomicU64,
    /// Messages that are not answered yet, wherever they are.
    pub unanswered: AtomicU64,
    /// Messages that were refused: as many, or as many bytes, waited or were held as may, or the replica stops.
    pub refused: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        const SIZES: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0];
        const WAITS: [f64; 10] = [
            0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0,
        ];
        Self {
            batch_sizes: Histogram::new(SIZES),
            waits: Histogram::new(WAITS),
            accepted: Accepted::default(),
            failed: Failed::default(),
            batches: AtomicU64::default(),
            messages: AtomicU64::default(),
            retries: AtomicU64::default(),
            slow: AtomicU64::default(),
            held: AtomicU64::default(),
            unanswered: AtomicU64::default(),
            refused: AtomicU64::default(),
        }
    }
}
