//! The query string of a request, and the checks of what a request names: routes of HTTP and the socket's handshake refuse the same
//! things in the same words.
//!
//! Checks return [`Checked`], and [`all`] joins several of them, so that a caller learns of every fault at once.

use std::ops::RangeInclusive;
use std::str::FromStr;

use percent_encoding::percent_decode;

use crate::model::Seq;
use crate::spelling;
use crate::store::Page;
use crate::text::quoted;

/// A value, or everything that is wrong with it, one line a fault.
pub type Checked<T> = Result<T, Vec<String>>;

/// All of these values, two to five of them, or the faults of all in their order.
pub fn all<T: Several>(checked: T) -> Checked<T::Values> {
    checked.all()
}

/// A tuple of checked values.
pub trait Several {
    type Values;

    fn all(self) -> Checked<Self::Values>;
}

macro_rules! several {
    ($($value:ident: $type:ident),+) => {
        impl<$($type),+> Several for ($(Checked<$type>,)+) {
            type Values = ($($type,)+);

            fn all(self) -> Checked<Self::Values> {
                let ($($value,)+) = self;
                let mut faults = Vec::new();
                $(let $value = $value.map_err(|more| faults.extend(more));)+
                match ($($value,)+) {
                    ($(Ok($value),)+) => Ok(($($value,)+)),
                    _ => Err(faults),
                }
            }
        }
    };
}

several!(a: A, b: B);
several!(a: A, b: B, c: C);
several!(a: A, b: B, c: C, d: D);
several!(a: A, b: B, c: C, d: D, e: E);

/// The largest `offset`. Far more than a client pages through; `before` and `after` have no such end.
const MAX_OFFSET: i64 = i32::MAX as i64;

/// `seq` values that a caller may name: 0 stands for "before the first message".
const SEQS: RangeInclusive<i64> = 0..=i64::MAX;

/// An id in any form that [`uuid::Uuid`] reads: with hyphens or without, in either case.
pub fn id<T: FromStr>(name: &str, text: &str) -> Checked<T> {
    text.parse()
        .map_err(|_| vec![format!("{name} must be a UUID, not {}", quoted(text))])
}

/// Stands for what cannot be decoded (U+FFFD, the replacement character).
const UNREADABLE: &str = "\u{fffd}";

/// The query string. A parameter that the route does not know is ignored, whatever it holds, but for one that is named like a member of a
/// body (`upToSeq`): left out, `up_to_seq` may mean all that there is.
#[derive(Debug, Default)]
pub struct Query {
    /// Values keep their fault, since only the values that are asked for have to be right.
    pairs: Vec<(String, Result<String, &'static str>)>,
}

impl Query {
    /// Reads `application/x-www-form-urlencoded`: `+` is a space.
    pub fn parse(raw: &str) -> Self {
        let decoded = |text: &str| percent_decoded(text.replace('+', " ").as_bytes());
        let pairs = raw
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decoded(name).ok()?, decoded(value)))
            })
            .collect();
        Self { pairs }
    }

    /// A parameter's text. Given twice it is a fault: proxies disagree on which one counts.
    pub fn text(&self, name: &str) -> Checked<Option<&str>> {
        if let Some((other, _)) = self.pairs.iter().find(|(key, _)| is_misspelt(key, name)) {
            return Err(vec![spelling::fault("parameter", other, name)]);
        }
        let mut values = self.pairs.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some((_, Ok(value))), None) => Ok(Some(value)),
            (Some((_, Err(fault))), None) => Err(vec![format!("{name} {fault}")]),
            (Some(_), Some(_)) => Err(vec![format!("{name} must be given only once")]),
        }
    }

    /// A parameter as an id.
    pub fn id<T: FromStr>(&self, name: &str) -> Checked<Option<T>> {
        self.text(name)?.map(|text| id(name, text)).transpose()
    }

    /// A parameter's text, of a kind that the service has made and reads as a whole, such as a cursor. What cannot be decoded is no fault:
    /// it is none of the service's, like any other text that it has not made.
    pub fn token(&self, name: &str) -> Checked<Option<&str>> {
        let mut values = self.pairs.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (Some((_, Err(_))), None) => Ok(Some(UNREADABLE)),
            _ => self.text(name),
        }
    }

    /// A whole number in `range`, in plain decimal digits.
    pub fn number(&self, name: &str, range: RangeInclusive<i64>) -> Checked<Option<i64>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        // `parse` alone would take "+5" as well, which arrives only by an odd encoding.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits && range.contains(&number) => Ok(Some(number)),
            _ => Err(vec![format!(
                "{name} must be a whole number from {} to {}, not {}",
                range.start(),
                range.end(),
                quoted(text)
            )]),
        }
    }

    /// `true` or `false`; absent, it is false.
    pub fn flag(&self, name: &str) -> Checked<bool> {
        Ok(self.choice(name)?.unwrap_or(false))
    }

    /// `true` or `false`, or neither.
    pub fn choice(&self, name: &str) -> Checked<Option<bool>> {
        match self.text(name)? {
            None => Ok(None),
            Some("false") => Ok(Some(false)),
            Some("true") => Ok(Some(true)),
            Some(other) => Err(vec![format!(
                "{name} must be true or false, not {}",
                quoted(other)
            )]),
        }
    }

    /// A position in a conversation, in [`SEQS`].
    pub fn seq(&self, name: &str) -> Checked<Option<Seq>> {
        Ok(self.number(name, SEQS)?.map(Seq))
    }

    /// Items of one page, 1 to `max`; absent, it is `default`.
    pub fn limit(&self, default: i64, max: i64) -> Checked<i64> {
        Ok(self.number("limit", 1..=max)?.unwrap_or(default))
    }

    /// `None` when the parameter is absent, which is not the same as 0 beside `before` and `after`.
    pub fn offset(&self) -> Checked<Option<i64>> {
        self.number("offset", 0..=MAX_OFFSET)
    }

    /// A page by position: `limit`, and `offset` up to [`MAX_OFFSET`].
    pub fn page(&self, default_limit: i64, max_limit: i64) -> Checked<Page> {
        self.page_within(default_limit, max_limit, MAX_OFFSET)
    }

    /// A page of a list that one cannot go down to its end.
    pub fn page_within(
        &self,
        default_limit: i64,
        max_limit: i64,
        max_offset: i64,
    ) -> Checked<Page> {
        let limit = self.limit(default_limit, max_limit);
        let (limit, offset) = all((limit, self.number("offset", 0..=max_offset)))?;
        Ok(Page {
            limit,
            offset: offset.unwrap_or(0),
        })
    }
}

/// Whether `key` is a name of several words, such as `user_id`, in another spelling: `userId`, `userID`, `user-id`.
fn is_misspelt(key: &str, name: &str) -> bool {
    name.contains('_') && spelling::is_misspelt(key, name)
}

/// Undoes `%XX`. Strict: a malformed escape is a fault and not taken literally, or two readers of one
/// URI could see two values.
pub fn percent_decoded(raw: &[u8]) -> Result<String, &'static str> {
    let is_escape =
        |after: &[u8]| matches!(after, [a, b, ..] if [a, b].iter().all(|d| d.is_ascii_hexdigit()));
    if !raw.split(|byte| *byte == b'%').skip(1).all(is_escape) {
        return Err("holds a malformed percent escape");
    }
    let bytes = percent_decode(raw).collect();
    let text = String::from_utf8(bytes).map_err(|_| "is not valid UTF-8")?;
    // PostgreSQL's text holds no NUL, and nothing that a path or query names has one.
    if text.contains('\0') {
        return Err("must not contain U+0000");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ConversationId;

    #[test]
    fn limits_outside_their_range_are_refused_and_the_fault_names_it() {
        for wrong in [
            "abc",
            "-1",
            "0",
            "201",
            "",
            "1.5",
            "1e2",
            "%2B5",
            "99999999999999999999",
            "٣",
        ] {
            let fault = Query::parse(&format!("limit={wrong}"))
                .limit(50, 200)
                .unwrap_err();
            assert!(
                fault[0].starts_with("limit must be a whole number from 1 to 200"),
                "{fault:?}"
            );
        }
        assert_eq!(Query::parse("limit=1").limit(50, 200), Ok(1));
        assert_eq!(Query::parse("limit=200").limit(50, 200), Ok(200));
        assert_eq!(Query::parse("").limit(50, 200), Ok(50));
    }

    #[test]
    fn of_several_values_all_are_there_or_all_faults_are_in_their_order() {
        let fault = |what: &str| Err::<(), _>(vec![what.to_owned()]);
        assert_eq!(all((Ok(1), Ok("b"), Ok(()))), Ok((1, "b", ())));
        let faults = all((fault("a"), Ok(2), fault("c"), Ok(4), fault("e")));
        assert_eq!(faults.unwrap_err(), ["a", "c", "e"]);
    }

    #[test]
    fn every_fault_is_reported_not_only_the_first() {
        let faults = Query::parse("limit=0&offset=x").page(50, 200).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    #[test]
    fn a_parameter_given_twice_is_a_fault_unless_nobody_asks_for_it() {
        let query = Query::parse("a=1&a=2&limit=3&limit=3");
        assert!(query.limit(50, 200).is_err());
        assert!(query.token("a").is_err());
        assert_eq!(query.offset(), Ok(None));
    }

    #[test]
    fn a_parameter_that_is_spelt_like_a_member_of_a_body_is_a_fault() {
        for other in ["upToSeq", "uptoseq", "up-to-seq", "Up_To_Seq", "up%54o_seq"] {
            for raw in [format!("{other}=5"), format!("up_to_seq=5&{other}=5")] {
                let fault = Query::parse(&raw).seq("up_to_seq").unwrap_err();
                let other = other.replace("%54", "T");
                assert_eq!(fault, [format!("unknown parameter {other}: use up_to_seq")]);
            }
        }
        // Of one word there is no other spelling, and what merely resembles one is ignored.
        let query = Query::parse("Limit=0&up_to_sequence=x&to_seq=x");
        assert_eq!(query.limit(50, 200), Ok(50));
        assert_eq!(query.seq("up_to_seq"), Ok(None));
    }

    #[test]
    fn names_and_values_are_percent_decoded() {
        let query = Query::parse("%71=%C3%A4+%26%3D&flag&&x=a=b");
        assert_eq!(query.text("q"), Ok(Some("ä &=")));
        assert_eq!(query.text("flag"), Ok(Some("")));
        assert_eq!(query.text("x"), Ok(Some("a=b")));
    }

    #[test]
    fn a_bad_escape_or_bad_utf8_is_a_fault_only_where_it_is_read() {
        let query = Query::parse("q=%zz&r=%ff&s=%4&t=%00&limit=5&%ff=1");
        for name in ["q", "r", "s", "t"] {
            assert!(query.text(name).is_err(), "{name}");
            assert_eq!(query.token(name), Ok(Some(UNREADABLE)));
        }
        assert_eq!(query.limit(50, 200), Ok(5));
    }

    #[test]
    fn a_long_wrong_value_is_quoted_short() {
        let fault = id::<ConversationId>("user_id", &"ü".repeat(5000)).unwrap_err();
        assert!(fault[0].len() < 200, "{}", fault[0].len());
    }

    proptest! {
        #[test]
        fn no_query_string_panics(raw in ".*") {
            let query = Query::parse(&raw);
            let _ = query.page(50, 200);
            let _ = query.seq("before");
            let _ = query.text("user_id");
        }

        #[test]
        fn what_is_encoded_comes_back(value in "[^\0]*") {
            let encoded: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let query = Query::parse(&format!("a=1&q={encoded}&b"));
            prop_assert_eq!(query.text("q"), Ok(Some(value.as_str())));
        }

        #[test]
        fn numbers_are_taken_exactly_in_their_range(number: i64) {
            let query = Query::parse(&format!("n={number}"));
            let taken = query.number("n", 1..=1000);
            prop_assert_eq!(taken.is_ok(), (1..=1000).contains(&number));
        }
    }
}
