//! The embedded database, from outside: nothing is configured but where its data goes. What happens when its
//! processes are killed in all their combinations is tested beside the code (`src/embedded/tests.rs`).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};
use uuid::{Uuid, uuid};

use crate::migrate::ANOTHER_TEXT;
use crate::support::*;

/// Named by the console at the first start, and with a conversation.
pub const AMELIE: Uuid = uuid!("11111111-1111-4111-8111-111111111111");
pub const LUKASZ: Uuid = uuid!("22222222-2222-4222-8222-222222222222");

/// `EMBEDDED_DATA_DIR` of one test.
struct DataDir(PathBuf);

impl DataDir {
    fn new() -> Self {
        let name = format!("pgchat-embedded-{}", Uuid::new_v4().simple());
        Self(std::env::temp_dir().join(name))
    }

    fn settings(&self) -> Vec<(String, String)> {
        let mut settings = vec![
            ("SERVER_PORT".to_owned(), "0".to_owned()),
            (
                "EMBEDDED_DATA_DIR".to_owned(),
                self.0.to_str().unwrap().to_owned(),
            ),
        ];
        if let Ok(bin_dir) = std::env::var("PG_BIN_DIR") {
            settings.push(("PG_BIN_DIR".to_owned(), bin_dir));
        }
        settings
    }

    async fn replica(&self) -> Replica {
        Replica::start_with(&self.settings()).await
    }

    /// Whether some process of the database is left: all of them hold this lock.
    fn postgres_runs(&self) -> bool {
        let lock = File::open(self.0.join("postgres.lock")).unwrap();
        lock.try_lock_shared().is_err()
    }

    async fn until_postgres_ended(&self) {
        eventually("the embedded PostgreSQL ends", || async {
            (!self.postgres_runs()).then_some(())
        })
        .await;
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        // Granted when PostgreSQL and its watchdog are done with the directory.
        if let Ok(users) = File::open(self.0.join("users.lock")) {
            // A test that fails leaves it locked: the directory goes all the same.
            let _ = blocking_eventually("the directory is free", DEADLINE, || {
                users.try_lock_shared().ok()
            });
        }
        fs::remove_dir_all(&self.0).ok();
    }
}

/// As whoever may do everything there: `psql "$(cat …/url)"`.
async fn sql(data: &DataDir) -> Client {
    let url = fs::read_to_string(data.0.join("url")).expect("the URL");
    let (client, connection) = tokio_postgres::connect(url.trim(), NoTls)
        .await
        .expect("psql");
    tokio::spawn(connection);
    client
}

async fn contents(replica: &Replica, conversation: Uuid) -> Vec<Value> {
    let messages = replica.api().history(conversation).await;
    messages.into_iter().map(|m| m["content"].clone()).collect()
}

/// As everywhere else (`sql/roles.sql`): a fault of the service is not one of the whole database.
#[tokio::test]
async fn it_is_served_by_a_role_that_owns_nothing() {
    let data = DataDir::new();
    let replica = data.replica().await;
    let sql = sql(&data).await;
    let ours =
        "select distinct usename::text, rolsuper or rolcreaterole or rolcreatedb or rolbypassrls
                  from pg_stat_activity join pg_roles on rolname = usename
                 where datname = current_database() and application_name in ('pgchat pool', 'pgchat listener')";
    let sessions = sql.query(ours, &[]).await.expect("sessions");
    let sessions: Vec<(String, bool)> = sessions.iter().map(|r| (r.get(0), r.get(1))).collect();
    assert_eq!(sessions, [("pgchat_service".to_owned(), false)]);
    let owned = "select count(*) from pg_class where relowner = 'pgchat_service'::regrole
                  or has_table_privilege('pgchat_service', oid, 'select, insert, update, delete')
                     and relkind in ('r', 'v', 'p') and relnamespace = 'public'::regnamespace";
    let owned: i64 = sql.query_one(owned, &[]).await.expect("a count").get(0);
    assert_eq!(owned, 0);
    // The next start finds the roles, and the tables in other hands than those that migrate.
    drop(replica);
    let replica = data.replica().await;
    assert!(!replica.api().conversations(AMELIE).await.is_empty());
}

/// As where the disk is full for a while. Whoever starts PostgreSQL, and ends it, writes there, too.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_log_that_takes_nothing_keeps_nobody_from_starting_and_ending_it() {
    let data = DataDir::new();
    fs::create_dir(&data.0).expect("a directory");
    let log = data.0.join("postgres.log");
    std::os::unix::fs::symlink("/dev/full", log).expect("a log");
    let replica = data.replica().await;
    assert!(!replica.api().conversations(AMELIE).await.is_empty());
    drop(replica);
    data.until_postgres_ended().await;
}

#[tokio::test]
async fn the_first_start_needs_no_database_and_finds_people_who_talk() {
    let data = DataDir::new();
    let mut first = data.replica().await;

    let users = first.api().get("/api/v1/users/").await.ok(200);
    let users = users["users"].as_array().unwrap();
    assert_eq!(users.len(), 8, "{users:#?}");
    for role in ["buyer", "developer", "broker", "admin"] {
        assert!(users.iter().any(|user| user["role"] == role), "no {role}");
    }
    assert!(users.iter().any(|user| user["isActive"] == false));

    let conversations = first.api().conversations(AMELIE).await;
    assert_eq!(conversations.len(), 2, "{conversations:#?}");
    let conversation = id_of(
        conversations
            .iter()
            .find(|c| c["participant2Id"] == LUKASZ.to_string())
            .unwrap(),
    );
    let before = contents(&first, conversation).await;
    assert_eq!(before.len(), 4, "{before:#?}");

    // Another replica shares the database, and keeps it when the one that started it is killed.
    let mut second = data.replica().await;
    first
        .api()
        .send(conversation, LUKASZ, "until Thursday")
        .await;
    first.kill();
    second.api().send(conversation, AMELIE, "see you").await;
    second.kill();
    data.until_postgres_ended().await;

    // The demo data comes once, what was written stays.
    let third = data.replica().await;
    let after = contents(&third, conversation).await;
    assert_eq!(after.len(), before.len() + 2, "{after:#?}");
    let users = third.api().get("/api/v1/users/").await.ok(200);
    assert_eq!(users["users"].as_array().unwrap().len(), 8);
}

/// Its users are there, and not those of another schema of the same database.
#[tokio::test]
async fn a_schema_of_its_own_has_people_who_talk_too() {
    let data = DataDir::new();
    let mut replicas = Vec::new();
    for schema in ["chat", "public", "talk"] {
        let mut settings = data.settings();
        settings.push(("DB_SCHEMA".to_owned(), schema.to_owned()));
        let replica = Replica::start_with(&settings).await;
        let users = replica.api().get("/api/v1/users/").await.ok(200);
        let users = users["users"].as_array().unwrap();
        assert_eq!(users.len(), 8, "{schema}: {users:#?}");
        let conversations = replica.api().conversations(AMELIE).await;
        assert_eq!(conversations.len(), 2, "{schema}: {conversations:#?}");
        replicas.push(replica);
    }
}

/// The tutorial's page is one: whoever tries pgchat out serves it with whatever they have.
#[tokio::test]
async fn pages_of_this_machine_may_call_and_open_sockets_and_no_others() {
    let data = DataDir::new();
    let replica = data.replica().await;
    for (origin, fine) in [
        ("http://localhost:3000", true),
        ("http://127.0.0.1:5173", true),
        ("https://evil.example", false),
    ] {
        let request = replica.api().request(Method::GET, "/api/v1/users");
        let told = Reply::to(request.header("origin", origin)).await;
        let told = told.header("access-control-allow-origin") == origin;
        assert_eq!(told, fine, "{origin}");
        let path = format!("/ws?user_id={AMELIE}");
        let socket = handshake(&replica, &path, &[("origin", origin)]).await;
        assert_eq!(socket.status == 101, fine, "{origin}: {socket:?}");
    }
}

/// What it prints can be pasted, also where it asks for tokens and listens on all interfaces.
#[tokio::test]
async fn the_start_says_how_to_try_it_out() {
    /// The last of its lines, which it writes when it serves already.
    const LAST: &str = ">   SQL";
    let data = DataDir::new();
    let trusted = data.replica().await;
    until_logged(&trusted, LAST).await;
    let said = |replica: &Replica, what: &str| {
        let log = replica.log();
        let line = log.lines().find_map(|line| line.split(what).nth(1));
        line.map(|line| line.trim().to_owned())
    };
    let port = trusted.port();
    assert_eq!(
        said(&trusted, "> try it out:"),
        Some(String::new()),
        "{}",
        trusted.log()
    );
    assert_eq!(
        said(&trusted, ">   the chat page"),
        Some(format!("http://127.0.0.1:{port}/"))
    );
    assert_eq!(
        said(&trusted, ">   their conversation"),
        Some(format!(
            "curl 'http://127.0.0.1:{port}/api/v1/chat/users/{AMELIE}/conversations'"
        ))
    );
    assert_eq!(said(&trusted, ">   a token"), None);

    let mut settings = data.settings();
    for (name, value) in [
        ("SERVER_HOST", "0.0.0.0"),
        ("JWT_SECRET", "a secret of more than thirty-two bytes"),
        ("WEB_PAGE", "off"),
    ] {
        settings.push((name.to_owned(), value.to_owned()));
    }
    let asking = Replica::start_with(&settings).await;
    until_logged(&asking, LAST).await;
    let port = asking.port();
    assert_eq!(said(&asking, ">   the chat page"), None);
    assert_eq!(
        said(&asking, ">   a token"),
        Some(format!("TOKEN=$(cargo run -q -- token --user {AMELIE})"))
    );
    assert_eq!(
        said(&asking, ">   their conversation"),
        Some(format!(
            "curl -H \"authorization: Bearer $TOKEN\" 'http://127.0.0.1:{port}/api/v1/chat/users/{AMELIE}/conversations'"
        ))
    );
}

#[tokio::test]
async fn data_of_another_build_is_named_with_the_directory_that_holds_it() {
    let data = DataDir::new();
    let replica = data.replica().await;
    let sql = sql(&data).await;
    sql.batch_execute(ANOTHER_TEXT).await.expect("another text");
    drop((replica, sql));
    let directory = data.0.to_str().expect("a name");
    let words = ["to start anew", directory, "EMBEDDED_DATA_DIR"];
    pgchat(&["serve"], &data.settings())
        .await
        .assert_failed(1, &words);
}

#[tokio::test]
async fn demo_data_is_inserted_once_beside_the_hosts_users() {
    let database = Database::fresh().await;
    // Neither of pgchat's roles may write to the host's table.
    let more = [("DB_USER", "postgres")];
    for _ in 0..2 {
        let outcome = pgchat(&["demo-data"], &settings(&database, &more)).await;
        outcome.assert_ok();
        assert_eq!(database.count("users").await, 12 + 8);
        assert_eq!(database.count("conversations").await, 4);
        assert_eq!(database.count("messages").await, 12);
    }
}

#[tokio::test]
async fn demo_data_leaves_a_users_table_alone_that_does_not_fit() {
    let database = Database::with_users().await;
    database
        .execute("alter table users add column tenant int not null default 1")
        .await;
    database
        .execute("alter table users alter column tenant drop default")
        .await;
    let outcome = pgchat(&["demo-data"], &settings(&database, &[])).await;
    outcome.assert_failed(1, &["demo users do not fit into users", "tenant"]);
    assert_eq!(database.count("users").await, 12);
    assert_eq!(database.count("conversations").await, 0);
    assert_eq!(database.count("messages").await, 0);
}

/// Of `make run`, which otherwise installs PostgreSQL, or fails where nothing can be had.
#[test]
fn whether_a_database_is_named_is_told_as_the_program_reads_it() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/names-a-database.sh");
    let dir = fresh_dir("names-a-database");
    let is_named = |file: &str, environment: &[(&str, &str)]| {
        std::fs::write(dir.join("config.env"), file).expect("written");
        let mut command = Command::new(&script);
        command.current_dir(&dir);
        for name in ["DB_HOST", "DATABASE_URL", "PGCHAT_CONFIG"] {
            command.env_remove(name);
        }
        let status = command.envs(environment.iter().copied()).status();
        status.expect("the script").success()
    };
    for named in [
        "DB_HOST=db",
        "\nexport DATABASE_URL = 'postgres://db/chat'\n",
        "#DB_HOST=\n  DB_HOST=\"/run/postgresql\" # here",
    ] {
        assert!(is_named(named, &[]), "{named}");
    }
    for embedded in [
        "",
        "#DB_HOST=db",
        "DB_HOST=\nDB_HOST_=db",
        "DB_HOST= # db",
        "DB_HOST=''",
    ] {
        assert!(!is_named(embedded, &[]), "{embedded}");
    }
    assert!(is_named("", &[("DATABASE_URL", "postgres://db/chat")]));
    assert!(!is_named("DB_HOST=db", &[("DB_HOST", "")]));
    std::fs::write(dir.join("other.env"), "DB_HOST=db").expect("written");
    assert!(is_named("", &[("PGCHAT_CONFIG", "other.env")]));
    assert!(!is_named("DB_HOST=db", &[("PGCHAT_CONFIG", "missing.env")]));
}
