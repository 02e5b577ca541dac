//! Connections of callers: those that speak HTTP, those that were refused, and why sockets closed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::encode_counter;
use crate::names::names;

names! {
    /// Why a socket closed, as a label has it; `ws` has the reasons themselves.
    Closed {
        Client = "client",
        Lost = "lost",
        TooSlow = "too_slow",
        Overloaded = "overloaded",
        TooBig = "too_big",
        Unfinished = "unfinished",
        InvalidText = "invalid_text",
        Protocol = "protocol",
        NoPong = "no_pong",
        TokenExpired = "token_expired",
        Deactivated = "deactivated",
        Restart = "restart",
    }
}

/// Clones share the figures.
#[derive(Clone, Debug, Default)]
pub struct ConnectionCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    http: AtomicU64,
    refused: AtomicU64,
    closes: [AtomicU64; Closed::ALL.len()],
}

/// A connection that is counted for as long as this is there.
pub struct OpenConnection(Arc<Counts>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.http.fetch_sub(1, Ordering::Relaxed);
    }
}

impl ConnectionCounts {
    /// One was accepted that speaks HTTP until it ends or becomes a socket.
    pub fn opened(&self) -> OpenConnection {
        self.0.http.fetch_add(1, Ordering::Relaxed);
        OpenConnection(Arc::clone(&self.0))
    }

    /// There was no room for one: it was closed, or got a 503. One that was answered as a probe is none.
    pub fn refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How many of them there were.
    #[cfg(test)]
    pub(crate) fn refused_so_far(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// A socket's session ended.
    pub fn socket_closed(&self, reason: Closed) {
        self.0.closes[reason as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Collector for ConnectionCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Open connections that speak HTTP; one that becomes a socket is none any more";
        let http = self.0.http.load(Ordering::Relaxed);
        let family =
            encoder.encode_descriptor("http_connections", help, None, MetricType::Gauge)?;
        ConstGauge::new(http as f64).encode(family)?;
        let help = "Connections closed, or answered 503, because as many were open as may be";
        let refused = self.0.refused.load(Ordering::Relaxed);
        let family =
            encoder.encode_descriptor("connections_refused", help, None, MetricType::Counter)?;
        ConstCounter::new(refused).encode(family)?;
        let help = "Sockets whose session ended, by the reason";
        let mut family =
            encoder.encode_descriptor("socket_closes", help, None, MetricType::Counter)?;
        for (reason, count) in Closed::ALL.into_iter().zip(&self.0.closes) {
            encode_counter(&mut family, &[("reason", reason.name())], count)?;
        }
        Ok(())
    }
}
