//! What is in a body: one JSON object, whose members a handler takes out one by one.

mod values;

use std::str::FromStr;

use super::call::own_user;
use super::extract::{Checked, id, named_user};
use crate::auth::{Caller, NamedUser};
use crate::limits::Reservation;
use crate::members::MemberNames;
use values::{Json, Member, Members};

/// The members of a JSON object that a handler asks for, taken out one by one. `null` counts as absent; others are ignored, but for what
/// looks like one of them.
pub struct Fields {
    names: MemberNames,
    members: Members,
    _reservation: Reservation,
}

impl Fields {
    /// The members `names` of a body, which keeps `reservation` for as long as they are there. The faults say what is wrong with it.
    pub fn parse(bytes: &[u8], names: MemberNames, reservation: Reservation) -> Checked<Self> {
        Ok(Self {
            names,
            members: parse(bytes, names)?,
            _reservation: reservation,
        })
    }

    #[cfg(test)]
    pub fn from_json(text: &str, names: MemberNames) -> Self {
        Self::parse(text.as_bytes(), names, Reservation::default()).unwrap()
    }

    /// A member's text, once; `None` where it is absent or null. `name` must be one of those that were read.
    pub fn optional_text(&mut self, name: &str) -> Checked<Option<String>> {
        debug_assert!(self.names.contains(&name), "{name} was not read");
        let place = self.members.iter().position(|(read, _)| *read == name);
        match place.map(|place| self.members.swap_remove(place).1) {
            None | Some(Member::Null) => Ok(None),
            Some(Member::Text(text)) => Ok(Some(text)),
            Some(Member::Other(kind)) => Err(vec![format!("{name} must be a string, not {kind}")]),
        }
    }

    /// A member's text; a fault where it is absent or null.
    pub fn text(&mut self, name: &str) -> Checked<String> {
        self.optional_text(name)?
            .ok_or_else(|| vec![format!("{name} is required")])
    }

    /// A member as an id; a fault where it is absent or null.
    pub fn id<T: FromStr>(&mut self, name: &str) -> Checked<T> {
        id(name, &self.text(name)?)
    }

    /// A user who must be named.
    pub fn user(&mut self, name: &str, caller: &Caller) -> Checked<NamedUser> {
        named_user(name, &self.text(name)?, caller)
    }

    /// A user, or the caller's own where none is named.
    pub fn user_or_own(&mut self, name: &str, caller: &Caller) -> Checked<NamedUser> {
        match self.optional_text(name)? {
            Some(text) => named_user(name, &text, caller),
            None => own_user(caller, name),
        }
    }
}

fn parse(bytes: &[u8], names: MemberNames) -> Checked<Members> {
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
    match values::read(text, names) {
        Ok(Json::Object(members)) => Ok(members),
        Ok(Json::Misnamed(faults)) => Err(faults),
        Ok(Json::Other(kind)) => Err(vec![format!("the body must be a JSON object, not {kind}")]),
        Err(cause) => Err(vec![placed(&cause)]),
    }
}

/// Where a body is no JSON, and why.
fn placed(cause: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", cause.line(), cause.column());
    let full = cause.to_string();
    let what = match full.strip_suffix(&place).unwrap_or(&full) {
        // The usual cause is a text that was cut within an emoji, which nobody would guess from these words.
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

    #[test]
    fn broken_json_is_placed() {
        let fault = parse(b"{\n \"a\": 1,,}", &[]).unwrap_err();
        assert_eq!(
            fault,
            ["the body is not valid JSON at line 2 column 9: key must be a string"]
        );
        for (wrong, part) in [
            (&b""[..], "empty"),
            (b"[1]", "not an array"),
            (b"\"x\"", "not a string"),
            (b"{\"a\": \"\xff\"}", "not valid UTF-8 at byte 8"),
            (b"{\"a\": \"\\ud83d\"}", "half of a surrogate pair"),
            (b"{\"a\": \"\\ude00\"}", "half of a surrogate pair"),
            (b"{\"a\": \"\\ud83d\\ud83d\"}", "half of a surrogate pair"),
            (b"{\"a\": \"\\ud8\"}", "invalid escape"),
            (b"{\"a\": 1", "EOF while parsing"),
            (b"{} {}", "trailing characters"),
        ] {
            let faults = parse(wrong, &["a"]).unwrap_err();
            assert!(faults.len() == 1 && faults[0].contains(part), "{faults:?}");
        }
    }

    #[test]
    fn null_is_absent_and_a_wrong_type_is_named() {
        let mut fields = Fields::from_json(
            r#"{"a": null, "b": 7, "c": "x", "d": "nope"}"#,
            &["a", "b", "c", "d"],
        );
        assert_eq!(fields.optional_text("a"), Ok(None));
        assert_eq!(fields.text("a"), Err(vec!["a is required".to_owned()]));
        assert_eq!(
            fields.text("b"),
            Err(vec!["b must be a string, not a number".to_owned()])
        );
        assert_eq!(fields.text("c"), Ok("x".to_owned()));
        assert_eq!(
            fields.id::<MessageId>("d"),
            Err(vec!["d must be a UUID, not \"nope\"".to_owned()])
        );
    }

    #[test]
    fn names_that_are_wrong_are_all_told_of() {
        let faults = parse(br#"{"User1Id": 1, "user2_id": 2}"#, &["user1Id", "user2Id"]);
        let expected = [
            "unknown member User1Id: use user1Id",
            "unknown member user2_id: use user2Id",
        ];
        assert_eq!(faults.unwrap_err(), expected);
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes, &["a"]);
        }
    }
}
