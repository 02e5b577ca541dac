//! Frames by type and direction.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::schema::frames::{FROM_CLIENT, FROM_SERVER};

/// A type that is not in the tables: a client's mistake, or one that somebody forgot to describe.
const OTHER: &str = "other";

/// How every frame of the server begins.
const HEAD: &str = r#"{"type":""#;

/// Frames of all sockets; clones share the figures. Counting is on the path of every frame, so it is one addition
/// without a lock.
#[derive(Clone, Debug, Default)]
pub struct Frames(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    sent: [AtomicU64; FROM_SERVER.len() + 1],
    received: [AtomicU64; FROM_CLIENT.len() + 1],
}

impl Frames {
    /// A frame of the server's own making, on its way to one socket.
    pub fn sent(&self, frame: &str) {
        let name = frame
            .strip_prefix(HEAD)
            .and_then(|rest| rest.split('"').next())
            .unwrap_or(OTHER);
        count(&self.0.sent, &FROM_SERVER, name);
    }

    /// A frame of a client, by the `type` that it names.
    pub fn received(&self, name: &str) {
        count(&self.0.received, &FROM_CLIENT, name);
    }
}

fn count(counts: &[AtomicU64], names: &[&str], name: &str) {
    let place = names.iter().position(|known| *known == name);
    // One place more than names: the last is that of all others.
    if let Some(count) = counts.get(place.unwrap_or(names.len())) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Collector for Frames {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Frames of sockets by their type; from the server one for each socket";
        let mut family = encoder.encode_descriptor("frames", help, None, MetricType::Counter)?;
        for (direction, counts, names) in [
            ("sent", &self.0.sent[..], &FROM_SERVER[..]),
            ("received", &self.0.received[..], &FROM_CLIENT[..]),
        ] {
            for (name, count) in names.iter().chain([&OTHER]).zip(counts) {
                let labels = [("direction", direction), ("type", name)];
                ConstCounter::new(count.load(Ordering::Relaxed))
                    .encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_frame_that_no_table_lists_is_counted_as_other() {
        let (frames, mut registry) = (Frames::default(), Registry::default());
        registry.register_collector(Box::new(frames.clone()));
        for frame in [
            r#"{"type":"ack","data":{}}"#,
            r#"{"type":"sack","data":{}}"#,
            r#"{"data":{},"type":"ack"}"#,
            "",
        ] {
            frames.sent(frame);
        }
        for name in ["ping", "pong", "PING"] {
            frames.received(name);
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for (direction, kind, count) in [
            ("sent", "ack", 1),
            ("sent", "other", 3),
            ("received", "ping", 1),
            ("received", "other", 2),
        ] {
            let line =
                format!("\nframes_total{{direction=\"{direction}\",type=\"{kind}\"}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
