//! Connections of callers: those that speak HTTP, those that were refused, and why sockets closed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::figures::{Figures, read};
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
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut figures = Figures(encoder);
        figures.gauge(
            "http_connections",
            "Open connections that speak HTTP; one that becomes a socket is none any more",
            read(&self.0.http) as f64,
        )?;
        figures.counter(
            "connections_refused",
            "Connections closed, or answered 503, because as many were open as may be",
            read(&self.0.refused),
        )?;
        let closes = Closed::NAMES.into_iter().zip(&self.0.closes);
        figures.counters(
            "socket_closes",
            "Sockets whose session ended, by the reason",
            closes.map(|(reason, count)| ([("reason", reason)], count)),
        )
    }
}
