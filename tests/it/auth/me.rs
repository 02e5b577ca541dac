//! `me` in a path, a query or a body: the token's user.

use pgchat::for_tests::{AuthMode, openapi};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::tokens::token;
use super::{SERVICE_TOKEN, get, replica};
use crate::support::*;

/// Every route with a user in its path, of Alice's where `{user_id}` is she.
fn paths(conversation: Uuid) -> Vec<String> {
    let document = openapi::document(AuthMode::Jwt);
    let paths = document["paths"].as_object().expect("paths").keys();
    // What `events` answers has the moment in it.
    let with_users = paths.filter(|path| path.contains("{user_id}") && !path.ends_with("/events"));
    with_users
        .map(|path| {
            // In a list of conversations it would be a name.
            let query = match path.ends_with("/search") {
                true => "?q=hello",
                false => "",
            };
            path.replace("{conversation_id}", &conversation.to_string()) + query
        })
        .collect()
}

#[tokio::test]
async fn me_in_a_path_is_the_tokens_user_and_nobody_without_one() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let jwt = replica(&database, &[]).await;
    let trusted = Replica::start(&database, &[]).await;
    // Of his alone, so that no answer is the same for both.
    let of_boris = database.conversation(BORIS, CARLA).await;
    let path = format!("/api/v1/chat/users/{ALICE}/events");
    let before = cursor_of(&get(&jwt, &path, &token(ALICE)).await.ok(200));
    for conversation in [conversation, of_boris] {
        trusted.api().send(conversation, BORIS, "hello").await;
    }
    let path = format!("/api/v1/chat/users/me/events?cursor={before}");
    for (user, messages) in [(ALICE, 1), (BORIS, 2)] {
        let told = get(&jwt, &path, &token(user)).await.ok(200);
        let events = told["events"].as_array().expect("events").iter();
        let told_messages = events.filter(|event| event["type"] == "chat_message");
        assert_eq!(told_messages.count(), messages, "{told}");
    }
    let paths = paths(conversation);
    assert_eq!(paths.len(), 6, "{paths:?}");
    for path in paths {
        let of = |user: &str| path.replace("{user_id}", user);
        let named = get(&jwt, &of(&ALICE.to_string()), &token(ALICE)).await;
        let me = get(&jwt, &of("me"), &token(ALICE)).await;
        assert_eq!(me.ok(200), named.ok(200), "{path}");
        let other = get(&jwt, &of("me"), &token(BORIS)).await;
        assert_ne!(other.ok(200), named.ok(200), "{path}");
        for nobody in [
            get(&jwt, &of("me"), SERVICE_TOKEN).await,
            trusted.api().get(&of("me")).await,
        ] {
            let fault = nobody.refused(400, "validation_failed");
            assert_eq!(
                fault, "user_id can be me only with a user's token",
                "{path}"
            );
        }
        let unnamed = trusted.api().get(&of("Me")).await;
        unnamed.refused(400, "validation_failed");
    }
}

/// Requests that name Alice as `me`, where a parameter or a member does so; the last one deletes what the others are about.
fn acts(conversation: Uuid, message: &str) -> [(Method, String, Value); 8] {
    let chat = |path: &str| format!("/api/v1/chat/{path}");
    let (open, one) = (
        chat("conversations"),
        chat(&format!("messages/{message}?user_id=me")),
    );
    let read = chat(&format!("conversations/{conversation}/read?user_id=me"));
    let sent = json!({"conversationId": conversation, "senderId": "me", "content": "hello"});
    [
        (
            Method::POST,
            open.clone(),
            json!({"user1Id": "me", "user2Id": BORIS}),
        ),
        (
            Method::POST,
            open,
            json!({"user1Id": BORIS, "user2Id": "me"}),
        ),
        (Method::POST, chat("messages"), sent),
        (Method::PUT, read, Value::Null),
        (
            Method::PATCH,
            one.clone(),
            json!({"content": "hello again"}),
        ),
        (
            Method::POST,
            "/api/v1/ws/ticket?user_id=me".to_owned(),
            Value::Null,
        ),
        (Method::GET, "/api/v1/users/me".to_owned(), Value::Null),
        (Method::DELETE, one, Value::Null),
    ]
}

#[tokio::test]
async fn me_in_a_query_or_a_body_is_the_tokens_user_and_nobody_without_one() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let jwt = replica(&database, &[]).await;
    let trusted = Replica::start(&database, &[]).await;
    let sent = trusted.api().send(conversation, ALICE, "hello").await;
    let message = sent["id"].as_str().expect("its id");
    for (method, path, body) in acts(conversation, message) {
        let ask = |replica: &Replica, token: Option<String>| {
            let mut request = replica.api().request(method.clone(), &path);
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            if !body.is_null() {
                request = request.json(&body);
            }
            request
        };
        for nobody in [
            ask(&jwt, Some(SERVICE_TOKEN.to_owned())),
            ask(&trusted, None),
        ] {
            let fault = Reply::to(nobody).await.refused(400, "validation_failed");
            let (_, what) = fault.split_once(' ').expect("what is wrong");
            assert_eq!(what, "can be me only with a user's token", "{path} {body}");
        }
        let own = Reply::to(ask(&jwt, Some(token(ALICE)))).await;
        assert!(own.status < 300, "{method} {path} {body}: {own:?}");
        let told: Value = serde_json::from_str(&own.text).unwrap_or_default();
        for who in ["senderId", "userId"].map(|member| &told[member]) {
            assert!(
                who.is_null() || *who == json!(ALICE),
                "{path} {body}: {own:?}"
            );
        }
    }
}

#[tokio::test]
async fn who_opens_a_conversation_need_not_name_themselves_and_has_none_with_themselves() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let jwt = replica(&database, &[]).await;
    let open = |body: Value| {
        let request = jwt
            .api()
            .request(Method::POST, "/api/v1/chat/conversations");
        Reply::to(request.bearer_auth(token(ALICE)).json(&body))
    };
    for body in [
        json!({"user2Id": BORIS}),
        json!({"user1Id": null, "user2Id": BORIS}),
    ] {
        let found = open(body).await.ok(200);
        assert_eq!(found["id"], json!(conversation));
    }
    for oneself in [json!("me"), json!(ALICE)] {
        let fault = open(json!({"user2Id": oneself})).await;
        let fault = fault.refused(400, "validation_failed");
        assert_eq!(fault, "user1Id and user2Id must be two different users");
    }
    open(json!({})).await.refused(400, "validation_failed");
}
