//! Whose turn it is to be read for: one user who asks without a pause leaves the others their connections to the database.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::support::*;

/// Of the six connections for requests, where `DB_POOL_SIZE` is eight: those that one user has.
const OF_A_USER: i64 = 2;

/// Alice's and Boris' unread messages take as long to count as the test wants; those of the others do not.
async fn held(more: &[(&str, &str)]) -> Held {
    let function = Function {
        name: "chat_unread_count",
        types: "uuid",
        returns: "table (unread_messages bigint, unread_conversations bigint)",
        call: "return query select * from chat_unread_count_at_once($1)",
    };
    Held::set(function, more).await
}

/// A request for a user's count, on a connection of its own.
fn count_of(held: &Held, user: Uuid) -> impl Future<Output = Reply> + use<> {
    let api = held.replica.api();
    async move {
        let path = format!("/api/v1/chat/users/{user}/unread-count");
        api.get(&path).await
    }
}

/// Whatever others read goes on.
async fn assert_nobody_else_waits(held: &Held, conversation: Uuid) {
    let api = held.replica.api();
    within("another's list", api.conversations(CARLA)).await;
    within("another's count", api.unread_count(CARLA)).await;
    let page = within("a history", api.messages(conversation, "")).await;
    page.ok(200);
    let users = within("the users", api.get("/api/v1/users")).await;
    users.ok(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_reads_without_a_pause_leaves_the_others_their_connections() {
    let held = held(&[]).await;
    let conversation = held.replica.api().open_conversation(CARLA, GRETA).await;
    let mut asked = JoinSet::new();
    held.come(&mut asked, 12, || count_of(&held, ALICE)).await;
    until_lock_waiters(&held.database, OF_A_USER).await;
    assert_nobody_else_waits(&held, conversation).await;
    // They wait for their turn, which the pool of connections does not know.
    until_metric(&held.replica, "pgchat_turns_waiting{kind=\"reads\"}", 10.0).await;
    let waiting = "pgchat_pool_waiting{pool=\"requests\"}";
    until_metric(&held.replica, waiting, 0.0).await;
    held.come(&mut asked, 12, || count_of(&held, BORIS)).await;
    until_lock_waiters(&held.database, 2 * OF_A_USER).await;
    assert_nobody_else_waits(&held, conversation).await;
    assert_eq!(held.database.count(LOCK_WAITERS).await, 2 * OF_A_USER);

    held.gate.open().await;
    while let Some(reply) = within("an answer", asked.join_next()).await {
        reply.expect("a reply").ok(200);
    }
}

/// What they asked for is cancelled a second later; until then it is their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_has_no_more_turns_than_who_waits() {
    let held = held(&[]).await;
    let conversation = held.replica.api().open_conversation(CARLA, GRETA).await;
    let mut asked = JoinSet::new();
    let callers: Vec<_> = (0..24)
        .map(|_| asked.spawn(count_of(&held, ALICE)))
        .collect();
    until_lock_waiters(&held.database, OF_A_USER).await;
    // One after the other, so that others of hers are there to take the place.
    let mut most = 0;
    for caller in callers {
        caller.abort();
        most = most.max(held.database.count(LOCK_WAITERS).await);
    }
    assert_nobody_else_waits(&held, conversation).await;
    most = most.max(held.database.count(LOCK_WAITERS).await);
    // Those that are being ended, and the next.
    assert!(most <= 2 * OF_A_USER, "{most} for one user");
    held.gate.open().await;
    let api = held.replica.api();
    assert_eq!(within("her turn", api.unread_count(ALICE)).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_requests_of_a_user_that_read_are_under_way_and_no_more() {
    let most = |set: &'static str| [("MAX_READS_PER_USER", set)];
    for (settings, most) in [(&[][..], 64), (&most("3")[..], 3)] {
        let held = held(settings).await;
        let mut asked = JoinSet::new();
        for _ in 0..=most {
            asked.spawn(count_of(&held, ALICE));
        }
        // None of the others has an answer yet.
        let refused = within("a refusal", asked.join_next()).await;
        let refused = refused.expect("one").expect("a reply");
        assert_eq!(refused.header("retry-after"), "1");
        let message = refused.refused(429, "too_many_requests");
        assert_eq!(message, format!("more than {most} reads at a time"));
        within("another's", held.replica.api().unread_count(CARLA)).await;
        held.gate.open().await;
        while let Some(reply) = within("an answer", asked.join_next()).await {
            reply.expect("a reply").ok(200);
        }
        assert_eq!(held.replica.api().unread_count(ALICE).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_all_of_a_users_requests_wait_for_their_turn() {
    let held = held(&[("MAX_READS_PER_USER", "0")]).await;
    let mut asked = JoinSet::new();
    held.come(&mut asked, 100, || count_of(&held, ALICE)).await;
    until_lock_waiters(&held.database, OF_A_USER).await;
    held.gate.open().await;
    while let Some(reply) = within("an answer", asked.join_next()).await {
        assert_eq!(reply.expect("a reply").ok(200)["unreadCount"], json!(0));
    }
}

/// One query asks for all whose existence is not known, for as long as anybody waits for one; whoever came first has begun it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_users_turn_is_over_when_they_are_answered_though_others_ask_on_by_the_same_query() {
    let database = Database::fresh().await;
    let function = Function {
        name: "chat_active_users",
        types: "uuid[]",
        returns: "table (id uuid, is_active boolean, failure text)",
        call: "return query select * from chat_active_users_at_once($1)",
    };
    let gate = Gate::before(&database, function, "true").await;
    database.conversation(GRETA, CARLA).await;
    // Of three connections for requests each user has one, and those lookups have one.
    let settings = [("DB_POOL_SIZE", "5"), ("DB_TIMEOUT_SECONDS", "60")];
    let replica = Replica::start(&database, &settings).await;
    let count_of = |user: Uuid| {
        let api = replica.api();
        tokio::spawn(async move { api.unread_count(user).await })
    };
    let of_greta = count_of(GRETA);
    until_lock_waiters(&database, 1).await;
    // He waits for her query, and whoever shuts the gate again for her to have passed.
    let of_henri = count_of(HENRI);
    let again = database.sql().await;
    let shut = tokio::spawn(async move {
        let lock = "select pg_advisory_lock(1)";
        again.batch_execute(lock).await.expect("the lock");
        again
    });
    until_lock_waiters(&database, 2).await;
    gate.open().await;
    assert_eq!(within("her count", of_greta).await.expect("a count"), 0);
    until_lock_waiters(&database, 1).await;
    within("her list", replica.api().conversations(GRETA)).await;
    assert!(!of_henri.is_finished(), "it is his that is asked for");
    let again = shut.await.expect("the lock");
    let unlock = "select pg_advisory_unlock(1)";
    again.batch_execute(unlock).await.expect("its end");
    assert_eq!(within("his count", of_henri).await.expect("a count"), 0);
}

/// Lists of users of the role that a test calls by Alice's id take as long as it wants: as in a table that is large, and has no index for them.
async fn held_lists(more: &[(&str, &str)]) -> Held {
    let function = Function {
        name: "chat_list_users",
        types: "text, boolean, text, bigint, bigint",
        returns: "setof text",
        call: "return query select * from chat_list_users_at_once($1, $2, $3, $4, $5)",
    };
    Held::set(function, more).await
}

fn list_of(held: &Held) -> impl Future<Output = Reply> + use<> {
    let api = held.replica.api();
    async move { api.get(&format!("/api/v1/users?role={ALICE}")).await }
}

/// Those of a gateway too, which are nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_of_users_that_take_long_leave_everything_else_its_connections() {
    let patient = [("SEARCH_TIMEOUT_SECONDS", "60")];
    let held = held_lists(&patient).await;
    let api = held.replica.api();
    let conversation = api.open_conversation(CARLA, GRETA).await;
    let mut asked = JoinSet::new();
    held.come(&mut asked, 12, || list_of(&held)).await;
    // Of the six connections for requests, where `DB_POOL_SIZE` is eight.
    until_lock_waiters(&held.database, 2).await;
    let figure = "pgchat_turns_waiting{kind=\"directory\"}";
    until_metric(&held.replica, figure, 10.0).await;
    let waiting = "pgchat_pool_waiting{pool=\"requests\"}";
    until_metric(&held.replica, waiting, 0.0).await;
    within("a list of conversations", api.conversations(CARLA)).await;
    within("a count", api.unread_count(CARLA)).await;
    within("a mark", api.mark_read(conversation, CARLA))
        .await
        .ok(200);
    let page = within("a history", api.messages(conversation, "")).await;
    page.ok(200);
    within("a user", api.get(&format!("/api/v1/users/{CARLA}")))
        .await
        .ok(200);
    let by_ids = format!("/api/v1/users?ids={CARLA},{GRETA}");
    within("users by their ids", api.get(&by_ids)).await.ok(200);
    assert_eq!(held.database.count(LOCK_WAITERS).await, 2);
    held.gate.open().await;
    while let Some(reply) = within("an answer", asked.join_next()).await {
        reply.expect("a reply").ok(200);
    }
}

/// Whom else the user reads about does not wait for it: it has the turn of any other read of theirs.
#[tokio::test]
async fn a_name_that_is_looked_for_too_long_among_conversations_is_given_up() {
    let function = Function {
        name: "chat_list_matching_conversations",
        types: "uuid, uuid, boolean, text, bigint, bigint, bigint",
        returns: "setof text",
        call: "return query select * from chat_list_matching_conversations_at_once($1, $2, $3, $4, $5, $6, $7)",
    };
    let held = Held::set(function, &[("SEARCH_TIMEOUT_SECONDS", "1")]).await;
    let api = held.replica.api();
    let conversation = api.open_conversation(ALICE, CARLA).await;
    let path = format!("/api/v1/chat/users/{ALICE}/conversations?q=car");
    let reply = within("a refusal", api.get(&path)).await;
    assert_eq!(reply.header("retry-after"), "5");
    reply.refused(503, "search_timeout");
    until_lock_waiters(&held.database, 0).await;
    within("her list", api.conversations(ALICE)).await;
    held.gate.open().await;
    let found = within("the conversation", api.get(&path)).await.ok(200);
    assert_eq!(found["conversations"][0]["id"], json!(conversation));
}

#[tokio::test]
async fn a_list_of_users_that_takes_too_long_is_given_up_and_the_next_has_its_turn() {
    let held = held_lists(&[("SEARCH_TIMEOUT_SECONDS", "1")]).await;
    let reply = within("a refusal", list_of(&held)).await;
    assert_eq!(reply.header("retry-after"), "5");
    reply.refused(503, "search_timeout");
    // It does not go on without anybody who waits for it.
    until_lock_waiters(&held.database, 0).await;
    let all = within("the others", held.replica.api().get("/api/v1/users")).await;
    all.ok(200);
    held.gate.open().await;
    within("the list", list_of(&held)).await.ok(200);
}

/// As with a machine that is suspended, for longer than a read may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_that_were_answered_while_the_process_stood_still_succeed_and_their_connections_go_on()
 {
    const PATIENCE: Duration = Duration::from_secs(5);
    let held = held(&[("DB_TIMEOUT_SECONDS", "5")]).await;
    let mut asked = JoinSet::new();
    for user in [ALICE, BORIS] {
        held.come(&mut asked, 2, || count_of(&held, user)).await;
    }
    until_lock_waiters(&held.database, 2 * OF_A_USER).await;
    let sql = held.database.sql().await;
    let sessions = format!("select array_agg(pid) from {LOCK_WAITERS}");
    let sessions: Vec<i32> = sql.query_one(&sessions, &[]).await.expect("four").get(0);

    held.replica.freeze();
    tokio::time::sleep(PATIENCE + Duration::from_secs(1)).await;
    held.gate.open().await;
    until_lock_waiters(&held.database, 0).await;
    held.replica.thaw();
    while let Some(reply) = within("an answer", asked.join_next()).await {
        reply.expect("a reply").ok(200);
    }
    let left = "select count(*) from pg_stat_activity where pid = any($1)";
    let left = sql.query_one(left, &[&sessions]).await.expect("a number");
    assert_eq!(left.get::<_, i64>(0), 2 * OF_A_USER);
}
