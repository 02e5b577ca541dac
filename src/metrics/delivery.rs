//! How long events take from their change to a socket.

use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::model::UnixMicros;

/// From what a quiet machine needs to what nobody would call live, in seconds.
const BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// The latency of deliveries; clones share it.
#[derive(Clone)]
pub struct Delivery {
    latency: Histogram,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            latency: Histogram::new(BUCKETS),
        }
    }
}

impl Delivery {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "delivery_latency",
            "From a change, just before its commit, until it is written to a socket; by the clocks of PostgreSQL's host and \
             of this one",
            Unit::Seconds,
            self.latency.clone(),
        );
    }

    /// An event that was made at `made_at` reached a socket at `now`. Where the clocks disagree, it may seem to
    /// have come before it was sent; and any program that can NOTIFY can claim any time.
    pub fn took(&self, made_at: UnixMicros, now: UnixMicros) {
        self.latency.observe(now.since(made_at).as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    /// Prometheus would take a sum that goes back for a new start of the process.
    #[test]
    fn an_event_that_seems_to_come_before_it_was_sent_took_no_time() {
        let (delivery, mut registry) = (Delivery::default(), Registry::default());
        delivery.register(&mut registry);
        delivery.took(UnixMicros(2_000_000), UnixMicros(0));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let sum = "\ndelivery_latency_seconds_sum 0.0\n";
        assert!(text.contains(sum), "{text}");
    }

    #[test]
    fn no_time_that_an_event_may_name_is_too_much() {
        for made_at in [i64::MIN, -1, 0, i64::MAX] {
            for now in [0, 1_800_000_000_000_000] {
                Delivery::default().took(UnixMicros(made_at), UnixMicros(now));
            }
        }
    }
}
