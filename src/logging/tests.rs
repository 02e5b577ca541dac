use std::process::Command;

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

/// Makes [`process_that_panics`] panic, with a log of this format.
const FORMAT: &str = "PGCHAT_TEST_LOG_FORMAT";

/// Not a test but the process of the next one: what a panic writes is for all of a process.
#[test]
fn process_that_panics() {
    if let Ok(format) = std::env::var(FORMAT) {
        let config = Config::from_vars(&[("DB_HOST", "x"), ("LOG_FORMAT", &format)]);
        init(&config.unwrap()).unwrap();
        let task = std::thread::spawn(|| panic!("in a task\nof {}", "this process"));
        assert!(task.join().is_err());
    }
}

#[test]
fn a_panic_is_one_line_of_the_log_with_its_place_and_its_backtrace() {
    for format in ["pretty", "json"] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "logging::tests::process_that_panics"])
            .env(FORMAT, format)
            .env("RUST_BACKTRACE", "1")
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(log.lines().count(), 1, "{log}");
        let message = match format {
            "json" => {
                let line: Value = serde_json::from_str(&log).expect("JSON");
                assert_eq!(line["level"], "error");
                line["message"].as_str().expect("a message").to_owned()
            }
            _ => log.replace("\\n", "\n"),
        };
        for part in [
            "panic at src/logging/tests.rs:",
            ": in a task\nof this process; backtrace: ",
            "process_that_panics",
        ] {
            assert!(message.contains(part), "{part:?}: {message}");
        }
    }
}
