//! What the pieces count by themselves, as it is at a scrape.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicU64;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use super::figures::{Figures, read};
use crate::auth::Auth;
use crate::health::Health;
use crate::hub::Hub;
use crate::listener::ListenerStatus;
use crate::live::Live;
use crate::store::Store;
use crate::writer::{Acceptance, FailureReason, Protocol, Writer};

/// The pieces whose figures are shown.
#[derive(Clone)]
pub struct Sources {
    pub store: Store,
    pub writer: Writer,
    pub hub: Hub,
    pub listener: ListenerStatus,
    pub live: Live,
    pub health: Health,
    pub auth: Auth,
    /// The newest known fraction of the notification queue in use.
    pub queue_usage: Gauge<f64, AtomicU64>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sources")
    }
}

impl Collector for Sources {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut figures = Figures(encoder);
        self.sockets(&mut figures)?;
        self.readiness(&mut figures)?;
        self.typing(&mut figures)?;
        self.presence(&mut figures)?;
        self.writer(&mut figures)?;
        self.messages(&mut figures)?;
        self.listener(&mut figures)?;
        self.pools(&mut figures)?;
        self.turns(&mut figures)?;
        self.marks(&mut figures)?;
        let build = [
            ("version", env!("CARGO_PKG_VERSION")),
            ("commit", env!("PGCHAT_COMMIT")),
        ];
        let help = "The version that runs, and its commit";
        figures.gauges("build_info", help, [(build, 1)])
    }
}

impl Sources {
    fn readiness(&self, figures: &mut Figures<'_>) -> fmt::Result {
        figures.gauge(
            "ready",
            "1 while /health/ready answers 200, by what is known of the database; asked every 10 s",
            f64::from(u8::from(self.health.is_ready())),
        )?;
        figures.gauge(
            "key_files_usable",
            "1 while the files of keys for tokens are good, or there are none; else the former keys are in use",
            f64::from(u8::from(self.auth.key_files_are_usable())),
        )
    }

    fn sockets(&self, figures: &mut Figures<'_>) -> fmt::Result {
        figures.gauge(
            "connections",
            "Open WebSockets",
            self.hub.connections() as f64,
        )?;
        figures.gauge(
            "connections_limit",
            "Sockets that this replica takes at most; 0: no bound",
            self.hub.capacity().map_or(0, NonZeroUsize::get) as f64,
        )?;
        figures.counter(
            "slow_consumers",
            "Sockets closed because their queue was full",
            self.hub.overflows(),
        )
    }

    fn typing(&self, figures: &mut Figures<'_>) -> fmt::Result {
        let counts = self.live.typing().counts();
        figures.gauge(
            "typing_local_conversations",
            "Conversations in which users of this replica are typing, or just were",
            counts.here as f64,
        )?;
        figures.gauge(
            "typing_shown_conversations",
            "Conversations in which users of this replica are shown that the other is typing",
            counts.shown as f64,
        )?;
        figures.counter(
            "typing_changes_notified",
            "Typing changes that were notified",
            counts.notified,
        )?;
        figures.counter(
            "typing_changes_failed",
            "Typing changes that the database did not take",
            counts.failed,
        )
    }

    fn presence(&self, figures: &mut Figures<'_>) -> fmt::Result {
        let counts = self.live.presence().counts();
        figures.gauge(
            "presence_local_users",
            "Users with an active socket here, or who had one until a moment ago",
            counts.here as f64,
        )?;
        figures.gauge(
            "presence_watching_sockets",
            "Sockets that watch somebody's presence",
            counts.watching.sockets as f64,
        )?;
        figures.gauge(
            "presence_watched_users",
            "Users whose presence is watched",
            counts.watching.users as f64,
        )?;
        figures.gauge(
            "presence_watches",
            "Pairs of a socket and a user whom it watches",
            counts.watching.pairs as f64,
        )?;
        figures.counter(
            "presence_changes_notified",
            "Users of this replica whose coming or going was notified",
            counts.notified,
        )?;
        figures.counter(
            "presence_changes_failed",
            "Users whose coming or going the database did not take",
            counts.failed,
        )?;
        figures.counter(
            "presence_frames",
            "Presence frames for sockets",
            counts.shown,
        )
    }

    fn writer(&self, figures: &mut Figures<'_>) -> fmt::Result {
        figures.gauge(
            "writer_queue_depth",
            "Messages that wait to be stored",
            self.writer.depth() as f64,
        )?;
        figures.gauge(
            "writer_queue_limit",
            "Messages that may wait; one more is refused",
            self.writer.capacity() as f64,
        )?;
        figures.gauge(
            "writer_held",
            "Messages set aside because somebody else holds a row that they need, or because they take long or are long",
            self.writer.held() as f64,
        )?;
        let stats = self.writer.stats();
        figures.counter(
            "writer_batches",
            "Transactions of the writer",
            read(&stats.batches),
        )?;
        figures.counter(
            "writer_messages",
            "Messages in the writer's transactions, repeated tries included",
            read(&stats.messages),
        )?;
        figures.counter(
            "writer_retries",
            "Transactions that got no answer, or a transient error, and were sent again",
            read(&stats.retries),
        )?;
        figures.counter(
            "writer_slow_lane",
            "Times that a sender's messages were set aside because somebody else held a row, or because they took long",
            read(&stats.slow),
        )?;
        figures.counter(
            "writer_refused",
            "Messages refused because the queue, or the place for held ones, was full by number or by bytes",
            read(&stats.refused),
        )
    }

    fn messages(&self, figures: &mut Figures<'_>) -> fmt::Result {
        let stats = self.writer.stats();
        figures.histogram(
            "writer_batch_size",
            "Messages of one transaction of the writer",
            None,
            &stats.batch_sizes,
        )?;
        figures.histogram(
            "writer_wait",
            "How long a message waits for its first transaction to begin",
            Some(&Unit::Seconds),
            &stats.waits,
        )?;
        figures.counters(
            "messages_accepted",
            "Messages that were committed and acknowledged; a repeated one was stored before",
            by_protocol("result", Acceptance::NAMES, stats.accepted.counts()),
        )?;
        figures.counters(
            "messages_failed",
            "Messages that were not acknowledged: no answer of the database in time, its refusal, or the sender's fault",
            by_protocol("reason", FailureReason::NAMES, stats.failed.counts()),
        )
    }

    fn listener(&self, figures: &mut Figures<'_>) -> fmt::Result {
        figures.gauge(
            "listener_up",
            "1 while the listener is live",
            f64::from(u8::from(self.listener.check().is_ok())),
        )?;
        figures.gauge(
            "listener_lag_seconds",
            "How long the newest heartbeat took through the notification queue",
            self.listener.lag().as_secs_f64(),
        )?;
        figures.gauge(
            "horizon_age_seconds",
            "How long the horizon had not moved at the newest heartbeat",
            self.listener.stats().horizon.age().as_secs_f64(),
        )?;
        figures.gauge(
            "notification_queue_usage_ratio",
            "Fraction of PostgreSQL's notification queue in use, asked every 10 s",
            self.queue_usage.get(),
        )?;
        let stats = self.listener.stats();
        figures.counter(
            "listener_reconnects",
            "Connections of the listener after the first",
            read(&stats.connections).saturating_sub(1),
        )?;
        figures.counter(
            "listener_notifications",
            "Notifications received",
            read(&stats.notifications),
        )?;
        figures.counter(
            "listener_events",
            "Events heard, or read after a lost connection, each once",
            read(&stats.events),
        )?;
        figures.counter(
            "listener_catch_up_events",
            "Events that were read from the tables after a lost connection",
            read(&stats.catch_up_events),
        )
    }

    fn pools(&self, figures: &mut Figures<'_>) -> fmt::Result {
        let by_pool = self.store.pool_status();
        figures.gauges(
            "pool_connections",
            "Connections to the database",
            by_pool.iter().flat_map(|(pool, status)| {
                let used = status.size.saturating_sub(status.available);
                [("idle", status.available), ("used", used)]
                    .map(|(state, count)| ([("pool", *pool), ("state", state)], count))
            }),
        )?;
        figures.gauges(
            "pool_waiting",
            "Requests waiting for a connection to the database",
            by_pool
                .iter()
                .map(|(pool, status)| ([("pool", *pool)], status.waiting)),
        )
    }

    fn marks(&self, figures: &mut Figures<'_>) -> fmt::Result {
        let marks = self.store.marks();
        figures.gauge(
            "marks_waiting",
            "Read marks waiting while others are made",
            marks.waiting as f64,
        )?;
        figures.counter(
            "mark_batches",
            "Transactions for read marks that waited",
            marks.batches,
        )?;
        figures.counter(
            "marks_batched",
            "Read marks in these transactions",
            marks.batched,
        )
    }

    fn turns(&self, figures: &mut Figures<'_>) -> fmt::Result {
        let waiting = self.store.turns_waiting();
        figures.gauges(
            "turns_waiting",
            "Requests and handshakes waiting for a turn, before they need a connection to the database",
            waiting.map(|(kind, count)| ([("kind", kind)], count)),
        )
    }
}

/// One for each protocol and name, also where nothing was counted yet.
fn by_protocol<'a, const N: usize>(
    label: &'a str,
    names: [&'a str; N],
    counts: &'a [[AtomicU64; N]; Protocol::ALL.len()],
) -> impl Iterator<Item = ([(&'a str, &'a str); 2], &'a AtomicU64)> {
    let by_protocol = Protocol::NAMES.into_iter().zip(counts);
    by_protocol.flat_map(move |(protocol, counts)| {
        let counts = names.into_iter().zip(counts);
        counts.map(move |(name, count)| ([("protocol", protocol), (label, name)], count))
    })
}
