//! Whose the tables and functions of pgchat are: the owner's, whoever migrates. And what others have made stays theirs.

use super::texts;
use crate::support::*;

/// Before the last migration, as far as its functions and its table go.
const BEFORE_THE_LAST: &str = "drop procedure chat_purge_all; drop function chat_forget_user, chat_purge, chat_purged_since; drop table chat_purged;
                               delete from chat_schema_history where version = (select max(version) from chat_schema_history)";

/// What is called `chat_…` and is not the owner's.
async fn foreign(database: &Database) -> Vec<String> {
    let client = database.sql().await;
    let foreign = format!(
        "select o.name || ' of ' || pg_get_userbyid(o.owner)
           from (select relname, relowner, relnamespace from pg_class
                 union all select proname, proowner, pronamespace from pg_proc
                 union all select typname, typowner, typnamespace from pg_type) o (name, owner, schema)
          where o.schema = 'public'::regnamespace and o.name like 'chat\\_%' and o.owner <> '{OWNER}'::regrole
          order by 1"
    );
    texts(&client, &foreign).await
}

#[tokio::test]
async fn what_a_superuser_or_a_member_of_the_owner_migrates_is_the_owners() {
    let database = Database::fresh().await;
    let member = database.role("member").await;
    database
        .execute(&format!("grant {OWNER} to {member}"))
        .await;
    for role in ["postgres", &member] {
        database.execute_as_owner(BEFORE_THE_LAST).await;
        let outcome = pgchat(&["migrate"], &settings(&database, &[("DB_USER", role)])).await;
        outcome.assert_ok();
        assert_eq!(foreign(&database).await, Vec::<String>::new(), "{role}");
        let told = format!("as {OWNER}, who owns the chat tables");
        assert!(outcome.stderr.contains(&told), "{outcome:#?}");
        // The service's functions read the new table with the rights of the owner.
        let service = database.sql_as(SERVICE).await;
        service
            .batch_execute(&format!("select chat_purged_since('{ALICE}', '1')"))
            .await
            .expect("the new table");
    }
}

/// Or one that runs with its maker's rights would run with the owner's from then on, and who made it still call it.
#[tokio::test]
async fn what_somebody_else_made_by_the_name_of_one_of_pgchats_is_not_handed_over() {
    for is_installed in [false, true] {
        let database = match is_installed {
            false => Database::with_users().await,
            true => Database::fresh().await,
        };
        let mallory = database.role("mallory").await;
        database
            .execute(&format!(
                "grant create, usage on schema public to {mallory}"
            ))
            .await;
        let by_mallory = database.sql_as(&mallory).await;
        let mut made = "create function chat_store_message(point) returns text language sql security definer as 'select current_user::text';
                        revoke execute on function chat_store_message(point) from public;".to_owned();
        if !is_installed {
            made += "create view chat_presence as select 1 as id; create type chat_change as enum ('x');";
        }
        by_mallory.batch_execute(&made).await.expect("as anybody's");
        let before = foreign(&database).await;
        assert!(!before.is_empty());

        database.make_roles(&[]).await;

        assert_eq!(foreign(&database).await, before);
        if is_installed {
            // Nor does it stand in the way.
            database.migrate(&[]).await.assert_ok();
        }
    }
}

/// Whoever made it: the host may keep things of its own there, which are not to go with what belongs to pgchat's owner.
#[tokio::test]
async fn the_schema_is_the_administrators_and_stays_when_what_the_owner_owns_is_dropped() {
    for made in ["", "create schema chat authorization"] {
        let database = Database::with_users().await;
        let (owner, service) = (database.role("owner").await, database.role("service").await);
        let integrator = database.role("others").await;
        if !made.is_empty() {
            database.execute(&format!("{made} {owner}")).await;
        }
        let roles = [
            ("schema", "chat"),
            ("owner", owner.as_str()),
            ("service", &service),
            ("integrator", &integrator),
        ];
        database.make_roles(&roles).await;
        let as_owner = [("DB_USER", owner.as_str()), ("DB_SCHEMA", "chat")];
        pgchat(&["migrate"], &settings(&database, &as_owner))
            .await
            .assert_ok();
        database
            .execute("create table chat.blocked_users (user_id uuid)")
            .await;
        database.make_roles(&roles).await;
        // As docs/your-database.md tells administrators to remove pgchat.
        database
            .execute(&format!(
                "drop owned by {owner}, {service}, {integrator} cascade"
            ))
            .await;
        let left = "select relname::text from pg_class where relnamespace = 'chat'::regnamespace
                    union all select proname from pg_proc where pronamespace = 'chat'::regnamespace";
        let client = database.sql().await;
        assert_eq!(texts(&client, left).await, ["blocked_users"]);
    }
}
