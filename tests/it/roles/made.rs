//! How the roles of `sql/roles.sql` are made: by a superuser or by an administrator, before an installation or long after it.

use super::texts;
use crate::support::*;

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
    // They go when the database does.
    let role = |kind: &str| format!("{kind} of_{}", database.name);
    let (owner, service, integrator) = (role("owner"), role("service"), role("others"));
    let variables = [
        ("owner", owner.as_str()),
        ("service", &service),
        ("integrator", &integrator),
        ("schema", "chat"),
        ("users_table", "crm.people"),
        ("users_columns", "nr, vorname"),
    ];
    let settings_of = |role: &str| {
        let crm = [
            ("DB_USER", role),
            ("DB_SCHEMA", "chat"),
            ("USERS_TABLE", "crm.people"),
            ("USERS_COLUMNS", "id=nr,firstName=vorname"),
        ];
        settings(&database, &crm)
    };
    let migrate = async |role: &str| {
        let outcome = pgchat(&["migrate"], &settings_of(role)).await;
        outcome.assert_ok();
    };
    // As it was before anybody thought of roles.
    migrate("postgres").await;

    // The host's own stays the host's, whatever it is called.
    database
        .execute(
            "create procedure chat.nightly() language sql as 'select 1';
             create function chat.chat_nightly() returns int language sql as 'select 1';
             create table chat.reports (id int); create type chat.mood as enum ('good');
             create table chat.chat_rooms (id int); create type chat.chat_mood as enum ('good')",
        )
        .await;

    for _ in 0..2 {
        database.make_roles_by_psql(&variables).await;
    }
    let foreign = format!(
        "select x.name from (
           select relname::text, relowner from pg_class where relnamespace = 'chat'::regnamespace
           union all select proname::text, proowner from pg_proc where pronamespace = 'chat'::regnamespace
           union all select typname::text, typowner from pg_type where typnamespace = 'chat'::regnamespace) x (name, owner)
          where x.owner <> '\"{owner}\"'::regrole"
    );
    let client = database.sql().await;
    let hosts = [
        "chat_mood",
        "chat_nightly",
        "chat_rooms",
        "mood",
        "nightly",
        "reports",
    ];
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

    migrate(&owner).await;
    let replica = Replica::start_with(&settings_of(&service)).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let sent = replica.api().send(conversation, ALICE, "hello").await;
    assert_eq!(boris.expect("chat_message").await["data"], sent);
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

/// PostgreSQL fails where it is asked for a table in a schema that the role may not use. That schema may also be gone.
#[tokio::test]
async fn nobody_needs_the_schema_public_whose_tables_are_in_another() {
    for closed in [
        "alter schema public owner to current_user; revoke all on schema public from public",
        "drop schema public",
    ] {
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
                "create role {admin} login createrole; alter database {} owner to {admin}; {closed}",
                database.name
            ))
            .await;
        let by_admin = database.sql_as(&admin).await;
        by_admin
            .batch_execute(&format!(
                "create schema app; create table app.\"User\" (id uuid primary key, \"firstName\" text);
                 insert into app.\"User\" values ('{ALICE}', 'Alice'), ('{BORIS}', 'Boris')"
            ))
            .await
            .expect("the administrator's table");
        let variables = [
            ("owner", owner.as_str()),
            ("service", &service),
            ("integrator", &integrator),
            ("schema", "app"),
            ("users_table", "User"),
        ];
        let settings_of = |role: &str| {
            let more = [
                ("DB_USER", role),
                ("DB_SCHEMA", "app"),
                ("USERS_TABLE", "User"),
            ];
            settings(&database, &more)
        };
        for _ in 0..2 {
            if let Err(fault) = by_admin.batch_execute(&roles_sql(&variables)).await {
                panic!("{closed}: {fault:?}");
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
    let detected: Vec<String> = include_str!("../../../sql/migrations/V2__users.sql")
        .lines()
        .filter(|line| line.contains(", array['"))
        .flat_map(|line| names(line, "array[", "]"))
        .collect();
    let granted = names(&roles_sql(&[]), "|| array[", "]::name[]");
    assert!(detected.len() > 15, "{detected:?}");
    assert_eq!(detected, granted);
    let whole = |text: &str, from| names(text, from, "]");
    let detected = whole(
        include_str!("../../../sql/migrations/V2__users.sql"),
        "whole_names constant text[] := array[",
    );
    assert_eq!(detected, whole(&roles_sql(&[]), "then array["));
}

/// `USERS_TABLE` and `USERS_COLUMNS` are taken without the quotes that SQL wants, and so are the script's variables.
#[tokio::test]
async fn the_roles_are_made_for_a_users_table_whatever_its_names_are() {
    let database = Database::empty().await;
    database
        .execute(&format!(
            "create schema crm; create table crm.\"AppUsers\" (\"User Id\" uuid primary key, \"First Name\" text);
             insert into crm.\"AppUsers\" values ('{ALICE}', 'Alice'), ('{BORIS}', 'Boris')"
        ))
        .await;
    let variables = [
        ("users_table", "crm.AppUsers"),
        ("users_columns", "User Id, First Name"),
    ];
    let settings = [
        ("USERS_TABLE", "crm.AppUsers"),
        ("USERS_COLUMNS", "id=User Id, firstName=First Name"),
    ];
    database.make_roles(&variables).await;
    database.migrate(&settings).await.assert_ok();
    database.make_roles(&variables).await;
    let replica = Replica::start(&database, &settings).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let sent = api.send(conversation, ALICE, "hello").await;
    assert_eq!(sent["sender"]["firstName"], "Alice");
}

/// How PostgreSQL writes the name of the users table does not change which one it is.
#[tokio::test]
async fn a_database_that_quotes_all_names_is_served_and_migrated() {
    let database = Database::fresh().await;
    let set = format!("alter database {} set quote_all_identifiers", database.name);
    for value in ["on", "off", "on"] {
        database.execute(&format!("{set} = {value}")).await;
        let replica = Replica::start(&database, &[]).await;
        let api = replica.api();
        let conversation = api.open_conversation(ALICE, BORIS).await;
        api.send(conversation, ALICE, value).await;
        // It writes down what it has linked.
        database.migrate(&[]).await.assert_ok();
    }
}

/// Up to PostgreSQL 14 everybody may create in public: the host's own migrations may count on it.
#[tokio::test]
async fn who_could_create_in_the_schema_as_everybody_could_is_told_that_it_is_closed() {
    let database = Database::fresh().await;
    database
        .execute("grant create on schema public to public")
        .await;
    for expected in [1, 0] {
        let (client, mut notices) = database.sql_with_notices().await;
        client
            .batch_execute(&roles_sql(&[]))
            .await
            .expect("the roles");
        drop(client);
        let mut told = 0;
        while let Some(notice) = within("the connection ends", notices.recv()).await {
            told += usize::from(notice.starts_with("everybody could create in schema public"));
        }
        assert_eq!(told, expected);
    }
}

/// Handing a table over keeps everybody else out of it: whoever came meanwhile would wait behind it.
#[tokio::test]
async fn the_roles_are_not_waited_for_behind_an_open_transaction_and_made_when_it_has_ended() {
    let database = Database::with_users().await;
    let as_admin = settings(&database, &[("DB_USER", "postgres")]);
    pgchat(&["migrate"], &as_admin).await.assert_ok();
    let role = |kind: &str| format!("{kind}_{}", database.name);
    let (owner, service, integrator) = (role("owner"), role("service"), role("others"));
    let roles = roles_sql(&[
        ("owner", owner.as_str()),
        ("service", &service),
        ("integrator", &integrator),
    ]);
    let reader = database.holding("select from messages").await;
    let admin = database.sql().await;
    let given_up = within("it gives up", admin.batch_execute(&roles)).await;
    let code = given_up.expect_err("somebody reads").code().cloned();
    assert_eq!(code.expect("a refusal").code(), "55P03");
    reader.batch_execute("commit").await.expect("its end");
    database.execute(&roles).await;
    let owned = format!("pg_class where relname = 'messages' and relowner = '{owner}'::regrole");
    assert_eq!(database.count(&owned).await, 1);
}
