//! The members of a JSON object that somebody asks for. Bodies and frames are read by this, and refuse the same names in the same words.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::spelling;

/// Which members are read.
pub type MemberNames<const N: usize> = &'static [&'static str; N];

/// The members that were asked for, each in the place that its name has, not read yet: as values of their own a megabyte of zeros would take
/// thirty. `null` counts as absent.
pub type Members<'a, const N: usize> = [Option<&'a RawValue>; N];

/// Finds the members `names` of a JSON object. What is in all others is checked and not kept. The error says where the text is no JSON
/// object, and why.
///
/// Gives back what is wrong with the names, too. Unknown ones, but for those in another spelling, are no fault, so that newer clients can be
/// served.
pub fn read<'a, const N: usize>(
    text: &'a str,
    names: MemberNames<N>,
) -> serde_json::Result<(Members<'a, N>, Vec<NameFault>)> {
    let mut json = serde_json::Deserializer::from_str(text);
    let (members, faults) = json.deserialize_map(Object(names))?;
    json.end()?;
    let members = members.map(|member| member.filter(|raw| raw.get() != "null"));
    Ok((members, faults))
}

/// The text that a member is.
pub fn text(member: &RawValue) -> Result<String, NoText> {
    match kind(member) {
        // Whatever else could be wrong with a string was seen when the object was read.
        STRING => serde_json::from_str(member.get()).map_err(|_| NoText::HalfPair),
        other => Err(NoText::Other(other)),
    }
}

const STRING: &str = "a string";

/// Which kind of value it is, in words.
pub fn kind(value: &RawValue) -> &'static str {
    match value.get().as_bytes() {
        [b'"', ..] => STRING,
        [b'{', ..] => "an object",
        [b'[', ..] => "an array",
        [b't' | b'f', ..] => "a boolean",
        [b'n', ..] => "null",
        _ => "a number",
    }
}

/// Why a member that is there is no text.
#[derive(Debug, PartialEq, Eq)]
pub enum NoText {
    /// A string with half of a surrogate pair.
    HalfPair,
    /// A value of this kind, in words.
    Other(&'static str),
}

/// What is wrong with a member of that name that is a string and no text. The usual cause is a text that was cut within an emoji.
pub fn half_a_pair(name: &str) -> String {
    format!("{name} is no text: it holds half of a surrogate pair")
}

/// Finds the members of an object.
struct Object<const N: usize>(MemberNames<N>);

impl<'de, const N: usize> Visitor<'de> for Object<N> {
    /// A `null` is a member that is there: given twice, it is a fault.
    type Value = (Members<'de, N>, Vec<NameFault>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let Self(names) = self;
        let (mut members, mut faults) = ([None; N], Vec::new());
        while let Some(key) = object.next_key_seed(Key(names))? {
            let fault = match key {
                Known::At(place) => {
                    let again = members[place].replace(object.next_value()?);
                    again.map(|_| NameFault::repeated(names[place]))
                }
                Known::Misspelt(fault) => {
                    object.next_value::<IgnoredAny>()?;
                    Some(fault)
                }
                Known::No => {
                    object.next_value::<IgnoredAny>()?;
                    None
                }
            };
            // Whoever sends a thousand of them is not told of each.
            if let Some(fault) = fault
                && faults.len() < N
                && !faults.contains(&fault)
            {
                faults.push(fault);
            }
        }
        Ok((members, faults))
    }
}

/// What is wrong with a name: the member is given twice, or the name is in another spelling. Its text is what the caller is told.
#[derive(Debug, PartialEq, Eq)]
pub struct NameFault {
    /// The member that is meant, of those that were asked for.
    pub member: &'static str,
    text: String,
}

impl NameFault {
    fn repeated(member: &'static str) -> Self {
        let text = format!("{member} must be given only once");
        Self { member, text }
    }

    fn misspelt(key: &str, member: &'static str) -> Self {
        let text = spelling::fault("member", key, member);
        Self { member, text }
    }
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<NameFault> for String {
    fn from(fault: NameFault) -> Self {
        fault.text
    }
}

/// What the name of a member is to whoever asks for some.
enum Known {
    At(usize),
    Misspelt(NameFault),
    No,
}

/// Reads a name.
struct Key(&'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Known;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Known, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Known;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, key: &str) -> Result<Known, E> {
        let mut names = self.0.iter();
        if let Some(place) = names.position(|name| *name == key) {
            return Ok(Known::At(place));
        }
        let meant = self.0.iter().find(|name| spelling::is_misspelt(key, name));
        Ok(meant.map_or(Known::No, |name| {
            Known::Misspelt(NameFault::misspelt(key, name))
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: MemberNames<2> = &["upToSeq", "content"];

    /// Reads [`NAMES`], which are numbers.
    fn numbers(text: &str) -> ([Option<i64>; 2], Vec<String>) {
        let (members, faults) = read(text, NAMES).expect("an object");
        let number = |raw: &RawValue| raw.get().parse().expect("a number");
        (
            members.map(|member| member.map(number)),
            faults.into_iter().map(String::from).collect(),
        )
    }

    #[test]
    fn members_are_found_by_their_exact_names_and_others_are_ignored() {
        let text = r#"{"content": 2, "contents": [{}], "": null, "upTo\u0053eq": 1, "seq": "x"}"#;
        assert_eq!(numbers(text), ([Some(1), Some(2)], vec![]));
        assert_eq!(numbers("{}"), ([None, None], vec![]));
    }

    #[test]
    fn a_member_in_another_spelling_is_a_fault_that_names_both() {
        for key in ["up_to_seq", "uptoseq", "UpToSeq", "up-to-seq", "UPTOSEQ"] {
            for text in [
                format!(r#"{{"{key}": [1]}}"#),
                format!(r#"{{"upToSeq": 1, "{key}": {{}}}}"#),
            ] {
                let (_, faults) = numbers(&text);
                assert_eq!(faults, [format!("unknown member {key}: use upToSeq")]);
            }
        }
        let (_, faults) = numbers(r#"{"Content": 1, "up_to_seq": 2}"#);
        let both = [
            "unknown member Content: use content",
            "unknown member up_to_seq: use upToSeq",
        ];
        assert_eq!(faults, both);
    }

    #[test]
    fn a_member_given_twice_is_a_fault_unless_nobody_asks_for_it() {
        let (_, faults) = numbers(r#"{"content": 1, "x": 1, "x": 2, "content": 1}"#);
        assert_eq!(faults, ["content must be given only once"]);
    }

    #[test]
    fn however_many_names_are_wrong_few_are_told_of() {
        let many = (0..1000).map(|n| format!(r#""content{}": 1, "content": 1"#, "_".repeat(n + 1)));
        let text = format!("{{{}}}", many.collect::<Vec<_>>().join(","));
        let (_, faults) = numbers(&text);
        assert_eq!(faults.len(), NAMES.len());
    }

    proptest! {
        #[test]
        fn any_other_member_is_ignored(key in "\\PC{0,12}") {
            let text = serde_json::json!({key.as_str(): 7}).to_string();
            let plain = key.replace(['_', '-'], "").to_ascii_lowercase();
            let concerns_us = ["uptoseq", "content"].contains(&plain.as_str());
            let (places, faults) = numbers(&text);
            prop_assert_eq!(concerns_us, places != [None, None] || !faults.is_empty());
        }
    }
}
