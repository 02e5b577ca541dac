//! Tokens that are no good, each in its own way, and odd ones that are.

use reqwest::Method;
use serde_json::{Value, json};

use super::table::{AUDIENCE, Answer, Stage, assert_answered, good, good_token, routes};
use super::tokens::{self, SECRET, hmac_token, hs256, now, token, unsigned};
use super::{SERVICE_TOKEN, replica};
use crate::support::*;

fn with(name: &str, value: Value) -> Value {
    let mut claims = good(ALICE);
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good(ALICE);
    claims.as_object_mut().expect("claims").remove(name);
    claims
}

/// Credentials that are good for nothing, on any route that needs some.
#[rustfmt::skip]
fn bad_credentials() -> Vec<(&'static str, Option<String>, Answer)> {
    let invalid = (401, "token_invalid");
    let expired = (401, "token_expired");
    let text = |token: &str| Some(token.to_owned());
    let claims = |claims: Value| Some(hs256(&claims));
    let signed = |header: Value, secret: &str| Some(hmac_token(&header, &good(ALICE), secret));
    let by = |alg: &str| json!({"alg": alg, "typ": "JWT"});
    let mut cut = good_token(ALICE);
    cut.pop();
    let last = if cut.pop() == Some('A') { 'B' } else { 'A' };
    cut.push(last);
    vec![
        ("no token", None, (401, "unauthorized")),
        ("garbage", text("garbage"), invalid),
        ("three parts of garbage", text("a.b.c"), invalid),
        ("a cut signature", Some(cut), invalid),
        ("a fourth part", Some(good_token(ALICE) + "."), invalid),
        ("part of a service token", text(&SERVICE_TOKEN[..SERVICE_TOKEN.len() - 1]), invalid),

        ("wrong key", signed(by("HS256"), "another secret"), invalid),
        ("wrong algorithm", signed(by("HS512"), SECRET), invalid),
        ("an algorithm that does not fit the key", signed(by("RS256"), SECRET), invalid),
        ("the algorithm in other letters", signed(by("hs256"), SECRET), invalid),
        ("none", Some(unsigned(&good(ALICE))), invalid),
        ("a kid that is a number", signed(json!({"alg": "HS256", "kid": 7}), SECRET), invalid),
        ("critical parameters", signed(json!({"alg": "HS256", "crit": ["b64"], "b64": true}), SECRET), invalid),

        ("expired", claims(with("exp", json!(now() - 1))), expired),
        ("over in this very second", claims(with("exp", json!(now()))), expired),
        ("no exp", claims(without("exp")), invalid),
        ("exp as text", claims(with("exp", json!((now() + 60).to_string()))), invalid),
        ("exp that is null", claims(with("exp", json!(null))), invalid),
        ("exp before 1970", claims(with("exp", json!(-1))), invalid),
        ("exp beyond all numbers", claims(with("exp", json!(2e19))), invalid),
        ("not yet valid", claims(with("nbf", json!(now() + 3600))), invalid),
        ("nbf as text", claims(with("nbf", json!((now() + 60).to_string()))), invalid),

        ("no issuer", claims(without("iss")), invalid),
        ("wrong issuer", claims(with("iss", json!("https://other"))), invalid),
        ("no audience", claims(without("aud")), invalid),
        ("wrong audience", claims(with("aud", json!("shop"))), invalid),
        ("other audiences", claims(with("aud", json!(["shop", "mail"]))), invalid),
        ("an audience that is an object", claims(with("aud", json!({"chat": true}))), invalid),
        ("the audience in other letters", claims(with("aud", json!("Chat"))), invalid),

        ("no user", claims(without("sub")), invalid),
        ("several users", claims(with("sub", json!([ALICE, BORIS]))), invalid),
        ("a user that is a number", claims(with("sub", json!(7))), invalid),
        ("a user that is no UUID", claims(with("sub", json!("alice"))), invalid),
        ("claims that are a list", claims(json!([good(ALICE)])), invalid),

        ("a deactivated user", claims(good(IRENE)), (403, "user_deactivated")),
        ("an unknown user", claims(good(NOBODY)), (404, "user_not_found")),
    ]
}

#[tokio::test]
async fn no_route_takes_bad_credentials() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    let bad = bad_credentials();
    for (who, token, expected) in &bad {
        let (who, expected) = (*who, *expected);
        let challenge = match expected {
            (401, "unauthorized") => "Bearer",
            (401, _) => "Bearer error=\"invalid_token\"",
            _ => "",
        };
        for route in &routes() {
            let reply = route.ask(&stage, Some(ALICE), token.as_deref()).await;
            assert_answered(who, route.name, &reply, expected);
            if expected.1 == "unauthorized" {
                let told = reply.json()["message"].to_string();
                assert!(told.contains("Bearer TOKEN"), "what to send: {told}");
            }
            assert_eq!(
                reply.header("www-authenticate"),
                challenge,
                "{who}: {}",
                route.name
            );
        }
        let bearer = token.as_ref().map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer
            .iter()
            .map(|bearer| ("authorization", bearer.as_str()))
            .collect();
        let path = format!("/ws?user_id={ALICE}");
        let reply = handshake(&stage.replica, &path, &headers).await;
        assert_answered(who, "GET /ws", &reply, expected);
        assert_eq!(
            reply.header("www-authenticate"),
            challenge,
            "{who}: GET /ws"
        );
    }
    let log = stage.replica.log();
    let told = |token: &&String| token.len() >= 20 && log.contains(token.as_str());
    let shown: Vec<_> = bad
        .iter()
        .filter_map(|(_, token, _)| token.as_ref())
        .filter(told)
        .collect();
    assert!(shown.is_empty(), "{shown:?}");
}

#[tokio::test]
async fn every_bad_token_is_refused_on_a_live_socket_too_and_leaves_it_as_it_was() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    let mut socket = Socket::connect_by(&stage.replica, ALICE, &good_token(ALICE)).await;
    for (who, token, (status, code)) in bad_credentials() {
        // Whether a user is active is asked when a socket opens, and once a while then.
        let (Some(token), 401) = (token, status) else {
            continue;
        };
        let message = socket
            .refused("authenticate", json!({"token": token}), code)
            .await;
        assert!(!message.contains(&token), "{who}: {message}");
    }
    let boris = json!({"token": good_token(BORIS)});
    socket.refused("authenticate", boris, "user_mismatch").await;
    socket
        .refused(
            "authenticate",
            json!({"token": SERVICE_TOKEN}),
            "token_invalid",
        )
        .await;
    socket.send_command("ping", json!({})).await;
}

/// Times of a token need not be whole numbers, nor of this age (RFC 7519 section 2, "NumericDate").
#[tokio::test]
async fn odd_claims_that_are_fine_are_taken() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    for (name, value) in [
        ("exp", json!(now() as f64 + 60.5)),
        ("exp", json!(1e15)),
        ("exp", json!(1.8e19)),
        ("nbf", json!(now() as f64 - 0.5)),
        ("aud", json!(AUDIENCE)),
        ("sub", json!(ALICE.to_string().to_uppercase())),
    ] {
        let token = hs256(&with(name, value.clone()));
        let path = format!("/api/v1/chat/conversations/{ALICE}");
        let reply = super::get(&stage.replica, &path, &token).await;
        assert_eq!(reply.status, 200, "{name}: {value}: {reply:?}");
        // A socket has no end that the clock could not tell, and neither has one by a ticket.
        let mut socket = Socket::connect_by(&stage.replica, ALICE, &token).await;
        socket.send_command("ping", json!({})).await;
        let ticket = stage
            .replica
            .api()
            .request(Method::POST, "/api/v1/ws/ticket");
        let ticket = Reply::to(ticket.bearer_auth(&token)).await.ok(201);
        let ticket = ticket["ticket"].as_str().expect("a ticket");
        let path = format!("/ws?ticket={ticket}");
        let mut socket = Socket::connect_to(&stage.replica, ALICE, &path).await;
        socket.send_command("ping", json!({})).await;
    }
}

/// As long as a frame may be; it would be hashed for each key.
#[tokio::test]
async fn a_token_of_a_frames_length_is_refused_unread() {
    let database = Database::fresh().await;
    let stage = Stage::new(&database).await;
    let mut socket = Socket::connect_by(&stage.replica, ALICE, &good_token(ALICE)).await;
    for (bytes, fine) in [(30_000, true), (60_000, false), (700_000, false)] {
        let token = hs256(&with("padding", json!("x".repeat(bytes))));
        let data = json!({"token": token});
        match fine {
            true => drop(socket.send_command("authenticate", data).await),
            false => {
                let message = socket.refused("authenticate", data, "token_invalid").await;
                assert!(message.contains("longer than 65536 bytes"), "{message}");
            }
        }
    }
    socket.send_command("ping", json!({})).await;
}

#[tokio::test]
async fn an_audience_is_not_looked_at_unless_one_is_set() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let mut claims = tokens::claims(ALICE);
    for aud in [json!("shop"), json!(["shop", "mail"])] {
        claims["aud"] = aud;
        claims["iss"] = json!("anybody");
        super::get(&replica, "/api/v1/users", &hs256(&claims))
            .await
            .ok(200);
    }
    super::get(&replica, "/api/v1/users", &token(ALICE))
        .await
        .ok(200);
}
