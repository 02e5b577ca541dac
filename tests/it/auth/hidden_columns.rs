//! Columns of the users table that the owner of the chat tables may not read: `sql/roles.sql` grants single columns, and what the host
//! adds later, or drops and makes anew, has no grant. Nobody whom such a column deactivates may go on chatting unnoticed.

use serde_json::Value;

use super::tokens::token;
use super::{get, replica};
use crate::support::*;

const OFTEN: [(&str, &str); 1] = [("USERS_TABLE_CHECK_SECONDS", "1")];

const ADDED: &str = "alter table users add deleted_at timestamptz";

async fn as_alice(replica: &Replica) -> Reply {
    let path = format!("/api/v1/users/{ALICE}");
    get(replica, &path, &token(ALICE)).await
}

async fn until_alice_is_refused(replica: &Replica, after: &str) {
    eventually(after, || async {
        let reply = as_alice(replica).await;
        (reply.status == 403).then(|| reply.refused(403, "user_deactivated"))
    })
    .await;
}

/// Deleted softly.
async fn delete_alice(database: &Database, table: &str) {
    let deletion = format!("update {table} set deleted_at = now() where id = '{ALICE}'");
    database.execute(&deletion).await;
}

#[tokio::test]
async fn an_added_column_that_says_who_was_deleted_is_told_of_and_counts_once_it_may_be_read() {
    let database = Database::fresh().await;
    let running = replica(&database, &OFTEN).await;
    database.execute(ADDED).await;
    delete_alice(&database, "users").await;

    let words = [
        "column deleted_at of users table users may say who is not to chat (deletedAt)",
        "run sql/roles.sql again, or grant select (deleted_at) on users to pgchat_owner",
        "USERS_COLUMNS=deletedAt= does without it",
    ];
    for part in words {
        until_logged(&running, part).await;
    }
    until_logged(&running, "a replica that starts now does not serve").await;
    // What runs goes on, or each added column would end the chat.
    assert_eq!(running.api().status("/health/ready").await, Some(200));
    as_alice(&running).await.ok(200);
    database.migrate(&[]).await.assert_failed(1, &words);
    let outcome = pgchat(&["serve"], &settings(&database, &[])).await;
    outcome.assert_failed(1, &words);

    database.make_roles(&[]).await;
    until_alice_is_refused(&running, "the running replica has found the column").await;
    let started = replica(&database, &[]).await;
    as_alice(&started).await.refused(403, "user_deactivated");
}

#[tokio::test]
async fn a_column_that_is_added_and_may_be_read_counts_without_a_restart() {
    let database = Database::fresh().await;
    let grant = format!("grant select on users to {OWNER}");
    database.execute(&grant).await;
    let running = replica(&database, &OFTEN).await;
    database.execute(ADDED).await;
    delete_alice(&database, "users").await;
    until_alice_is_refused(&running, "the column is found").await;
    let told = "the users table has changed: its columns were detected anew";
    assert!(running.log().contains(told), "{}", running.log());
}

#[tokio::test]
async fn a_column_that_a_view_gets_counts_without_a_restart() {
    let mut database = Database::with_users().await;
    database.execute_as_owner(ADDED).await;
    let view = "create or replace view chatters as select id, first_name";
    let first = format!("{view} from users");
    database.execute_as_owner(&first).await;
    let settings = [OFTEN[0], ("USERS_TABLE", "chatters")];
    database.migrate(&settings).await.assert_ok();
    database.make_roles(&[("users_table", "chatters")]).await;
    database.served_by = SERVICE;
    let running = replica(&database, &settings).await;
    as_alice(&running).await.ok(200);
    let second = format!("{view}, deleted_at from users");
    database.execute_as_owner(&second).await;
    delete_alice(&database, "users").await;
    until_alice_is_refused(&running, "the column is found").await;
}

/// As TypeORM does where the type of a column changes. The host may hide it on purpose.
#[tokio::test]
async fn a_column_that_says_who_is_active_is_missed_when_it_was_made_anew() {
    let database = Database::fresh().await;
    let running = replica(&database, &OFTEN).await;
    database
        .execute("alter table users drop is_active, add is_active boolean not null default false")
        .await;
    until_status(&running, "/health/ready", 503).await;
    let words = [
        "column is_active of users table users may say who is not to chat (isActive)",
        "grant select (is_active) on users to pgchat_owner",
    ];
    for part in words {
        until_logged(&running, part).await;
    }
    database.make_roles(&[]).await;
    until_status(&running, "/health/ready", 200).await;
    as_alice(&running).await.refused(403, "user_deactivated");
    drop(running);

    let revoke = format!("revoke select (is_active) on users from {OWNER}");
    database.execute(&revoke).await;
    database.migrate(&[]).await.assert_failed(1, &words);
    let without = [("USERS_COLUMNS", "isActive=")];
    database.migrate(&without).await.assert_ok();
    as_alice(&replica(&database, &without).await).await.ok(200);
}

#[tokio::test]
async fn a_name_that_may_not_be_read_is_warned_of_and_shown_once_it_may() {
    let database = Database::fresh().await;
    database
        .execute("alter table users drop first_name, add first_name text default 'Anew'")
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    let line = outcome.stderr.lines().find(|line| {
        line.contains("pgchat_owner may not read column first_name of users table users, which is left out: run sql/roles.sql again, or \
                       grant select (first_name) on users to pgchat_owner; USERS_COLUMNS=firstName= does without it")
    });
    assert!(
        line.is_some_and(|line| line.contains("WARN")),
        "{outcome:#?}"
    );

    let running = Replica::start(&database, &OFTEN).await;
    assert_eq!(running.api().user(ALICE).await["firstName"], Value::Null);
    database.make_roles(&[]).await;
    eventually("the name is shown", || async {
        (running.api().user(ALICE).await["firstName"] == "Anew").then_some(())
    })
    .await;
}

/// A superuser may read what the owner may not, and the functions that read users have the owner's rights.
#[tokio::test]
async fn a_replica_that_a_superuser_runs_links_what_the_owner_may_read() {
    let mut database = Database::fresh().await;
    database.served_by = "postgres";
    let running = Replica::start(&database, &OFTEN).await;
    database
        .execute("alter table users drop avatar_url, add avatar text default 'x'")
        .await;
    let path = format!("/api/v1/users/{ALICE}");
    eventually("users are read again", || async {
        let reply = running.api().get(&path).await;
        (reply.status == 200 && reply.json()["avatarUrl"] == Value::Null).then_some(())
    })
    .await;
}
