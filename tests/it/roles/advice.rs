//! What somebody is told who has made the roles and forgotten a grant: what gives it, and not what would fail as before.

use crate::support::*;

const IN_VAIN: &str = "must run \"pgchat migrate\"";

#[tokio::test]
async fn a_service_that_was_granted_nothing_yet_is_told_what_grants_it() {
    let mut database = Database::with_users().await;
    database.migrate(&[]).await.assert_ok();
    database.served_by = SERVICE;
    let revoke = format!("revoke all on all functions in schema public from {SERVICE}");
    database.execute(&revoke).await;
    let outcome = pgchat(&["serve"], &settings(&database, &[])).await;
    let grant = "select \"public\".chat_grant_service('pgchat_service')";
    let as_owner = format!("or as {OWNER}: {grant}");
    let words = [
        "permission denied for function chat_schema_versions",
        "run sql/roles.sql again",
        &as_owner,
    ];
    outcome.assert_failed(1, &words);
    assert!(!outcome.stderr.contains(IN_VAIN), "{outcome:#?}");

    database.execute_as_owner(grant).await;
    Replica::start(&database, &[]).await;
}

const SWAP: &str =
    "begin; alter table users rename to users_old; alter table users_new rename to users; commit";

fn a_new_table() -> String {
    format!(
        "create table users_new (like users including all);
         insert into users_new select * from users;
         update users_new set first_name = 'Anew' where id = '{ALICE}'"
    )
}

#[tokio::test]
async fn whoever_replaces_the_users_table_without_its_grants_is_told_what_grants_them() {
    let database = Database::fresh().await;
    let running = Replica::start(&database, &[("USERS_TABLE_CHECK_SECONDS", "1")]).await;
    database.execute(&a_new_table()).await;
    database.execute(SWAP).await;
    let words = [
        "permission denied for users table users",
        "run sql/roles.sql again: it grants pgchat_owner select on the columns that are shown, and references on the id",
    ];
    eventually("the log tells", || async {
        let log = running.log();
        words.iter().all(|word| log.contains(word)).then_some(())
    })
    .await;
    assert!(!running.log().contains(IN_VAIN), "{}", running.log());
    for role in [OWNER, "postgres"] {
        let outcome = pgchat(&["migrate"], &settings(&database, &[("DB_USER", role)])).await;
        outcome.assert_failed(1, &words);
        assert!(!outcome.stderr.contains(IN_VAIN), "{outcome:#?}");
    }
    database.make_roles(&[]).await;
    until_status(&running, "/health/ready", 200).await;
    assert_eq!(running.api().user(ALICE).await["firstName"], "Anew");
}

#[tokio::test]
async fn whoever_replaces_the_users_table_with_its_grants_ends_no_chat() {
    let database = Database::fresh().await;
    let running = Replica::start(&database, &[]).await;
    let api = running.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    database.execute(&a_new_table()).await;
    database
        .make_roles_by_psql(&[("users_table", "users_new")])
        .await;
    database.execute(SWAP).await;
    eventually("the new table is read", || async {
        let sent = api.send(conversation, ALICE, "still here").await;
        (sent["sender"]["firstName"] == "Anew").then_some(())
    })
    .await;
}

/// On managed servers there is no superuser.
#[tokio::test]
async fn an_administrator_who_may_not_hand_over_what_another_role_has_made_is_told_what_to_grant() {
    let database = Database::with_users().await;
    let (admin, app) = (database.role("admin").await, database.role("app").await);
    database
        .execute(&format!(
            "alter schema public owner to {admin}; alter table users owner to {admin}; grant {OWNER} to {admin};
             grant create on schema public to {app}; grant select, references on users to {app}"
        ))
        .await;
    let as_app = settings(&database, &[("DB_USER", &app)]);
    pgchat(&["migrate"], &as_app).await.assert_ok();
    let client = database.sql_as(&admin).await;
    let roles = roles_sql(&[]);
    let fault = client.batch_execute(&roles).await.expect_err("refused");
    let told = fault.as_db_error().expect("by the database");
    assert!(told.message().contains(&app), "{told:?}");
    let grant = format!("grant {app} to {admin}");
    let hint = told.hint().unwrap_or_default();
    assert!(hint.contains(&grant), "{told:?}");
    client.batch_execute("rollback").await.expect("its end");

    database.execute(&grant).await;
    client.batch_execute(&roles).await.expect("handed over");
    let others = format!(
        "pg_proc where pronamespace = 'public'::regnamespace and proname like 'chat\\_%' and proowner <> '{OWNER}'::regrole"
    );
    assert_eq!(database.count(&others).await, 0);
}
