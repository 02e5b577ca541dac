//! A database of its own for each test, cloned from a template that was migrated once.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pgchat_harness::programs::program;
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

use super::cluster::Cluster;
use super::replica::{Outcome, pgchat, pgchat_within, settings};
use super::roles::{OWNER, SERVICE};
use super::run::{Signal, fresh_dir, signal};
use super::users::create_users;
use super::wait::eventually;

const TEMPLATE: &str = "pgchat_template";
/// No statement of the tests takes as long as this, on a busy machine either: what does hangs.
const PATIENCE: Duration = Duration::from_secs(300);

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

    /// For `role`, which needs no password.
    pub fn url(&self, role: &str) -> String {
        let port = self.cluster.port;
        format!("postgres://{role}@127.0.0.1:{port}/{}", self.name)
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

    /// Without anything, and [`OWNER`]'s, on a cluster of the test's own.
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

    /// A session whose transaction has executed this and stays open, until it is told to commit.
    pub async fn holding(&self, sql: &str) -> Client {
        let session = self.sql().await;
        run(&session, &format!("begin; {sql}")).await;
        session
    }

    /// A session that holds the row of this conversation, until it is told to commit.
    pub async fn holding_conversation(&self, conversation: Uuid) -> Client {
        let lock = format!("select from conversations where id = '{conversation}' for update");
        self.holding(&lock).await
    }

    /// A foreign key for the senders of messages, as tables have it that another service made: each message locks its sender's row.
    pub async fn reference_senders(&self) {
        self.execute("alter table messages add foreign key (sender_id) references users (id)")
            .await;
    }

    /// Whether the server has collations of ICU; some are built without it.
    pub async fn has_icu(&self) -> bool {
        self.count("pg_collation where collprovider = 'i'").await > 0
    }

    /// Has unread counts be the answer to this query, which is of messages; and as if no conversation had any.
    pub async fn count_unread_by(&self, query: &str) {
        self.execute_as_owner(&format!(
            "drop function chat_unread_count(uuid);
             create function chat_unread_count(user_id uuid) returns table (unread_messages bigint, unread_conversations bigint)
                 language sql volatile security definer set search_path from current as 'select unread.*, 0::bigint from ({query}) unread';
             grant execute on function chat_unread_count(uuid) to {SERVICE}"
        ))
        .await;
    }

    /// Has the server flush nothing but what somebody waits for, until it ends. For a cluster of the test's own.
    pub async fn flush_seldom(&self) {
        self.execute("alter system set autovacuum = off").await;
        self.execute("select pg_reload_conf()").await;
        let sql = self.sql().await;
        let writer = "select pid from pg_stat_activity where backend_type = 'walwriter'";
        eventually(
            "its writer of the log is held, and others can flush",
            || async {
                let row = sql.query_opt(writer, &[]).await.expect("its processes")?;
                self.cluster.hold_still(row.get::<_, i32>(0).unsigned_abs());
                // Not if it was at it, or holds what whoever needs a new page of the log's buffers waits for: so it is more than they hold.
                let flush =
                    "select pg_logical_emit_message(true, 'a flush', repeat('x', 8 * 1024 * 1024))";
                let flushed = timeout(Duration::from_secs(10), self.execute(flush)).await;
                flushed.map_err(|_| self.cluster.let_go_on()).ok()
            },
        )
        .await;
    }

    /// For tests that count what is read: autovacuum comes when it likes, and what it finds out is planned by.
    pub async fn without_autovacuum(&self) {
        for table in [
            "messages",
            "conversations",
            "users",
            "chat_tombstones",
            "chat_attendance",
        ] {
            let off = format!("alter table {table} set (autovacuum_enabled = false)");
            self.execute(&off).await;
        }
    }

    /// Runs SQL that answers nothing, as the superuser.
    pub async fn execute(&self, sql: &str) {
        run(&self.sql().await, sql).await;
    }

    /// Runs SQL that answers nothing, as [`OWNER`]: what the host's system makes in a database of its own.
    pub async fn execute_as_owner(&self, sql: &str) {
        run(&self.sql_as(OWNER).await, sql).await;
    }

    /// Kills the server's process of a session: PostgreSQL ends all others and recovers, as after a crash of its own.
    pub async fn crash_by(&self, session: Client) {
        let witness = self.sql().await;
        let row = session.query_one("select pg_backend_pid()", &[]).await;
        let process: i32 = row.expect("a process").get(0);
        signal(process.unsigned_abs(), Signal::Kill);
        self.cluster.end_who_is_held();
        eventually("all sessions are ended", || async {
            witness.is_closed().then_some(())
        })
        .await;
        eventually("the server has recovered", || async {
            self.cluster.try_connect(&self.name, "postgres").await.ok()
        })
        .await;
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

    /// Those of this user with each of the others, in their order.
    pub async fn conversations(&self, user: Uuid, others: &[Uuid]) -> Vec<Uuid> {
        let insert = "insert into conversations (participant1_id, participant2_id)
                      select $1, other from unnest($2::uuid[]) with ordinality o (other, place) order by place returning id";
        let rows = self.sql().await.query(insert, &[&user, &others]).await;
        let rows = rows.expect("conversations");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// More users than the twelve, all buyers.
    pub async fn add_users(&self, count: i32) -> Vec<Uuid> {
        let rows = self
            .sql()
            .await
            .query(
                "insert into users (first_name, last_name, email)
                 select 'User', n::text, gen_random_uuid() || '@host.example' from generate_series(1, $1) n
                 returning id",
                &[&count],
            )
            .await
            .expect("users");
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Runs the real `psql` on a script.
    pub async fn psql(&self, script: &str) {
        self.psql_with(&["--command", script]);
    }

    pub(super) fn psql_with(&self, arguments: &[&str]) {
        let ran = Command::new(psql())
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
    }

    /// All of it, by the real `pg_dump`, as a script that drops what is there first. `None` where there is none for this version of the
    /// server: it takes no newer one than itself, and psql does.
    pub fn dump(&self) -> Option<String> {
        let dumped = Command::new(program("pg_dump")?)
            .args(["--clean", "--if-exists"])
            .args(["--host=127.0.0.1", "--username=postgres"])
            .arg(format!("--port={}", self.cluster.port))
            .arg(&self.name)
            .output()
            .expect("pg_dump runs");
        let fault = String::from_utf8_lossy(&dumped.stderr);
        if fault.contains("server version mismatch") {
            return None;
        }
        assert!(dumped.status.success(), "pg_dump: {fault}");
        Some(String::from_utf8(dumped.stdout).expect("text"))
    }

    /// Runs what [`dump`](Self::dump) returned.
    pub async fn restore(&self, dump: &str) {
        let script = fresh_dir("dump").join("dump.sql");
        std::fs::write(&script, dump).expect("written");
        let script = script.display().to_string();
        self.psql_with(&["--file", &script]);
    }

    /// Runs `pgchat migrate` on this database, as its owner.
    pub async fn migrate(&self, more: &[(&str, &str)]) -> Outcome {
        let owner = [("DB_USER", OWNER)];
        let more: Vec<_> = owner.iter().chain(more).copied().collect();
        pgchat(&["migrate"], &settings(self, &more)).await
    }

    /// Runs `pgchat migrate` on this database, as its owner, where there is much to do: for `deadline` at most.
    pub async fn migrate_within(&self, deadline: Duration) -> Outcome {
        let settings = settings(self, &[("DB_USER", OWNER)]);
        pgchat_within(deadline, &fresh_dir("migrate"), &["migrate"], &settings).await
    }
}

/// Part of PostgreSQL's client programs, which its packages bring along; where they do not, it is installed apart.
pub fn psql() -> PathBuf {
    program("psql").expect("psql: it is neither beside PostgreSQL's server programs nor in PATH")
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

    pub(super) async fn try_connect(
        &self,
        database: &str,
        role: &str,
    ) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.address(database, role).connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    pub(super) fn address(&self, database: &str, role: &str) -> tokio_postgres::Config {
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

async fn run(client: &Client, sql: &str) {
    match timeout(PATIENCE, client.batch_execute(sql)).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => panic!("{fault:?}\n{sql}"),
        Err(_) => panic!("no end after {} s:\n{sql}", PATIENCE.as_secs()),
    }
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

fn fresh_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
