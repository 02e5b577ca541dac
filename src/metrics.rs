//! Figures for Prometheus, read from the pieces' own counters at each scrape.

mod commands;
mod connections;
mod delivery;
mod figures;
mod frames;
mod process;
mod requests;
mod sources;
mod texts;
mod watch;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;
use tokio::sync::Semaphore;

use crate::error::Error;
use crate::sync::acquire_owned;

pub use commands::{CommandCounts, CommandEnd};
pub use connections::{Closed, ConnectionCounts};
pub use delivery::Delivery;
pub use frames::FrameCounts;
pub use process::process_starts;
pub use requests::Requests;
pub use sources::Sources;

use process::Process;
use texts::Texts;

/// The figures of one replica; clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Under names that all programs share.
    of_process: Arc<Registry>,
    sources: Sources,
    /// Whose figures are written.
    turn: Arc<Semaphore>,
    texts: Texts,
    /// Counted by `http`.
    pub requests: Requests,
    /// Counted by `ws`.
    pub frames: FrameCounts,
    /// Counted by `ws`, when they are answered.
    pub commands: CommandCounts,
    /// Counted by the accept loop, and sockets' closes by `ws`.
    pub connections: ConnectionCounts,
    /// Timed by `ws`.
    pub delivery: Delivery,
}

impl Metrics {
    pub fn new(sources: Sources) -> Self {
        let mut registry = Registry::with_prefix("pgchat");
        registry.register_collector(Box::new(sources.clone()));
        let (requests, frames) = (Requests::default(), FrameCounts::default());
        let delivery = Delivery::default();
        requests.register(&mut registry);
        delivery.register(&mut registry);
        registry.register_collector(Box::new(frames.clone()));
        let (commands, connections) = (CommandCounts::default(), ConnectionCounts::default());
        registry.register_collector(Box::new(commands.clone()));
        registry.register_collector(Box::new(connections.clone()));
        let mut of_process = Registry::default();
        of_process.register_collector(Box::new(Process));
        Self {
            registry: Arc::new(registry),
            of_process: Arc::new(of_process),
            sources,
            turn: Arc::new(Semaphore::new(1)),
            texts: Texts::default(),
            requests,
            frames,
            commands,
            connections,
            delivery,
        }
    }

    /// The figures as text. It is made on a thread that may wait, one text after the other: Linux before 6.2 takes tens of milliseconds to
    /// count tens of thousands of files, and a scrape needs no token. Scrapes that come meanwhile share the next text.
    pub async fn render(&self, format: TextFormat) -> Result<Bytes, Error> {
        let asked = Instant::now();
        let turn = acquire_owned(Arc::clone(&self.turn)).await;
        if let Some(text) = self.texts.good_for(format, asked) {
            return Ok(text);
        }
        let registries = [Arc::clone(&self.registry), Arc::clone(&self.of_process)];
        let texts = self.texts.clone();
        let rendering = move || {
            // To the end, also where nobody waits for it any more.
            let _turn = turn;
            let began = Instant::now();
            let text = text_of(&registries, format)?;
            Ok(texts.keep(format, began, text))
        };
        let rendered = tokio::task::spawn_blocking(rendering).await;
        let rendered = rendered.map_err(|panicked| Error::Internal(panicked.into()))?;
        rendered.map_err(|error: fmt::Error| Error::Internal(error.into()))
    }
}

fn text_of(registries: &[Arc<Registry>], format: TextFormat) -> Result<String, fmt::Error> {
    let mut text = String::new();
    for registry in registries {
        encode_registry(&mut text, registry)?;
    }
    encode_eof(&mut text)?;
    Ok(match format {
        TextFormat::OpenMetrics => text,
        TextFormat::Older => in_older_format(&text),
    })
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::try_join_all;
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::DescriptorEncoder;

    use super::*;
    use crate::sync::lock;
    use crate::testing;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Takes until it is told to go on, as a long list of files does.
    #[derive(Debug)]
    struct Slow {
        begins: SyncSender<()>,
        may_end: Mutex<Receiver<()>>,
    }

    impl Collector for Slow {
        fn encode(&self, _: DescriptorEncoder<'_>) -> fmt::Result {
            self.begins.send(()).map_err(|_| fmt::Error)?;
            let may_end = lock(&self.may_end);
            may_end.recv_timeout(PATIENCE).map_err(|_| fmt::Error)
        }
    }

    /// The runtime has one thread.
    #[tokio::test]
    async fn figures_that_take_long_hold_up_nobody_and_take_one_thread_however_many_ask() {
        let hour = Duration::from_secs(3600);
        let mut metrics = testing::services(testing::hub(1), hour, hour).metrics;
        let (begins, begun) = sync_channel(2);
        let (end, may_end) = sync_channel(2);
        let mut slow = Registry::default();
        slow.register_collector(Box::new(Slow {
            begins,
            may_end: Mutex::new(may_end),
        }));
        metrics.of_process = Arc::new(slow);
        let first = metrics.clone();
        let first = tokio::spawn(async move { first.render(TextFormat::Older).await });
        let begin = async || {
            let begun = async {
                while begun.try_recv().is_err() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(PATIENCE, begun)
                .await
                .expect("it begins");
        };
        begin().await;
        // Figures of before these asked are not for them.
        let mut later = Vec::new();
        for _ in 0..3 {
            let asking = metrics.clone();
            let mut asks = Box::pin(async move { asking.render(TextFormat::Older).await });
            assert!((&mut asks).now_or_never().is_none());
            later.push(asks);
        }
        let later = tokio::spawn(try_join_all(later));
        assert_eq!(metrics.turn.available_permits(), 0);
        assert!(begun.try_recv().is_err(), "two at a time");
        end.send(()).unwrap();
        assert!(first.await.unwrap().is_ok());
        begin().await;
        end.send(()).unwrap();
        let texts = tokio::time::timeout(PATIENCE, later).await;
        let texts = texts.expect("none is made for each").unwrap().unwrap();
        assert!(texts.iter().all(|text| text.as_ptr() == texts[0].as_ptr()));
        assert!(begun.try_recv().is_err(), "a third");
    }
}
