//! What the page on call says of who may look, and of a trouble that leaves something behind.

use super::{ON_CALL, inline, pid_of, pids};
use crate::support::*;

/// "Rights": from who may not watch the sessions of others, PostgreSQL hides what they do.
#[tokio::test]
async fn who_may_not_watch_the_sessions_of_others_finds_nobody_to_blame() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let holder = database.holding_conversation(conversation).await;
    let held_by = pid_of(&holder).await;
    let waits = database.sql().await;
    let lock = format!("select from conversations where id = '{conversation}' for update");
    let waiting = tokio::spawn(async move { waits.batch_execute(&lock).await });
    let queries = inline(ON_CALL, "select");
    let blamed = queries.iter().find(|sql| sql.contains("pg_blocking_pids"));
    let blamed = blamed.expect("the query");
    let superuser = database.sql().await;
    eventually("it is blamed", || async {
        let found = pids(&superuser, blamed).await;
        found.contains(&held_by).then_some(())
    })
    .await;

    let watcher = database.role("watcher").await;
    for role in [watcher.as_str(), OWNER] {
        let found = pids(&database.sql_as(role).await, blamed).await;
        assert!(!found.contains(&held_by), "{role}: {found:?}");
    }
    database
        .execute(&format!("grant pg_monitor to {watcher}"))
        .await;
    let found = pids(&database.sql_as(&watcher).await, blamed).await;
    assert!(found.contains(&held_by), "{found:?}");
    drop(holder);
    let locked = within("it has the lock", waiting).await.expect("an end");
    locked.expect("no fault");
}

/// "Troubleshooting", on triggers that are disabled: nobody was told of what was changed meanwhile, and reloads.
#[tokio::test]
async fn what_was_changed_while_triggers_were_disabled_is_loaded_after_what_the_page_says() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();
    let sent = id_of(&api.send(conversation, ALICE, "as it was").await);
    let mut boris = Socket::connect(&replica, BORIS).await;
    let former = settled_cursor(&replica, BORIS).await;
    database
        .execute(&format!(
            "alter table messages disable trigger user;
             update messages set content = 'as it is' where id = '{sent}'"
        ))
        .await;

    let enable = inline(ON_CALL, "alter table messages enable");
    let [enable] = enable[..] else {
        panic!("{enable:?}");
    };
    let both = format!("{enable}; {}", enable.replace("messages", "conversations"));
    database.execute_as_owner(&both).await;
    // What comes afterwards does not tell of it, live or by a replay.
    api.send(conversation, ALICE, "afterwards").await;
    let told = boris.before_message("afterwards").await;
    assert!(told.is_empty(), "{told:?}");
    let mut back = Socket::resume(&replica, BORIS, &former).await;
    let told = back.before_message("afterwards").await;
    assert!(told.is_empty(), "{told:?}");

    let renew = inline(ON_CALL, "select chat_renew_identity");
    database.execute_as_owner(renew[0]).await;
    boris.expect("resync_required").await;
    back.expect("resync_required").await;
    Socket::resume_refused(&replica, BORIS, &former).await;
    let history = api.history(conversation).await;
    let contents = history.iter().map(|message| &message["content"]);
    assert!(contents.into_iter().any(|content| content == "as it is"));
}
