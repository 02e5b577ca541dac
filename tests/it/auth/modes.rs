//! The two modes as they are at the start: who is believed, and who can reach the service at all.

use serde_json::json;

use super::tokens::{SECRET, token};
use super::{get, replica};
use crate::support::*;

const BELIEVED: &str = "every caller is believed";

#[tokio::test]
async fn a_service_that_believes_its_callers_says_so_and_listens_on_loopback_alone() {
    let database = Database::fresh().await;
    let trusted = Replica::start(&database, &[]).await.log();
    assert!(trusted.contains(BELIEVED), "{trusted}");
    assert!(trusted.contains("only this machine"), "{trusted}");
    assert!(
        trusted.contains("listening on http://127.0.0.1:"),
        "{trusted}"
    );
    let told = Replica::start(&database, &[("SERVER_HOST", "0.0.0.0")]).await;
    let told = told.log();
    // Then more than ever.
    assert!(told.contains(BELIEVED), "{told}");
    assert!(told.contains("only an authenticating gateway"), "{told}");
    assert!(told.contains("listening on http://0.0.0.0:"), "{told}");

    let jwt = Replica::start(&database, &[("JWT_SECRET", SECRET)]).await;
    let jwt = jwt.log();
    assert!(!jwt.contains(BELIEVED), "{jwt}");
    assert!(jwt.contains("listening on http://0.0.0.0:"), "{jwt}");
}

/// Whatever a gateway passes on of its caller's is its own affair.
#[tokio::test]
async fn a_token_is_looked_at_in_jwt_mode_alone() {
    let database = Database::fresh().await;
    let trusted = Replica::start(&database, &[]).await;
    let jwt = replica(&database, &[]).await;
    let path = format!("/ws?user_id={ALICE}");
    for offered in [
        ("authorization", "Bearer garbage"),
        ("sec-websocket-protocol", "pgchat.v1, bearer.garbage"),
    ] {
        assert_eq!(handshake(&trusted, &path, &[offered]).await.status, 101);
        let refused = handshake(&jwt, &path, &[offered]).await;
        refused.refused(401, "token_invalid");
    }
    let mut socket = Socket::connect(&trusted, ALICE).await;
    let garbage = json!({"token": "garbage"});
    socket.send_command("authenticate", garbage).await;
    get(&trusted, "/api/v1/users", "garbage").await.ok(200);
    let refused = get(&jwt, "/api/v1/users", "garbage").await;
    refused.refused(401, "token_invalid");
}

/// And so is whether a user is active.
#[tokio::test]
async fn a_deactivated_user_is_dismissed_in_jwt_mode_alone() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let check = ("USER_CHECK_SECONDS", "1");
    let trusted = Replica::start(&database, &[check]).await;
    let jwt = replica(&database, &[check]).await;
    let mut believed = Socket::connect(&trusted, ALICE).await;
    // When the second of them is dismissed, the other replica has had a second to dismiss Alice.
    for user in [ALICE, BORIS] {
        let mut checked = Socket::connect_by(&jwt, user, &token(user)).await;
        let deactivate = format!("update users set is_active = false where id = '{user}'");
        database.execute(&deactivate).await;
        assert_eq!(checked.closed().await, Some(4403));
    }
    believed.send_message(conversation, "over the socket").await;
    let api = trusted.api();
    api.send(conversation, ALICE, "over HTTP").await;
    Socket::connect(&trusted, ALICE).await.close().await;
}
