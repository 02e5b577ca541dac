//! Sockets in jwt mode: where a token goes, its end, a new one, and a user who is deactivated.

use reqwest::Method;
use serde_json::json;

use super::tokens::{now, token, token_for, token_until};
use super::{SERVICE_TOKEN, get, replica, users_view_that_fails_for};
use crate::support::*;

#[tokio::test]
async fn a_token_goes_into_the_header_or_into_the_subprotocols_which_are_not_echoed() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let path = format!("/ws?user_id={ALICE}");
    let offered = format!("pgchat.v1, bearer.{}", token(ALICE));
    let reply = handshake(&replica, &path, &[("sec-websocket-protocol", &offered)]).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    assert_eq!(reply.header("sec-websocket-protocol"), "pgchat.v1");

    // Of another user, of nobody, in two places, and a bad one.
    let bearer = format!("Bearer {}", token(ALICE));
    let offered_by_boris = format!("pgchat.v1, bearer.{}", token(BORIS));
    for (headers, status, code) in [
        (
            &[("sec-websocket-protocol", &*offered_by_boris)][..],
            403,
            "user_mismatch",
        ),
        (
            &[("sec-websocket-protocol", "pgchat.v1")],
            401,
            "unauthorized",
        ),
        (
            &[("sec-websocket-protocol", "pgchat.v1, bearer.x")],
            401,
            "token_invalid",
        ),
        (
            &[
                ("authorization", &*bearer),
                ("sec-websocket-protocol", &offered),
            ],
            400,
            "validation_failed",
        ),
    ] {
        handshake(&replica, &path, headers)
            .await
            .refused(status, code);
    }
    // Without the protocol there is none to echo, and whatever else is offered is not ours.
    for offered in ["bearer.", "chat, pgchat.v2, bearer."] {
        let offered = offered.to_owned() + &token(ALICE);
        let reply = handshake(&replica, &path, &[("sec-websocket-protocol", &offered)]).await;
        assert_eq!(reply.status, 101, "{reply:?}");
        assert_eq!(reply.header("sec-websocket-protocol"), "");
    }
    let twice = [("authorization", &*bearer), ("authorization", &bearer)];
    handshake(&replica, &path, &twice)
        .await
        .refused(401, "token_invalid");
    let spaced = format!("Bearer   {} ", token(ALICE));
    let reply = handshake(&replica, &path, &[("authorization", &spaced)]).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    // A service token is for the header only: it does not belong into a browser.
    let service = format!("pgchat.v1, bearer.{SERVICE_TOKEN}");
    let reply = handshake(&replica, &path, &[("sec-websocket-protocol", &service)]).await;
    reply.refused(401, "token_invalid");

    // The user who is not named is the token's, and so is me; a service must name one.
    let bearer_headers = [("authorization", &*bearer)];
    let service = format!("Bearer {SERVICE_TOKEN}");
    for path in ["/ws", "/ws?user_id=me"] {
        let own = handshake(&replica, path, &bearer_headers).await;
        assert_eq!(own.status, 101, "{path}: {own:?}");
        let unnamed = handshake(&replica, path, &[("authorization", &service)]).await;
        unnamed.refused(400, "validation_failed");
    }
}

/// Seconds that a token has which is to be renewed once its end is near: 9 are left then, on a slow machine enough for that.
const RENEWED: i64 = 36;

#[tokio::test]
async fn a_socket_is_warned_and_ends_with_4401_when_its_token_does() {
    /// Less than either token has left, and more than a quarter of what the second has.
    const WARNING: i64 = 12;
    const SECOND: i64 = 20;
    let database = Database::fresh().await;
    let warning = WARNING.to_string();
    let replica = replica(&database, &[("TOKEN_WARNING_SECONDS", &warning)]).await;
    let mut expires = now() + RENEWED;
    let mut socket = Socket::connect_by(&replica, ALICE, &token_until(ALICE, expires)).await;
    for renewed in [true, false] {
        let warning = socket.expect("token_expiring").await;
        let left = expires - now();
        assert!(left <= WARNING, "{left} s are left: not so long ahead");
        assert!(left > SECOND / 4, "{left} s are left: so long ahead");
        let at = warning["data"]["expiresAt"].as_str().expect("a time");
        let at = chrono::DateTime::parse_from_rfc3339(at)
            .expect("a time")
            .timestamp();
        assert_eq!(at, expires, "{warning}");
        // A new token has an end of its own, and a warning of that.
        if renewed {
            expires = now() + SECOND;
            let next = json!({"token": token_until(ALICE, expires)});
            socket.send_command("authenticate", next).await;
        }
    }
    assert_eq!(socket.closed().await, Some(4401));
    assert!(now() >= expires);
}

#[tokio::test]
async fn a_short_token_is_warned_of_in_its_last_quarter_and_the_same_one_not_again() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let expires = now() + RENEWED;
    let held = token_until(ALICE, expires);
    let mut socket = Socket::connect_by(&replica, ALICE, &held).await;
    socket.expect("token_expiring").await;
    let left = expires - now();
    assert!((1..=9).contains(&left), "{left} s ahead");
    // As one whose application has no other yet.
    for _ in 0..3 {
        socket
            .send_command("authenticate", json!({"token": held}))
            .await;
    }
    assert_eq!(socket.closed().await, Some(4401));
    assert!(now() >= expires);
    let story = socket.story();
    assert_eq!(story.matches("token_expiring").count(), 1, "{story}");
}

#[tokio::test]
async fn a_new_token_keeps_a_socket_open_past_the_end_of_the_first() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let first = token_for(ALICE, RENEWED);
    let mut socket = Socket::connect_by(&replica, ALICE, &first).await;
    let of_control = token_for(ALICE, RENEWED + 1);
    let mut control = Socket::connect_by(&replica, ALICE, &of_control).await;
    socket.expect("token_expiring").await;
    // A token of another user changes nothing.
    let boris = json!({"token": token(BORIS)});
    socket.refused("authenticate", boris, "user_mismatch").await;
    socket
        .send_command("authenticate", json!({"token": token(ALICE)}))
        .await;
    // By then the first token of the other one is over as well.
    assert_eq!(control.closed().await, Some(4401));
    socket.send_command("ping", json!({})).await;
    assert!(socket.arrived().is_empty());
}

#[tokio::test]
async fn a_short_new_token_ends_a_socket_sooner() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let mut socket = Socket::connect_by(&replica, ALICE, &token(ALICE)).await;
    let short = json!({"token": token_for(ALICE, 8)});
    socket.send_command("authenticate", short).await;
    socket.expect("token_expiring").await;
    assert_eq!(socket.closed().await, Some(4401));
}

#[tokio::test]
async fn a_deactivated_user_is_refused_and_the_sockets_end_with_4403() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("USER_CHECK_SECONDS", "1")]).await;
    let mut alice = Socket::connect_by(&replica, ALICE, &token(ALICE)).await;
    let mut by_service = Socket::connect_by(&replica, ALICE, SERVICE_TOKEN).await;
    let mut boris = Socket::connect_by(&replica, BORIS, &token(BORIS)).await;
    database
        .execute(&format!(
            "update users set is_active = false where id = '{ALICE}'"
        ))
        .await;
    assert_eq!(alice.closed().await, Some(4403));
    assert_eq!(by_service.closed().await, Some(4403));
    boris.send_command("ping", json!({})).await;

    let reply = get(&replica, "/api/v1/users", &token(ALICE)).await;
    reply.refused(403, "user_deactivated");
    let bearer = format!("Bearer {}", token(ALICE));
    let reply = handshake(&replica, "/ws", &[("authorization", &bearer)]).await;
    reply.refused(403, "user_deactivated");

    database
        .execute(&format!(
            "update users set is_active = true where id = '{ALICE}'"
        ))
        .await;
    eventually("the user may call again", || async {
        let reply = get(&replica, "/api/v1/users", &token(ALICE)).await;
        (reply.status == 200).then_some(())
    })
    .await;
}

/// A view of the host's fails for one of them.
#[tokio::test]
async fn a_user_who_cannot_be_looked_up_keeps_nobody_from_being_deactivated() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("USER_CHECK_SECONDS", "1")]).await;
    let mut sockets = Vec::new();
    for user in [ALICE, BORIS, CARLA] {
        sockets.push(Socket::connect_by(&replica, user, &token(user)).await);
    }
    let deactivate =
        format!("update people set is_active = false where id in ('{ALICE}', '{CARLA}')");
    users_view_that_fails_for(&database, BORIS, &deactivate).await;
    let [alice, boris, carla] = &mut sockets[..] else {
        unreachable!("three of them");
    };
    assert_eq!(alice.closed().await, Some(4403));
    assert_eq!(carla.closed().await, Some(4403));
    boris.send_command("ping", json!({})).await;
}

#[tokio::test]
async fn every_replica_ends_the_sockets_of_a_user_who_is_gone() {
    let database = Database::fresh().await;
    let check = ("USER_CHECK_SECONDS", "1");
    let here = replica(&database, &[check]).await;
    let there = replica(&database, &[check]).await;
    let mut sockets = Vec::new();
    for replica in [&here, &there] {
        sockets.push(Socket::connect_by(replica, CARLA, &token(CARLA)).await);
        sockets.push(Socket::connect_by(replica, DAVID, &token(DAVID)).await);
    }
    database
        .execute(&format!(
            "update users set is_active = false where id = '{CARLA}'; delete from users where id = '{DAVID}'"
        ))
        .await;
    for mut socket in sockets {
        assert_eq!(socket.closed().await, Some(4403));
    }
    for replica in [&here, &there] {
        let reply = get(replica, "/api/v1/users", &token(CARLA)).await;
        reply.refused(403, "user_deactivated");
        let reply = get(replica, "/api/v1/users", &token(DAVID)).await;
        reply.refused(404, "user_not_found");
    }
}

#[tokio::test]
async fn a_leeway_is_granted_where_it_is_set() {
    let database = Database::fresh().await;
    let strict = replica(&database, &[]).await;
    let lenient = replica(&database, &[("JWT_LEEWAY_SECONDS", "30")]).await;
    let late = token_for(ALICE, -10);
    get(&strict, "/api/v1/users", &late)
        .await
        .refused(401, "token_expired");
    get(&lenient, "/api/v1/users", &late).await.ok(200);
    let too_late = token_for(ALICE, -40);
    get(&lenient, "/api/v1/users", &too_late)
        .await
        .refused(401, "token_expired");
    // To a socket as well, by a ticket too, and it ends with that.
    let end = now() + 10;
    let late = token_for(ALICE, -20);
    let request = lenient.api().request(Method::POST, "/api/v1/ws/ticket");
    let made = Reply::to(request.bearer_auth(&late)).await.ok(201);
    let path = format!("/ws?ticket={}", made["ticket"].as_str().expect("a ticket"));
    let mut by_ticket = Socket::connect_to(&lenient, ALICE, &path).await;
    let mut by_token = Socket::connect_by(&lenient, ALICE, &late).await;
    for socket in [&mut by_ticket, &mut by_token] {
        assert_eq!(socket.closed().await, Some(4401));
        assert!(now() >= end);
    }
}
