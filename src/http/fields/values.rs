//! What is in the members of a JSON object that somebody asks for. What is in the others, and in arrays and objects, is checked and not
//! kept: as values of their own a megabyte of zeros would take thirty.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::members::{self, MemberNames};

/// Those that are there, each once.
pub type Members = Vec<(&'static str, Member)>;

/// What is in one of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Member {
    Null,
    Text(String),
    /// Of this kind, in words.
    Other(&'static str),
}

/// What a JSON text is to whoever asks for members of an object.
#[derive(Debug, PartialEq, Eq)]
pub enum Json {
    Object(Members),
    /// An object with names that are wrong: what is wrong with them.
    Misnamed(Vec<String>),
    /// No object, but this, in words.
    Other(&'static str),
}

/// Reads a JSON text, and of an object the members `names`.
pub fn read(text: &str, names: MemberNames) -> serde_json::Result<Json> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Of(names).deserialize(&mut json)?;
    json.end()?;
    Ok(match value {
        Value::Object(members) => Json::Object(members),
        Value::Misnamed(faults) => Json::Misnamed(faults),
        Value::Member(Member::Null) => Json::Other("null"),
        Value::Member(Member::Text(_)) => Json::Other("a string"),
        Value::Member(Member::Other(kind)) => Json::Other(kind),
    })
}

enum Value {
    Object(Members),
    Misnamed(Vec<String>),
    Member(Member),
}

/// Reads a value; of an object these members.
#[derive(Clone, Copy)]
struct Of(MemberNames);

impl<'de> DeserializeSeed<'de> for Of {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Of {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Member(Member::Null))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Member(Member::Text(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Value, E> {
        Ok(Value::Member(Member::Other("a boolean")))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Member(Member::Other("a number")))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Value, E> {
        Ok(Value::Member(Member::Other("a number")))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Member(Member::Other("a number")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Member(Member::Other("an array")))
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Value, A::Error> {
        let mut places: Vec<_> = self.0.iter().map(|_| None).collect();
        let faults = members::read(object, self.0, AsMember, &mut places)?;
        if !faults.is_empty() {
            let faults = faults.into_iter().map(String::from).collect();
            return Ok(Value::Misnamed(faults));
        }
        let read = self.0.iter().copied().zip(places);
        let read = read.filter_map(|(name, member)| Some((name, member?)));
        Ok(Value::Object(read.collect()))
    }
}

/// Reads a value whose own members nobody asks for.
#[derive(Clone, Copy)]
struct AsMember;

impl<'de> DeserializeSeed<'de> for AsMember {
    type Value = Member;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Member, D::Error> {
        Ok(match Of(&[]).deserialize(json)? {
            Value::Member(member) => member,
            Value::Object(_) | Value::Misnamed(_) => Member::Other("an object"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_all_else_only_checked() {
        let text = r#"{"a": "\u0041\n", "x": [1, {"a": []}], "b": {"a": "c"}, "c": [7], "d": -1.5e3,
            "e": null, "f": true, "g": 1, "a\u0062": "ab"}"#;
        let names: MemberNames = &["a", "b", "c", "d", "e", "f", "g", "h", "ab"];
        let Json::Object(members) = read(text, names).unwrap() else {
            panic!("no object");
        };
        let text = |text: &str| Member::Text(text.to_owned());
        let expected = [
            ("a", text("A\n")),
            ("b", Member::Other("an object")),
            ("c", Member::Other("an array")),
            ("d", Member::Other("a number")),
            ("e", Member::Null),
            ("f", Member::Other("a boolean")),
            ("g", Member::Other("a number")),
            ("ab", text("ab")),
        ];
        assert_eq!(members, expected);
        for broken in [
            r#"{"x": [1, 2}"#,
            r#"{"x": nul}"#,
            r#"{"x": {"y": }}"#,
            r#"{"a": "\ud800"}"#,
            r#"{"x": 1} {}"#,
            r#"{x: 1}"#,
            r#"{7: 1}"#,
        ] {
            assert!(read(broken, names).is_err(), "{broken}");
        }
    }

    #[test]
    fn names_that_are_wrong_count_in_the_body_itself_only() {
        let names: MemberNames = &["a", "b"];
        let twice = read(r#"{"a": 1, "b": "x", "a": "y"}"#, names).unwrap();
        let faults = vec!["a must be given only once".to_owned()];
        assert_eq!(twice, Json::Misnamed(faults));
        let within = read(r#"{"b": {"A": 1, "a": 2, "a": 3}}"#, names).unwrap();
        assert_eq!(
            within,
            Json::Object(vec![("b", Member::Other("an object"))])
        );
    }

    #[test]
    fn what_is_no_object_is_told_by_its_kind() {
        for (text, kind) in [
            ("null", "null"),
            ("true", "a boolean"),
            ("-7", "a number"),
            ("\"a\"", "a string"),
            ("[{}]", "an array"),
        ] {
            assert_eq!(read(text, &["a"]).unwrap(), Json::Other(kind));
        }
    }
}
