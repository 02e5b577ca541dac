//! What is in a body: one JSON object, whose members a handler reads one by one.

use std::str::FromStr;

use super::call::own_user;
use super::extract::{Checked, id, named_user};
use crate::auth::{Caller, NamedUser};
use crate::error::Error;
use crate::limits::Reservation;
use crate::members::{self, MemberNames, Members, NoText};

/// A body that was read, and is to be a JSON object.
pub struct JsonBody {
    bytes: Vec<u8>,
    /// Its part of the budget for large bodies.
    _reservation: Reservation,
}

impl JsonBody {
    /// These bytes, which have `reservation` for as long as they are there.
    pub fn new(bytes: Vec<u8>, reservation: Reservation) -> Self {
        Self {
            bytes,
            _reservation: reservation,
        }
    }

    #[cfg(test)]
    pub fn of(text: &str) -> Self {
        Self::new(text.into(), Reservation::default())
    }

    /// Its members `names`. `Validation` says what is wrong with the object, or with its names.
    pub fn fields<const N: usize>(&self, names: MemberNames<N>) -> Result<Fields<'_, N>, Error> {
        let members = parse(&self.bytes, names).map_err(Error::Validation)?;
        Ok(Fields { names, members })
    }
}

/// The members of a JSON object that a handler asks for, read one by one. `null` counts as absent; others are ignored, but for what
/// looks like one of them.
pub struct Fields<'a, const N: usize> {
    names: MemberNames<N>,
    members: Members<'a, N>,
}

impl<const N: usize> Fields<'_, N> {
    /// A member's text; `None` where it is absent or null. `name` must be one of those that were read.
    pub fn optional_text(&self, name: &str) -> Checked<Option<String>> {
        let place = self.names.iter().position(|read| *read == name);
        debug_assert!(place.is_some(), "{name} was not read");
        let member = place.and_then(|place| self.members[place]);
        match member.map(members::text).transpose() {
            Ok(text) => Ok(text),
            Err(NoText::HalfPair) => Err(vec![members::half_a_pair(name)]),
            Err(NoText::Other(kind)) => Err(vec![format!("{name} must be a string, not {kind}")]),
        }
    }

    /// A member's text; a fault where it is absent or null.
    pub fn text(&self, name: &str) -> Checked<String> {
        self.optional_text(name)?
            .ok_or_else(|| vec![format!("{name} is required")])
    }

    /// A member as an id; a fault where it is absent or null.
    pub fn id<T: FromStr>(&self, name: &str) -> Checked<T> {
        id(name, &self.text(name)?)
    }

    /// A user who must be named.
    pub fn user(&self, name: &str, caller: &Caller) -> Checked<NamedUser> {
        named_user(name, &self.text(name)?, caller)
    }

    /// A user, or the caller's own where none is named.
    pub fn user_or_own(&self, name: &str, caller: &Caller) -> Checked<NamedUser> {
        match self.optional_text(name)? {
            Some(text) => named_user(name, &text, caller),
            None => own_user(caller, name),
        }
    }
}

fn parse<'a, const N: usize>(bytes: &'a [u8], names: MemberNames<N>) -> Checked<Members<'a, N>> {
    let text = std::str::from_utf8(bytes).map_err(|cause| {
        vec![format!(
            "the body is not valid UTF-8 at byte {}",
            cause.valid_up_to() + 1
        )]
    })?;
    if text.trim().is_empty() {
        return Err(vec![
            "the body is empty; it must be a JSON object".to_owned(),
        ]);
    }
    if !text.trim_start().starts_with('{') {
        return Err(vec![match serde_json::from_str(text) {
            Ok(value) => format!(
                "the body must be a JSON object, not {}",
                members::kind(value)
            ),
            Err(cause) => placed(&cause),
        }]);
    }
    match members::read(text, names) {
        Ok((members, faults)) if faults.is_empty() => Ok(members),
        Ok((_, faults)) => Err(faults.into_iter().map(String::from).collect()),
        Err(cause) => Err(vec![placed(&cause)]),
    }
}

/// Where a body is no JSON, and why.
fn placed(cause: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", cause.line(), cause.column());
    let full = cause.to_string();
    let what = match full.strip_suffix(&place).unwrap_or(&full) {
        // In a name. Nobody would guess it from these words.
        "unexpected end of hex escape" | "lone leading surrogate in hex escape" => {
            "half of a surrogate pair"
        }
        what => what,
    };
    format!("the body is not valid JSON{place}: {what}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::MessageId;

    /// What is wrong with a body of which member `a` is asked for.
    fn faults(body: &[u8]) -> Vec<String> {
        parse(body, &["a"]).expect_err("a fault")
    }

    #[test]
    fn broken_json_is_placed() {
        let fault = faults(b"{\n \"a\": 1,,}");
        assert_eq!(
            fault,
            ["the body is not valid JSON at line 2 column 9: key must be a string"]
        );
        for (wrong, part) in [
            (&b""[..], "empty"),
            (b" \n", "empty"),
            (b"[1, 2}", "not valid JSON at line 1 column 6"),
            (b"\"x", "EOF while parsing"),
            (b"nul", "not valid JSON"),
            (b"{\"a\": \"\xff\"}", "not valid UTF-8 at byte 8"),
            (b"{\"a\\ud83d\": \"\"}", "half of a surrogate pair"),
            (b"{\"a\\ude00\": \"\"}", "half of a surrogate pair"),
            (b"{\"\\ud83d\\ud83d\": 1}", "half of a surrogate pair"),
            (b"{\"a\": \"\\ud8\"}", "invalid escape"),
            (b"{\"a\": 1", "EOF while parsing"),
            (b"{\"x\": [1, 2}", "not valid JSON"),
            (b"{\"x\": nul}", "not valid JSON"),
            (b"{\"x\": {\"y\": }}", "not valid JSON"),
            (b"{x: 1}", "key must be a string"),
            (b"{7: 1}", "key must be a string"),
            (b"{} {}", "trailing characters"),
            (b"7 7", "trailing characters"),
        ] {
            let faults = faults(wrong);
            assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
        }
    }

    #[test]
    fn what_is_no_object_is_told_by_its_kind() {
        for (text, kind) in [
            ("null", "null"),
            ("true", "a boolean"),
            (" -7", "a number"),
            ("\"a\"", "a string"),
            ("[{}]", "an array"),
        ] {
            let fault = format!("the body must be a JSON object, not {kind}");
            assert_eq!(faults(text.as_bytes()), [fault]);
        }
    }

    #[test]
    fn null_is_absent_and_a_wrong_type_is_named() {
        let body = JsonBody::of(
            r#"{"a": null, "b": 7, "c": "\u0041\n", "d": "nope", "e": {"a": "c"}, "f": [7], "g": false,
                "x": [1, {"a": []}], "h\u0068": "hh"}"#,
        );
        let names = &["a", "b", "c", "d", "e", "f", "g", "h", "hh"];
        let fields = body.fields(names).unwrap();
        for absent in ["a", "h"] {
            assert_eq!(fields.optional_text(absent), Ok(None));
            let required = vec![format!("{absent} is required")];
            assert_eq!(fields.text(absent), Err(required));
        }
        for (name, kind) in [
            ("b", "a number"),
            ("e", "an object"),
            ("f", "an array"),
            ("g", "a boolean"),
        ] {
            let fault = vec![format!("{name} must be a string, not {kind}")];
            assert_eq!(fields.text(name), Err(fault));
        }
        assert_eq!(fields.text("c"), Ok("A\n".to_owned()));
        assert_eq!(fields.text("hh"), Ok("hh".to_owned()));
        assert_eq!(
            fields.id::<MessageId>("d"),
            Err(vec!["d must be a UUID, not \"nope\"".to_owned()])
        );
    }

    /// As JavaScript makes one, by cutting a text within an emoji.
    #[test]
    fn half_of_a_surrogate_pair_is_a_fault_of_its_field() {
        for half in ["\\ud83d", "\\ude00", "\\ud83d\\ud83d", "x\\ud800x"] {
            let body = JsonBody::of(&format!(r#"{{"a": "{half}", "b": "x"}}"#));
            let fields = body.fields(&["a", "b"]).unwrap();
            let fault = "a is no text: it holds half of a surrogate pair".to_owned();
            assert_eq!(fields.text("a"), Err(vec![fault]));
            assert_eq!(fields.text("b"), Ok("x".to_owned()));
        }
    }

    #[test]
    fn names_that_are_wrong_are_all_told_of() {
        let faults = parse(br#"{"User1Id": 1, "user2_id": 2}"#, &["user1Id", "user2Id"]);
        let expected = [
            "unknown member User1Id: use user1Id",
            "unknown member user2_id: use user2Id",
        ];
        assert_eq!(faults.unwrap_err(), expected);
        let faults = parse(br#"{"a": 1, "b": "x", "a": "y"}"#, &["a", "b"]);
        assert_eq!(faults.unwrap_err(), ["a must be given only once"]);
        // In the body itself only.
        let within = JsonBody::of(r#"{"b": {"a": 1, "a": 2, "B": 3}}"#);
        assert!(within.fields(&["a", "b"]).is_ok());
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes, &["a"]);
        }
    }
}
