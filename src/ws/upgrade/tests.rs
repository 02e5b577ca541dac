use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt;
use proptest::prelude::*;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::*;
use crate::testing;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
        .collect()
}

/// A good handshake with one header replaced, or removed by an empty value.
fn handshake_with(name: &'static str, value: &str) -> HeaderMap {
    let mut map = headers(&[
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ]);
    match value {
        "" => map.remove(name),
        value => map.insert(name, value.parse().unwrap()),
    };
    map
}

#[test]
fn a_handshake_of_version_13_is_accepted() {
    for (name, value) in [
        ("connection", "Upgrade"),
        ("connection", "keep-alive, upgrade"),
        ("upgrade", "WebSocket"),
        ("upgrade", "h2c, websocket"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ] {
        let key = websocket_key(&handshake_with(name, value));
        assert!(key.is_ok(), "{name}: {value}");
    }
}

#[test]
fn anything_else_is_told_what_a_handshake_needs() {
    for (name, value, wanted) in [
        ("connection", "", "Connection"),
        ("connection", "keep-alive", "Connection"),
        ("upgrade", "", "Upgrade: websocket"),
        ("upgrade", "h2c", "Upgrade: websocket"),
        ("sec-websocket-version", "", "13"),
        ("sec-websocket-version", "8", "13"),
        ("sec-websocket-key", "", "Sec-WebSocket-Key"),
        ("sec-websocket-key", "short", "Sec-WebSocket-Key"),
        (
            "sec-websocket-key",
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "Sec-WebSocket-Key",
        ),
        (
            "sec-websocket-key",
            "AAAAAAAAAAAAAAAAAAAAA\"==",
            "Sec-WebSocket-Key",
        ),
    ] {
        match websocket_key(&handshake_with(name, value)) {
            Err(Error::UpgradeRequired(message)) => {
                assert!(message.contains(wanted), "{name} {value:?}: {message}");
            }
            other => panic!("{name} {value:?}: {other:?}"),
        }
    }
}

#[test]
fn the_refusal_says_how_to_upgrade() {
    let response = refuse(&Error::UpgradeRequired("no".to_owned()));
    assert_eq!(response.status(), 426);
    assert_eq!(response.headers()["upgrade"], "websocket");
    // Without it, `upgrade` is none (RFC 9110 section 7.8).
    assert_eq!(response.headers()["connection"], "Upgrade");
    assert_eq!(response.headers()["sec-websocket-version"], "13");
    let response = refuse(&Error::invalid("no"));
    assert_eq!(response.status(), 400);
    assert!(!response.headers().contains_key("upgrade"));
}

#[test]
fn the_reply_proves_that_the_key_was_understood() {
    let key = HeaderValue::from_static(KEY);
    let response = switching_protocols(&key, true);
    assert_eq!(response.status(), 101);
    // The example of RFC 6455 section 1.3.
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(response.headers()["sec-websocket-protocol"], "pgchat.v1");
    let response = switching_protocols(&key, false);
    assert!(!response.headers().contains_key("sec-websocket-protocol"));
}

#[test]
fn only_our_subprotocol_counts_as_offered() {
    for (offered, ours) in [
        ("pgchat.v1", true),
        ("chat, pgchat.v1", true),
        ("pgchat.v1, bearer.abc", true),
        ("pgchat.v2", false),
        ("bearer.pgchat.v1", false),
    ] {
        let map = headers(&[("sec-websocket-protocol", offered)]);
        assert_eq!(
            offers(&map, SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL),
            ours,
            "{offered}"
        );
    }
}

#[test]
fn a_page_of_the_same_host_and_port_may_connect_and_others_may_not() {
    for (origin, host, fine) in [
        ("http://chat.example:8081", "chat.example:8081", true),
        ("http://Chat.Example:8081", "chat.example:8081", true),
        ("https://chat.example", "chat.example", true),
        ("https://chat.example", "chat.example:443", true),
        ("http://chat.example:80", "chat.example", true),
        ("http://[::1]:8081", "[::1]:8081", true),
        ("http://chat.example:8082", "chat.example:8081", false),
        ("http://chat.example", "chat.example:443", false),
        ("http://evil.example", "chat.example", false),
        ("http://chat.example.evil.example", "chat.example", false),
        ("null", "chat.example", false),
        ("file://", "", false),
    ] {
        let map = headers(&[("origin", origin), ("host", host)]);
        let verdict = check_origin(&map, &config(""));
        assert_eq!(verdict.is_ok(), fine, "{origin} on {host}");
        if let Err(error) = verdict {
            assert_eq!(error.code().name(), "origin_not_allowed");
        }
    }
}

#[test]
fn a_client_that_is_no_browser_has_no_origin_to_check() {
    assert!(check_origin(&headers(&[("host", "a")]), &config("")).is_ok());
}

#[test]
fn a_list_of_origins_replaces_the_rule_of_the_same_host() {
    let allowed = config("https://app.example");
    for (origin, fine) in [
        ("https://app.example", true),
        ("http://app.example", false),
        ("https://other.example", false),
        ("http://chat.example", false),
    ] {
        let map = headers(&[("origin", origin), ("host", "chat.example")]);
        assert_eq!(check_origin(&map, &allowed).is_ok(), fine, "{origin}");
        assert!(check_origin(&map, &config("*")).is_ok());
    }
}

#[test]
fn the_user_is_named_by_a_uuid() {
    let user = |query: &Query| named_or_own(whose(query)?, &Caller::trusted());
    let query = |value: &str| Query::parse(&format!("user_id={value}"));
    assert!(user(&query("018f4b1e-7b1a-7c3d-8e2f-0123456789ab")).is_ok());
    for (given, told) in [
        ("5", "must be a UUID, not \"5\""),
        (
            "018f4b1e-7b1a-7c3d-8e2f-0123456789a",
            "must be a UUID, not \"018f4b1e-7b1a-7c3d-8e2f-0123456789a\"",
        ),
        ("%zz", "holds a malformed percent escape"),
        ("%ff", "is not valid UTF-8"),
        ("", "is required"),
        ("me", "can be me only with a user's token"),
    ] {
        let error = user(&query(given)).unwrap_err();
        assert_eq!(error.code().name(), "validation_failed");
        assert_eq!(error.to_string(), format!("user_id {told}"));
    }
    let nothing = user(&Query::default()).unwrap_err();
    assert_eq!(nothing.to_string(), "user_id is required");
}

/// Who is told 503 instead comes again with the same token.
#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_a_handshake_is_told_while_the_database_is_waited_for() {
    const SERVICE_TOKEN: &str = "a service token of more than thirty-two bytes";
    // It accepts connections, and says nothing.
    let database = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = database.local_addr().unwrap().port().to_string();
    let vars = [
        ("DB_HOST", "127.0.0.1"),
        ("DB_PORT", &port),
        ("JWT_SECRET", "a secret of more than thirty-two bytes"),
        ("SERVICE_TOKENS", SERVICE_TOKEN),
    ];
    let config = Config::from_vars(&vars).unwrap();
    let alice = UserId(Uuid::from_u128(1));
    let bearer = |ttl| {
        let token = crate::auth::mint(&config.auth, alice, Duration::from_secs(ttl)).unwrap();
        format!("Bearer {token}")
    };
    let (good, expired) = (bearer(3600), bearer(0));
    let in_list = expired.replace("Bearer ", "pgchat.v1, bearer.");
    let services = Arc::new(testing::services_of(testing::hub(1), config));

    let told = async |header: (&'static str, &str), parameter: (&str, &str)| {
        let headers = handshake_with(header.0, header.1);
        let query = Query::parse(&format!("{}={}", parameter.0, parameter.1));
        let on_upgrade = Some(hyper::upgrade::on(hyper::Request::new(())));
        let answer = handshake(Arc::clone(&services), &headers, &query, on_upgrade).await;
        answer.map(drop).unwrap_err().code().name()
    };
    let alice = alice.to_string();
    let service = format!("Bearer {SERVICE_TOKEN}");
    for (header, parameter, code) in [
        (
            ("authorization", &*expired),
            ("user_id", &*alice),
            "token_expired",
        ),
        (
            ("sec-websocket-protocol", &in_list),
            ("user_id", &alice),
            "token_expired",
        ),
        (
            ("authorization", "Bearer x"),
            ("user_id", &alice),
            "token_invalid",
        ),
        (
            ("authorization", &good),
            ("user_id", "5"),
            "validation_failed",
        ),
        (
            ("authorization", &service),
            ("user_id", ""),
            "validation_failed",
        ),
        (("origin", ""), ("user_id", &alice), "unauthorized"),
        (("origin", ""), ("ticket", "x"), "ticket_invalid"),
        // Only these wait.
        (("authorization", &good), ("user_id", &alice), "unavailable"),
        (("origin", ""), ("ticket", &"0".repeat(64)), "unavailable"),
    ] {
        assert_eq!(
            told(header, parameter).await,
            code,
            "{header:?} {parameter:?}"
        );
    }
}

/// Whether there is room by now says nothing about why it was refused.
#[tokio::test(start_paused = true)]
async fn only_who_was_refused_for_want_of_room_is_not_held() {
    let vars = [
        ("DB_HOST", "127.0.0.1"),
        ("REFUSED_HANDSHAKES_PER_SECOND", "1"),
    ];
    let config = Config::from_vars(&vars).unwrap();
    let services = testing::services_of(testing::hub(1), config);
    let full = Error::ReplicaFull { limit: 1 };
    let closing = Error::unavailable("this replica is closing");
    let is_held = |error| turn_of_refusal(&services, error).now_or_never().is_none();
    // The second's one refusal.
    assert!(!is_held(&closing));
    assert!(is_held(&closing));
    assert!(!is_held(&full));
    let response = refuse(&full);
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
}

fn config(allowed_origins: &str) -> Config {
    let vars = [("DB_HOST", "x"), ("ALLOWED_ORIGINS", allowed_origins)];
    Config::from_vars(&vars).unwrap()
}

/// Values that a header may have: visible ASCII, tabs, and bytes beyond it.
fn header_value() -> impl Strategy<Value = HeaderValue> {
    prop::collection::vec(prop_oneof![0x20u8..0x7f, Just(b'\t'), 0x80u8..], 0..40)
        .prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap())
}

proptest! {
    #[test]
    fn every_key_of_16_bytes_is_one(bytes: [u8; 16]) {
        let key = STANDARD.encode(bytes);
        prop_assert!(websocket_key(&handshake_with("sec-websocket-key", &key)).is_ok());
    }

    #[test]
    fn a_key_that_is_taken_has_24_characters(key in "[A-Za-z0-9+/=]{0,30}") {
        let taken = websocket_key(&handshake_with("sec-websocket-key", &key)).is_ok();
        prop_assert!(!taken || key.len() == 24 && key.ends_with("=="));
    }

    #[test]
    fn no_header_makes_a_handshake_panic(
        name in prop::sample::select(vec![
            "connection", "upgrade", "sec-websocket-version", "sec-websocket-key", "sec-websocket-protocol", "origin", "host",
        ]),
        values in prop::collection::vec(header_value(), 0..4)
    ) {
        let mut map = handshake_with(name, "");
        for value in values {
            map.append(name, value);
        }
        let _ = websocket_key(&map);
        let _ = check_origin(&map, &config(""));
        let _ = check_origin(&map, &config("https://app.example"));
        let _ = offers(&map, SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    }
}

/// The largest part of what an idle socket holds, and there are tens of thousands.
#[tokio::test]
async fn the_task_of_a_socket_is_small() {
    const MOST_BYTES: usize = 2300;
    let hub = testing::hub(1);
    let minute = Duration::from_secs(60);
    let services = Arc::new(testing::services(hub, minute, minute));
    let user = UserId(Uuid::nil());
    let subscription = services.hub.register(user).unwrap();
    let on_upgrade = hyper::upgrade::on(hyper::Request::new(()));
    let task = open(
        services,
        Caller::trusted(),
        user,
        subscription,
        None,
        true,
        on_upgrade,
    );
    let bytes = size_of_val(&task);
    assert!(bytes <= MOST_BYTES, "{bytes}");
}
