//! The log, on standard error: pretty lines for people or JSON lines for machines.
//!
//! Messages carry text from outside (names, errors of the database). No such text can start a line of its
//! own or steer a terminal: control characters are escaped in both formats.
//!
//! No level shows a token, a password or a message's content. This crate never logs them; others do, each in its way
//! (tokio-postgres the parameters of statements, tungstenite the frames), so their [`DISCREET`] level is the most
//! that is logged of them, whatever `RUST_LOG` says.

mod repeats;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use chrono::{SecondsFormat, Utc};
use env_logger::{Builder, Logger};
use log::kv::{self, Key, VisitSource};
use log::{LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use serde_json::Value;

use crate::config::{Config, LogFormat};

pub(crate) use repeats::Repeats;

tokio::task_local! {
    /// The `x-request-id` of the request that this task answers, so that what is logged meanwhile can be found by it.
    pub(crate) static REQUEST_ID: String;
}

/// That of the request that this task answers, for a line about it; empty in any other task.
pub(crate) fn request_id() -> String {
    REQUEST_ID.try_with(String::clone).unwrap_or_default()
}

/// This crate's modules; `LOG_LEVEL` is about them.
const CRATE: &str = "pgchat";

/// Below it other crates write what passes through them.
const DISCREET: LevelFilter = LevelFilter::Info;

/// Starts the log, once in a process. From then on a panic is a line of it as well.
pub fn init(config: &Config) -> Result<(), log::SetLoggerError> {
    let builder = match config.log_format {
        LogFormat::Pretty => pretty_env_logger::formatted_timed_builder(),
        LogFormat::Json => json_builder(),
    };
    let logger = filtered(builder, config.log_level, config.log_filter.as_deref()).build();
    log::set_max_level(logger.filter());
    log::set_boxed_logger(Box::new(Discreet {
        logger,
        escapes: config.log_format == LogFormat::Pretty,
    }))?;
    log_panics();
    Ok(())
}

/// Whether a record may be written at all.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let own = target
        .strip_prefix(CRATE)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    own || metadata.level() <= DISCREET
}

/// `level` for this crate and at most warnings of others, unless `refinement` (`RUST_LOG`) says otherwise.
fn filtered(mut builder: Builder, level: LevelFilter, refinement: Option<&str>) -> Builder {
    let refinement = refinement.unwrap_or_default();
    let directives = refinement.split('/').next().unwrap_or_default();
    // A level without a module means everything, and so this crate, too.
    let for_all = directives
        .split(',')
        .any(|directive| directive.trim().parse::<LevelFilter>().is_ok());
    builder.filter_level(level.min(LevelFilter::Warn));
    if !for_all {
        builder.filter_module(CRATE, level);
    }
    if !refinement.is_empty() {
        builder.parse_filters(refinement);
    }
    builder
}

/// One JSON object; the order of its fields is the order in the line.
#[derive(Serialize)]
struct JsonLine<'a> {
    time: String,
    level: &'a str,
    target: &'a str,
    message: Cow<'a, str>,
    #[serde(flatten)]
    fields: Fields,
}

/// What a line is about, so that it is found without reading its message: `requestId`, `connectionId`, and what else its
/// record names. The id of a request stands on every line that is written while it is answered.
#[derive(Default, Serialize)]
#[serde(transparent)]
struct Fields(BTreeMap<String, Value>);

impl Fields {
    fn of(record: &Record<'_>) -> Self {
        let mut fields = Self::default();
        if let Ok(id) = REQUEST_ID.try_with(String::clone) {
            fields.0.insert("requestId".to_owned(), Value::String(id));
        }
        // Our own fields never fail; a bad field of another crate must not lose the line.
        let _ = record.key_values().visit(&mut fields);
        fields
    }
}

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        const OF_THE_LINE: [&str; 4] = ["time", "level", "target", "message"];
        if OF_THE_LINE.contains(&key.as_str()) {
            return Ok(());
        }
        let value = match (value.to_u64(), value.to_i64(), value.to_f64()) {
            (Some(number), ..) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (.., Some(number)) => Value::from(number),
            _ => Value::String(value.to_string()),
        };
        self.0.insert(key.as_str().to_owned(), value);
        Ok(())
    }
}

fn json_builder() -> Builder {
    let mut builder = Builder::new();
    builder.format(|out, record| writeln!(out, "{}", json_line(record)));
    builder
}

fn json_line(record: &Record<'_>) -> String {
    let message = match record.args().as_str() {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(record.args().to_string()),
    };
    let line = JsonLine {
        time: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        level: &record.level().as_str().to_ascii_lowercase(),
        target: record.target(),
        message,
        fields: Fields::of(record),
    };
    // Strings and numbers always serialise.
    let json = serde_json::to_string(&line).unwrap_or_default();
    // JSON escapes only what is below U+0020. Whatever else steers stands inside a string, so that
    // \u escapes keep the meaning; all of it is in the basic plane.
    escaped(&json, |c, json| {
        let _ = write!(json, "\\u{:04x}", u32::from(c));
    })
    .into_owned()
}

/// The logger behind what may be logged, and how.
struct Discreet {
    logger: Logger,
    /// pretty_env_logger writes messages as they are: they are escaped first. JSON is escaped as it is made.
    escapes: bool,
}

impl Log for Discreet {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_discreet(metadata) && self.logger.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !is_discreet(record.metadata()) || !self.logger.matches(record) {
            return;
        }
        if !self.escapes {
            return self.logger.log(record);
        }
        let message = record.args().to_string();
        let message = escaped(&message, |c, out| out.extend(c.escape_default()));
        self.logger.log(
            &Record::builder()
                .args(format_args!("{message}"))
                .level(record.level())
                .target(record.target())
                .module_path(record.module_path())
                .file(record.file())
                .line(record.line())
                .build(),
        );
    }

    fn flush(&self) {
        self.logger.flush();
    }
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steers(c) {
            escape(c, &mut out);
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// Control characters, line and paragraph separators, and what turns the direction of text around.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text in one line that steers no terminal, for messages outside the log.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escaped(text, |c, out| out.extend(c.escape_default()))
}

/// A task that panics is a defect; the default hook's several plain lines would break a JSON log.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let location = info.location().map(ToString::to_string);
        log::error!(
            "panic at {}: {message}; backtrace: {}",
            location.as_deref().unwrap_or("an unknown place"),
            std::backtrace::Backtrace::capture()
        );
    }));
}

#[cfg(test)]
mod tests;
