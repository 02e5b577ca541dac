//! Misspelled names: a variable that nothing reads has no effect, and nobody would notice.

use super::FILE_VARIABLE;
use super::settings::{self, Setting};

/// The names that frameworks, images and platforms have for some of our settings.
pub(super) const OTHER_NAMES: [(&str, &Setting); 17] = [
    ("DATABASE_HOST", &settings::DB_HOST),
    ("DATABASE_NAME", &settings::DB_NAME),
    ("DATABASE_PASSWORD", &settings::DB_PASSWORD),
    ("DATABASE_PORT", &settings::DB_PORT),
    ("DATABASE_USER", &settings::DB_USER),
    ("DATABASE_USERNAME", &settings::DB_USER),
    ("DB_DATABASE", &settings::DB_NAME),
    ("DB_PASS", &settings::DB_PASSWORD),
    ("DB_URI", &settings::DATABASE_URL),
    ("DB_URL", &settings::DATABASE_URL),
    ("DB_USERNAME", &settings::DB_USER),
    ("PORT", &settings::SERVER_PORT),
    ("POSTGRES_DB", &settings::DB_NAME),
    ("POSTGRES_HOST", &settings::DB_HOST),
    ("POSTGRES_PASSWORD", &settings::DB_PASSWORD),
    ("POSTGRES_URL", &settings::DATABASE_URL),
    ("POSTGRES_USER", &settings::DB_USER),
];

/// Of a name in the environment that has no effect.
pub(super) fn warning(name: &str, setting: &str) -> String {
    format!(
        "{name} (in the environment) is not a setting of pgchat and has no effect; is {setting} meant?"
    )
}

/// What is odd about the environment's names. Most of them are other programs', so only what is nearly a setting is told.
pub(super) fn in_environment(names: impl Iterator<Item = String>) -> Vec<String> {
    names
        .filter_map(|name| {
            let setting = misspelled(&name).or_else(|| misspelled_file_variable(&name))?;
            Some(warning(&name, setting))
        })
        .collect()
}

/// The setting that has another name elsewhere, or was misspelled.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let elsewhere = OTHER_NAMES.iter().find(|(other, _)| *other == upper);
    elsewhere
        .map(|(_, setting)| setting.name)
        .or_else(|| misspelled(name))
}

/// The setting that differs from this name in its case only, or in one character: left out, added, another or exchanged
/// with its neighbour.
fn misspelled(name: &str) -> Option<&'static str> {
    let upper = name.to_ascii_uppercase();
    let all = || settings::all().map(|setting| setting.name);
    // What is one slip away from a setting may be another program's name for another one.
    let known = |other: &str| OTHER_NAMES.iter().any(|(name, _)| *name == other);
    if all().any(|setting| setting == name) || known(&upper) {
        return None;
    }
    all().find(|setting| is_near(&upper, setting))
}

/// Only the environment can name the file; if that name is misspelled, the whole file is ignored.
fn misspelled_file_variable(name: &str) -> Option<&'static str> {
    let is_it = name != FILE_VARIABLE && is_near(&name.to_ascii_uppercase(), FILE_VARIABLE);
    is_it.then_some(FILE_VARIABLE)
}

fn is_near(name: &str, setting: &str) -> bool {
    let (mut a, mut b) = (name.as_bytes(), setting.as_bytes());
    while let ([first, rest @ ..], [same, others @ ..]) = (a, b)
        && first == same
    {
        (a, b) = (rest, others);
    }
    while let ([rest @ .., last], [others @ .., same]) = (a, b)
        && last == same
    {
        (a, b) = (rest, others);
    }
    match (a, b) {
        ([] | [_], [] | [_]) => true,
        ([one, two], [other_one, other_two]) => one == other_two && two == other_one,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slip_of_the_finger_is_recognised_and_no_setting_is_taken_for_another() {
        for (typed, setting) in [
            ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
            ("JWT_ISSUERS", "JWT_ISSUER"),
            ("JWT_AUDEINCE", "JWT_AUDIENCE"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("db_host", "DB_HOST"),
            ("Server_Prot", "SERVER_PORT"),
            ("DB_USERNAME", "DB_USER"),
            ("db_pass", "DB_PASSWORD"),
        ] {
            assert_eq!(meant(typed), Some(setting), "{typed}");
        }
        for other in ["", "PATH", "HOST", "LOG", "Ü"] {
            assert_eq!(meant(other), None, "{other}");
        }
        for setting in settings::all() {
            assert_eq!(meant(setting.name), None);
        }
    }

    #[test]
    fn the_environment_is_told_by_its_name_alone() {
        let names = ["PATH", "JWT_ISSUR", "DB_HOST"].map(str::to_owned);
        let warnings = in_environment(names.into_iter());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with("JWT_ISSUR ") && warnings[0].contains("is JWT_ISSUER meant"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_slip_in_the_name_of_the_variable_that_names_the_file_is_told() {
        let of = |name: &str| in_environment(std::iter::once(name.to_owned()));
        for typed in ["PGCHAT_CONFG", "PGCHAT_CONFIGS", "pgchat_config"] {
            let warnings = of(typed);
            assert_eq!(warnings, [warning(typed, "PGCHAT_CONFIG")], "{typed}");
        }
        for other in ["PGCHAT_CONFIG", "PGCHAT_COMMIT", "PGCHAT_PORT"] {
            assert_eq!(of(other), [""; 0], "{other}");
        }
    }
}
