//! How long requests take, by route and status.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// From a tenth of the usual answer to the bound of a statement, in seconds. Sends over a socket have the same buckets, so that they can be
/// compared.
pub(super) const BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// The labels take few values: methods that a route does not have are one, and so are paths that no route has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    method: &'static str,
    route: &'static str,
    status: u16,
}

/// Requests that were answered; clones share the figures.
#[derive(Clone)]
pub struct Requests {
    durations: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Default for Requests {
    fn default() -> Self {
        Self {
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
        }
    }
}

impl Requests {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "http_request_duration",
            "From a request's head to its answer; of a WebSocket to its handshake's end",
            Unit::Seconds,
            self.durations.clone(),
        );
    }

    /// `route` is the path with the names of its parameters, never with their values.
    pub fn answered(&self, method: &str, route: &'static str, status: u16, took: Duration) {
        const METHODS: [&str; 7] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
        let known = METHODS.into_iter().find(|known| *known == method);
        let labels = Labels {
            // 405: not one of this route's.
            method: known.filter(|_| status != 405).unwrap_or("other"),
            route,
            status,
        };
        self.durations
            .get_or_create(&labels)
            .observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    /// A caller may name any method, and each would be a series of its own.
    #[test]
    fn methods_that_a_route_does_not_have_are_counted_as_one() {
        let (requests, mut registry) = (Requests::default(), Registry::default());
        requests.register(&mut registry);
        for method in ["GET", "BREW", "get", "PROPFIND"] {
            requests.answered(method, "/ws", 400, Duration::ZERO);
        }
        for method in ["PUT", "PATCH", "DELETE"] {
            requests.answered(method, "/ws", 405, Duration::ZERO);
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for (method, status, count) in [("GET", 400, 1), ("other", 400, 3), ("other", 405, 3)] {
            let line = format!(
                "\nhttp_request_duration_seconds_count{{method=\"{method}\",route=\"/ws\",status=\"{status}\"}} {count}\n"
            );
            assert!(text.contains(&line), "{line}{text}");
        }
        assert_eq!(text.matches("_count{").count(), 3, "{text}");
    }
}
