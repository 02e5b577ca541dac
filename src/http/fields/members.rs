//! The members of a JSON object that somebody asks for. What is in the others, and in arrays and objects, is checked and not kept: as
//! values of their own a megabyte of zeros would take thirty.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Which members are read.
pub type MemberNames = &'static [&'static str];

/// Those that are there, each once: of one that is given again the last counts.
pub type Members = Vec<(&'static str, Member)>;

/// What is in one of them.
#[derive(Debug, PartialEq, Eq)]
pub enum Member {
    Null,
    Text(String),
    /// Of this kind, in words.
    Other(&'static str),
}

/// The members `names` of a JSON text, or of what kind it is where that is no object.
pub fn read(text: &str, names: MemberNames) -> serde_json::Result<Result<Members, &'static str>> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = Of(names).deserialize(&mut json)?;
    json.end()?;
    Ok(match value {
        Value::Object(members) => Ok(members),
        Value::Member(Member::Null) => Err("null"),
        Value::Member(Member::Text(_)) => Err("a string"),
        Value::Member(Member::Other(kind)) => Err(kind),
    })
}

enum Value {
    Object(Members),
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

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Members::new();
        while let Some(name) = object.next_key_seed(Name(self.0))? {
            let Some(name) = name else {
                object.next_value::<IgnoredAny>()?;
                continue;
            };
            let member = match object.next_value_seed(Of(&[]))? {
                Value::Member(member) => member,
                Value::Object(_) => Member::Other("an object"),
            };
            members.retain(|(read, _)| *read != name);
            members.push((name, member));
        }
        Ok(Value::Object(members))
    }
}

/// Reads a name; nothing for one that nobody asks for.
struct Name(MemberNames);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().copied().find(|name| *name == text))
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
        let members = read(text, names).unwrap().unwrap();
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
    fn of_a_member_that_is_given_again_the_last_counts() {
        let members = read(r#"{"a": 1, "b": "x", "a": "y"}"#, &["a", "b"]);
        let text = |text: &str| Member::Text(text.to_owned());
        let expected = [("b", text("x")), ("a", text("y"))];
        assert_eq!(members.unwrap().unwrap(), expected);
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
            assert_eq!(read(text, &["a"]).unwrap(), Err(kind));
        }
    }
}
