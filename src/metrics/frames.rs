//! Frames by type and direction.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::figures::Figures;
use crate::frame::{CommandType, FrameType};

/// A type that has no name here: a client's mistake, or an event of a schema that is newer than this version.
const OTHER: &str = "other";

/// Frames of all sockets; clones share the figures. Counting is on the path of every frame, so it is one addition
/// without a lock.
#[derive(Clone, Debug, Default)]
pub struct FrameCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    sent: [AtomicU64; FrameType::ALL.len() + 1],
    received: [AtomicU64; CommandType::ALL.len() + 1],
}

impl FrameCounts {
    /// A frame on its way to one socket. `None`: its type is not known.
    pub fn sent(&self, kind: Option<FrameType>) {
        count(&self.0.sent, kind.map(|kind| kind as usize));
    }

    /// A frame of a client. `None`: it names no command.
    pub fn received(&self, kind: Option<CommandType>) {
        count(&self.0.received, kind.map(|kind| kind as usize));
    }
}

/// At the place of a type, or at the last one, which is that of all others.
fn count(counts: &[AtomicU64], place: Option<usize>) {
    let count = match place {
        Some(place) => counts.get(place),
        None => counts.last(),
    };
    if let Some(count) = count {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Collector for FrameCounts {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let directions = [
            ("sent", &self.0.sent[..], &FrameType::NAMES[..]),
            ("received", &self.0.received[..], &CommandType::NAMES[..]),
        ];
        let series = directions
            .into_iter()
            .flat_map(|(direction, counts, names)| {
                let counts = names.iter().chain([&OTHER]).zip(counts);
                counts
                    .map(move |(name, count)| ([("direction", direction), ("type", *name)], count))
            });
        let help = "Frames of sockets by their type; from the server one for each socket";
        Figures(encoder).counters("frames", help, series)
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_frame_of_a_type_that_is_not_known_is_counted_as_other() {
        let (frames, mut registry) = (FrameCounts::default(), Registry::default());
        registry.register_collector(Box::new(frames.clone()));
        for name in ["ack", "server_closing", "sack", "ACK", ""] {
            frames.sent(FrameType::named(name));
        }
        for name in ["send_message", "ping", "pong", "PING"] {
            frames.received(CommandType::named(name));
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for (direction, kind, count) in [
            ("sent", "ack", 1),
            ("sent", "server_closing", 1),
            ("sent", "connected", 0),
            ("sent", "other", 3),
            ("received", "send_message", 1),
            ("received", "ping", 1),
            ("received", "edit_message", 0),
            ("received", "other", 2),
        ] {
            let line =
                format!("\nframes_total{{direction=\"{direction}\",type=\"{kind}\"}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
