//! The SQL of the guides in docs/, executed as it stands there.

mod apart;
mod persons;
mod troubles;

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::*;
use crate::takeover::{GO_SENDS, assert_taken_over, go_service};

const ON_CALL: &str = include_str!("../../docs/on-call.md");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const RETENTION: &str = include_str!("../../docs/retention.md");
const YOUR_DATABASE: &str = include_str!("../../docs/your-database.md");
const MIGRATING: &str = include_str!("../../docs/migrating-from-the-go-service.md");

/// The code that stands within the lines of a text and begins so.
fn inline<'a>(text: &'a str, begin: &str) -> Vec<&'a str> {
    text.lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .filter(|code| code.starts_with(begin))
        .collect()
}

/// The process numbers in the first column of what comes back.
async fn pids(client: &Client, sql: &str) -> Vec<i32> {
    let rows = match client.simple_query(sql).await {
        Ok(rows) => rows,
        Err(fault) => panic!("{fault:?}\n{sql}"),
    };
    rows.iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).and_then(|pid| pid.parse().ok()),
            _ => None,
        })
        .collect()
}

async fn pid_of(client: &Client) -> i32 {
    let row = client.query_one("select pg_backend_pid()", &[]).await;
    row.expect("a process").get(0)
}

/// "Troubleshooting": each query names the session that is to blame. The few of the page on operation run, too.
#[tokio::test]
async fn the_queries_of_the_page_on_call_find_who_is_to_blame() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    let replica = Replica::start(&database, &[]).await;
    let asking = database.sql().await;
    let mut queries = inline(ON_CALL, "select");
    assert!(queries.len() >= 5, "{queries:?}");
    queries.extend(inline(OPERATIONS, "select"));
    let about = |words: &str| -> &str {
        let found: Vec<_> = queries.iter().filter(|sql| sql.contains(words)).collect();
        assert_eq!(found.len(), 1, "{words}: {queries:?}");
        found[0]
    };

    // A transaction that holds a conversation, and has written: it is in the way of a message, and holds the horizon back.
    let holder = database.sql().await;
    holder
        .batch_execute(&format!(
            "begin; update conversations set updated_at = now() where id = '{conversation}'"
        ))
        .await
        .expect("held");
    let held_by = pid_of(&holder).await;
    let api = replica.api();
    let waiting = tokio::spawn(async move { api.try_send(conversation, ALICE, "waits").await });
    eventually("the query names who holds it", || async {
        let found = pids(&asking, about("pg_blocking_pids")).await;
        found.contains(&held_by).then_some(())
    })
    .await;
    assert!(
        pids(&asking, about("backend_xid is not null"))
            .await
            .contains(&held_by)
    );
    holder.batch_execute("rollback").await.expect("released");
    let sent = within("it is stored", waiting).await.expect("an answer");
    assert_eq!(sent.status, 201);
    let found = pids(&asking, about("backend_xid is not null")).await;
    assert!(!found.contains(&held_by), "{found:?}");

    // One that listens in an open transaction, and before it the replica's own, which does not.
    let sleeper = database.sql().await;
    sleeper
        .batch_execute("listen chat_events; begin; select 1")
        .await
        .expect("idle in transaction");
    let asleep = pid_of(&sleeper).await;
    let listening = pids(&asking, about("ilike 'listen%'")).await;
    assert!(listening.contains(&asleep), "{listening:?}");
    let ours = "select pid from pg_stat_activity where application_name = 'pgchat listener'";
    let ours = pids(&asking, &format!("{ours} and datname = current_database()")).await;
    assert_eq!(ours.len(), 1);
    assert!(listening.contains(&ours[0]), "{listening:?}");

    // And all others run.
    for sql in &queries {
        pids(&asking, sql).await;
    }
}

#[tokio::test]
async fn the_sql_of_the_retention_guide_runs() {
    let database = Database::fresh().await;
    let role = database.role("cleaner").await;
    retention_runs(&database.sql().await, &role).await;
    let shell = RETENTION
        .split("-c \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let call = shell.expect("the nightly call");
    let cleaner = database.sql_as(&role).await;
    cleaner.batch_execute(call).await.expect("the nightly call");
}

/// All of its statements, with the grants to this role.
async fn retention_runs(session: &Client, role: &str) {
    let mut statements = blocks(RETENTION, "sql");
    assert_eq!(statements.len(), 7);
    statements.extend(inline(RETENTION, "alter table"));
    for sql in statements {
        let sql = sql.replace("to cleaner", &format!("to {role}"));
        let sql = sql.replace("to eraser", &format!("to {role}"));
        if let Err(fault) = session.batch_execute(&sql).await {
            panic!("{fault:?}\n{sql}");
        }
    }
}

/// "Deleting a user": who had a conversation with them reloads, and no table tells of them any more but where clients that
/// are away have to learn it.
#[tokio::test]
async fn the_sql_that_deletes_a_user_leaves_their_name_nowhere() {
    let database = Database::fresh().await;
    let conversation = database.conversation(ALICE, BORIS).await;
    // What two others have deleted is no business of theirs.
    let gone = database.conversation(BORIS, CARLA).await;
    let deleted = format!(
        "insert into messages (conversation_id, sender_id, content) values ('{gone}', '{BORIS}', 'x');
         delete from messages where conversation_id = '{gone}'; delete from conversations where id = '{gone}'"
    );
    database.execute(&deleted).await;
    let other = database.conversation(BORIS, CARLA).await;
    let replica = Replica::start(&database, &[]).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    let mut carla = Socket::connect(&replica, CARLA).await;
    let alice = Socket::connect(&replica, ALICE).await;
    eventually("she is online", || async {
        let rows = format!("chat_attendance where user_id = '{ALICE}'");
        (database.count(&rows).await == 1).then_some(())
    })
    .await;
    let api = replica.api();
    let outright = api.send(conversation, ALICE, "deleted outright").await;
    api.send(conversation, ALICE, "a secret").await;
    api.send(conversation, BORIS, "an answer").await;
    api.send(other, BORIS, "to another").await;
    let outright = format!("delete from messages where id = '{}'", id_of(&outright));
    database.execute(&outright).await;
    drop(alice);

    let erase = sql_block(RETENTION, |sql| sql.contains("delete from users"));
    let named = "33333333-3333-4333-8333-333333333333";
    database
        .execute(&erase.replace(named, &ALICE.to_string()))
        .await;

    let client = database.sql().await;
    let tables = "select oid::regclass::text from pg_class where relkind in ('r', 'v') and relnamespace = 'public'::regnamespace";
    let tables = client.query(tables, &[]).await.expect("the tables");
    let mut told_in = Vec::new();
    for table in tables.iter().map(|row| row.get::<_, String>(0)) {
        let rows = format!("{table} t where t::text like any ('{{%{ALICE}%,%Archer%,%secret%}}')");
        if table != "users" && database.count(&rows).await > 0 {
            told_in.push(table);
        }
    }
    assert_eq!(told_in, ["chat_conversation_tombstones"]);
    assert_eq!(database.count("chat_tombstones").await, 1);
    let left = format!("users where id = '{ALICE}'");
    assert_eq!(database.count(&left).await, 0);
    assert_eq!(database.count("messages").await, 1);
    boris.expect("resync_required").await;
    // Who had none is told nothing.
    api.send(other, BORIS, "afterwards").await;
    let told = carla.before_message("afterwards").await;
    let told: Vec<_> = told.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(told, ["chat_message"]);
}

/// From the Go service to pgchat, by the roles and statements of the guide, and back again.
#[tokio::test]
async fn the_sql_of_the_migration_guide_leads_to_pgchat_and_back() {
    let database = go_service(500).await;
    let (chat, go) = (database.role("chat").await, database.role("go").await);
    let [before, leave, indexes] = &blocks(MIGRATING, "sql")[..] else {
        panic!("three blocks of SQL");
    };
    let before = before
        .replace("to chat;", &format!("to {chat};"))
        .replace("to go_service;", &format!("to {go};"));
    // The database's owner still; the guide's administrator.
    database.execute(&before).await;
    // So that it gets pgchat's.
    database
        .execute(
            "alter table conversations drop constraint conversations_participant1_id_users_id_foreign,
                                       drop constraint conversations_participant2_id_users_id_foreign",
        )
        .await;
    let as_chat = [("DB_USER", chat.as_str())];
    pgchat(&["migrate"], &settings(&database, &as_chat))
        .await
        .assert_ok();
    assert_taken_over(&database, 0).await;
    let service = database.sql_as(&go).await;
    let sends = GO_SENDS.replace("$1", "3");
    service.batch_execute(&sends).await.expect("as before");
    assert_taken_over(&database, 1).await;

    let owner = database.sql_as(&chat).await;
    if let Err(fault) = owner.batch_execute(leave).await {
        panic!("{fault:?}");
    }
    let left = "select relname::text from pg_class where relname like 'chat\\_%' and relnamespace = 'public'::regnamespace
                union all select proname from pg_proc where proname like 'chat\\_%' and pronamespace = 'public'::regnamespace
                union all select tgname from pg_trigger where tgname like 'chat\\_%'
                union all select conname from pg_constraint where conname like 'chat\\_%'";
    let left = owner.query(left, &[]).await.expect("the catalogue");
    let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, Vec::<String>::new());
    if let Err(fault) = owner.batch_execute(indexes).await {
        panic!("{fault:?}");
    }
    service.batch_execute(&sends).await.expect("as before");
    assert_eq!(database.count("messages").await, 502);
    // And to pgchat again, with what was written meanwhile.
    pgchat(&["migrate"], &settings(&database, &as_chat))
        .await
        .assert_ok();
    assert_taken_over(&database, 2).await;
}

/// Whoever has made it: as the guide removes it, only the host's own is left. By an administrator as managed services have them, who is
/// no superuser.
#[tokio::test]
async fn the_commands_that_remove_pgchat_leave_nothing_of_it() {
    let database = Database::empty().await;
    let role = |kind: &str| format!("{kind}_{}", database.name);
    let admin = role("admin");
    database
        .execute(&format!(
            "create role {admin} login createrole createdb; alter database {} owner to {admin};
             grant create, usage on schema public to {admin}",
            database.name
        ))
        .await;
    let by_admin = database.sql_as(&admin).await;
    create_users(&by_admin).await;
    let as_admin = settings(&database, &[("DB_USER", &admin)]);
    pgchat(&["migrate"], &as_admin).await.assert_ok();
    let conversation = database.conversation(ALICE, BORIS).await;
    let users = database.count("users").await;
    let execute = async |sql: &str| {
        if let Err(fault) = by_admin.batch_execute(sql).await {
            panic!("{fault:?}\n{sql}");
        }
    };
    execute(&format!(
        "insert into messages (conversation_id, sender_id, content) values ('{conversation}', '{ALICE}', 'hello');
         create table viewings as select id as message_id from messages;
         alter table viewings add foreign key (message_id) references messages (id)"
    ))
    .await;

    let (owner, service, integrator) = (role("owner"), role("service"), role("integrator"));
    let roles = [
        ("owner", owner.as_str()),
        ("service", &service),
        ("integrator", &integrator),
    ];
    execute(&roles_sql(&roles)).await;
    let commands = YOUR_DATABASE.split(" -c '").skip(1);
    let commands: Vec<&str> = commands
        .filter_map(|rest| rest.split('\'').next())
        .collect();
    let last = commands.last().expect("commands");
    assert!(last.starts_with("drop role"), "{commands:?}");
    for sql in commands {
        let sql = roles.iter().fold(sql.to_owned(), |sql, (kind, role)| {
            sql.replace(&format!("pgchat_{kind}"), role)
        });
        execute(&sql).await;
    }

    let left = "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind <> 'i'
                union all select proname from pg_proc where pronamespace = 'public'::regnamespace
                union all select typname from pg_type where typnamespace = 'public'::regnamespace and typtype = 'e' and typname like 'chat%'
                union all select tgname from pg_trigger where not tgisinternal
                order by 1";
    let client = database.sql().await;
    let left = client.query(left, &[]).await.expect("the catalogue");
    let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
    assert_eq!(left, ["users", "viewings"]);
    assert_eq!(database.count("users").await, users);
    assert_eq!(database.count("viewings").await, 1);
    database
        .execute(&format!(
            "reassign owned by {admin} to postgres; drop owned by {admin}; drop role {admin}"
        ))
        .await;
}

/// As Django and Laravel make them.
#[tokio::test]
async fn users_with_integer_ids_chat_by_the_uuid_that_the_guide_gives_them() {
    let database = Database::empty().await;
    database
        .execute_as_owner(
            "create table auth_user (id serial primary key, first_name text);
             insert into auth_user (first_name) values ('Alice'), ('Boris')",
        )
        .await;
    let add = sql_block(YOUR_DATABASE, |sql| sql.contains("add column"));
    database.execute_as_owner(add).await;
    assert!(YOUR_DATABASE.contains("USERS_TABLE=auth_user USERS_COLUMNS=id=chat_id pgchat"));
    assert!(YOUR_DATABASE.contains("-v users_table=auth_user -v users_columns=chat_id`"));
    let settings = [
        ("USERS_TABLE", "auth_user"),
        ("USERS_COLUMNS", "id=chat_id"),
    ];
    let variables = [("users_table", "auth_user"), ("users_columns", "chat_id")];
    database.make_roles(&variables).await;
    database.migrate(&settings).await.assert_ok();
    database.make_roles(&variables).await;

    let replica = Replica::start(&database, &settings).await;
    let ids = "select chat_id from auth_user order by id";
    let ids = database.sql().await.query(ids, &[]).await.expect("users");
    let [alice, boris] = [0, 1].map(|row: usize| ids[row].get(0));
    let conversation = replica.api().open_conversation(alice, boris).await;
    let sent = replica.api().send(conversation, alice, "hello").await;
    assert_eq!(sent["sender"]["firstName"], "Alice");
    let keys = "pg_constraint where contype = 'f' and confrelid = 'auth_user'::regclass";
    assert_eq!(database.count(keys).await, 2);
}
