//! The fuzzer's way into this module.

#![allow(clippy::expect_used)] // a panic is the report

use super::settings::{self, Kind};
use super::values::File;
use super::{TokenKeys, file, from_sources};

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
        TokenKeys::Required,
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

/// Whether it stands nowhere but where a secret does: in the value of a setting that is one, and of a URL where the password
/// is. A line that cannot be read may have been meant as one of these.
fn only_secrets_hold_it(text: &str) -> bool {
    let Ok(entries) = file::parse(text) else {
        return true;
    };
    entries.iter().all(|entry| {
        if !entry.name.contains(SECRET) && !entry.value.contains(SECRET) {
            return true;
        }
        let of_name = settings::all().find(|setting| setting.name == entry.name);
        match of_name {
            Some(setting) if setting.name.ends_with("DATABASE_URL") => {
                is_password_of_url(&entry.value)
            }
            Some(setting) => matches!(setting.kind, Kind::Secret),
            None => false,
        }
    })
}

fn is_password_of_url(url: &str) -> bool {
    let Some((before, after)) = url.split_once(SECRET) else {
        return false;
    };
    let user_and_password = before.split_once("://").map_or("", |(_, rest)| rest);
    user_and_password.contains(':')
        && !user_and_password.contains(['@', '/', '?', '#'])
        && !after.contains(SECRET)
}
