//! What a stranger could learn on a detour: by their own ids of messages, or by messages that are gone.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tokens::token;
use super::{SERVICE_TOKEN, get, replica};
use crate::support::*;

async fn send(replica: &Replica, token: &str, conversation: Uuid, client_id: &str) -> Reply {
    let request = replica.api().request(Method::POST, "/api/v1/chat/messages");
    let body =
        json!({"conversationId": conversation, "content": "hi", "clientMessageId": client_id});
    Reply::to(request.bearer_auth(token).json(&body)).await
}

async fn change(replica: &Replica, method: Method, token: &str, message: Uuid) -> Reply {
    let path = format!("/api/v1/chat/messages/{message}");
    let mut request = replica.api().request(method.clone(), &path);
    if method == Method::PATCH {
        request = request.json(&json!({"content": "mine"}));
    }
    Reply::to(request.bearer_auth(token)).await
}

#[tokio::test]
async fn a_repeated_client_message_id_tells_a_stranger_nothing() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let theirs = database.conversation(ALICE, BORIS).await;
    let own = database.conversation(CARLA, DAVID).await;
    let (alice, carla) = (token(ALICE), token(CARLA));
    send(&replica, &alice, theirs, "of alice").await.ok(201);
    send(&replica, &carla, own, "of carla").await.ok(201);

    // Ids that she used herself, that somebody else did in that very conversation, and that nobody did.
    let mut answers = Vec::new();
    for client_id in ["of carla", "of alice", "of nobody"] {
        for conversation in [theirs, NOBODY] {
            let reply = send(&replica, &carla, conversation, client_id).await;
            answers.push((reply.status, reply.text));
        }
    }
    assert_eq!(answers[0].0, 403, "{answers:?}");
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );

    let mut socket = Socket::connect_by(&replica, CARLA, &carla).await;
    let mut messages = Vec::new();
    for conversation in [theirs, NOBODY] {
        let data =
            json!({"conversationId": conversation, "content": "hi", "clientMessageId": "of carla"});
        let refused = socket.refused("send_message", data, "not_a_participant");
        messages.push(refused.await);
    }
    assert_eq!(messages[0], messages[1]);

    // An id is its sender's: what another one used is free.
    send(&replica, &carla, own, "of alice").await.ok(201);
    assert_eq!(database.count("messages").await, 3);
}

#[tokio::test]
async fn a_message_that_is_gone_is_a_message_that_never_was_to_a_stranger() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let (alice, carla) = (token(ALICE), token(CARLA));
    let mut sent = Vec::new();
    for client_id in ["kept", "deleted", "deleted outright"] {
        let reply = send(&replica, &alice, conversation, client_id).await;
        sent.push(id_of(&reply.ok(201)));
    }
    let deleted = change(&replica, Method::DELETE, &alice, sent[1]).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    database
        .execute(&format!("delete from messages where id = '{}'", sent[2]))
        .await;
    sent.push(NOBODY);

    for method in [Method::GET, Method::PATCH, Method::DELETE] {
        let mut answers: Vec<(u16, Value)> = Vec::new();
        for message in &sent {
            let reply = change(&replica, method.clone(), &carla, *message).await;
            answers.push((reply.status, reply.json()));
        }
        assert_eq!(answers[0].1["code"], json!("not_a_participant"));
        assert!(
            answers.iter().all(|answer| *answer == answers[0]),
            "{answers:?}"
        );
    }
}

#[tokio::test]
async fn a_service_may_act_for_a_deactivated_user_but_opens_no_socket_for_them() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let path = format!("/api/v1/chat/conversations/{IRENE}");
    get(&replica, &path, SERVICE_TOKEN).await.ok(200);

    let path = format!("/ws?user_id={IRENE}");
    let bearer = format!("Bearer {SERVICE_TOKEN}");
    let by_token = handshake(&replica, &path, &[("authorization", &bearer)]).await;
    by_token.refused(403, "user_deactivated");

    let path = format!("/api/v1/ws/ticket?user_id={IRENE}");
    let request = replica.api().request(Method::POST, &path);
    let made = Reply::to(request.bearer_auth(SERVICE_TOKEN)).await.ok(201);
    let ticket = made["ticket"].as_str().expect("a ticket");
    let by_ticket = handshake(&replica, &format!("/ws?ticket={ticket}"), &[]).await;
    by_ticket.refused(403, "user_deactivated");
}

/// A gateway or another server need not look up who takes part.
#[tokio::test]
async fn who_reads_for_a_user_sees_no_more_than_that_user() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let sent = send(&replica, &token(ALICE), conversation, "m").await;
    let message = id_of(&sent.ok(201));
    for path in [
        format!("/api/v1/chat/conversations/{conversation}/messages"),
        format!("/api/v1/chat/messages/{message}"),
    ] {
        let ask = async |user: &str, token: &str| {
            let path = format!("{path}?user_id={user}");
            get(&replica, &path, token).await
        };
        let whole = get(&replica, &path, SERVICE_TOKEN).await.ok(200);
        let for_boris = ask(&BORIS.to_string(), SERVICE_TOKEN).await;
        assert_eq!(for_boris.ok(200), whole);
        let for_carla = ask(&CARLA.to_string(), SERVICE_TOKEN).await;
        for_carla.refused(403, "not_a_participant");
        assert_eq!(ask("me", &token(BORIS)).await.ok(200), whole);
        let stranger = ask("me", &token(CARLA)).await;
        stranger.refused(403, "not_a_participant");
        // Nor in somebody's name who may.
        let for_alice = ask(&ALICE.to_string(), &token(CARLA)).await;
        for_alice.refused(403, "user_mismatch");
    }
}
