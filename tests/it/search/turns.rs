//! How many search at a time: a search may take long, whatever the others want of the database meanwhile.

use tokio::task::JoinSet;

use super::*;

/// Of the six connections for requests, where `DB_POOL_SIZE` is eight.
const SHARE: i64 = 2;

/// Searches of Alice and of Boris take as long as the test wants; those of the others do not.
async fn held(more: &[(&str, &str)]) -> Held {
    let function = Function {
        name: "chat_search",
        types: "uuid, text, uuid, text, bigint, bigint, boolean, bigint",
        returns: "table (status text, message text)",
        call: "return query select * from chat_search_at_once($1, $2, $3, $4, $5, $6, $7, $8)",
    };
    let held = Held::set(function, &[&[UNHURRIED_SEARCH][..], more].concat()).await;
    held.replica.api().found(GRETA, "q=ready").await;
    held
}

/// A search of a user's, on a connection of its own.
fn search_of(held: &Held, user: Uuid) -> impl Future<Output = Reply> + use<> {
    let api = held.replica.api();
    async move { api.search(user, "q=apple").await }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_searches_without_a_pause_takes_one_turn_and_nobodys_reads_wait() {
    let held = held(&[]).await;
    let api = held.replica.api();
    let mut searches = JoinSet::new();
    held.come(&mut searches, 12, || search_of(&held, ALICE))
        .await;
    until_lock_waiters(&held.database, 1).await;
    // Another one's search has a turn, and whatever else is read needs none.
    within("another's search", api.found(GRETA, "q=apple")).await;
    within("another's list", api.conversations(CARLA)).await;
    within("her own list", api.conversations(ALICE)).await;
    assert_eq!(held.database.count(LOCK_WAITERS).await, 1);

    // Two users take all turns: then a search waits, and nothing else does.
    held.come(&mut searches, 12, || search_of(&held, BORIS))
        .await;
    until_lock_waiters(&held.database, SHARE).await;
    held.come(&mut searches, 1, || search_of(&held, GRETA))
        .await;
    within("another's list", api.conversations(CARLA)).await;
    assert_eq!(held.database.count(LOCK_WAITERS).await, SHARE);
    assert!(searches.try_join_next().is_none());

    held.gate.open().await;
    while let Some(reply) = within("an answer", searches.join_next()).await {
        reply.expect("a reply").ok(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_hangs_up_and_searches_again_takes_no_more_than_one_turn() {
    let held = held(&[]).await;
    for _ in 0..6 {
        let mut searches = JoinSet::new();
        let before = held.replica.open_files();
        held.come(&mut searches, 1, || search_of(&held, ALICE))
            .await;
        eventually("it has a turn, or waits for one", || async {
            (held.database.count(LOCK_WAITERS).await > 0).then_some(())
        })
        .await;
        searches.abort_all();
        eventually("it is gone", || async {
            (held.replica.open_files() <= before).then_some(())
        })
        .await;
        // One that is being ended, and the next.
        let running = held.database.count(LOCK_WAITERS).await;
        assert!(running <= 2, "{running} searches of one user");
    }
    held.gate.open().await;
    let api = held.replica.api();
    assert!(
        within("her turn", api.found(ALICE, "q=apple"))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn a_search_that_takes_too_long_is_given_up_and_the_next_has_its_turn() {
    let held = held(&[("SEARCH_TIMEOUT_SECONDS", "5")]).await;
    let api = held.replica.api();
    let reply = api.search(ALICE, "q=apple").await;
    assert_eq!(reply.header("retry-after"), "5");
    // Not `unavailable`: whoever repeats what may pass is to leave this alone.
    let message = reply.refused(503, "search_timeout");
    assert!(message.contains("narrow it down"), "{message}");
    // It does not go on without anybody who waits for it.
    until_lock_waiters(&held.database, 0).await;
    held.gate.open().await;
    assert!(api.found(ALICE, "q=apple").await.is_empty());
    let log = held.replica.log();
    assert!(log.contains("SEARCH_TIMEOUT_SECONDS"), "{log}");
}

#[tokio::test]
async fn a_search_that_waits_too_long_for_its_turn_is_refused() {
    let held = held(&[("DB_TIMEOUT_SECONDS", "5")]).await;
    let mut searches = JoinSet::new();
    held.come(&mut searches, 1, || search_of(&held, ALICE))
        .await;
    until_lock_waiters(&held.database, 1).await;
    let waiting = held.replica.api();
    let reply = within("an answer", waiting.search(ALICE, "q=apple")).await;
    let message = reply.refused(503, "unavailable");
    assert_eq!(message, "other searches take too long: try again");
    let told = "searches: a turn did not come within 5 s";
    until_logged(&held.replica, told).await;
    held.gate.open().await;
    let first = within("an answer", searches.join_next()).await;
    first.expect("one").expect("a reply").ok(200);
}

/// To mark the matches in these texts as a whole takes seconds each.
#[tokio::test]
async fn long_messages_that_match_late_are_found_and_shown_within_the_time_of_a_search() {
    let held = held(&[("SEARCH_TIMEOUT_SECONDS", "30")]).await;
    let with_greta = held.database.conversation(CARLA, GRETA).await;
    held.database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content)
             select '{with_greta}', '{CARLA}', repeat('a ', 32700) || ' b' from generate_series(1, 21)"
        ))
        .await;
    let api = held.replica.api();
    let found = api.search(GRETA, "q=a+b&snippets=true").await.ok(200);
    let messages = found["messages"].as_array().expect("messages");
    assert_eq!(messages.len(), 20);
    for message in messages {
        let parts = message["snippet"].as_array().expect("parts");
        assert!(parts.iter().any(|part| part["match"] == true), "{parts:?}");
    }
}
