//! Sockets that do not make their user online, however they are opened.

use reqwest::Method;

use super::tokens::token;
use super::{SERVICE_TOKEN, replica};
use crate::support::*;

const HERE: &str = "pgchat_presence_local_users";

async fn ticket(replica: &Replica) -> String {
    let request = replica.api().request(Method::POST, "/api/v1/ws/ticket");
    let made = Reply::to(request.bearer_auth(token(ALICE))).await.ok(201);
    made["ticket"].as_str().expect("a ticket").to_owned()
}

#[tokio::test]
async fn by_whichever_credentials_a_socket_is_opened_it_may_be_inactive() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let path = format!("/ws?user_id={ALICE}&active=false");
    let by_ticket = format!("/ws?ticket={}&active=false", ticket(&replica).await);
    let mut sockets = Vec::new();
    for credentials in [token(ALICE), SERVICE_TOKEN.to_owned()] {
        sockets.push(Socket::connect_by_to(&replica, ALICE, &credentials, &path).await);
    }
    sockets.push(Socket::connect_to(&replica, ALICE, &by_ticket).await);
    assert_eq!(replica.api().metric(HERE).await, 0.0);
    // A server that acts for the user says it as they do.
    let active = serde_json::json!({"active": true});
    sockets[1].send_command("set_active", active).await;
    assert_eq!(replica.api().metric(HERE).await, 1.0);
}

#[tokio::test]
async fn a_ticket_is_not_used_up_by_a_handshake_that_says_it_wrongly() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let path = format!("/ws?ticket={}", ticket(&replica).await);
    let refused = handshake(&replica, &format!("{path}&active=no"), &[]).await;
    let fault = refused.refused(400, "validation_failed");
    assert_eq!(fault, "active must be true or false, not \"no\"");
    Socket::connect_to(&replica, ALICE, &format!("{path}&active=false")).await;
}

#[tokio::test]
async fn an_inactive_socket_of_a_deactivated_user_is_closed_like_any_other() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[("USER_CHECK_SECONDS", "1")]).await;
    let path = format!("/ws?user_id={ALICE}&active=false");
    let mut socket = Socket::connect_by_to(&replica, ALICE, &token(ALICE), &path).await;
    let deactivate = format!("update users set is_active = false where id = '{ALICE}'");
    database.execute(&deactivate).await;
    assert_eq!(socket.closed().await, Some(4403));
}
