//! Who may list users (`USER_DIRECTORY`).

use super::tokens::token;
use super::{SERVICE_TOKEN, get, replica};
use crate::support::*;

const LISTS: [&str; 6] = [
    "/api/v1/users",
    "/api/v1/users/",
    "/api/v1/users?q=bor&limit=1",
    // Carla's id.
    "/api/v1/users?ids=a0000000-0000-4000-8000-000000000003",
    "/api/v1/users/active",
    "/api/v1/users/role/developer",
];

/// Users list nobody; whoever may is answered however slow the machine is.
const SERVICES_ONLY: [(&str, &str); 2] = [("USER_DIRECTORY", "services"), UNHURRIED_SEARCH];

#[tokio::test]
async fn with_the_directory_off_users_list_nobody_and_services_everybody() {
    let database = Database::fresh().await;
    let off = replica(&database, &SERVICES_ONLY).await;
    let on = replica(&database, &[UNHURRIED_SEARCH]).await;
    let alice = token(ALICE);
    for path in LISTS {
        let refused = get(&off, path, &alice).await;
        let message = refused.refused(404, "directory_off");
        assert!(message.contains("USER_DIRECTORY"), "{message}");
        assert!(!refused.text.contains("Boris"), "{refused:?}");
        get(&off, path, SERVICE_TOKEN).await.ok(200);
        get(&on, path, &alice).await.ok(200);
    }
    // Nobody learns more by asking wrongly, and without a good token not even that.
    let wrong = get(&off, "/api/v1/users?limit=0", &alice).await;
    wrong.refused(404, "directory_off");
    let nobody = get(&off, "/api/v1/users", "garbage").await;
    nobody.refused(401, "token_invalid");
    // Whoever knows an id sees that user, as before.
    let boris = get(&off, &format!("/api/v1/users/{BORIS}"), &alice).await;
    assert_eq!(boris.ok(200)["firstName"], "Boris");
    get(&off, "/api/v1/users/me", &alice).await.ok(200);
    for (replica, is_on) in [(&off, false), (&on, true)] {
        let socket = Socket::connect_by(replica, ALICE, &alice).await;
        assert_eq!(socket.connected["data"]["directory"], is_on);
        let served = Socket::connect_by(replica, ALICE, SERVICE_TOKEN).await;
        assert_eq!(served.connected["data"]["directory"], true);
    }
}

#[tokio::test]
async fn a_users_own_id_may_be_me_among_others() {
    let database = Database::fresh().await;
    let replica = replica(&database, &[]).await;
    let listed = async |ids: &str, token: &str| {
        let reply = get(&replica, &format!("/api/v1/users?ids={ids}"), token).await;
        let users = reply.ok(200)["users"].as_array().cloned();
        users.expect("users").iter().map(id_of).collect::<Vec<_>>()
    };
    let (of_carla, carla) = (token(CARLA), CARLA.to_string());
    assert_eq!(listed("me", &of_carla).await, [CARLA]);
    let ids = format!("me,{BORIS},{carla}");
    assert_eq!(listed(&ids, &of_carla).await, [BORIS, CARLA]);
    assert_eq!(listed(&carla, SERVICE_TOKEN).await, [CARLA]);
    let of_nobody = get(&replica, "/api/v1/users?ids=me", SERVICE_TOKEN).await;
    of_nobody.refused(400, "validation_failed");
}

/// These names are in their list anyway.
#[tokio::test]
async fn with_the_directory_off_users_find_their_own_conversations_by_name() {
    let database = Database::fresh().await;
    let replica = replica(&database, &SERVICES_ONLY).await;
    database.conversation(ALICE, BORIS).await;
    database.conversation(CARLA, ALICE).await;
    database.conversation(BORIS, CARLA).await;
    let path = |user: &str, q: &str| format!("/api/v1/chat/users/{user}/conversations?q={q}");
    let alice = ALICE.to_string();
    for (user, token, q, found) in [
        ("me", &*token(ALICE), "bor", 1),
        (&alice, &token(ALICE), "BAKER", 1),
        ("me", &token(ALICE), "o", 2),
        // Of nobody but those with whom there is one.
        ("me", &token(ALICE), "david", 0),
        // A server asks for whom it likes.
        (&alice, SERVICE_TOKEN, "cooper", 1),
    ] {
        let page = get(&replica, &path(user, q), token).await.ok(200);
        let listed = page["conversations"].as_array().map(Vec::len);
        assert_eq!(listed, Some(found), "{user} {q}: {page}");
    }
    let anothers = get(&replica, &path(&alice, "bor"), &token(BORIS)).await;
    anothers.refused(403, "user_mismatch");
}

/// There the gateway decides: pgchat cannot tell a user's request from another server's.
#[tokio::test]
async fn trusted_mode_lists_users_whatever_the_directory_is_set_to() {
    let database = Database::fresh().await;
    let settings = [&[("AUTH_MODE", "trusted")][..], &SERVICES_ONLY].concat();
    let replica = Replica::start(&database, &settings).await;
    for path in LISTS {
        replica.api().get(path).await.ok(200);
    }
    let socket = Socket::connect(&replica, ALICE).await;
    assert_eq!(socket.connected["data"]["directory"], true);
    let log = replica.log();
    assert!(log.contains("no effect: USER_DIRECTORY"), "{log}");
}
