//! Figures for Prometheus, read from the pieces' own counters at each scrape.

mod commands;
mod connections;
mod delivery;
mod frames;
mod process;
mod requests;
mod sources;
mod watch;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use crate::health::Health;
use crate::hub::Hub;
use crate::listener::ListenerStatus;
use crate::live::Live;
use crate::store::Store;
use crate::writer::Writer;

pub use commands::{CommandEnd, Commands};
pub use connections::{CLOSE_REASONS, Connections, OpenConnection};
pub use delivery::Delivery;
pub use frames::Frames;
pub use process::process_starts;
pub use requests::Requests;

use process::Process;
use sources::Sources;

/// The figures of one replica; clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Under names that all programs share.
    of_process: Arc<Registry>,
    sources: Sources,
    /// Counted by `http`.
    pub requests: Requests,
    /// Counted by `ws`.
    pub frames: Frames,
    /// Counted by `ws`, when they are answered.
    pub commands: Commands,
    /// Counted by the accept loop, and sockets' closes by `ws`.
    pub connections: Connections,
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
        health: Health,
    ) -> Self {
        let sources = Sources {
            store,
            writer,
            hub,
            listener,
            live,
            health,
            queue_usage: Arc::default(),
        };
        let mut registry = Registry::with_prefix("pgchat");
        registry.register_collector(Box::new(sources.clone()));
        let (requests, frames) = (Requests::default(), Frames::default());
        let delivery = Delivery::default();
        requests.register(&mut registry);
        delivery.register(&mut registry);
        registry.register_collector(Box::new(frames.clone()));
        let (commands, connections) = (Commands::default(), Connections::default());
        registry.register_collector(Box::new(commands.clone()));
        registry.register_collector(Box::new(connections.clone()));
        let mut of_process = Registry::default();
        of_process.register_collector(Box::new(Process));
        Self {
            registry: Arc::new(registry),
            of_process: Arc::new(of_process),
            sources,
            requests,
            frames,
            commands,
            connections,
            delivery,
        }
    }

    pub fn render(&self, format: TextFormat) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &self.of_process)?;
        encode_eof(&mut text)?;
        Ok(match format {
            TextFormat::OpenMetrics => text,
            TextFormat::Older => in_older_format(&text),
        })
    }
}

/// How figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    OpenMetrics,
    /// Prometheus's own, version 0.0.4.
    Older,
}

/// OpenMetrics leaves the end `_total` of a counter's name out of its `# HELP` and `# TYPE`. Readers of the older format would
/// not find them, and take it for a figure of no type. All else that is new, `# EOF` among it, is a comment to them.
fn in_older_format(text: &str) -> String {
    let counters: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut older = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let told = ["# HELP ", "# TYPE "]
            .into_iter()
            .find(|what| line.starts_with(what))
            .and_then(|what| line[what.len()..].split_once(' ').map(|told| (what, told)));
        match told {
            Some((what, (name, rest))) if counters.contains(name) => {
                older.extend([what, name, "_total ", rest]);
            }
            _ => older.push_str(line),
        }
    }
    older
}
