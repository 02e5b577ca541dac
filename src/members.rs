//! The members of a JSON object that somebody asks for. Bodies and frames are read by this, and refuse the same names in the same words.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::spelling;

/// Which members are read.
pub type MemberNames = &'static [&'static str];

/// Reads the members `names` of an object, each by `value`, into the place that its name has among `names`. What is in all others is
/// checked and not kept.
///
/// Gives back what is wrong with the names. Unknown ones, but for those in another spelling, are no fault, so that newer clients can be
/// served.
pub fn read<'de, A, S>(
    mut object: A,
    names: MemberNames,
    value: S,
    places: &mut [Option<S::Value>],
) -> Result<Vec<NameFault>, A::Error>
where
    A: MapAccess<'de>,
    S: DeserializeSeed<'de> + Copy,
{
    let mut faults = Vec::new();
    while let Some(key) = object.next_key_seed(Key(names))? {
        let fault = match key {
            Known::At(place) => {
                let again = places[place].replace(object.next_value_seed(value)?);
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
            && faults.len() < names.len()
            && !faults.contains(&fault)
        {
            faults.push(fault);
        }
    }
    Ok(faults)
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
struct Key(MemberNames);

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
    use std::marker::PhantomData;

    use proptest::prelude::*;

    use super::*;

    const NAMES: MemberNames = &["upToSeq", "content"];

    /// Reads [`NAMES`], which are numbers.
    struct Numbers;

    impl<'de> Visitor<'de> for Numbers {
        type Value = ([Option<i64>; 2], Vec<String>);

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
            let mut places = [None; 2];
            let faults = read(object, NAMES, PhantomData, &mut places)?;
            Ok((places, faults.into_iter().map(String::from).collect()))
        }
    }

    fn numbers(text: &str) -> ([Option<i64>; 2], Vec<String>) {
        let mut json = serde_json::Deserializer::from_str(text);
        json.deserialize_map(Numbers).expect("an object of numbers")
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
