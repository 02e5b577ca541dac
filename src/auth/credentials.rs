//! Where a request carries its credentials. No I/O, and no judgement of what is found.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use warp::http::HeaderMap;
use warp::http::header::{AUTHORIZATION, SEC_WEBSOCKET_PROTOCOL};

use super::token::invalid;
use crate::error::Error;
use crate::header_list;

/// What precedes a token in the list of subprotocols, where a browser can put it.
const SUBPROTOCOL_PREFIX: &str = "bearer.";

/// The token of `Authorization: Bearer …` (RFC 6750 section 2.1); `None` without that header. Another scheme, and
/// the header given twice, are bad credentials.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Err(invalid("the header Authorization is there twice")),
    };
    value
        .to_str()
        .ok()
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .filter(|token| !token.is_empty())
        .map(Some)
        .ok_or_else(|| invalid("the header Authorization must be \"Bearer TOKEN\""))
}

/// The token among the subprotocols that a WebSocket handshake offers: `pgchat.v1, bearer.<jwt>`.
pub fn subprotocol_token(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut tokens = header_list::members(headers, SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|member| member.strip_prefix(SUBPROTOCOL_PREFIX));
    match (tokens.next(), tokens.next()) {
        (_, Some(_)) => Err(invalid("there are two among the subprotocols")),
        (Some(""), None) => Err(invalid("the subprotocol \"bearer.\" has no token")),
        (token, None) => Ok(token),
    }
}

/// A secret as it is kept and compared: by its hash, so that neither its text nor its length tells anything.
pub type SecretHash = [u8; 32];

/// SHA-256.
pub fn hash(secret: &[u8]) -> SecretHash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, secret).as_ref());
    bytes
}

/// Opens one socket, once: 256 random bits. Only its hash is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ticket([u8; 32]);

impl Ticket {
    pub fn random() -> Self {
        Self(rand::random())
    }

    pub fn hash(&self) -> SecretHash {
        hash(&self.0)
    }

    /// What the client gets: 64 hexadecimal digits.
    pub fn expose(&self) -> String {
        HEXLOWER.encode(&self.0)
    }
}

impl FromStr for Ticket {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(drop)?;
        bytes.try_into().map(Self).map_err(drop)
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use warp::http::HeaderValue;
    use warp::http::header::HeaderName;

    use super::*;

    fn headers(name: HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for value in [
            "Bearer a.b.c",
            "bearer a.b.c",
            "BEARER   a.b.c",
            "Bearer a.b.c ",
        ] {
            let headers = headers(AUTHORIZATION, &[value]);
            assert_eq!(bearer(&headers).unwrap(), Some("a.b.c"), "{value}");
        }
        assert_eq!(bearer(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn another_scheme_and_a_second_header_are_bad_credentials() {
        for values in [
            &["Basic YTpi"][..],
            &["Bearer"],
            &["Bearer "],
            &[""],
            &["a.b.c"],
            &["Bearer a", "Bearer a"],
        ] {
            assert!(
                bearer(&headers(AUTHORIZATION, values)).is_err(),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_token_among_the_subprotocols_is_found_in_any_place() {
        for values in [
            &["pgchat.v1, bearer.a.b.c"][..],
            &["bearer.a.b.c,pgchat.v1"],
            &["pgchat.v1", "bearer.a.b.c"],
            &["bearer.a.b.c"],
        ] {
            let headers = headers(SEC_WEBSOCKET_PROTOCOL, values);
            assert_eq!(
                subprotocol_token(&headers).unwrap(),
                Some("a.b.c"),
                "{values:?}"
            );
        }
        let none = headers(SEC_WEBSOCKET_PROTOCOL, &["pgchat.v1, Bearer.x"]);
        assert_eq!(subprotocol_token(&none).unwrap(), None);
        for values in [
            &["bearer."][..],
            &["bearer.a, bearer.b"],
            &["bearer.a", "bearer.b"],
        ] {
            let headers = headers(SEC_WEBSOCKET_PROTOCOL, values);
            assert!(subprotocol_token(&headers).is_err(), "{values:?}");
        }
    }

    #[test]
    fn a_ticket_shows_itself_only_when_asked() {
        let ticket = Ticket::random();
        assert_eq!(format!("{ticket:?}"), "***");
        assert_eq!(ticket.expose().parse(), Ok(ticket));
        assert_ne!(ticket, Ticket::random());
        assert_ne!(ticket.hash(), ticket.0);
    }

    proptest! {
        #[test]
        fn no_header_makes_reading_panic(value in "[ -~]{0,64}", more in "[ -~]{0,64}") {
            let both = headers(AUTHORIZATION, &[&value, &more]);
            prop_assert!(bearer(&both).is_err());
            let _ = bearer(&headers(AUTHORIZATION, &[&value]));
            let _ = subprotocol_token(&headers(SEC_WEBSOCKET_PROTOCOL, &[&value, &more]));
        }

        #[test]
        fn a_token_that_is_found_is_what_was_sent(token in "[!-~]{1,64}") {
            let sent = format!("Bearer {token}");
            let headers = headers(AUTHORIZATION, &[&sent]);
            prop_assert_eq!(bearer(&headers).unwrap(), Some(token.as_str()));
        }

        #[test]
        fn only_the_text_of_a_ticket_is_a_ticket(text in ".{0,70}") {
            if let Ok(ticket) = text.parse::<Ticket>() {
                prop_assert_eq!(ticket.expose(), text);
            }
        }

        #[test]
        fn every_ticket_survives_its_text(bytes: [u8; 32]) {
            prop_assert_eq!(Ticket(bytes).expose().parse(), Ok(Ticket(bytes)));
        }
    }
}
