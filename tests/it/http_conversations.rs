//! Conversations over HTTP: opening, listing, reading state.

mod marks;
mod meanwhile;
mod narrowed;
mod unread;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::auth::tokens::{SECRET, token};
use crate::support::*;

#[tokio::test]
async fn a_conversation_is_opened_once_in_either_order() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();

    let opened = api.try_open_conversation(ALICE, BORIS).await.ok(201);
    assert_conversation(&opened);
    assert_eq!(opened["participant1Id"], json!(ALICE));
    assert_eq!(opened["participant2Id"], json!(BORIS));
    assert_eq!(opened["participant1"]["firstName"], "Alice");
    assert_eq!(opened["lastMessage"], Value::Null);
    assert_eq!(opened["lastSeq"], 0);
    assert_eq!(opened["unreadCount"], 0);

    let again = api.try_open_conversation(ALICE, BORIS).await.ok(200);
    assert_eq!(again, opened);
    let swapped = api.try_open_conversation(BORIS, ALICE).await.ok(200);
    assert_eq!(swapped["id"], opened["id"]);
    assert_eq!(database.count("conversations").await, 1);
}

#[tokio::test]
async fn whether_two_have_a_conversation_can_be_asked_without_making_one() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    api.open_conversation(ALICE, CARLA).await;
    api.send(conversation, ALICE, "hello").await;
    let with = |user: Uuid, query: String| {
        let api = api.clone();
        async move {
            let path = format!("/api/v1/chat/conversations/{user}?with={query}");
            api.get(&path).await
        }
    };

    let none = json!({"conversations": [], "hasMore": false});
    for (user, other) in [(ALICE, BORIS), (BORIS, ALICE)] {
        let found = with(user, other.to_string()).await.ok(200);
        let listed = api.conversations(user).await;
        let listed: Vec<_> = listed
            .iter()
            .filter(|listed| id_of(listed) == conversation)
            .collect();
        assert_eq!(found, json!({"conversations": listed, "hasMore": false}));
        // There is no second page.
        let behind = with(user, format!("{other}&offset=1")).await;
        assert_eq!(behind.ok(200), none);
    }
    for (user, other) in [(BORIS, CARLA), (ALICE, NOBODY), (ALICE, ALICE)] {
        assert_eq!(with(user, other.to_string()).await.ok(200), none);
    }
    let nobodys = with(NOBODY, ALICE.to_string()).await;
    nobodys.refused(404, "user_not_found");
    for other in ["", "1234", "me"] {
        let refused = with(ALICE, other.to_owned()).await;
        let message = refused.refused(400, "validation_failed");
        assert!(message.contains("with "), "{message}");
    }
    assert_eq!(database.count("conversations").await, 2);
}

#[tokio::test]
async fn who_opens_a_conversation_is_shown_their_own_unread_count() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let jwt = [("JWT_SECRET", SECRET), ("SERVER_HOST", "127.0.0.1")];
    let replica = Replica::start(&database, &jwt).await;
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{conversation}', '{ALICE}', 'number ' || n from generate_series(1, 4) n;
             update messages set deleted_at = now() where seq = 2"
        ))
        .await;

    // In either order of the users.
    for (user1, user2) in [(ALICE, BORIS), (BORIS, ALICE)] {
        for (user, unread) in [(ALICE, 0), (BORIS, 3)] {
            let body = json!({"user1Id": user1, "user2Id": user2});
            let request = replica
                .api()
                .request(Method::POST, "/api/v1/chat/conversations");
            let opened = Reply::to(request.bearer_auth(token(user)).json(&body)).await;
            let opened = opened.ok(200);
            assert_eq!(opened["unreadCount"], unread, "{user}: {opened}");
        }
    }
}

#[tokio::test]
async fn two_replicas_that_open_the_same_conversation_at_once_agree_on_one_row() {
    let database = Database::fresh().await;
    let [first, second] = Replica::start_many(&database, &[]).await;
    let (first, second) = (first.api(), second.api());
    let users = database.add_users(20).await;

    for (number, user) in users.into_iter().enumerate() {
        let (here, there) = if number % 2 == 0 {
            ((ALICE, user), (user, ALICE))
        } else {
            ((ALICE, user), (ALICE, user))
        };
        let (one, other) = tokio::join!(
            first.try_open_conversation(here.0, here.1),
            second.try_open_conversation(there.0, there.1)
        );
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 201], "{one:?} {other:?}");
        assert_eq!(one.json()["id"], other.json()["id"]);
    }
    assert_eq!(database.count("conversations").await, 20);
}

/// The other one can do nothing about it.
#[tokio::test]
async fn a_conversation_that_is_opened_counts_for_who_asks() {
    let database = Database::fresh().await;
    let settings = [
        ("JWT_SECRET", SECRET),
        ("SERVER_HOST", "127.0.0.1"),
        ("RATE_LIMIT_PER_SECOND", "1"),
        ("RATE_LIMIT_BURST", "20"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let open = async |asks: Uuid, user1: Uuid, user2: Uuid| {
        let request = replica
            .api()
            .request(Method::POST, "/api/v1/chat/conversations")
            .bearer_auth(token(asks));
        let body = json!({"user1Id": user1, "user2Id": user2});
        Reply::to(request.json(&body)).await
    };
    for (asks, user1, user2) in [(CARLA, ALICE, CARLA), (DAVID, DAVID, ALICE)] {
        eventually("they have asked too often", || async {
            // More than the burst, at once: one after the other they may take longer than it takes to be allowed the next.
            let asked = join_all((0..30).map(|_| open(asks, user1, user2))).await;
            let refused = asked.iter().any(|reply| reply.status == 429);
            refused.then_some(())
        })
        .await;
    }
    // Nothing of hers is used up.
    for _ in 0..10 {
        let reply = open(ALICE, ALICE, BORIS).await;
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    }
}

#[tokio::test]
async fn conversations_are_listed_last_active_first() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let with_boris = api.open_conversation(ALICE, BORIS).await;
    let with_carla = api.open_conversation(CARLA, ALICE).await;
    let without_alice = api.open_conversation(BORIS, CARLA).await;
    api.send(without_alice, BORIS, "not for Alice").await;
    api.send(with_carla, CARLA, "one").await;
    let last = api.send(with_boris, BORIS, "two").await;

    let listed = api.conversations(ALICE).await;

    let ids: Vec<_> = listed.iter().map(id_of).collect();
    assert_eq!(ids, [with_boris, with_carla]);
    for conversation in &listed {
        assert_conversation(conversation);
    }
    assert_eq!(listed[0]["lastMessage"], last);
    assert_eq!(listed[0]["lastSeq"], 1);
    assert_eq!(listed[0]["unreadCount"], 1);

    api.send(with_carla, ALICE, "three").await;
    let listed = api.conversations(ALICE).await;
    assert_eq!(id_of(&listed[0]), with_carla);
    assert_eq!(listed[0]["unreadCount"], 1, "the own message is not unread");
    let for_carla = api.conversations(CARLA).await;
    let same = for_carla.iter().find(|found| id_of(found) == with_carla);
    assert_eq!(
        same.map(|found| &found["unreadCount"]),
        Some(&json!(1)),
        "unreadCount is the reading user's"
    );
}

#[tokio::test]
async fn conversations_are_paged() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let mut opened = Vec::new();
    for person in &PEOPLE[1..8] {
        let conversation = api.open_conversation(ALICE, person.id).await;
        api.send(conversation, ALICE, "hello").await;
        opened.insert(0, conversation);
    }

    let mut listed = Vec::new();
    for offset in [0, 3, 6] {
        let path = format!("/api/v1/chat/conversations/{ALICE}?limit=3&offset={offset}");
        let page = api.get(&path).await.ok(200);
        assert_eq!(page["hasMore"], offset < 6, "{page}");
        let conversations = page["conversations"].as_array().expect("conversations");
        listed.extend(conversations.iter().map(id_of));
    }
    assert_eq!(listed, opened);

    let lonely = api
        .get(&format!("/api/v1/chat/conversations/{JONAS}"))
        .await
        .ok(200);
    assert_eq!(lonely, json!({"conversations": [], "hasMore": false}));
}

/// The one path is where the other routes about a user are, the other the Go service's.
#[tokio::test]
async fn both_paths_of_the_list_of_conversations_answer_the_same() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    for person in &PEOPLE[1..4] {
        let conversation = api.open_conversation(ALICE, person.id).await;
        api.send(conversation, person.id, "hello").await;
    }
    for (query, found) in [
        ("", 3),
        ("limit=2&offset=1", 2),
        (&format!("with={BORIS}"), 1),
    ] {
        let mut pages = Vec::new();
        for path in [
            format!("/api/v1/chat/users/{ALICE}/conversations"),
            format!("/api/v1/chat/conversations/{ALICE}"),
        ] {
            pages.push(api.get(&format!("{path}?{query}")).await.ok(200));
        }
        let listed = pages[0]["conversations"].as_array().map(Vec::len);
        assert_eq!(listed, Some(found), "{query}: {}", pages[0]);
        assert_eq!(pages[0], pages[1], "{query}");
    }
}

#[tokio::test]
async fn pages_have_their_size_unless_another_is_asked_for() {
    let database = Database::fresh().await;
    let users = database.add_users(100).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    for user in &users[..51] {
        let conversation = database.conversation(ALICE, *user).await;
        api.send(conversation, ALICE, "an apple").await;
    }
    for (path, list, size) in [
        (
            format!("/api/v1/chat/users/{ALICE}/conversations"),
            "conversations",
            50,
        ),
        (
            format!("/api/v1/chat/conversations/{ALICE}"),
            "conversations",
            50,
        ),
        (
            format!("/api/v1/chat/users/{ALICE}/search?q=apple"),
            "messages",
            20,
        ),
        ("/api/v1/users/".to_owned(), "users", 100),
        ("/api/v1/users/active".to_owned(), "users", 100),
        ("/api/v1/users/role/buyer".to_owned(), "users", 100),
    ] {
        let page = api.get(&path).await.ok(200);
        assert_eq!(page[list].as_array().map(Vec::len), Some(size), "{path}");
        assert_eq!(page["hasMore"], true, "{path}");
    }
}

#[tokio::test]
async fn marking_read_marks_the_other_participants_messages_only() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let other = api.open_conversation(CARLA, BORIS).await;
    api.send(conversation, ALICE, "one").await;
    api.send(conversation, ALICE, "two").await;
    api.send(conversation, BORIS, "three").await;
    api.send(other, CARLA, "elsewhere").await;
    assert_eq!(api.unread_count(BORIS).await, 3);
    assert_eq!(api.unread_count(ALICE).await, 1);

    let marked = api.mark_read(conversation, BORIS).await.ok(200);

    assert_eq!(
        marked,
        json!({"conversationId": conversation, "userId": BORIS, "markedCount": 2, "readSeq": 3})
    );
    assert_eq!(api.unread_count(BORIS).await, 1);
    assert_eq!(api.unread_count(ALICE).await, 1);
    let read: Vec<_> = api
        .history(conversation)
        .await
        .iter()
        .map(|message| message["isRead"] == true)
        .collect();
    assert_eq!(read, [true, true, false]);

    let again = api.mark_read(conversation, BORIS).await.ok(200);
    assert_eq!(again["markedCount"], 0);
    assert_eq!(again["readSeq"], 3);
}

#[tokio::test]
async fn marking_read_stops_where_it_is_told() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    for content in ["one", "two", "three"] {
        api.send(conversation, ALICE, content).await;
    }
    let path = format!("/api/v1/chat/conversations/{conversation}/read?user_id={BORIS}");

    let nothing = api.put(&format!("{path}&up_to_seq=0")).await.ok(200);
    assert_eq!(nothing["markedCount"], 0);
    assert_eq!(nothing["readSeq"], 0, "nothing was read");
    let some = api.put(&format!("{path}&up_to_seq=2")).await.ok(200);
    assert_eq!(some["markedCount"], 2);
    assert_eq!(some["readSeq"], 2);
    assert_eq!(api.unread_count(BORIS).await, 1);
    let past_the_end = api.put(&format!("{path}&up_to_seq=999")).await.ok(200);
    assert_eq!(past_the_end["markedCount"], 1);
    assert_eq!(past_the_end["readSeq"], 3);
}

#[tokio::test]
async fn a_trailing_slash_is_accepted_on_every_route() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let operations = described::operations(ALICE, conversation);
    let more = [
        "/openapi.json",
        "/asyncapi.json",
        "/client/pgchat.js",
        "/client/conversation.js",
    ];
    let more = more.map(|path| (Method::GET, path.to_owned()));
    // Without a query or a body: what a route says of that, it says with the slash as well.
    for (method, path) in operations.into_iter().chain(more) {
        let ask = async |path: &str| Reply::to(api.request(method.clone(), path)).await;
        let (plain, slashed) = (ask(&path).await, ask(&format!("{path}/")).await);
        assert_eq!(slashed.status, plain.status, "{method} {path}/");
        if path != "/metrics" {
            assert_eq!(slashed.text, plain.text, "{method} {path}/");
        }
        // The document itself lists the codes.
        let is_found = plain.status != 404 || !plain.text.contains("route_not_found");
        assert!(is_found, "{method} {path}");
    }
    let path = format!("/ws/?user_id={ALICE}");
    Socket::connect_to(&replica, ALICE, &path).await;
}
