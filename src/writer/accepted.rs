//! How many messages were accepted and how many failed, and by which protocol they came.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::ConstCounter;

use crate::error::Error;

/// By which protocol a message came. Other programs' rows come by neither: the database accepts them, and no replica is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    WebSocket,
}

/// Messages that were committed, which is when their sender is told. A repeat of one is stored no second time.
#[derive(Default)]
pub struct Accepted {
    http: Counts,
    websocket: Counts,
}

#[derive(Default)]
struct Counts {
    stored: AtomicU64,
    repeated: AtomicU64,
}

impl Accepted {
    pub(super) fn count(&self, protocol: Protocol, repeated: bool) {
        let counts = match protocol {
            Protocol::Http => &self.http,
            Protocol::WebSocket => &self.websocket,
        };
        let count = match repeated {
            true => &counts.repeated,
            false => &counts.stored,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// One series for each protocol and result, also where nothing was counted yet.
    pub fn encode(&self, mut family: MetricEncoder<'_>) -> fmt::Result {
        for (protocol, counts) in [("http", &self.http), ("websocket", &self.websocket)] {
            for (result, count) in [("stored", &counts.stored), ("repeated", &counts.repeated)] {
                let labels = [("protocol", protocol), ("result", result)];
                ConstCounter::new(count.load(Ordering::Relaxed))
                    .encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// Messages that reached the writer and were not stored, or of which that is not known.
#[derive(Default)]
pub struct Failed {
    http: Reasons,
    websocket: Reasons,
}

#[derive(Default)]
struct Reasons {
    unavailable: AtomicU64,
    internal: AtomicU64,
    refused: AtomicU64,
}

impl Failed {
    pub(super) fn count(&self, protocol: Protocol, error: &Error) {
        let reasons = match protocol {
            Protocol::Http => &self.http,
            Protocol::WebSocket => &self.websocket,
        };
        let count = match error {
            Error::Unavailable { .. } => &reasons.unavailable,
            Error::Internal(_) => &reasons.internal,
            _ => &reasons.refused,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// One series for each protocol and reason, also where nothing was counted yet.
    pub fn encode(&self, mut family: MetricEncoder<'_>) -> fmt::Result {
        for (protocol, reasons) in [("http", &self.http), ("websocket", &self.websocket)] {
            for (reason, count) in [
                ("unavailable", &reasons.unavailable),
                ("internal", &reasons.internal),
                ("refused", &reasons.refused),
            ] {
                let labels = [("protocol", protocol), ("reason", reason)];
                ConstCounter::new(count.load(Ordering::Relaxed))
                    .encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
