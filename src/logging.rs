//! The log, on standard error: pretty lines for people or JSON lines for machines.
//!
//! Messages carry text from outside (names, errors of the database). No such text can start a line of its
//! own or steer a terminal: control characters are escaped in both formats.
//!
//! No level shows a token, a password or a message's content. This crate never logs them; others do, each in its way
//! (tokio-postgres the parameters of statements, tungstenite the frames), so their [`DISCREET`] level is the most
//! that is logged of them, whatever `RUST_LOG` says.

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

tokio::task_local! {
    /// The `x-request-id` of the request that this task answers, so that what is logged meanwhile can be found by it.
    pub(crate) static REQUEST_ID: String;
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
        // No field of ours is refused, and one of another crate must not cost the line.
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
mod tests {
    use log::Level;

    use super::*;

    const HOSTILE: &str = "a\nERROR forged\r\u{1b}[2J\0\t\u{7f}\u{9b}\u{2028}\u{202e}z ä \"\\";

    #[test]
    fn a_message_stays_in_its_line_and_steers_no_terminal() {
        let line = one_line(HOSTILE);
        assert_eq!(
            line,
            "a\\nERROR forged\\r\\u{1b}[2J\\u{0}\\t\\u{7f}\\u{9b}\\u{2028}\\u{202e}z ä \"\\"
        );
        assert!(!line.contains(steers));
    }

    #[test]
    fn json_lines_hold_the_message_as_it_was() {
        let line = json_line(
            &Record::builder()
                .args(format_args!("{HOSTILE}"))
                .level(Level::Warn)
                .target("pgchat::hub")
                .build(),
        );
        assert!(!line.contains(steers), "{line}");
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(json["message"], HOSTILE);
        assert_eq!(json["level"], "warn");
        assert_eq!(json["target"], "pgchat::hub");
        let time = json["time"].as_str().expect("a time");
        assert!(time.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(time).is_ok());
    }

    #[test]
    fn what_a_record_names_are_fields_of_the_json_line() {
        let named = [
            ("connectionId", kv::Value::from("c-1\n")),
            ("received", kv::Value::from(2_u64)),
            ("seconds", kv::Value::from(0.5)),
            ("behind", kv::Value::from(-1)),
            ("level", kv::Value::from("forged")),
        ];
        let record = Record::builder()
            .args(format_args!("closed"))
            .level(Level::Debug)
            .key_values(&named)
            .build();
        let line = REQUEST_ID.sync_scope("r-1".to_owned(), || json_line(&record));
        let json: Value = serde_json::from_str(&line).expect("JSON");
        let fields = [
            "requestId",
            "connectionId",
            "received",
            "seconds",
            "behind",
            "level",
        ];
        let found: Vec<&Value> = fields.iter().map(|name| &json[name]).collect();
        let expected = serde_json::json!(["r-1", "c-1\n", 2, 0.5, -1, "debug"]);
        assert_eq!(serde_json::json!(found), expected);
        assert!(!line.contains(steers), "{line}");
    }

    #[test]
    fn log_level_is_about_this_crate_and_rust_log_refines_it() {
        use Level::{Debug, Error, Info, Trace, Warn};
        let cases = [
            (LevelFilter::Info, "", "pgchat::hub", Info, true),
            (LevelFilter::Info, "", "pgchat::hub", Debug, false),
            (LevelFilter::Debug, "", "hyper", Info, false),
            (LevelFilter::Debug, "", "hyper", Warn, true),
            (LevelFilter::Error, "", "hyper", Warn, false),
            (LevelFilter::Error, "", "hyper", Error, true),
            (
                LevelFilter::Info,
                "pgchat::hub=trace",
                "pgchat::hub",
                Trace,
                true,
            ),
            (
                LevelFilter::Info,
                "pgchat::hub=trace",
                "pgchat::ws",
                Debug,
                false,
            ),
            (LevelFilter::Info, "hyper=info", "hyper::client", Info, true),
            (LevelFilter::Info, "hyper=info", "pgchat", Info, true),
            (LevelFilter::Info, "debug", "pgchat", Debug, true),
            (LevelFilter::Info, "debug", "hyper", Info, true),
            // What passes through other crates is never logged.
            (LevelFilter::Info, "debug", "hyper", Debug, false),
            (LevelFilter::Trace, "trace", "tokio_postgres", Debug, false),
            (
                LevelFilter::Trace,
                "tungstenite=trace",
                "tungstenite",
                Trace,
                false,
            ),
            (
                LevelFilter::Trace,
                "trace",
                "pgchat_of_others",
                Debug,
                false,
            ),
            (LevelFilter::Trace, "trace", "pgchat::ws", Trace, true),
            (
                LevelFilter::Info,
                "debug,pgchat=warn",
                "pgchat",
                Info,
                false,
            ),
        ];
        for (level, refinement, target, asked, expected) in cases {
            let refinement = Some(refinement).filter(|text| !text.is_empty());
            let logger = Discreet {
                logger: filtered(Builder::new(), level, refinement).build(),
                escapes: false,
            };
            let metadata = Metadata::builder().level(asked).target(target).build();
            assert_eq!(
                logger.enabled(&metadata),
                expected,
                "{level} {refinement:?}: {target} {asked}"
            );
        }
    }
}
