//! Figures for Prometheus, read from the pieces' own counters at each scrape.

mod delivery;
mod frames;
mod requests;
mod sources;
mod watch;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::hub::Hub;
use crate::listener::ListenerStatus;
use crate::live::Live;
use crate::store::Store;
use crate::writer::Writer;

pub use delivery::Delivery;
pub use frames::Frames;
pub use requests::Requests;

use sources::Sources;

/// The figures of one replica; clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    sources: Sources,
    /// Counted by `http`.
    pub requests: Requests,
    /// Counted by `ws`.
    pub frames: Frames,
    /// Timed by `ws`.
    pub delivery: Delivery,
}

impl Metrics {
    pub fn new(
        store: Store,
        writer: Writer,
        hub: Hub,
        listener: ListenerStatus,
        live: Live,
    ) -> Self {
        let sources = Sources {
            store,
            writer,
            hub,
            listener,
            live,
            queue_usage: Arc::default(),
        };
        let mut registry = Registry::with_prefix("pgchat");
        registry.register_collector(Box::new(sources.clone()));
        let (requests, frames) = (Requests::default(), Frames::default());
        let delivery = Delivery::default();
        requests.register(&mut registry);
        delivery.register(&mut registry);
        registry.register_collector(Box::new(frames.clone()));
        Self {
            registry: Arc::new(registry),
            sources,
            requests,
            frames,
            delivery,
        }
    }

    /// OpenMetrics text.
    pub fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
