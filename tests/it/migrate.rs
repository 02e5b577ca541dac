//! `pgchat migrate`: on nothing, on what is there already, on what stands in the way, and by many at once.

mod autovacuum;
mod beside;
mod detected;
mod held;
mod misfits;
mod references;
mod users;

use std::collections::HashSet;

use tokio::task::JoinSet;

use crate::support::*;

/// The tables as the Go service made them.
const GO_TABLES: &str = "
create type message_type as enum ('text', 'image', 'file');
create table conversations (
    id uuid primary key default gen_random_uuid(),
    participant1_id uuid not null references users (id),
    participant2_id uuid not null references users (id),
    last_message_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create table messages (
    id uuid primary key default gen_random_uuid(),
    conversation_id uuid not null references conversations (id),
    sender_id uuid not null references users (id),
    content text not null,
    message_type message_type not null default 'text',
    is_read boolean not null default false,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
alter table conversations add foreign key (last_message_id) references messages (id);
";

#[tokio::test]
async fn migrating_twice_changes_nothing() {
    let database = Database::with_users().await;
    database.migrate(&[]).await.assert_ok();
    let schema = "(select table_name, column_name, data_type from information_schema.columns
                    where table_schema = 'public') as columns";
    let before = database.count(schema).await;
    database.migrate(&[]).await.assert_ok();
    assert_eq!(database.count(schema).await, before);
}

#[tokio::test]
async fn ten_that_migrate_an_empty_database_at_once_all_succeed() {
    let database = Database::with_users().await;
    let mut runs = JoinSet::new();
    for _ in 0..10 {
        let settings = settings(&database, &[]);
        runs.spawn(async move { pgchat(&["migrate"], &settings).await });
    }
    while let Some(done) = runs.join_next().await {
        done.expect("a run").assert_ok();
    }
    let replica = Replica::start(&database, &[]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    replica.api().send(conversation, ALICE, "hello").await;
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_character_is_refused() {
    let database = Database::empty().await;
    let name = format!("{}_latin1", database.name);
    let make = format!(
        "create database {name} owner {OWNER} encoding 'LATIN1' locale 'C' template template0"
    );
    database.execute(&make).await;
    let outcome = database.migrate(&[("DB_NAME", &name)]).await;
    outcome.assert_failed(1, &["encoding is not UTF8"]);
    database.execute(&format!("drop database {name}")).await;
}

/// As when the machine of the one that had begun is gone, and the server has not noticed.
#[tokio::test]
async fn a_start_that_waits_for_another_that_migrates_says_so() {
    let database = Database::with_users().await;
    let other = database.sql().await;
    let lock = "select pg_advisory_lock(1885562997, 0)";
    other.batch_execute(lock).await.expect("the lock");
    let mut replica = Replica::launch(&database, &[]);
    until_logged(&replica, "waiting for another session that migrates").await;
    drop(other);
    replica.until_ready().await;
}

/// Whatever the host has set for the others who work in its database.
#[tokio::test]
async fn no_timeout_of_the_host_ends_what_takes_long() {
    let database = Database::fresh().await.without_search_index().await;
    database
        .execute(&format!(
            "do $$
             declare
               setting text;
             begin
               for setting in select name from pg_settings where name in ('statement_timeout', 'transaction_timeout') loop
                 execute format('alter role {OWNER} in database %I set %I = %L', current_database(), setting, '300ms');
               end loop;
             end $$"
        ))
        .await;
    // Whoever builds an index beside others waits until their snapshots are gone.
    let reading = database.sql().await;
    reading
        .batch_execute("begin isolation level repeatable read; select from messages")
        .await
        .expect("a snapshot");
    let more = [];
    let migrating = database.migrate(&more);
    let waiting = async {
        eventually("it has waited for longer than that", || async {
            let long = "pg_stat_activity where application_name = 'pgchat search index' and wait_event = 'virtualxid'
                           and datname = current_database() and query_start < clock_timestamp() - interval '1 second'";
            (database.count(long).await == 1).then_some(())
        })
        .await;
        reading.batch_execute("commit").await.expect("ended");
    };
    let (outcome, ()) = tokio::join!(migrating, waiting);
    outcome.assert_ok();
}

#[tokio::test]
async fn ten_replicas_that_start_on_an_empty_database_at_once_all_serve() {
    let database = Database::with_users().await;
    let replicas: [Replica; 10] = Replica::start_many(&database, &[("DB_POOL_SIZE", "3")]).await;
    let conversation = replicas[0].api().open_conversation(ALICE, BORIS).await;
    let mut ids = HashSet::new();
    let mut sockets = Vec::new();
    for replica in &replicas {
        let socket = Socket::connect(replica, BORIS).await;
        ids.insert(uuid_in(&socket.connected["data"], "replicaId"));
        sockets.push(socket);
    }
    assert_eq!(ids.len(), 10);
    for replica in &replicas {
        replica.api().send(conversation, ALICE, "hello").await;
    }
    for mut socket in sockets {
        let seqs: Vec<_> = socket
            .collect_messages(10)
            .await
            .iter()
            .map(seq_of)
            .collect();
        assert_eq!(seqs, (1..=10).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn tables_that_stand_in_the_way_are_named_and_left_alone() {
    for (setup, words) in [
        (
            "create table messages (id uuid primary key, conversation_id uuid, sender_id uuid, content int)",
            &["messages", "content"][..],
        ),
        (
            "create table messages (id bigint primary key, conversation_id uuid, sender_id uuid, content text)",
            &["messages", "id"],
        ),
        (
            "create table conversations (id uuid primary key, participant1_id uuid)",
            &["conversations", "participant2_id"],
        ),
        ("create view messages as select 1 as id", &["messages"]),
        (
            "create table messages (id uuid primary key, conversation_id uuid, sender_id uuid, content text);
             create table old_messages () inherits (messages)",
            &["messages", "no ordinary table"],
        ),
        (
            "create unlogged table messages (id uuid primary key, conversation_id uuid, sender_id uuid, content text)",
            &["messages", "no ordinary table"],
        ),
    ] {
        let database = Database::with_users().await;
        database.execute_as_owner(setup).await;
        database.migrate(&[]).await.assert_failed(1, words);
        let ours = "pg_class where relkind = 'r' and relname like 'chat\\_%'";
        assert_eq!(database.count(ours).await, 0, "nothing half done: {setup}");
    }
}

/// The state of the files between two releases: a checksum says nothing to a newcomer.
pub const ANOTHER_TEXT: &str = "update chat_schema_history set checksum = '1' where version = 1";

#[tokio::test]
async fn a_database_of_another_build_is_named_with_what_to_do() {
    let database = Database::with_users().await;
    database.migrate(&[]).await.assert_ok();
    database.execute_as_owner(ANOTHER_TEXT).await;
    let words = ["another build", "V1__tables", "to start anew", "DB_SCHEMA"];
    database.migrate(&[]).await.assert_failed(1, &words);
}

#[tokio::test]
async fn the_tables_of_the_go_service_are_adopted_with_their_rows() {
    let database = Database::with_users().await;
    database.execute_as_owner(GO_TABLES).await;
    database
        .execute(&format!(
            "insert into conversations (participant1_id, participant2_id) values ('{ALICE}', '{BORIS}');
             insert into messages (conversation_id, sender_id, content, message_type, created_at)
             select c.id, '{ALICE}', 'old ' || n, 'image', now() - make_interval(mins => 10 - n)
               from conversations c, generate_series(1, 5) n;
             update conversations set last_message_id = (select id from messages where content = 'old 5')"
        ))
        .await;

    let replica = Replica::start(&database, &[]).await;
    let api = replica.api();

    let conversation = api.open_conversation(BORIS, ALICE).await;
    let history = api.history(conversation).await;
    for (number, message) in history.iter().enumerate() {
        assert_message(message);
        assert_eq!(message["seq"], number + 1);
        assert_eq!(message["content"], format!("old {}", number + 1));
        assert_eq!(message["messageType"], "image");
    }
    let mut boris = Socket::connect(&replica, BORIS).await;
    let sent = api.send(conversation, ALICE, "new").await;
    assert_eq!(sent["seq"], 6);
    assert_eq!(boris.expect("chat_message").await["data"], sent);
    let listed = api.conversations(BORIS).await;
    assert_eq!(listed[0]["lastMessage"], sent);
    assert_eq!(listed[0]["unreadCount"], 6);
    // What the Go service's own statements look like.
    database
        .execute(&format!(
            "insert into messages (id, conversation_id, sender_id, content, message_type, is_read, created_at, updated_at)
             values (gen_random_uuid(), '{conversation}', '{BORIS}', 'by Go', 'text', false, now(), now())"
        ))
        .await;
    assert_eq!(boris.expect("chat_message").await["data"]["seq"], 7);
    database
        .execute(&format!(
            "insert into messages (conversation_id, sender_id, content, message_type)
             values ('{conversation}', '{BORIS}', 'by Go, with a cast', 'file'::message_type)"
        ))
        .await;
    assert_eq!(
        boris.expect("chat_message").await["data"]["messageType"],
        "file"
    );
    database
        .execute("delete from messages where content = 'by Go, with a cast'")
        .await;
    assert_eq!(boris.expect("message_deleted").await["data"]["seq"], 8);
    assert_eq!(api.conversations(BORIS).await[0]["lastMessage"]["seq"], 7);
}

#[tokio::test]
async fn pairs_that_stand_twice_are_listed_and_left_to_the_operator() {
    let database = Database::with_users().await;
    database.execute_as_owner(GO_TABLES).await;
    database
        .execute(&format!(
            "insert into conversations (participant1_id, participant2_id)
             values ('{ALICE}', '{BORIS}'), ('{BORIS}', '{ALICE}'), ('{ALICE}', '{CARLA}')"
        ))
        .await;
    let outcome = database.migrate(&[]).await;
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let rows = database
        .sql()
        .await
        .query(
            "select id::text from conversations order by participant2_id <> $1",
            &[&CARLA],
        )
        .await
        .expect("rows");
    let listed: Vec<bool> = rows
        .iter()
        .map(|row| outcome.stderr.contains(row.get::<_, &str>(0)))
        .collect();
    assert_eq!(listed, [false, true, true], "{outcome:#?}");
    assert_eq!(database.count("conversations").await, 3);
}

#[tokio::test]
async fn a_schema_of_its_own_keeps_to_itself() {
    let database = Database::with_users().await;
    database.execute_as_owner("create schema chat").await;
    let [one, other] = Replica::start_many(&database, &[("DB_SCHEMA", "chat")]).await;
    let conversation = one.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&other, BORIS).await;
    let mut notifications = database.listen("chat_events_chat").await;

    let sent = one.api().send(conversation, ALICE, "hello").await;

    assert_eq!(boris.expect("chat_message").await["data"], sent);
    notifications.about(&id_of(&sent).to_string()).await;
    assert_eq!(database.count("chat.messages").await, 1);
    assert_eq!(
        database
            .count("pg_tables where schemaname = 'public'")
            .await,
        1,
        "only the users table is there"
    );
}

#[tokio::test]
async fn everything_that_is_made_begins_with_chat_but_the_two_tables() {
    let database = Database::fresh().await;
    let named_otherwise = "
        select kind || ' ' || name from (
          select 'relation', relname, relnamespace from pg_class where relkind in ('r', 'p', 'v', 'm', 'S', 'f', 'c')
          union all select 'routine', proname, pronamespace from pg_proc
          union all select 'type', typname, typnamespace from pg_type where typtype in ('e', 'd', 'r')
          union all select 'trigger', tgname, 'public'::regnamespace from pg_trigger where not tgisinternal
          union all select 'index', i.relname, i.relnamespace from pg_class i where relkind = 'i'
                       and not exists (select from pg_constraint k where k.conindid = i.oid)
          union all select 'schema', nspname, 'public'::regnamespace from pg_namespace where oid >= 16384
        ) made (kind, name, namespace)
         where namespace = 'public'::regnamespace and name not like 'chat\\_%'
           -- Those that run behind the host's, which is in the order of names.
           and not (kind = 'trigger' and name like 'zz\\_chat\\_%')
         order by 1";
    let rows = database.sql().await.query(named_otherwise, &[]).await;
    let names: Vec<String> = rows.expect("names").iter().map(|row| row.get(0)).collect();
    let expected = [
        "relation conversations",
        "relation messages",
        "relation users",
    ];
    assert_eq!(names, expected);
}

/// When the operating system's collations change, an index on text in one of them finds no more what is there: a message that was sent
/// again would be stored twice.
#[tokio::test]
async fn no_index_depends_on_the_collations_of_the_operating_system() {
    assert_no_index_depends_on_a_collation(&Database::fresh().await).await;
}

pub async fn assert_no_index_depends_on_a_collation(database: &Database) {
    let depending = "select i.indexrelid::regclass::text from pg_index i
                       join pg_class c on c.oid = i.indrelid
                      cross join lateral unnest(i.indcollation) o (collation_of)
                      where c.relnamespace = 'public'::regnamespace and (c.relname in ('conversations', 'messages') or c.relname like 'chat\\_%')
                        and collation_of not in (0, '\"C\"'::regcollation)";
    let found = database.sql().await.query(depending, &[]).await;
    let found: Vec<String> = found
        .expect("indexes")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(found, Vec::<String>::new());
}

/// Whoever starts the service as the role that only serves, before anybody has migrated.
#[tokio::test]
async fn a_role_that_may_not_migrate_is_told_who_must() {
    let database = Database::with_users().await;
    let role = database.role("nobody").await;
    let revoke = "revoke create on schema public from public";
    database.execute(revoke).await;
    let started = pgchat(&["serve"], &settings(&database, &[("DB_USER", &role)])).await;
    let words = [
        "schema public (42501)",
        "\"pgchat migrate\"",
        "sql/roles.sql",
    ];
    started.assert_failed(1, &words);
    // Nor words of the libraries' (`db error`).
    assert!(!started.last_line().contains('`'), "{started:#?}");
}

#[tokio::test]
async fn an_ordinary_role_may_migrate_and_serve() {
    let database = Database::with_users().await;
    let role = database.role("owner").await;
    database
        .execute(&format!(
            "grant create, usage on schema public to {role};
             grant select, references on users to {role}"
        ))
        .await;
    let replica = Replica::start(&database, &[("DB_USER", &role)]).await;
    let conversation = replica.api().open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let sent = replica.api().send(conversation, ALICE, "hello").await;
    assert_eq!(boris.expect("chat_message").await["data"], sent);
}
