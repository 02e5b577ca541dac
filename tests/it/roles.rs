//! Least privilege: the roles of `sql/roles.sql`, and what a new table or function may not open to them.

use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use crate::support::*;

/// Insufficient privilege (PostgreSQL manual, appendix A).
const REFUSED: &str = "42501";

async fn texts(client: &Client, sql: &str) -> Vec<String> {
    match client.query(sql, &[]).await {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(fault) => panic!("{fault:?}\n{sql}"),
    }
}

async fn assert_refused(client: &Client, sql: &str) {
    match client.batch_execute(sql).await {
        Ok(()) => panic!("not refused: {sql}"),
        Err(fault) => {
            let code = fault.code().map(|code| code.code().to_owned());
            assert_eq!(code.as_deref(), Some(REFUSED), "{fault:?}\n{sql}");
        }
    }
}

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

    // What a migration forgets to close, the next `migrate` closes.
    database
        .execute(&format!("alter function chat_open() owner to {OWNER}"))
        .await;
    database.migrate(&[]).await.assert_ok();
    assert!(
        !careless_functions(&client)
            .await
            .contains(&"chat_open()".to_owned())
    );
}

/// With it one may keep the triggers from publishing, too.
#[tokio::test]
async fn the_right_to_publish_is_taken_back_from_whoever_has_got_it() {
    let database = Database::fresh().await;
    let client = database.sql().await;
    let right =
        "select has_function_privilege(r.rolname, 'chat_publish(text[],text[])', 'execute')::text
                   from pg_roles r where r.rolname = current_database() || '-all'";
    database
        .execute(
            "do $$ begin
               execute format('create role %I', current_database() || '-all');
               execute format('grant execute on all functions in schema public to %I', current_database() || '-all');
             end $$",
        )
        .await;
    assert_eq!(texts(&client, right).await, ["true"]);
    database.migrate(&[]).await.assert_ok();
    assert_eq!(texts(&client, right).await, ["false"]);
    database
        .execute(
            "do $$ begin
               execute format('drop owned by %I', current_database() || '-all');
               execute format('drop role %I', current_database() || '-all');
             end $$",
        )
        .await;
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

#[tokio::test]
async fn the_service_runs_as_a_role_that_owns_nothing_and_touches_no_table() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;

    let client = database.sql().await;
    let sessions = "select distinct usename::text from pg_stat_activity
                     where datname = current_database() and application_name like 'pgchat%'";
    assert_eq!(texts(&client, sessions).await, [SERVICE]);
    let powers = format!(
        "select rolname::text from pg_roles
          where rolname in ('{SERVICE}', '{OWNER}', '{INTEGRATOR}')
            and (rolsuper or rolcreaterole or rolcreatedb or rolreplication or rolbypassrls)"
    );
    assert_eq!(texts(&client, &powers).await, Vec::<String>::new());
    let within_reach = format!(
        "select c.oid::regclass::text from pg_class c
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'S', 'p')
            and (has_any_column_privilege('{SERVICE}', c.oid, 'select, insert, update, references')
                 or has_table_privilege('{SERVICE}', c.oid, 'delete, truncate, trigger'))"
    );
    assert_eq!(texts(&client, &within_reach).await, Vec::<String>::new());

    let service = database.sql_as(SERVICE).await;
    for sql in [
        "create table mine (id int)",
        "create function chat_mine() returns int language sql as 'select 1'",
        "alter table messages disable trigger all",
        "drop function chat_users()",
        &format!("set role {OWNER}"),
        "select pg_read_file('/etc/passwd')",
        "copy (select 1) to program 'true'",
    ] {
        assert_refused(&service, sql).await;
    }
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
    let listed: Vec<&str> = include_str!("privileges.txt")
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

#[tokio::test]
async fn columns_are_found_anew_by_a_service_that_owns_nothing_as_far_as_the_owner_may_read_them() {
    let database = Database::fresh().await;
    let more = [("USERS_TABLE_CHECK_SECONDS", "1")];
    let replica = Replica::start(&database, &more).await;
    let shown = async || {
        let user = replica.api().get(&format!("/api/v1/users/{ALICE}")).await;
        (user.status == 200).then(|| user.json()["avatarUrl"].clone())
    };
    assert!(shown().await.expect("Alice").is_string());
    database
        .execute("alter table users rename column avatar_url to picture")
        .await;
    // The grant is the column's, and goes with it.
    eventually("the column by its new name", || async {
        shown().await.filter(serde_json::Value::is_string)
    })
    .await;
    // One that the owner may not read is none.
    database
        .execute("alter table users drop column picture; alter table users add column avatar text default 'x'")
        .await;
    eventually("no column", || async {
        shown().await.filter(serde_json::Value::is_null)
    })
    .await;
    database.migrate(&[]).await.assert_ok();
    assert!(shown().await.expect("Alice").is_null());
}

#[tokio::test]
async fn the_owner_reads_no_more_of_the_users_than_the_chat_shows() {
    let database = Database::fresh().await;
    let owner = database.sql_as(OWNER).await;
    owner
        .batch_execute("select id, first_name, last_name, avatar_url, role, is_active from users")
        .await
        .expect("what is shown");
    for column in ["email", "password_hash", "phone", "*"] {
        assert_refused(&owner, &format!("select {column} from users")).await;
    }
    assert_refused(&owner, "update users set first_name = 'x'").await;
    assert_refused(&owner, "delete from users").await;
}

#[tokio::test]
async fn an_integrator_may_do_what_is_documented_and_nothing_else() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let role = format!("crm_{}", database.name);
    database
        .execute(&format!("create role {role} login in role {INTEGRATOR}"))
        .await;
    let crm = database.sql_as(&role).await;
    for sql in [
        format!(
            "insert into messages (conversation_id, sender_id, content, message_type, client_message_id)
             values ('{conversation}', '{ALICE}', 'x', 'file', 'crm-1')"
        ),
        format!(
            "insert into conversations (participant1_id, participant2_id) values ('{ALICE}', '{CARLA}')"
        ),
        "select * from messages m join conversations c on c.id = m.conversation_id".to_owned(),
        "update messages set content = 'y', is_read = true".to_owned(),
        "update messages set deleted_at = now()".to_owned(),
        format!("select chat_send_message('{conversation}', '{BORIS}', 'z')"),
        "delete from messages where deleted_at is not null".to_owned(),
        "select user_id, is_online, last_seen_at from chat_presence".to_owned(),
        "listen chat_events".to_owned(),
    ] {
        if let Err(fault) = crm.batch_execute(&sql).await {
            panic!("{fault:?}\n{sql}");
        }
    }

    for sql in [
        "select * from users",
        "select password_hash from users",
        "select * from chat_users()",
        "insert into messages (conversation_id, sender_id, content, seq) select conversation_id, sender_id, 'x', 99 from messages",
        "insert into messages (conversation_id, sender_id, content, revision) select conversation_id, sender_id, 'x', 9 from messages",
        "insert into messages (id, conversation_id, sender_id, content) select gen_random_uuid(), conversation_id, sender_id, 'x' from messages",
        "update messages set seq = seq + 1",
        "update messages set revision = 7",
        "update messages set change_xid = '1'",
        "update messages set sender_id = gen_random_uuid()",
        "update messages set created_at = now()",
        "update conversations set last_seq = 0",
        "update conversations set participant2_id = participant1_id",
        "insert into conversations (participant1_id, participant2_id, last_seq) select participant1_id, participant2_id, 7 from conversations",
        "delete from conversations",
        "truncate messages cascade",
        "alter table messages disable trigger all",
        "set session_replication_role = replica",
        "create table chat_mine (id int)",
        "create function chat_users2() returns int language sql as 'select 1'",
        "create trigger mine after insert on messages execute function suppress_redundant_updates_trigger()",
        "create index on messages (content)",
        &format!("set role {OWNER}"),
        &format!("set role {SERVICE}"),
    ] {
        assert_refused(&crm, sql).await;
    }

    // And of everything that begins with chat_, whatever a later version adds.
    let client = database.sql().await;
    let tables = format!(
        "select c.oid::regclass::text from pg_class c
          where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v', 'm', 'S', 'p')
            and c.relname like 'chat\\_%'
            and (has_any_column_privilege('{role}', c.oid, 'select, insert, update, references')
                 or has_table_privilege('{role}', c.oid, 'delete, truncate, trigger'))"
    );
    assert_eq!(texts(&client, &tables).await, ["chat_presence"]);
    drop(crm);
    database.execute(&format!("drop role {role}")).await;
}

#[tokio::test]
async fn a_service_without_rights_on_the_schema_says_what_is_missing() {
    let database = Database::fresh().await;
    let run = async |more: &[(&str, &str)]| pgchat(&["migrate"], &settings(&database, more)).await;
    run(&[]).await.assert_ok();
    // A schema that is not there yet.
    run(&[("DB_SCHEMA", "other")])
        .await
        .assert_failed(1, &["permission denied", "sql/roles.sql"]);

    // Another users table than that which the owner linked.
    database
        .execute("create table people (id uuid primary key)")
        .await;
    let people = [("USERS_TABLE", "people")];
    run(&people)
        .await
        .assert_failed(1, &["users table", "pgchat migrate", OWNER]);

    // A migration that the owner has still to apply. `serve` says the same.
    database
        .execute(
            "delete from chat_schema_history where version = (select max(version) from chat_schema_history)",
        )
        .await;
    let words = ["is missing", "pgchat migrate", OWNER];
    run(&[]).await.assert_failed(1, &words);
    pgchat(&["serve"], &settings(&database, &[]))
        .await
        .assert_failed(1, &words);

    // Grants that were forgotten.
    database
        .execute(&format!(
            "revoke execute on all functions in schema public from {SERVICE}"
        ))
        .await;
    run(&[])
        .await
        .assert_failed(1, &["permission denied", "sql/roles.sql"]);
}

#[tokio::test]
async fn the_roles_are_made_by_psql_any_number_of_times_and_take_an_installation_over() {
    let database = Database::empty().await;
    database
        .execute(&format!(
            "create schema crm;
             create table crm.people (nr uuid primary key, vorname text, secret text);
             insert into crm.people values ('{ALICE}', 'Alice', 'x'), ('{BORIS}', 'Boris', 'x')"
        ))
        .await;
    let role = |kind: &str| format!("{kind} of {}", database.name);
    let (owner, service, integrator) = (role("owner"), role("service"), role("others"));
    let variables = [
        ("owner", owner.as_str()),
        ("service", &service),
        ("integrator", &integrator),
        ("schema", "chat"),
        ("users_table", "crm.people"),
        ("users_columns", "nr, vorname"),
    ];
    let users = [
        ("DB_SCHEMA", "chat"),
        ("USERS_TABLE", "crm.people"),
        ("USERS_COLUMNS", "id=nr,firstName=vorname"),
    ];
    // As it was before anybody thought of roles.
    let more: Vec<_> = [("DB_USER", "postgres")]
        .iter()
        .chain(&users)
        .copied()
        .collect();
    pgchat(&["migrate"], &settings(&database, &more))
        .await
        .assert_ok();

    // The host's own, whose name says so, stays the host's.
    database
        .execute(
            "create procedure chat.nightly() language sql as 'select 1';
             create table chat.reports (id int); create type chat.mood as enum ('good')",
        )
        .await;

    for _ in 0..2 {
        if !database.make_roles_by_psql(&variables).await {
            database.make_roles(&variables).await;
        }
    }
    let foreign = format!(
        "select x.name from (
           select relname::text, relowner from pg_class where relnamespace = 'chat'::regnamespace
           union all select proname::text, proowner from pg_proc where pronamespace = 'chat'::regnamespace
           union all select typname::text, typowner from pg_type where typnamespace = 'chat'::regnamespace) x (name, owner)
          where x.owner <> '\"{owner}\"'::regrole"
    );
    let client = database.sql().await;
    let hosts = ["mood", "nightly", "reports"];
    let mut found = texts(&client, &foreign).await;
    // A table's row type, and the array of each type, go with it.
    found.retain(|name| !name.starts_with('_'));
    found.sort();
    found.dedup();
    assert_eq!(found, hosts);
    // Procedures too: the owner can call them, and change them in a later version.
    let by_owner = database.sql_as(&owner).await;
    by_owner
        .batch_execute("call chat.chat_purge_all('1 year')")
        .await
        .expect("the procedure");
    by_owner
        .batch_execute("alter procedure chat.chat_purge_all(interval, integer, double precision, uuid) set work_mem = '4MB'")
        .await
        .expect("its owner");
    drop(by_owner);

    let more: Vec<_> = [("DB_USER", owner.as_str())]
        .iter()
        .chain(&users)
        .copied()
        .collect();
    pgchat(&["migrate"], &settings(&database, &more))
        .await
        .assert_ok();
    let more: Vec<_> = [("DB_USER", service.as_str())]
        .iter()
        .chain(&users)
        .copied()
        .collect();
    let replica = Replica::start(&database, &more).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let sent = replica.api().send(conversation, ALICE, "hello").await;
    assert_eq!(boris.expect("chat_message").await["data"], sent);

    drop((boris, replica));
    database
        .execute(&format!(
            "drop owned by \"{owner}\", \"{service}\", \"{integrator}\";
             drop role \"{owner}\", \"{service}\", \"{integrator}\""
        ))
        .await;
}

/// As on managed servers, where nobody is a superuser: by whoever may make roles, and owns the database and the users table.
#[tokio::test]
async fn the_roles_are_made_by_an_administrator_who_is_no_superuser() {
    let database = Database::empty().await;
    let role = |kind: &str| format!("{kind}_{}", database.name);
    let (admin, owner, service, integrator) = (
        role("admin"),
        role("owner"),
        role("service"),
        role("others"),
    );
    database
        .execute(&format!(
            "create role {admin} login createrole createdb; alter database {} owner to {admin}",
            database.name
        ))
        .await;
    let by_admin = database.sql_as(&admin).await;
    by_admin
        .batch_execute(&format!(
            "create schema crm; create table crm.people (id uuid primary key, first_name text, secret text);
             insert into crm.people values ('{ALICE}', 'Alice', 'x'), ('{BORIS}', 'Boris', 'x')"
        ))
        .await
        .expect("the administrator's table");
    let variables = [
        ("owner", owner.as_str()),
        ("service", &service),
        ("integrator", &integrator),
        ("schema", "chat"),
        ("users_table", "crm.people"),
    ];
    let settings_of = |role: &str| {
        settings(
            &database,
            &[
                ("DB_USER", role),
                ("DB_SCHEMA", "chat"),
                ("USERS_TABLE", "crm.people"),
            ],
        )
    };
    for _ in 0..2 {
        if let Err(fault) = by_admin.batch_execute(&roles_sql(&variables)).await {
            panic!("{fault:?}");
        }
        pgchat(&["migrate"], &settings_of(&owner)).await.assert_ok();
    }
    let replica = Replica::start_with(&settings_of(&service)).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;
    drop((by_admin, replica));
    database
        .execute(&format!(
            "drop owned by {owner}, {service}, {integrator}; drop role {owner}, {service}, {integrator};
             reassign owned by {admin} to postgres; drop owned by {admin}; drop role {admin}"
        ))
        .await;
}

/// The host's policies are for pgchat's owner, too, who is told of it.
#[tokio::test]
async fn users_whom_row_level_security_hides_do_not_exist_and_it_is_told() {
    let database = Database::fresh().await;
    database
        .execute(
            "alter table users enable row level security;
             create policy active on users for select using (is_active)",
        )
        .await;
    let replica = Replica::start(&database, &[]).await;
    assert!(
        replica
            .log()
            .contains("row-level security of users applies to"),
        "{}",
        replica.log()
    );
    let irene = format!("/api/v1/users/{IRENE}");
    replica
        .api()
        .get(&irene)
        .await
        .refused(404, "user_not_found");
    // As the documentation has it.
    database
        .execute(&format!(
            "create policy chat on users for select to {OWNER} using (true)"
        ))
        .await;
    assert_user(&replica.api().get(&irene).await.ok(200));
}

#[test]
fn the_columns_that_are_detected_are_those_that_the_owner_is_granted() {
    let names = |text: &str, from: &str, to: &str| -> Vec<String> {
        let (_, rest) = text.split_once(from).expect("the beginning of the list");
        let (list, _) = rest.split_once(to).expect("its end");
        list.split('\'')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let detected: Vec<String> = include_str!("../../sql/migrations/V2__users.sql")
        .lines()
        .filter(|line| line.contains(", array['"))
        .flat_map(|line| names(line, "array[", "]"))
        .collect();
    let granted = names(&roles_sql(&[]), "|| array[", "]::name[]");
    assert!(detected.len() > 15, "{detected:?}");
    assert_eq!(detected, granted);
}
