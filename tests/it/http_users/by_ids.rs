//! Users by their ids, beside the whole list: in its order, with what it says of each, and at whose turn.

use serde_json::Value;

use super::{ids, listed};
use crate::auth::tokens::{SECRET, token};
use crate::support::*;

/// Where ids and names are in another order each, and a page has not all of them.
#[tokio::test]
async fn pages_of_users_by_their_ids_are_in_the_order_of_names() {
    let database = Database::fresh().await;
    let last = format!("update users set last_name = 'Zander' where id in ('{ALICE}', '{CARLA}')");
    database.execute(&last).await;
    let replica = Replica::start(&database, &[]).await;
    let asked = listed(&[ALICE, BORIS, CARLA, DAVID, KATIA]);
    let mut seen = Vec::new();
    for (offset, more) in [(0, true), (2, true), (4, false)] {
        let path = format!("/api/v1/users?ids={asked}&limit=2&offset={offset}");
        let page = replica.api().get(&path).await.ok(200);
        assert_eq!(page["hasMore"], more, "{offset}");
        seen.extend(ids(&page));
    }
    assert_eq!(seen, [BORIS, DAVID, KATIA, ALICE, CARLA]);
}

#[tokio::test]
async fn every_list_says_who_is_online_and_who_was_seen_when() {
    let database = Database::fresh().await;
    let settings = [("PRESENCE_GRACE_SECONDS", "1"), UNHURRIED_SEARCH];
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let _alice = Socket::connect(&replica, ALICE).await;
    Socket::connect(&replica, BORIS).await.close().await;
    let (online, seen) = eventually("Alice is there, and Boris was", || async {
        let (alice, boris) = (api.user(ALICE).await, api.user(BORIS).await);
        let is_it = alice["isOnline"] == true && boris["lastSeenAt"].is_string();
        is_it.then_some((alice, boris))
    })
    .await;
    assert_eq!(seen["isOnline"], false);
    let never = api.user(CARLA).await;
    for path in [
        "/api/v1/users".to_owned(),
        "/api/v1/users/active".to_owned(),
        format!("/api/v1/users?ids={}", listed(&[ALICE, BORIS, CARLA])),
        format!(
            "/api/v1/users/active?ids={}",
            listed(&[CARLA, ALICE, BORIS])
        ),
    ] {
        let page = api.get(&path).await.ok(200);
        let users = page["users"].as_array().expect("users");
        for expected in [&online, &seen, &never] {
            let found: Vec<&Value> = users
                .iter()
                .filter(|user| user["id"] == expected["id"])
                .collect();
            assert_eq!(found, [expected], "{path}");
        }
    }
}

/// Those of any other read of theirs, of which there are so many at a time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_by_their_ids_are_read_in_the_turns_of_whoever_asks() {
    let database = Database::fresh().await;
    let function = Function {
        name: "chat_list_users_of",
        types: "uuid[], text, boolean, text, bigint, bigint",
        returns: "setof text",
        call: "return query select * from chat_list_users_of_at_once($1, $2, $3, $4, $5, $6)",
    };
    let gate = Gate::before(&database, function, &format!("'{KATIA}' = any ($1)")).await;
    let settings = [
        ("JWT_SECRET", SECRET),
        ("SERVER_HOST", "127.0.0.1"),
        ("DB_TIMEOUT_SECONDS", "60"),
        ("MAX_READS_PER_USER", "1"),
    ];
    let replica = Replica::start(&database, &settings).await;
    let ask = |asking, asked| {
        let path = format!("/api/v1/users?ids={asked}");
        let request = replica.api().request(reqwest::Method::GET, &path);
        Reply::to(request.bearer_auth(token(asking)))
    };
    let waiting = tokio::spawn(ask(ALICE, KATIA));
    until_lock_waiters(&database, 1).await;
    let refused = within("a refusal", ask(ALICE, CARLA)).await;
    refused.refused(429, "too_many_requests");
    within("another's", ask(BORIS, CARLA)).await.ok(200);
    gate.open().await;
    let answer = within("an answer", waiting).await.expect("an answer");
    assert_eq!(ids(&answer.ok(200)), [KATIA]);
    within("her next one", ask(ALICE, CARLA)).await.ok(200);
}
