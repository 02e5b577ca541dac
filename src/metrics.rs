//! Figures for Prometheus, read from the pieces' own counters at each scrape.

mod delivery;
mod frames;
mod requests;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::hub::Hub;
use crate::listener::ListenerStatus;
use crate::live::Live;
use crate::store::Store;
use crate::writer::Writer;

pub use delivery::Delivery;
pub use frames::Frames;
pub use requests::Requests;

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

#[derive(Clone)]
struct Sources {
    store: Store,
    writer: Writer,
    hub: Hub,
    listener: ListenerStatus,
    live: Live,
    /// Bits of an f64: the newest known fraction of the notification queue in use.
    queue_usage: Arc<AtomicU64>,
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

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut gauge = |name: &str, help: &str, value: f64| {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge(
            "connections",
            "Open WebSockets",
            self.hub.connections() as f64,
        )?;
        gauge(
            "connections_limit",
            "How many of them this replica takes at most; 0: no bound",
            self.hub.capacity() as f64,
        )?;
        let (typing, shown) = self.live.typing_now();
        gauge(
            "typing_here",
            "Conversations in which users of this replica are typing, or just were",
            typing as f64,
        )?;
        gauge(
            "typing_shown",
            "Conversations in which users of this replica are shown that the other is typing",
            shown as f64,
        )?;
        let presence = self.live.presence();
        gauge(
            "presence_here",
            "Users with a socket here, or who had one until a moment ago",
            presence.users() as f64,
        )?;
        let (watching, watched, watches) = presence.watching();
        gauge(
            "presence_watching",
            "Sockets that watch somebody's presence",
            watching as f64,
        )?;
        gauge(
            "presence_watched",
            "Users whose presence is watched",
            watched as f64,
        )?;
        gauge(
            "presence_watches",
            "Pairs of a socket and a user whom it watches",
            watches as f64,
        )?;
        gauge(
            "writer_queue_depth",
            "Messages that wait to be stored",
            self.writer.depth() as f64,
        )?;
        gauge(
            "writer_queue_limit",
            "How many may wait; one more is refused",
            self.writer.capacity() as f64,
        )?;
        gauge(
            "writer_held",
            "Messages set aside because somebody else holds a row that they need",
            self.writer.held() as f64,
        )?;
        gauge(
            "listener_up",
            "1 while the listener is live",
            f64::from(u8::from(self.listener.check().is_ok())),
        )?;
        gauge(
            "listener_lag_seconds",
            "How long the newest heartbeat took through the notification queue",
            self.listener.lag().as_secs_f64(),
        )?;
        gauge(
            "notification_queue_usage_ratio",
            "Fraction of PostgreSQL's notification queue in use, asked every 10 s",
            f64::from_bits(self.queue_usage.load(Ordering::Relaxed)),
        )?;

        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        counter(
            "slow_consumers",
            "Sockets closed because their queue was full",
            self.hub.overflows(),
        )?;
        let (told, untold) = self.live.told();
        counter("typing_told", "Typing changes that were notified", told)?;
        counter(
            "typing_untold",
            "Typing changes that the database did not take",
            untold,
        )?;
        let (told, untold, shown) = self.live.presence().counts();
        counter(
            "presence_told",
            "Users of this replica whose coming or going was notified",
            told,
        )?;
        counter(
            "presence_untold",
            "The same, when the database did not take it",
            untold,
        )?;
        counter("presence_shown", "Presence frames for sockets", shown)?;
        let writer = self.writer.stats();
        counter(
            "writer_batches",
            "Transactions of the writer",
            read(&writer.batches),
        )?;
        counter(
            "writer_messages",
            "Messages in them, repeated tries included",
            read(&writer.messages),
        )?;
        counter(
            "writer_retries",
            "Batches that were sent again",
            read(&writer.retries),
        )?;
        counter(
            "writer_slow_lane",
            "Times that a sender's messages were set aside because somebody else held a row",
            read(&writer.slow),
        )?;
        counter(
            "writer_refused",
            "Messages refused because the queue, or the place for held ones, was full by number or by bytes",
            read(&writer.refused),
        )?;
        let mut histogram = |name: &str, help: &str, unit: Option<&Unit>, values: &Histogram| {
            let metric_type = values.metric_type();
            values.encode(encoder.encode_descriptor(name, help, unit, metric_type)?)
        };
        histogram(
            "writer_batch_size",
            "Messages of one transaction of the writer",
            None,
            &writer.batch_sizes,
        )?;
        histogram(
            "writer_wait",
            "How long a message waits for its first transaction to begin",
            Some(&Unit::Seconds),
            &writer.waits,
        )?;
        let mut counter = |name: &str, help: &str, value: u64| {
            let metric = ConstCounter::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        let listener = self.listener.stats();
        counter(
            "listener_reconnects",
            "Connections of the listener after the first",
            read(&listener.connections).saturating_sub(1),
        )?;
        counter(
            "listener_notifications",
            "Notifications received",
            read(&listener.notifications),
        )?;
        counter(
            "listener_events",
            "Events handed to the hub",
            read(&listener.events),
        )?;
        counter(
            "listener_catch_up_events",
            "Of these, read from the tables",
            read(&listener.catch_up_events),
        )?;

        let accepted = encoder.encode_descriptor(
            "messages_accepted",
            "Messages that were committed and acknowledged; a repeated one was stored before",
            None,
            MetricType::Counter,
        )?;
        writer.accepted.encode(accepted)?;

        let mut pools = encoder.encode_descriptor(
            "pool_connections",
            "Connections to the database",
            None,
            MetricType::Gauge,
        )?;
        let by_pool = self.store.pool_status();
        for (pool, status) in &by_pool {
            let used = status.size.saturating_sub(status.available);
            for (state, count) in [("idle", status.available), ("used", used)] {
                let labels = [("pool", *pool), ("state", state)];
                ConstGauge::new(count as f64).encode(pools.encode_family(&labels)?)?;
            }
        }
        let mut waiting = encoder.encode_descriptor(
            "pool_waiting",
            "Requests waiting for a connection to the database",
            None,
            MetricType::Gauge,
        )?;
        for (pool, status) in &by_pool {
            ConstGauge::new(status.waiting as f64)
                .encode(waiting.encode_family(&[("pool", *pool)])?)?;
        }
        let mut info = encoder.encode_descriptor(
            "build_info",
            "The version that runs",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(1.0).encode(info.encode_family(&[("version", env!("CARGO_PKG_VERSION"))])?)
    }
}
