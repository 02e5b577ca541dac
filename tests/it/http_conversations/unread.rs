//! How much of a user's is unread, over all conversations.

use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn what_is_unread_is_counted_by_messages_and_by_conversations_that_have_some() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let assert_unread = async |messages: i64, conversations: i64| {
        let path = format!("/api/v1/chat/users/{BORIS}/unread-count");
        let counted =
            json!({"userId": BORIS, "unreadCount": messages, "unreadConversations": conversations});
        assert_eq!(api.get(&path).await.ok(200), counted);
        let unread = format!("/api/v1/chat/users/{BORIS}/conversations?unread=true");
        let listed = api.get(&unread).await.ok(200);
        let listed = listed["conversations"].as_array().map(Vec::len);
        assert_eq!(
            listed,
            usize::try_from(conversations).ok(),
            "as many are listed"
        );
    };
    assert_unread(0, 0).await;
    let mut with = Vec::new();
    for other in [ALICE, CARLA, DAVID, ELENA] {
        with.push(api.open_conversation(BORIS, other).await);
    }
    let [alice, carla, david, _] = with[..] else {
        panic!("four: {with:?}");
    };
    for content in ["one", "two", "three"] {
        api.send(alice, ALICE, content).await;
    }
    let only = id_of(&api.send(carla, CARLA, "one").await);
    // His own is none, and it is in no conversation of his that others have.
    api.send(david, BORIS, "one").await;
    let of_others = api.open_conversation(ALICE, CARLA).await;
    api.send(of_others, ALICE, "one").await;
    assert_unread(4, 2).await;
    api.put(&format!(
        "/api/v1/chat/conversations/{alice}/read?user_id={BORIS}&up_to_seq=2"
    ))
    .await
    .ok(200);
    assert_unread(2, 2).await;
    assert_eq!(api.delete_message(only, CARLA).await.status, 204);
    assert_unread(1, 1).await;
    api.mark_read(alice, BORIS).await.ok(200);
    assert_unread(0, 0).await;
}
