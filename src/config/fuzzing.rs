//! The fuzzer's way into this room.

#![allow(clippy::expect_used)] // a panic is the report

use super::settings::{self, Kind};
use super::values::File;
use super::{file, from_sources};

/// Stands in a fuzzed file where a secret may stand, and becomes [`SECRET`].
const PLACE: char = '§';
const SECRET: &str = "s3cretOfTheFuzzer";

/// A configuration file: it is read or refused, and no secret of it is told either way.
///
/// # Panics
/// When that does not hold.
pub fn config_file(text: &str) {
    let text = text.replace(PLACE, SECRET);
    let outcome = from_sources(
        Some(File {
            name: "config.env",
            text: &text,
        }),
        |_| None,
    );
    let told = match outcome {
        Ok(loaded) => {
            let debug = format!("{:?}", loaded.config);
            format!("{debug}{}{}", loaded.warnings.join("\n"), loaded.summary)
        }
        Err(error) => error.to_string(),
    };
    if only_secrets_hold_it(&text) {
        assert!(!told.contains(SECRET), "{told}");
    }
}

/// Whether it stands nowhere but in the values of settings that are secret. A line that cannot be read may have been meant
/// as one of these.
fn only_secrets_hold_it(text: &str) -> bool {
    let Ok(entries) = file::parse(text) else {
        return true;
    };
    let is_secret = |name: &str| {
        settings::all().any(|setting| setting.name == name && matches!(setting.kind, Kind::Secret))
    };
    entries.iter().all(|entry| {
        !entry.name.contains(SECRET) && (is_secret(&entry.name) || !entry.value.contains(SECRET))
    })
}
