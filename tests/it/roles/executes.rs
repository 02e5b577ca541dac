//! An administrator runs `sql/roles.sql`, often a superuser: no function that is in the schema runs with their rights. `set role` takes none
//! of these away, because a function may `reset role`.

use super::texts;
use crate::support::*;

/// A function by this name that takes the administrator's rights, and leaves a sign of having run that no rollback takes back. Who creates it
/// may create in `public`.
const TRAP: &str = "create sequence public.ran; grant usage on public.ran to public;
     create or replace function public.chat_grant_service(service name) returns void language plpgsql as
     $$ begin reset role; perform pg_catalog.nextval('public.ran'); end $$;";

async fn assert_not_run(database: &Database, step: &str) {
    let ran = "pg_sequences where sequencename = 'ran' and last_value is not null";
    assert_eq!(database.count(ran).await, 0, "{step}");
}

#[tokio::test]
async fn what_somebody_has_made_before_the_first_run_does_not_run_with_the_rights_of_an_administrator()
 {
    let database = Database::with_users().await;
    let mallory = database.role("mallory").await;
    // As it is for everybody up to PostgreSQL 14.
    database
        .execute(&format!(
            "grant create, usage on schema public to {mallory}"
        ))
        .await;
    let session = database.sql_as(&mallory).await;
    session.batch_execute(TRAP).await.expect("her own function");
    for step in ["the first run", "the second"] {
        let outcome = database.sql().await.batch_execute(&roles_sql(&[])).await;
        assert_not_run(&database, step).await;
        outcome.expect("the roles");
    }
    // It is still hers, and nobody was given it.
    let hers = format!(
        "pg_proc where proname = 'chat_grant_service' and proowner = '{mallory}'::regrole and proacl is null"
    );
    assert_eq!(database.count(&hers).await, 1);
}

#[tokio::test]
async fn what_the_owner_has_replaced_does_not_run_with_the_rights_of_an_administrator() {
    let database = Database::fresh().await;
    database.execute_as_owner(TRAP).await;
    database
        .execute(&format!(
            "revoke execute on function chat_search_tidy(text), chat_search_languages() from {SERVICE}"
        ))
        .await;
    database.make_roles(&[]).await;
    assert_not_run(&database, "sql/roles.sql").await;
    // The file does itself what the function would.
    let granted = format!(
        "pg_proc p cross join lateral aclexplode(p.proacl) a
          where p.proname in ('chat_search_tidy', 'chat_search_languages')
            and a.grantee = '{SERVICE}'::regrole and a.grantor = '{OWNER}'::regrole"
    );
    assert_eq!(database.count(&granted).await, 2);
}

/// What the service calls is listed in both files; `roles/functions.rs` holds it against what the service does call.
#[tokio::test]
async fn sql_roles_grants_the_service_what_a_migration_does() {
    let listed = |text: &str| {
        let (_, rest) = text
            .split_once("  called constant")
            .and_then(|(_, rest)| rest.split_once("array["))
            .expect("the list");
        let (list, _) = rest.split_once("];").expect("its end");
        let lines = list.lines().filter(|line| !line.trim().starts_with("--"));
        lines.map(str::trim).collect::<Vec<_>>().join(" ")
    };
    let here = listed(&roles_sql(&[]));
    assert!(here.len() > 500, "{here}");
    assert_eq!(here, listed(include_str!("../../../sql/privileges.sql")));

    // All of it, without a migration.
    let database = Database::fresh().await;
    let sql = database.sql().await;
    let granted = format!(
        "select p.oid::regprocedure::text from pg_proc p cross join lateral aclexplode(p.proacl) a
          where p.pronamespace = 'public'::regnamespace and a.grantee = '{SERVICE}'::regrole order by 1"
    );
    let before = texts(&sql, &granted).await;
    database
        .execute(&format!(
            "revoke execute on all routines in schema public from {SERVICE}"
        ))
        .await;
    database.make_roles(&[]).await;
    assert_eq!(texts(&sql, &granted).await, before);
}
