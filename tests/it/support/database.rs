//! A database of its own for each test, cloned from a template that was migrated once.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::poll_fn;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};
use uuid::Uuid;

use super::cluster::{Cluster, program};
use super::replica::{Outcome, pgchat, pgchat_within, settings};
use super::run::{Signal, fresh_dir, signal};
use super::users::PEOPLE;
use super::wait::{eventually, within};

const TEMPLATE: &str = "pgchat_template";

/// Owns the chat tables, and so may migrate; no superuser.
pub const OWNER: &str = "pgchat_owner";
/// Serves, and owns nothing.
pub const SERVICE: &str = "pgchat_service";
/// What other programs may do.
pub const INTEGRATOR: &str = "pgchat_integrator";

/// The file by which hosts make those roles.
const ROLES: &str = include_str!("../../../sql/roles.sql");

/// The host's users table, with columns that are none of the service's business, as hosts have them.
const USERS_TABLE: &str = "
create table users (
    id uuid primary key default gen_random_uuid(),
    first_name text not null,
    last_name text not null,
    email text not null unique,
    password_hash text not null default 'secret',
    phone text,
    avatar_url text,
    role text not null default 'buyer',
    is_active boolean not null default true,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
";

pub struct Database {
    pub name: String,
    pub cluster: Arc<Cluster>,
    /// The role of replicas: [`SERVICE`] where everything is there, [`OWNER`] where they are to migrate.
    pub served_by: &'static str,
}

impl Database {
    /// Migrated, with the twelve [`PEOPLE`] and nothing else in it.
    pub async fn fresh() -> Self {
        let cluster = Cluster::shared();
        let name = fresh_name();
        cluster
            .admin()
            .await
            .batch_execute(&format!("create database {name} template {TEMPLATE}"))
            .await
            .expect("a database from the template");
        Self {
            name,
            cluster,
            served_by: SERVICE,
        }
    }

    /// Its replicas run as [`OWNER`], and so build the search index, which is not there yet.
    pub async fn without_search_index(mut self) -> Self {
        self.execute("drop index chat_messages_search_simple").await;
        self.served_by = OWNER;
        self
    }

    /// Without anything: no users table, not migrated. It belongs to [`OWNER`], the simplest way to have it.
    pub async fn empty() -> Self {
        Self::empty_on(&Cluster::shared()).await
    }

    /// The same on a cluster of the test's own.
    pub async fn empty_on(cluster: &Arc<Cluster>) -> Self {
        let name = fresh_name();
        cluster
            .admin()
            .await
            .batch_execute(&format!("create database {name} owner {OWNER}"))
            .await
            .expect("a database");
        Self {
            name,
            cluster: cluster.clone(),
            served_by: OWNER,
        }
    }

    /// With the users table, not migrated.
    pub async fn with_users() -> Self {
        let database = Self::empty().await;
        database.create_users().await;
        database
    }

    /// As [`fresh`](Self::fresh), on a cluster of the test's own.
    pub async fn fresh_on(cluster: &Arc<Cluster>) -> Self {
        let mut database = Self::empty_on(cluster).await;
        database
            .prepare()
            .await
            .expect("the schema of a private cluster");
        database.served_by = SERVICE;
        database
    }

    /// What a careful host does: the users table belongs to somebody else, and the service owns nothing.
    async fn prepare(&self) -> Result<(), String> {
        create_users(&self.sql().await).await;
        self.make_roles(&[]).await;
        let migrated = self.migrate(&[]).await;
        if migrated.code != Some(0) {
            return Err(format!("pgchat migrate: {migrated:#?}"));
        }
        self.make_roles(&[]).await;
        Ok(())
    }

    async fn create_users(&self) {
        create_users(&self.sql_as(OWNER).await).await;
    }

    /// A connection as the cluster's superuser. It ends when the client is dropped.
    pub async fn sql(&self) -> Client {
        self.cluster.connect(&self.name, "postgres").await
    }

    pub async fn sql_as(&self, role: &str) -> Client {
        self.cluster.connect(&self.name, role).await
    }

    /// A connection, and the notices that come over it.
    pub async fn sql_with_notices(&self) -> (Client, mpsc::UnboundedReceiver<String>) {
        let (client, mut connection) = self
            .cluster
            .address(&self.name, "postgres")
            .connect(NoTls)
            .await
            .expect("a connection");
        let (sender, notices) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut messages = poll_fn(|context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notice(notice) = message {
                    // Who asked for them may have seen enough.
                    let _ = sender.send(notice.message().to_owned());
                }
            }
        });
        (client, notices)
    }

    /// Runs SQL that answers nothing, as the superuser.
    pub async fn execute(&self, sql: &str) {
        run(&self.sql().await, sql).await;
    }

    /// Kills the server's process of a session: PostgreSQL ends all others and recovers, as after a crash of its own.
    pub async fn crash_by(&self, session: Client) {
        let witness = self.sql().await;
        let row = session.query_one("select pg_backend_pid()", &[]).await;
        let process: i32 = row.expect("a process").get(0);
        signal(process.unsigned_abs(), Signal::Kill);
        eventually("all sessions are ended", || async {
            witness.is_closed().then_some(())
        })
        .await;
        eventually("the server has recovered", || async {
            self.cluster.try_connect(&self.name, "postgres").await.ok()
        })
        .await;
    }

    /// The same as [`OWNER`]: what the host's system makes in a database of its own.
    pub async fn execute_as_owner(&self, sql: &str) {
        run(&self.sql_as(OWNER).await, sql).await;
    }

    /// Runs `sql/roles.sql`, as `psql` does it with these variables besides the defaults.
    pub async fn make_roles(&self, variables: &[(&str, &str)]) {
        self.execute(&roles_sql(variables)).await;
    }

    pub async fn count(&self, from: &str) -> i64 {
        let sql = format!("select count(*) from {from}");
        match self.sql().await.query_one(&sql, &[]).await {
            Ok(row) => row.get(0),
            Err(fault) => panic!("{fault:?}\n{sql}"),
        }
    }

    /// A conversation that is there before any replica runs, so that no socket hears of its beginning.
    pub async fn conversation(&self, user1: Uuid, user2: Uuid) -> Uuid {
        self.sql()
            .await
            .query_one(
                "insert into conversations (participant1_id, participant2_id) values ($1, $2) returning id",
                &[&user1, &user2],
            )
            .await
            .expect("a conversation")
            .get(0)
    }

    /// More users than the twelve, all buyers.
    pub async fn add_users(&self, count: i32) -> Vec<Uuid> {
        let rows = self
            .sql()
            .await
            .query(
                "insert into users (first_name, last_name, email)
                 select 'User', n::text, 'user' || n || '@host.example' from generate_series(1, $1) n
                 returning id",
                &[&count],
            )
            .await
            .expect("users");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Runs the real `psql` on a script; `false` where it is not installed.
    pub async fn psql(&self, script: &str) -> bool {
        self.psql_with(&["--command", script])
    }

    /// Runs `sql/roles.sql` by the real `psql`; `false` where it is not installed.
    pub async fn make_roles_by_psql(&self, variables: &[(&str, &str)]) -> bool {
        let set: Vec<String> = variables
            .iter()
            .map(|(name, value)| format!("--set={name}={value}"))
            .collect();
        let file = concat!("--file=", env!("CARGO_MANIFEST_DIR"), "/sql/roles.sql");
        let arguments: Vec<&str> = set.iter().map(String::as_str).chain([file]).collect();
        self.psql_with(&arguments)
    }

    fn psql_with(&self, arguments: &[&str]) -> bool {
        let Some(psql) = program("psql") else {
            return false;
        };
        let ran = Command::new(psql)
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
            .args(["--host=127.0.0.1", "--username=postgres"])
            .arg(format!("--port={}", self.cluster.port))
            .arg(format!("--dbname={}", self.name))
            .args(arguments)
            .output()
            .expect("psql runs");
        assert!(
            ran.status.success(),
            "psql: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
        true
    }

    pub async fn listen(&self, channel: &str) -> Notifications {
        Notifications::listen(self, channel).await
    }

    /// Executes a statement, and what it executes in functions, as `auto_explain` logs it; what it changes is rolled back.
    pub async fn plans(&self, sql: &str) -> Vec<String> {
        let (client, mut connection) = self
            .cluster
            .address(&self.name, "postgres")
            .connect(NoTls)
            .await
            .expect("a connection");
        let logged = tokio::spawn(async move {
            let mut plans = Vec::new();
            let mut messages = poll_fn(|context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notice(notice) = message {
                    plans.push(notice.message().to_owned());
                }
            }
            plans
        });
        client
            .batch_execute(
                "load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_analyze = on;
                 set auto_explain.log_buffers = on; set auto_explain.log_timing = off;
                 set auto_explain.log_nested_statements = on; set client_min_messages = log; begin",
            )
            .await
            .expect("settings");
        client.batch_execute(sql).await.expect("the statement");
        client.batch_execute("rollback").await.expect("rolled back");
        drop(client);
        within("the connection ends", logged).await.expect("plans")
    }

    /// Runs `pgchat migrate` on this database, as its owner.
    pub async fn migrate(&self, more: &[(&str, &str)]) -> Outcome {
        let owner = [("DB_USER", OWNER)];
        let more: Vec<_> = owner.iter().chain(more).copied().collect();
        pgchat(&["migrate"], &settings(self, &more)).await
    }

    /// The same where there is much to do.
    pub async fn migrate_within(&self, deadline: Duration) -> Outcome {
        let settings = settings(self, &[("DB_USER", OWNER)]);
        pgchat_within(deadline, &fresh_dir("migrate"), &["migrate"], &settings).await
    }
}

impl Drop for Database {
    /// Keeps nothing of a test that passed; what a failed one left goes with the cluster.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- PostgreSQL about {}\n{}",
                self.name,
                self.cluster.log_of(&self.name)
            );
            return;
        }
        let (name, cluster) = (self.name.clone(), self.cluster.clone());
        // Not waited for: it costs a checkpoint and frees nothing but disk.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(async {
                    if let Ok(client) = cluster.try_connect("postgres", "postgres").await {
                        let _ = client
                            .batch_execute(&format!("drop database if exists {name} with (force)"))
                            .await;
                    }
                });
            }
        });
    }
}

impl Cluster {
    async fn admin(&self) -> Client {
        self.connect("postgres", "postgres").await
    }

    async fn connect(&self, database: &str, role: &str) -> Client {
        match self.try_connect(database, role).await {
            Ok(client) => client,
            Err(fault) => panic!("connecting to {database} as {role}: {fault:?}"),
        }
    }

    async fn try_connect(
        &self,
        database: &str,
        role: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.address(database, role).connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    fn address(&self, database: &str, role: &str) -> tokio_postgres::Config {
        let mut config = tokio_postgres::Config::new();
        config
            .host("127.0.0.1")
            .port(self.port)
            .user(role)
            .password("app")
            .dbname(database);
        config
    }
}

/// Notifications as another program hears them.
pub struct Notifications {
    payloads: mpsc::Receiver<String>,
    _client: Client,
}

impl Notifications {
    async fn listen(database: &Database, channel: &str) -> Self {
        let (client, mut connection) = database
            .cluster
            .address(&database.name, "postgres")
            .connect(NoTls)
            .await
            .expect("a listening connection");
        let (sender, payloads) = mpsc::channel(1_000);
        tokio::spawn(async move {
            let mut messages = poll_fn(|context| connection.poll_message(context));
            while let Some(Ok(message)) = messages.next().await {
                if let AsyncMessage::Notification(notification) = message
                    && sender
                        .send(notification.payload().to_owned())
                        .await
                        .is_err()
                {
                    return;
                }
            }
        });
        client
            .batch_execute(&format!("listen {channel}"))
            .await
            .expect("listen");
        Self {
            payloads,
            _client: client,
        }
    }

    pub async fn next(&mut self) -> String {
        within("a notification", self.payloads.recv())
            .await
            .expect("the listening connection lives")
    }

    /// The next payload that speaks of this row.
    pub async fn about(&mut self, id: &str) -> String {
        loop {
            let payload = self.next().await;
            if payload.contains(id) {
                return payload;
            }
        }
    }
}

/// `sql/roles.sql` without what only `psql` understands.
pub fn roles_sql(variables: &[(&str, &str)]) -> String {
    let defaults = [
        ("owner", OWNER),
        ("service", SERVICE),
        ("integrator", INTEGRATOR),
        ("schema", "public"),
        ("users_table", "users"),
        ("users_columns", ""),
    ];
    let sql: String = ROLES
        .lines()
        .filter(|line| !line.starts_with('\\'))
        .flat_map(|line| [line, "\n"])
        .collect();
    defaults.iter().fold(sql, |sql, (name, default)| {
        let given = variables.iter().find(|(given, _)| given == name);
        let value = given.map_or(*default, |(_, value)| *value);
        sql.replace(&format!(":'{name}'"), &format!("'{value}'"))
    })
}

async fn run(client: &Client, sql: &str) {
    if let Err(fault) = client.batch_execute(sql).await {
        panic!("{fault:?}\n{sql}");
    }
}

/// The roles, before any database is made that belongs to one.
pub async fn create_roles(cluster: Arc<Cluster>) -> Result<(), String> {
    cluster
        .try_connect("postgres", "postgres")
        .await
        .map_err(|fault| format!("{fault:?}"))?
        .batch_execute(&roles_sql(&[]))
        .await
        .map_err(|fault| format!("sql/roles.sql: {fault:?}"))
}

/// Makes the database that all others are cloned from. Nobody may stay connected to a template.
pub async fn create_template(cluster: Arc<Cluster>) -> Result<(), String> {
    let admin = cluster.admin().await;
    admin
        .batch_execute(&format!("create database {TEMPLATE}"))
        .await
        .map_err(|fault| format!("{fault:?}"))?;
    let template = Database {
        name: TEMPLATE.to_owned(),
        cluster,
        served_by: SERVICE,
    };
    let prepared = template.prepare().await;
    // This value's end must not drop the database.
    std::mem::forget(template);
    prepared
}

async fn create_users(client: &Client) {
    client.batch_execute(USERS_TABLE).await.expect("users");
    let insert = client
        .prepare(
            "insert into users (id, first_name, last_name, email, avatar_url, role, is_active)
             values ($1, $2, $3, $1::uuid || '@host.example', $4, $5, $6)",
        )
        .await
        .expect("an insert");
    for person in &PEOPLE {
        client
            .execute(
                &insert,
                &[
                    &person.id,
                    &person.first_name,
                    &person.last_name,
                    &person.avatar_url,
                    &person.role,
                    &person.is_active,
                ],
            )
            .await
            .expect("a user");
    }
}

fn fresh_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
