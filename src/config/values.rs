//! Where a setting's value comes from: the environment, else the file, else the table's default.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::num::NonZeroU64;
use std::time::Duration;

use super::file::{self, Entry};
use super::settings::{self, Kind, Setting};
use super::{ConfigError, Secret, typos};
use crate::text::quoted_within;

/// The values that were given; defaults are looked up when a setting is asked for.
pub(super) struct Values {
    given: BTreeMap<&'static str, Given>,
}

struct Given {
    text: String,
    /// `the environment`, or `config.env, line 4`.
    origin: String,
}

/// A file that was read, under the name that errors show.
pub(super) struct File<'a> {
    pub name: &'a str,
    pub text: &'a str,
}

impl Values {
    /// The values and the warnings about the file's unknown and repeated variables.
    pub(super) fn collect(
        file: Option<File<'_>>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Vec<String>), ConfigError> {
        let mut values = Self {
            given: BTreeMap::new(),
        };
        let mut warnings = Vec::new();
        if let Some(file) = file {
            let entries = file::parse(file.text).map_err(|error| {
                let place = format!("{}, line {}", file.name, error.line);
                ConfigError::of_setting(place, error.problem)
            })?;
            for entry in entries {
                values.take_from_file(file.name, entry, &mut warnings);
            }
        }
        for setting in settings::all() {
            if let Some(text) = environment(setting.name) {
                let origin = "the environment".to_owned();
                let text = text.into_string().map_err(|_| {
                    ConfigError::of_setting(setting.name, "must be UTF-8 (in the environment)")
                })?;
                values.given.insert(setting.name, Given { text, origin });
            }
        }
        values.refuse_nul()?;
        for (name, setting) in typos::OTHER_NAMES {
            let is_set = environment(name).is_some_and(|text| !text.is_empty());
            if is_set && values.lacks(setting) {
                warnings.push(typos::warning(name, setting.name));
            }
        }
        Ok((values, warnings))
    }

    /// Nothing says what this setting is for; a URL says all of the database.
    fn lacks(&self, setting: &Setting) -> bool {
        let by = match setting.name {
            "DATABASE_URL" => &settings::DB_HOST,
            name if name.starts_with("DB_") => &settings::DATABASE_URL,
            _ => setting,
        };
        !self.is_given(setting) && !self.is_given(by)
    }

    fn take_from_file(&mut self, file_name: &str, entry: Entry, warnings: &mut Vec<String>) {
        let Entry { name, value, line } = entry;
        let Some(setting) = settings::all().find(|setting| setting.name == name) else {
            let hint = match typos::meant(&name) {
                Some(setting) => format!("is {setting} meant?"),
                None => "\"pgchat --help\" lists them".to_owned(),
            };
            warnings.push(format!(
                "{file_name}, line {line}: {name} is not a setting of pgchat and is ignored; {hint}"
            ));
            return;
        };
        let given = Given {
            text: value,
            origin: format!("{file_name}, line {line}"),
        };
        if let Some(earlier) = self.given.insert(setting.name, given) {
            warnings.push(format!(
                "{file_name}, line {line}: {name} is set again, after {}; the last one counts",
                earlier.origin
            ));
        }
    }

    /// No protocol, path or address that a setting ends up in can carry one.
    fn refuse_nul(&self) -> Result<(), ConfigError> {
        for setting in settings::all() {
            if self.given(setting).is_some_and(|text| text.contains('\0')) {
                return Err(self.fault(setting, "must not contain U+0000"));
            }
        }
        Ok(())
    }

    /// The value that was set; one that is set to nothing counts as not set.
    pub(super) fn given(&self, setting: &Setting) -> Option<&str> {
        let given = self.given.get(setting.name)?;
        (!given.text.is_empty()).then_some(given.text.as_str())
    }

    pub(super) fn is_given(&self, setting: &Setting) -> bool {
        self.given(setting).is_some()
    }

    /// Every setting that is not at its default, as the others make it: `DB_HOST="db" (config.env, line 4), DB_PASSWORD=***`,
    /// in the order of the table.
    pub(super) fn summary(&self, default: impl Fn(&Setting) -> &'static str) -> String {
        let is_set = |setting: &Setting| {
            let given = self.given(setting);
            given.is_some_and(|given| given != default(setting))
        };
        let set = settings::all().filter(|setting| is_set(setting));
        let shown = set.filter_map(|setting| {
            let origin = &self.given.get(setting.name)?.origin;
            let value = match setting.kind {
                Kind::Secret => "***".to_owned(),
                _ => shown(self.text(setting)),
            };
            Some(format!("{}={value} ({origin})", setting.name))
        });
        shown.collect::<Vec<_>>().join(", ")
    }

    /// Whether something else than the default was set.
    pub(super) fn differs(&self, setting: &Setting) -> bool {
        self.text(setting) != setting.default
    }

    /// The value or the default, of settings that have one.
    pub(super) fn text(&self, setting: &Setting) -> &str {
        self.given(setting).unwrap_or(setting.default)
    }

    /// The value, of settings without a default.
    pub(super) fn optional(&self, setting: &Setting) -> Option<String> {
        self.given(setting).map(str::to_owned)
    }

    pub(super) fn secret(&self, setting: &Setting) -> Option<Secret> {
        self.optional(setting).map(Secret::new)
    }

    /// A value that is shown in one line of a log or a reply.
    pub(super) fn line(&self, setting: &Setting) -> Result<String, ConfigError> {
        let text = self.text(setting);
        if text.chars().any(char::is_control) {
            return Err(self.fault(setting, "must not contain control characters"));
        }
        Ok(text.to_owned())
    }

    pub(super) fn number<T: TryFrom<u64>>(&self, setting: &Setting) -> Result<T, ConfigError> {
        let number = self.text(setting).trim().parse::<u64>().ok();
        let fits = match setting.kind {
            Kind::Number(min, max) | Kind::Seconds(min, max) => {
                number.filter(|number| (min..=max).contains(number))
            }
            Kind::Text | Kind::Secret | Kind::Choice(_) => number,
        };
        fits.and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.not_allowed(setting))
    }

    /// A limit, of settings where 0 is none.
    pub(super) fn limit<T: TryFrom<NonZeroU64>>(
        &self,
        setting: &Setting,
    ) -> Result<Option<T>, ConfigError> {
        let limit = NonZeroU64::new(self.number(setting)?);
        let limit = limit.map(T::try_from).transpose();
        limit.map_err(|_| self.not_allowed(setting))
    }

    pub(super) fn seconds(&self, setting: &Setting) -> Result<Duration, ConfigError> {
        self.number(setting).map(Duration::from_secs)
    }

    /// What `meaning` says that the word of the table means that was chosen, whatever the case of its letters.
    pub(super) fn choice<T>(
        &self,
        setting: &Setting,
        meaning: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let text = self.text(setting).trim();
        let words = match setting.kind {
            Kind::Choice(words) => words,
            _ => &[],
        };
        words
            .iter()
            .copied()
            .find(|word| word.eq_ignore_ascii_case(text))
            .and_then(meaning)
            .ok_or_else(|| self.not_allowed(setting))
    }

    fn not_allowed(&self, setting: &Setting) -> ConfigError {
        let allowed = setting.kind.allowed().unwrap_or_default();
        self.fault(
            setting,
            format!("must be {allowed}, not {}", shown(self.text(setting))),
        )
    }

    /// An error about a setting, which also says where its value comes from.
    pub(super) fn fault(&self, setting: &Setting, problem: impl Display) -> ConfigError {
        let origin = match self.given.get(setting.name) {
            Some(given) => format!(" (in {})", given.origin),
            None => String::new(),
        };
        ConfigError::of_setting(setting.name, format!("{problem}{origin}"))
    }
}

/// A value in quotes, in one line, shortened where it is long. Never for secrets.
pub(super) fn shown(text: &str) -> String {
    quoted_within(text, 60)
}
