//! One-time tickets: each opens one socket, once, on any replica, and not for long.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tokens::{now, token, token_for, token_until};
use super::{SERVICE_TOKEN, replica};
use crate::support::*;

async fn ticket(replica: &Replica, query: &str, token: Option<&str>) -> String {
    let path = format!("/api/v1/ws/ticket{query}");
    let asked = now();
    let mut request = replica.api().request(Method::POST, &path);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let reply = Reply::to(request).await;
    assert_eq!(reply.header("cache-control"), "no-store");
    let body = reply.ok(201);
    assert_time(&body, "expiresAt");
    let expires = seconds(&body["expiresAt"]);
    assert!((asked + 29..=now() + 31).contains(&expires), "{body}");
    body["ticket"].as_str().expect("a ticket").to_owned()
}

/// Unix seconds of a time.
fn seconds(time: &Value) -> i64 {
    let text = time.as_str().expect("a time");
    chrono::DateTime::parse_from_rfc3339(text)
        .expect("a time")
        .timestamp()
}

fn path(user: Uuid, ticket: &str) -> String {
    format!("/ws?user_id={user}&ticket={ticket}")
}

#[tokio::test]
async fn a_ticket_opens_one_socket_once_on_another_replica_too() {
    let database = Database::fresh().await;
    let here = replica(&database, &[]).await;
    let there = replica(&database, &[]).await;
    let ticket = ticket(&here, "", Some(&token(ALICE))).await;

    let mut socket = Socket::connect_to(&there, ALICE, &path(ALICE, &ticket)).await;
    socket.send_command("ping", json!({})).await;

    for replica in [&here, &there] {
        let again = handshake(replica, &path(ALICE, &ticket), &[]).await;
        again.refused(401, "ticket_invalid");
    }
    assert_eq!(database.count("chat_tickets").await, 0);
    for log in [here.log(), there.log()] {
        assert!(!log.contains(&ticket));
    }
}

/// A load balancer sends on to the next replica what the first has no room for.
#[tokio::test]
async fn a_ticket_that_a_full_replica_was_shown_opens_a_socket_at_another() {
    let database = Database::fresh().await;
    let full = replica(&database, &[("MAX_CONNECTIONS", "1")]).await;
    let other = replica(&database, &[]).await;
    let first = ticket(&other, "", Some(&token(BORIS))).await;
    let _only = Socket::connect_to(&full, BORIS, &path(BORIS, &first)).await;

    let ticket = ticket(&other, "", Some(&token(ALICE))).await;
    let path = path(ALICE, &ticket);
    let refused = handshake(&full, &path, &[]).await;
    refused.refused(503, "unavailable");
    let mut socket = Socket::connect_to(&other, ALICE, &path).await;
    socket.send_command("ping", json!({})).await;
}

#[tokio::test]
async fn of_two_replicas_that_are_shown_a_ticket_at_once_exactly_one_takes_it() {
    let database = Database::fresh().await;
    let here = replica(&database, &[]).await;
    let there = replica(&database, &[]).await;
    for _ in 0..10 {
        let ticket = ticket(&here, "", Some(&token(ALICE))).await;
        let path = path(ALICE, &ticket);
        let answers = futures_util::future::join_all((0..6).map(|number| {
            let replica = if number % 2 == 0 { &here } else { &there };
            handshake(replica, &path, &[])
        }))
        .await;
        let mut statuses: Vec<u16> = answers.iter().map(|reply| reply.status).collect();
        statuses.sort_unstable();
        assert_eq!(statuses, [101, 401, 401, 401, 401, 401]);
    }
}

#[tokio::test]
async fn a_ticket_that_has_expired_opens_nothing_and_is_swept() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("USER_CHECK_SECONDS", "1")]).await;
    let stale = ticket(&replica, "", Some(&token(ALICE))).await;
    let past = "update chat_tickets set expires_at = now() - interval '1 second'";
    database.execute(past).await;
    let refused = handshake(&replica, &path(ALICE, &stale), &[]).await;
    refused.refused(401, "ticket_invalid");

    ticket(&replica, "", Some(&token(ALICE))).await;
    database.execute(past).await;
    eventually("the ticket is swept", || async {
        (database.count("chat_tickets").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_ticket_is_valid_for_as_long_as_is_set() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("TICKET_SECONDS", "2")]).await;
    let request = replica.api().request(Method::POST, "/api/v1/ws/ticket");
    let made = Reply::to(request.bearer_auth(token(ALICE))).await.ok(201);
    let ticket = made["ticket"].as_str().expect("a ticket").to_owned();
    let expires = seconds(&made["expiresAt"]);
    assert!(expires <= now() + 2, "{made}");
    eventually("its time passes", || async {
        (now() > expires).then_some(())
    })
    .await;
    let late = handshake(&replica, &path(ALICE, &ticket), &[]).await;
    late.refused(401, "ticket_invalid");
}

#[tokio::test]
async fn a_ticket_is_its_users_and_is_stored_as_a_hash_only() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let made = ticket(&replica, &format!("?user_id={ALICE}"), Some(SERVICE_TOKEN)).await;
    let stored = format!("chat_tickets t where t::text like '%{made}%'");
    assert_eq!(database.count("chat_tickets").await, 1);
    assert_eq!(database.count(&stored).await, 0);

    let other = handshake(&replica, &path(BORIS, &made), &[]).await;
    other.refused(403, "user_mismatch");
    // That has used it up: whoever guesses does not get to guess again.
    let own = handshake(&replica, &path(ALICE, &made), &[]).await;
    own.refused(401, "ticket_invalid");

    // The user need not be named a second time.
    let made = ticket(&replica, &format!("?user_id={ALICE}"), Some(SERVICE_TOKEN)).await;
    Socket::connect_to(&replica, ALICE, &format!("/ws?ticket={made}")).await;
}

#[tokio::test]
async fn what_is_no_ticket_opens_nothing() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let made = ticket(&replica, "", Some(&token(ALICE))).await;
    for wrong in [
        "x".to_owned(),
        "0".repeat(64),
        made.to_uppercase(),
        format!("{made}0"),
    ] {
        let reply = handshake(&replica, &path(ALICE, &wrong), &[]).await;
        reply.refused(401, "ticket_invalid");
    }
    // It is for a socket.
    let request = format!("/api/v1/users?ticket={made}");
    let request = replica.api().get(&request).await;
    request.refused(401, "unauthorized");
    let bearer = format!("Bearer {}", token(ALICE));
    let both = handshake(&replica, &path(ALICE, &made), &[("authorization", &bearer)]).await;
    both.refused(400, "validation_failed");
    Socket::connect_to(&replica, ALICE, &path(ALICE, &made)).await;
}

#[tokio::test]
async fn a_replica_that_closes_does_not_use_a_ticket_up() {
    let database = Database::fresh().await;
    let slow = [
        ("SHUTDOWN_DELAY_SECONDS", "300"),
        ("SHUTDOWN_GRACE_SECONDS", "600"),
    ];
    let closing = replica(&database, &slow).await;
    let other = replica(&database, &[]).await;
    let made = ticket(&closing, "", Some(&token(ALICE))).await;
    closing.terminate();
    until_status(&closing, "/health/ready", 503).await;
    let refused = handshake(&closing, &path(ALICE, &made), &[]).await;
    refused.refused(503, "unavailable");
    Socket::connect_to(&other, ALICE, &path(ALICE, &made)).await;
}

#[tokio::test]
async fn tickets_work_in_trusted_mode_as_well() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let made = ticket(&replica, &format!("?user_id={ALICE}"), None).await;
    Socket::connect_to(&replica, ALICE, &path(ALICE, &made)).await;
    let again = handshake(&replica, &path(ALICE, &made), &[]).await;
    again.refused(401, "ticket_invalid");
    // There, too, it is its user's, and one that is bad is not passed over.
    let made = ticket(&replica, &format!("?user_id={ALICE}"), None).await;
    let other = handshake(&replica, &path(BORIS, &made), &[]).await;
    other.refused(403, "user_mismatch");
    let wrong = handshake(&replica, &path(ALICE, "x"), &[]).await;
    wrong.refused(401, "ticket_invalid");
    let nobody = replica.api().request(Method::POST, "/api/v1/ws/ticket");
    Reply::to(nobody).await.refused(400, "validation_failed");
}

#[tokio::test]
async fn a_socket_by_a_ticket_ends_when_the_token_does_that_made_it() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let made = ticket(&replica, "", Some(&token_for(ALICE, 8))).await;
    let mut socket = Socket::connect_to(&replica, ALICE, &path(ALICE, &made)).await;
    socket.expect("token_expiring").await;
    assert_eq!(socket.closed().await, Some(4401));
}

#[tokio::test]
async fn a_ticket_opens_nothing_once_the_token_that_made_it_is_over() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let expires = now() + 8;
    let made = ticket(&replica, "", Some(&token_until(ALICE, expires))).await;
    // Its own time is longer.
    eventually("the token is over", || async {
        (now() > expires).then_some(())
    })
    .await;
    let late = handshake(&replica, &path(ALICE, &made), &[]).await;
    late.refused(401, "token_expired");
}
