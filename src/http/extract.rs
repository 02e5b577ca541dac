//! From a request's path to values that are checked. Nothing here rejects: a rejection means
//! "not my route", while a bad value is an [`Error`](crate::error::Error) of the route that was found.

use std::convert::Infallible;
use std::str::FromStr;

use crate::auth::{Caller, ME, NamedUser};
use crate::query_string::percent_decoded;

pub use crate::query_string::{Checked, Query, all, id};

/// The user whom `text` names; [`ME`] is the caller's own.
pub fn named_user(name: &str, text: &str, caller: &Caller) -> Checked<NamedUser> {
    match text {
        ME => caller
            .own_user()
            .ok_or_else(|| vec![format!("{name} can be me only with a user's token")]),
        text => id(name, text),
    }
}

/// One segment of the path, as sent. Which route matches never depends on its content.
pub struct Segment(String);

impl FromStr for Segment {
    type Err = Infallible;

    fn from_str(raw: &str) -> Result<Self, Infallible> {
        Ok(Self(raw.to_owned()))
    }
}

impl Segment {
    /// The segment as an id; `name` is what the fault calls it.
    pub fn id<T: FromStr>(&self, name: &str) -> Checked<T> {
        id(name, &self.text(name)?)
    }

    /// The segment as the user whom the path names.
    pub fn user(&self, caller: &Caller) -> Checked<NamedUser> {
        named_user("user_id", &self.text("user_id")?, caller)
    }

    /// The segment as text; `name` is what the fault calls it.
    pub fn text(&self, name: &str) -> Checked<String> {
        percent_decoded(self.0.as_bytes()).map_err(|fault| vec![format!("{name} {fault}")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0198d9f0-0000-7000-8000-000000000001";

    fn segment(raw: &str) -> Segment {
        raw.parse().unwrap()
    }

    #[test]
    fn ids_in_the_path_must_be_uuids() {
        assert!(segment(ID).id::<NamedUser>("user_id").is_ok());
        assert!(
            segment(&ID.to_uppercase())
                .id::<NamedUser>("user_id")
                .is_ok()
        );
        assert!(
            segment(&ID.replace('-', "%2D"))
                .id::<NamedUser>("user_id")
                .is_ok()
        );
        for wrong in ["abc", "%ff", "%", "0198d9f0-0000-7000-8000-00000000000g"] {
            let faults = segment(wrong).id::<NamedUser>("user_id").unwrap_err();
            assert!(faults[0].starts_with("user_id "), "{faults:?}");
        }
    }
}
