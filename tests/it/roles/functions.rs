//! Who may execute which function, and what a new one may not open.

use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use super::texts;
use crate::support::*;

/// Functions that anybody may execute, that run with their owner's rights and the caller's search path, or that a
/// trigger runs with the rights of whoever changed the row.
async fn careless_functions(client: &Client) -> Vec<String> {
    texts(
        client,
        "select p.oid::regprocedure::text
           from pg_proc p
          where p.pronamespace = 'public'::regnamespace and p.proname like 'chat\\_%'
            and (exists (
                   select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0)
                   and (p.prosecdef or p.provolatile <> 'i' and p.proname not in ('chat_uuid_v7', 'chat_is_own'))
                 or p.prosecdef and not coalesce(p.proconfig, '{}') && array['search_path=public, pg_temp']
                 or p.prorettype = 'trigger'::regtype and not p.prosecdef)
          order by 1",
    )
    .await
}

#[tokio::test]
async fn every_function_is_closed_to_the_public_and_fixes_what_its_names_mean() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    assert_eq!(careless_functions(&client).await, Vec::<String>::new());
    let all = "pg_proc where pronamespace = 'public'::regnamespace and proname like 'chat\\_%'";
    assert!(database.count(all).await > 40);

    // That the question above would find one.
    database
        .execute(
            "create function chat_open() returns int language sql as 'select 1';
             create function chat_wandering() returns int language sql security definer as 'select 1';
             create function chat_public_path() returns int language sql security definer
               set search_path = public as 'select 1';
             create function chat_weak() returns trigger language plpgsql as 'begin return new; end';
             revoke execute on function chat_wandering(), chat_public_path(), chat_weak() from public",
        )
        .await;
    assert_eq!(
        careless_functions(&client).await,
        [
            "chat_open()",
            "chat_public_path()",
            "chat_wandering()",
            "chat_weak()"
        ]
    );

    // What a restore without privileges has opened, the next `migrate` closes; what is the host's stays as it is.
    database
        .execute(&format!(
            "alter function chat_open() owner to {OWNER}; grant execute on function chat_leave(uuid) to public"
        ))
        .await;
    database.migrate(&[]).await.assert_ok();
    let careless = careless_functions(&client).await;
    assert!(careless.contains(&"chat_open()".to_owned()), "{careless:?}");
    assert_eq!(careless.len(), 4, "{careless:?}");
}

/// With it one may keep the triggers from publishing, too.
#[tokio::test]
async fn the_right_to_publish_is_taken_back_from_whoever_has_got_it() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let role = database.role("all").await;
    let right = format!(
        "select has_function_privilege('{role}', 'chat_publish(text[],text[])', 'execute')::text"
    );
    let grant = format!("grant execute on all functions in schema public to {role}");
    database.execute(&grant).await;
    assert_eq!(texts(&client, &right).await, ["true"]);
    database.migrate(&[]).await.assert_ok();
    assert_eq!(texts(&client, &right).await, ["false"]);
}

#[tokio::test]
async fn the_right_to_publish_is_taken_back_from_whoever_has_got_it_from_another() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let (first, second) = (database.role("first").await, database.role("second").await);
    let grant = "grant execute on function chat_publish(text[], text[]) to";
    database
        .execute_as_owner(&format!("{grant} {first} with grant option"))
        .await;
    let by_first = database.sql_as(&first).await;
    by_first
        .batch_execute(&format!("{grant} {second}"))
        .await
        .expect("passed on");
    let who = format!(
        "select rolname::text from pg_roles where rolname in ('{first}', '{second}')
            and has_function_privilege(oid, 'chat_publish(text[], text[])', 'execute') order by 1"
    );
    assert_eq!(texts(&client, &who).await, [first, second]);
    database.migrate(&[]).await.assert_ok();
    assert_eq!(texts(&client, &who).await, Vec::<String>::new());
}

/// As where everything in a schema is open to the roles of a REST server.
#[tokio::test]
async fn default_privileges_that_open_the_functions_to_others_are_told() {
    let database = Database::with_users().await;
    let role = format!("anon_{}", database.name);
    let told = format!("default privileges let {role} execute");
    database
        .execute(&format!(
            "create role {role}; alter default privileges for role {OWNER} in schema public grant execute on functions to {role}"
        ))
        .await;
    // What it makes is nobody's but by a grant of its own, of which the log has the words.
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    let serve = format!("select public.chat_grant_service('{role}')");
    assert!(outcome.stderr.contains(&serve), "{outcome:#?}");
    let open = format!(
        "pg_proc p cross join lateral aclexplode(p.proacl) a
          where p.proname <> 'chat_grant_service' and a.grantee = '{role}'::regrole"
    );
    assert_eq!(database.count(&open).await, 0);
    database.execute_as_owner(&serve).await;
    let granted = database.count(&open).await;
    assert!(granted > 30, "{granted}");
    // And that stays.
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    assert!(!outcome.stderr.contains(&serve), "{outcome:#?}");
    assert_eq!(database.count(&open).await, granted);
    // Of what was there before it is only told.
    let all = format!("grant execute on all routines in schema public to {role}");
    database.execute_as_owner(&all).await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    assert!(outcome.stderr.contains(&told), "{outcome:#?}");
    // As it says.
    database
        .execute(&format!(
            "revoke execute on all routines in schema public from {role}"
        ))
        .await;
    let outcome = database.migrate(&[]).await;
    outcome.assert_ok();
    assert!(!outcome.stderr.contains(&told), "{outcome:#?}");
    database
        .execute(&format!("drop owned by {role}; drop role {role}"))
        .await;
}

/// What each role may do with each table and function, one a line.
async fn privileges(client: &Client) -> Vec<String> {
    let roles =
        format!("(values ('{SERVICE}', 'service'), ('{INTEGRATOR}', 'integrator')) r (name, kind)");
    let tables = format!(
        "select concat_ws(' ', 'table', c.relname || ':', coalesce(string_agg(r.kind || ' ' || may.what, '; ' order by r.kind desc),
                          'owner only'))
           from pg_class c
           left join ({roles} cross join lateral (
                  select string_agg(p.kind || coalesce(' (' || p.columns || ')', ''), ', ' order by p.place) as what
                    from (select k.place, k.kind,
                                 case when not has_table_privilege(r.name, c.oid, k.kind) then (
                                   select string_agg(a.attname, ', ' order by a.attnum) from pg_attribute a
                                    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and k.place <= 4
                                      and has_column_privilege(r.name, c.oid, a.attnum,
                                                               case when k.place <= 4 then k.kind else 'select' end)) end as columns,
                                 has_table_privilege(r.name, c.oid, k.kind) as whole
                            from (values (1, 'select'), (2, 'insert'), (3, 'update'), (4, 'references'),
                                         (5, 'delete'), (6, 'truncate'), (7, 'trigger')) k (place, kind)) p
                   where p.whole or p.columns is not null) may) on may.what is not null
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
          group by c.relname order by c.relname"
    );
    let functions = format!(
        "select concat_ws(' ', 'function', p.oid::regprocedure || ':',
                  case when has_function_privilege('pg_monitor', p.oid, 'execute') then 'everybody'
                       else coalesce((select string_agg(r.kind, '; ' order by r.kind desc) from {roles}
                                       where has_function_privilege(r.name, p.oid, 'execute')), 'owner only') end)
           from pg_proc p where p.pronamespace = 'public'::regnamespace order by p.oid::regprocedure::text"
    );
    let mut lines = texts(client, &tables).await;
    lines.extend(texts(client, &functions).await);
    lines
}

#[tokio::test]
async fn what_each_role_may_do_with_each_table_and_function_is_listed() {
    let database = Database::fresh().await;
    let listed: Vec<&str> = include_str!("../privileges.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let found = privileges(&database.sql().await).await;
    assert_eq!(found, listed, "\n{}", found.join("\n"));
}

#[tokio::test]
async fn the_service_may_execute_what_its_code_names_and_nothing_else() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let callable = format!(
        "select distinct p.proname::text from pg_proc p
          where p.pronamespace = 'public'::regnamespace and has_function_privilege('{SERVICE}', p.oid, 'execute')
            and not has_function_privilege('pg_monitor', p.oid, 'execute')
          order by 1"
    );
    let callable = texts(&client, &callable).await;
    let all =
        "select distinct proname::text from pg_proc where pronamespace = 'public'::regnamespace";
    let all = texts(&client, all).await;
    let mut named: Vec<String> = Vec::new();
    for path in rust_files(&PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        for name in &all {
            if code.contains(&format!("{name}(")) {
                named.push(name.clone());
            }
        }
    }
    // Only who owns the tables calls them: who builds the search index, and who migrates.
    named.retain(|name| !["chat_search_index_ddl", "chat_users_plan"].contains(&&**name));
    // chat_hold_replica() runs with the service's own rights, since it ends sessions of the service's own;
    // chat_link_users() with its caller's, since it looks names up as that one does.
    named.extend(["chat_replica_lock_class", "chat_relink_users"].map(str::to_owned));
    named.sort();
    named.dedup();
    assert!(named.len() > 30, "{named:?}");
    assert_eq!(callable, named);
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| entry.expect("an entry").path())
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[tokio::test]
async fn a_later_version_lets_the_service_execute_what_it_added() {
    let database = Database::fresh().await;
    // As it is before that version is applied, whose functions roles.sql could not know of.
    database
        .execute(&format!(
            "revoke execute on function chat_search_tidy(text), chat_search_languages() from {SERVICE}"
        ))
        .await;
    let may = format!(
        "has_function_privilege('{SERVICE}', 'chat_search_languages()', 'execute') may where may"
    );
    assert_eq!(database.count(&may).await, 0);
    database.migrate(&[]).await.assert_ok();
    assert_eq!(database.count(&may).await, 1);
    Replica::start(&database, &[]).await;
}

/// Everybody may execute everything then, and the service seems to have been granted already what it calls.
#[tokio::test]
async fn after_a_restore_without_privileges_the_roles_and_a_migration_bring_them_back() {
    let database = Database::fresh().await;
    database
        .execute(&format!(
            "revoke all on all routines in schema public from {SERVICE};
             grant execute on all routines in schema public to public"
        ))
        .await;
    database.make_roles(&[]).await;
    database.migrate(&[]).await.assert_ok();
    let everybodys =
        "has_function_privilege('public', 'chat_heartbeat(uuid, bigint)', 'execute') may where may";
    assert_eq!(database.count(everybodys).await, 0);
    Replica::start(&database, &[]).await;
}
