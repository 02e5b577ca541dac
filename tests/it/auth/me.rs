//! `me` in a path: the token's user.

use super::tokens::token;
use super::{SERVICE_TOKEN, get, replica};
use crate::support::*;

/// Every route with a user in its path, of Alice's where `{user_id}` is she.
fn paths(conversation: uuid::Uuid) -> Vec<String> {
    let document = pgchat::http::docs::openapi::document(pgchat::config::AuthMode::Jwt);
    let paths = document["paths"].as_object().expect("paths").keys();
    let with_users = paths.filter(|path| path.contains("{user_id}"));
    with_users
        .map(|path| {
            let path = path.replace("{conversation_id}", &conversation.to_string());
            format!("{path}?q=hello")
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
    for conversation in [conversation, of_boris] {
        trusted.api().send(conversation, BORIS, "hello").await;
    }
    let paths = paths(conversation);
    assert_eq!(paths.len(), 5, "{paths:?}");
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
