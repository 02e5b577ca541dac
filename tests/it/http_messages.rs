//! Messages over HTTP: sending, paging, repeats, editing, deleting.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::*;

fn seqs(page: &Value) -> Vec<i64> {
    let messages = page["messages"].as_array().expect("messages");
    messages.iter().map(seq_of).collect()
}

#[tokio::test]
async fn a_message_is_stored_and_answered() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;

    let sent = api.send(conversation, ALICE, "hello").await;

    assert_message(&sent);
    assert_eq!(sent["conversationId"], json!(conversation));
    assert_eq!(sent["senderId"], json!(ALICE));
    assert_eq!(sent["content"], "hello");
    assert_eq!(sent["messageType"], "text");
    assert_eq!(sent["isRead"], false);
    assert_eq!(sent["seq"], 1);
    assert_eq!(sent["clientMessageId"], Value::Null);
    assert_eq!(sent["sender"]["lastName"], "Archer");
    let row = database
        .sql()
        .await
        .query_one(
            "select content, sender_id, conversation_id from messages where id = $1",
            &[&id_of(&sent)],
        )
        .await
        .expect("the row");
    assert_eq!(row.get::<_, String>(0), "hello");
    assert_eq!(row.get::<_, uuid::Uuid>(1), ALICE);
    assert_eq!(row.get::<_, uuid::Uuid>(2), conversation);
    assert_eq!(api.history(conversation).await, [sent]);
}

#[tokio::test]
async fn every_kind_of_message_and_every_character_is_kept() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;

    for kind in ["text", "image", "file"] {
        for content in [
            "plain",
            "  spaces stay  ",
            "quotes \" ' ` and \\ backslashes \\n \\u0041",
            "line\nbreak\r\n\ttab",
            "\u{1}\u{7f}\u{80}\u{2028}\u{2029}\u{feff}\u{ffff}",
            "Grüße, 日本語, עברית, 👩‍👩‍👧‍👦",
            "'; drop table messages; --",
            "{\"type\":\"chat_message\"}",
            "$1 %s {} \\x00",
        ] {
            let body = json!({"conversationId": conversation, "senderId": ALICE,
                              "content": content, "messageType": kind});
            let sent = api.post_message(&body).await.ok(201);
            assert_eq!(sent["content"], content);
            assert_eq!(sent["messageType"], kind);
            let page = api.messages(conversation, "limit=1").await.ok(200);
            assert_eq!(page["messages"], json!([sent]));
        }
    }
}

#[tokio::test]
async fn history_is_paged_newest_first() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    for number in 1..=60 {
        api.send(conversation, ALICE, &number.to_string()).await;
    }

    let page = |query: &'static str| {
        let api = api.clone();
        async move { api.messages(conversation, query).await.ok(200) }
    };
    let first = page("").await;
    assert_eq!(seqs(&first), (11..=60).rev().collect::<Vec<_>>());
    assert_eq!(first["hasMore"], true);
    for message in first["messages"].as_array().expect("messages") {
        assert_message(message);
        assert_eq!(message["content"], message["seq"].to_string());
    }
    let second = page("limit=50&offset=50").await;
    assert_eq!(seqs(&second), (1..=10).rev().collect::<Vec<_>>());
    assert_eq!(second["hasMore"], false);
    let all = page("limit=60").await;
    assert_eq!(all["hasMore"], false);
    let past = page("offset=60").await;
    assert_eq!(past, json!({"messages": [], "hasMore": false}));
}

#[tokio::test]
async fn history_is_paged_by_seq_in_both_directions() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    for number in 1..=10 {
        api.send(conversation, ALICE, &number.to_string()).await;
    }

    for (query, found, has_more) in [
        ("before=8&limit=3", vec![7, 6, 5], true),
        ("before=4&limit=3", vec![3, 2, 1], false),
        ("before=1", vec![], false),
        ("before=1000&limit=2", vec![10, 9], true),
        ("after=0&limit=3", vec![1, 2, 3], true),
        ("after=7&limit=3", vec![8, 9, 10], false),
        ("after=6&limit=3", vec![7, 8, 9], true),
        ("after=10", vec![], false),
        ("after=1000", vec![], false),
    ] {
        let page = api.messages(conversation, query).await.ok(200);
        assert_eq!(seqs(&page), found, "{query}");
        assert_eq!(page["hasMore"], has_more, "{query}");
    }
}

#[tokio::test]
async fn a_repeated_client_message_id_answers_with_the_first_message() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;

    let first = api
        .send_once(conversation, ALICE, "hello", "m-1")
        .await
        .ok(201);
    assert_eq!(first["clientMessageId"], "m-1");
    let repeat = api
        .send_once(conversation, ALICE, "hello", "m-1")
        .await
        .ok(200);
    assert_eq!(repeat, first);

    let next = api.send(conversation, ALICE, "next").await;
    assert_eq!(next["seq"], 2, "the repeat left no gap");
    // The same name of another sender is another message.
    let reply = api
        .send_once(conversation, BORIS, "hello", "m-1")
        .await
        .ok(201);
    assert_ne!(reply["id"], first["id"]);
}

#[tokio::test]
async fn a_client_message_id_is_any_text_of_up_to_64_bytes() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let longest = "ü".repeat(32);
    for id in [
        &*longest,
        "0",
        " ",
        "null",
        "'; drop table \"messages\" --",
        "👩‍👩‍👧‍👦",
    ] {
        let first = api.send_once(conversation, ALICE, "hello", id).await;
        let first = first.ok(201);
        assert_eq!(first["clientMessageId"], id);
        let repeat = api.send_once(conversation, ALICE, "hello", id).await;
        assert_eq!(repeat.ok(200), first);
    }
}

#[tokio::test]
async fn a_client_message_id_reused_with_anything_else_is_a_conflict() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let other = api.open_conversation(ALICE, CARLA).await;
    api.send_once(conversation, ALICE, "hello", "m-1")
        .await
        .ok(201);

    const REUSED: &str = "client_message_id_reused";
    let reply = api.send_once(conversation, ALICE, "other", "m-1").await;
    reply.refused(409, REUSED);
    let reply = api.send_once(other, ALICE, "hello", "m-1").await;
    reply.refused(409, REUSED);
    let body = json!({"conversationId": conversation, "senderId": ALICE, "content": "hello",
                      "messageType": "image", "clientMessageId": "m-1"});
    api.post_message(&body).await.refused(409, REUSED);
    assert_eq!(database.count("messages").await, 1);
}

#[tokio::test]
async fn after_an_edit_the_repeat_answers_with_the_message_as_it_is() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let first = api
        .send_once(conversation, ALICE, "hello", "m-1")
        .await
        .ok(201);
    let edited = api.edit(id_of(&first), ALICE, "hallo").await.ok(200);

    let repeat = api
        .send_once(conversation, ALICE, "hello", "m-1")
        .await
        .ok(200);

    assert_eq!(repeat, edited);
}

#[tokio::test]
async fn a_bad_message_among_many_does_not_fail_the_others() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    api.send_once(conversation, ALICE, "first", "taken")
        .await
        .ok(201);

    for _ in 0..5 {
        let mut sends = tokio::task::JoinSet::new();
        for number in 0..20 {
            let api = api.clone();
            sends.spawn(async move {
                let reply = match number % 5 {
                    0 => api.try_send(conversation, CARLA, "not mine").await,
                    1 => api.try_send(NOBODY, ALICE, "nowhere").await,
                    2 => api.try_send(conversation, NOBODY, "who?").await,
                    3 => api.send_once(conversation, ALICE, "other", "taken").await,
                    _ => api.try_send(conversation, BORIS, "good").await,
                };
                (number % 5, reply)
            });
        }
        while let Some(done) = sends.join_next().await {
            let (kind, reply) = done.expect("an answer");
            match kind {
                0 => drop(reply.refused(403, "not_a_participant")),
                1 => drop(reply.refused(404, "conversation_not_found")),
                2 => drop(reply.refused(404, "user_not_found")),
                3 => drop(reply.refused(409, "client_message_id_reused")),
                _ => drop(reply.ok(201)),
            }
        }
    }

    let history = api.history(conversation).await;
    let seqs: Vec<_> = history.iter().map(seq_of).collect();
    assert_eq!(seqs, (1..=21).collect::<Vec<_>>());
    let ids: HashSet<_> = history.iter().map(id_of).collect();
    assert_eq!(ids.len(), 21);
}

#[tokio::test]
async fn a_sender_may_edit_a_message() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    let id = id_of(&sent);

    let edited = api.edit(id, ALICE, "hallo").await.ok(200);

    assert_message(&edited);
    assert_eq!(edited["content"], "hallo");
    assert_eq!(edited["seq"], 1);
    assert_time(&edited, "editedAt");
    assert_eq!(edited["createdAt"], sent["createdAt"]);
    assert_eq!(api.history(conversation).await, [edited]);

    api.edit(id, BORIS, "mine")
        .await
        .refused(403, "not_the_sender");
    api.edit(NOBODY, ALICE, "what")
        .await
        .refused(404, "message_not_found");
    api.edit(id, ALICE, " ")
        .await
        .refused(400, "validation_failed");
    assert_eq!(api.history(conversation).await[0]["content"], "hallo");
}

#[tokio::test]
async fn one_message_is_read_by_its_id() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    let id = id_of(&sent);

    assert_message(&api.message(id, "").await.ok(200));
    for user in [ALICE, BORIS] {
        let found = api.message(id, &format!("user_id={user}")).await;
        assert_eq!(found.ok(200), sent);
    }
    for (user, status, code) in [
        (CARLA, 403, "not_a_participant"),
        (NOBODY, 404, "user_not_found"),
    ] {
        let refused = api.message(id, &format!("user_id={user}")).await;
        refused.refused(status, code);
    }
    for query in [String::new(), format!("user_id={ALICE}")] {
        let missing = api.message(NOBODY, &query).await;
        missing.refused(404, "message_not_found");
    }
    for query in ["user_id=1234", "user_id=me", "userId=1234"] {
        let refused = api.message(id, query).await;
        refused.refused(400, "validation_failed");
    }
    let edited = api.edit(id, ALICE, "hallo").await.ok(200);
    assert_eq!(api.message(id, "").await.ok(200), edited);

    api.delete_message(id, ALICE).await;
    for query in [String::new(), format!("user_id={BORIS}")] {
        let gone = api.message(id, &query).await;
        let message = gone.refused(404, "message_not_found");
        assert!(message.contains("deleted"), "{message}");
    }
    // Whether it ever was is nobody else's business.
    let stranger = api.message(id, &format!("user_id={CARLA}")).await;
    stranger.refused(403, "not_a_participant");
}

/// Who asks for others leaves it to the service to know who takes part.
#[tokio::test]
async fn history_is_read_for_a_user_who_takes_part() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let empty = json!({"messages": [], "hasMore": false});
    let as_user = |user: uuid::Uuid, more: &str| format!("user_id={user}{more}");
    let page = api.messages(conversation, &as_user(BORIS, "")).await;
    assert_eq!(page.ok(200), empty);
    let sent = api.send(conversation, ALICE, "hello").await;

    let pages = ["", "&before=2", "&after=0"];
    for more in pages {
        for user in [ALICE, BORIS] {
            let page = api.messages(conversation, &as_user(user, more)).await;
            assert_eq!(page.ok(200)["messages"], json!([sent]), "{more}");
        }
        for (user, status, code) in [
            (CARLA, 403, "not_a_participant"),
            (NOBODY, 404, "user_not_found"),
        ] {
            let refused = api.messages(conversation, &as_user(user, more)).await;
            refused.refused(status, code);
        }
        let nowhere = api.messages(NOBODY, &as_user(ALICE, more)).await;
        nowhere.refused(404, "conversation_not_found");
    }
    let past = api
        .messages(conversation, &as_user(ALICE, "&after=1"))
        .await;
    assert_eq!(past.ok(200), empty);
    for query in ["user_id=1234", "user_id=me", "user_id="] {
        let refused = api.messages(conversation, query).await;
        refused.refused(400, "validation_failed");
    }
}

#[tokio::test]
async fn a_deleted_message_keeps_its_place_without_its_content() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    let id = id_of(&sent);
    api.send(conversation, ALICE, "next").await;
    assert_eq!(api.unread_count(BORIS).await, 2);

    api.delete_message(id, BORIS)
        .await
        .refused(403, "not_the_sender");
    let deleted = api.delete_message(id, ALICE).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    let again = api.delete_message(id, ALICE).await;
    assert_eq!(again.status, 204, "again is no error");

    let history = api.history(conversation).await;
    assert_eq!(history.len(), 2);
    assert_eq!(history[0]["id"], sent["id"]);
    assert_eq!(history[0]["seq"], 1);
    assert_eq!(history[0]["content"], "");
    assert_time(&history[0], "deletedAt");
    assert_eq!(
        api.unread_count(BORIS).await,
        1,
        "it is not unread any more"
    );
    api.delete_message(NOBODY, ALICE)
        .await
        .refused(404, "message_not_found");
}

#[tokio::test]
async fn what_was_deleted_is_answered_as_deleted() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send_once(conversation, ALICE, "hello", "m-1").await;
    let id = id_of(&sent.ok(201));
    api.delete_message(id, ALICE).await;

    let edited = api.edit(id, ALICE, "hallo").await;
    let message = edited.refused(404, "message_not_found");
    assert!(message.contains("deleted"), "{message}");
    let repeat = api.send_once(conversation, ALICE, "hello", "m-1").await;
    let repeat = repeat.ok(200);
    assert_eq!(repeat["id"], json!(id));
    assert_eq!(repeat["content"], "", "it stays deleted");
    assert_time(&repeat, "deletedAt");
    assert_eq!(api.history(conversation).await, [repeat]);
}
