//! What became of the commands of sockets, and how long a send takes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;

use super::figures::Figures;
use super::requests::BUCKETS;
use crate::error::Error;
use crate::frame::CommandType;
use crate::names::names;

/// What a frame is counted under that names no command.
const OTHER: &str = "other";

names! {
    /// How a command ended, in as many kinds as an operator has to tell apart.
    CommandEnd {
        /// Carried out.
        Ok = "ok",
        /// The client's fault, or not its right: it would be refused again.
        Refused = "refused",
        /// It came too fast.
        Limited = "limited",
        /// Over HTTP a 503: the database was unreachable, or busy past the deadline.
        Unavailable = "unavailable",
        /// Over HTTP a 500: the database refuses it, or a defect.
        Internal = "internal",
    }
}

impl CommandEnd {
    pub fn of<T>(outcome: &Result<T, Error>) -> Self {
        match outcome {
            Ok(_) => Self::Ok,
            Err(Error::Unavailable { .. } | Error::ReplicaFull { .. }) => Self::Unavailable,
            Err(Error::Internal(_)) => Self::Internal,
            Err(Error::TooManyRequests { .. }) => Self::Limited,
            Err(_) => Self::Refused,
        }
    }
}

/// Commands of all sockets; clones share the figures. On the path of every command, so it is an addition without a lock, and for a
/// send a short one.
#[derive(Clone, Debug, Default)]
pub struct CommandCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// By the command, and then by its end.
    ends: [[AtomicU64; CommandEnd::ALL.len()]; CommandType::ALL.len()],
    /// Of frames that name no command.
    others: [AtomicU64; CommandEnd::ALL.len()],
    sends: [Durations; CommandEnd::ALL.len()],
}

#[derive(Debug)]
struct Durations(Histogram);

impl Default for Durations {
    fn default() -> Self {
        Self(Histogram::new(BUCKETS))
    }
}

impl CommandCounts {
    /// A command is answered, `took` after its frame was read. Only sends are timed: other commands either answer at once or take as long as
    /// they do over HTTP.
    pub fn answered(&self, command: CommandType, end: CommandEnd, took: Duration) {
        self.0.ends[command as usize][end as usize].fetch_add(1, Ordering::Relaxed);
        if command == CommandType::SendMessage {
            let Durations(durations) = &self.0.sends[end as usize];
            durations.observe(took.as_secs_f64());
        }
    }

    /// A frame that names no command is answered.
    pub fn unreadable(&self) {
        self.0.others[CommandEnd::Refused as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Collector for CommandCounts {
    /// All series are there from the start: a rate does not see the first failure of one that begins with it.
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut figures = Figures(encoder);
        let ends = self.0.ends.iter().chain([&self.0.others]);
        let by_type = CommandType::NAMES.into_iter().chain([OTHER]).zip(ends);
        figures.counters(
            "ws_commands",
            "Commands of sockets that were answered, by their type and how they ended",
            by_type.flat_map(|(name, ends)| {
                let ends = CommandEnd::NAMES.into_iter().zip(ends);
                ends.map(move |(end, count)| ([("type", name), ("outcome", end)], count))
            }),
        )?;
        let sends = CommandEnd::NAMES.into_iter().zip(&self.0.sends);
        figures.histograms(
            "ws_send_duration",
            "From a frame send_message, when it is read, to its answer",
            Some(&Unit::Seconds),
            sends.map(|(end, Durations(durations))| ([("outcome", end)], durations)),
        )
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::error::Denial;

    #[test]
    fn ends_are_told_apart_by_who_has_to_do_something() {
        let slow_down = Error::TooManyRequests {
            message: String::new(),
            retry_after: Duration::ZERO,
        };
        for (error, end) in [
            (Error::invalid("x"), CommandEnd::Refused),
            (Error::Forbidden(Denial::Concealed), CommandEnd::Refused),
            (slow_down, CommandEnd::Limited),
            (Error::unavailable("x"), CommandEnd::Unavailable),
            (Error::Internal("x".into()), CommandEnd::Internal),
        ] {
            assert_eq!(CommandEnd::of::<()>(&Err(error)), end);
        }
        assert_eq!(CommandEnd::of(&Ok(())), CommandEnd::Ok);
    }

    #[test]
    fn each_command_is_counted_once_and_only_sends_are_timed() {
        let (commands, mut registry) = (CommandCounts::default(), Registry::default());
        registry.register_collector(Box::new(commands.clone()));
        let second = Duration::from_secs(1);
        commands.answered(CommandType::SendMessage, CommandEnd::Ok, second);
        commands.answered(CommandType::SendMessage, CommandEnd::Internal, second);
        commands.answered(CommandType::Ping, CommandEnd::Ok, second);
        commands.unreadable();
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let counted = [
            (r#"type="send_message",outcome="ok""#, 1),
            (r#"type="send_message",outcome="internal""#, 1),
            (r#"type="ping",outcome="ok""#, 1),
            (r#"type="other",outcome="refused""#, 1),
        ];
        for (labels, count) in counted {
            let line = format!("\nws_commands_total{{{labels}}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
        let all = CommandType::ALL.len() + 1;
        let lines = text
            .lines()
            .filter(|line| line.starts_with("ws_commands_total{"));
        assert_eq!(lines.clone().count(), all * CommandEnd::ALL.len(), "{text}");
        let zero = lines.filter(|line| line.ends_with(" 0"));
        assert_eq!(zero.count(), all * CommandEnd::ALL.len() - counted.len());
        for (outcome, count) in [("ok", 1), ("internal", 1), ("refused", 0)] {
            let line =
                format!("\nws_send_duration_seconds_count{{outcome=\"{outcome}\"}} {count}\n");
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
