//! A private PostgreSQL: one for the whole test run, and one more for each test that stops or kills it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use pgchat_harness::programs::server_programs;

use super::database;
use super::roles;
use super::run::{Run, Signal, signal};
use super::wait::{blocking, blocking_eventually};

/// `initdb` and crash recovery on a slow machine.
const START_DEADLINE: Duration = Duration::from_secs(300);

/// Everybody is believed but the role `app`, which tests that need a password create.
const HBA: &str = "\
local all all trust
host all app 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
";

const SETTINGS: &str = "\
listen_addresses = '127.0.0.1'
max_prepared_transactions = 2
log_line_prefix = '%m [%p] %d '
";

/// Of the shared cluster. It has connections for as many tests at once as there are cores, of which cargo starts one each. Nobody
/// stops or kills it: each database that is dropped would have everybody's files synced.
const SHARED_BY_ALL: &str = "\
max_connections = 1000
fsync = off
";

/// Of one that a test has to itself, and stops or kills.
const OF_ONE_TEST: &str = "\
max_connections = 300
fsync = on
";

/// The failure is kept: one clear message in each test instead of one slow attempt in each.
static SHARED: OnceLock<Result<Arc<Cluster>, String>> = OnceLock::new();

pub struct Cluster {
    dir: PathBuf,
    bin: PathBuf,
    pub port: u16,
    account: Option<Account>,
    server: Mutex<Option<Child>>,
    /// The process of the server that is held still.
    held: Mutex<Option<u32>>,
}

/// The account that the server runs under when the tests run as root, which it refuses.
#[derive(Clone, Copy)]
struct Account {
    uid: u32,
    gid: u32,
}

impl Cluster {
    /// The run's cluster, with the migrated template database in it.
    pub fn shared() -> Arc<Self> {
        let made = SHARED.get_or_init(|| {
            let cluster = Arc::new(Self::create(SHARED_BY_ALL)?);
            blocking(roles::create(cluster.clone()))?;
            blocking(database::create_template(cluster.clone()))?;
            Ok(cluster)
        });
        match made {
            Ok(cluster) => cluster.clone(),
            Err(fault) => panic!("no database to test with: {fault}"),
        }
    }

    pub fn is_shared(&self) -> bool {
        let made = SHARED.get().and_then(|made| made.as_ref().ok());
        made.is_some_and(|shared| std::ptr::eq(&**shared, self))
    }

    /// A cluster that the test may stop and kill. It holds no template.
    pub fn private() -> Arc<Self> {
        let made = Self::create(OF_ONE_TEST).and_then(|cluster| {
            let cluster = Arc::new(cluster);
            blocking(roles::create(cluster.clone()))?;
            Ok(cluster)
        });
        made.unwrap_or_else(|fault| panic!("no private cluster: {fault}"))
    }

    /// A standby that streams from `primary`, which is restarted for it.
    pub fn standby_of(primary: &Self) -> Arc<Self> {
        primary.stop();
        let made = Self::prepare().and_then(|standby| {
            standby.copy(primary)?;
            primary.try_start()?;
            standby.try_start()?;
            Ok(Arc::new(standby))
        });
        made.unwrap_or_else(|fault| panic!("no standby: {fault}"))
    }

    /// With these settings besides those that all clusters have.
    fn create(settings: &str) -> Result<Self, String> {
        let cluster = Self::prepare()?;
        cluster.initialise()?;
        cluster.set(settings)?;
        cluster.try_start()?;
        Ok(cluster)
    }

    fn prepare() -> Result<Self, String> {
        let bin = server_programs()?;
        let account = server_account()?;
        let dir = Run::get().fresh_dir("cluster");
        if let Some(account) = account {
            chown(&dir, Some(account.uid), Some(account.gid)).map_err(|fault| fault.to_string())?;
        }
        Ok(Self {
            dir,
            bin,
            port: free_port(),
            account,
            server: Mutex::new(None),
            held: Mutex::new(None),
        })
    }

    /// Copies a stopped primary: `pg_basebackup` is not installed everywhere.
    fn copy(&self, primary: &Self) -> Result<(), String> {
        copy_files(&primary.data(), &self.data())?;
        let settings = format!(
            "port = {}\nunix_socket_directories = '{}'\n\
             primary_conninfo = 'host=127.0.0.1 port={} user=postgres'\n",
            self.port,
            self.dir.display(),
            primary.port
        );
        self.set(&settings)?;
        fs::write(self.data().join("standby.signal"), "").map_err(|fault| fault.to_string())
    }

    fn initialise(&self) -> Result<(), String> {
        let data = self.data();
        // Not synced: only `kill` threatens this cluster, not a power failure.
        let made = self
            .command("initdb")
            .args(["--no-sync", "--auth=trust", "--username=postgres"])
            .args(["--encoding=UTF8", "--no-locale", "--pgdata"])
            .arg(&data)
            .output()
            .map_err(|fault| format!("initdb: {fault}"))?;
        if !made.status.success() {
            return Err(format!(
                "initdb: {}",
                String::from_utf8_lossy(&made.stderr).trim()
            ));
        }
        let write = |name: &str, text: &str| {
            fs::write(data.join(name), text).map_err(|fault| fault.to_string())
        };
        write("pg_hba.conf", HBA)?;
        let socket_dir = self.dir.display();
        let config = fs::read_to_string(data.join("postgresql.conf"))
            .map_err(|fault| fault.to_string())?
            + SETTINGS
            + &format!(
                "port = {}\nunix_socket_directories = '{socket_dir}'\n",
                self.port
            );
        write("postgresql.conf", &config)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.current_dir(&self.dir).stdin(Stdio::null());
        self.as_its_account(&mut command);
        command
    }

    /// Has a program run under the account of the server, where the tests run as root.
    pub fn as_its_account<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        match self.account {
            Some(account) => command.uid(account.uid).gid(account.gid),
            None => command,
        }
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    /// The last lines that the server logged about this database, and about itself: its ends, its starts, what it recovered.
    pub fn log_of(&self, database: &str) -> String {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let marked = format!("] {database} ");
        let of_itself = |line: &str| line.contains("]  ") && !line.contains("LOG:  checkpoint ");
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains(&marked) || of_itself(line))
            .collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Starts the server again after [`stop`](Self::stop) or [`crash`](Self::crash), on the same port.
    pub fn start(&self) {
        self.try_start().expect("the cluster starts");
    }

    fn try_start(&self) -> Result<(), String> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .map_err(|fault| fault.to_string())?;
        // A crash leaves the file behind, with the word that is waited for below.
        let pid_file = self.data().join("postmaster.pid");
        let stale = fs::read_to_string(&pid_file).unwrap_or_default();
        let mut server = self.server.lock().expect("the server");
        assert!(server.is_none(), "the cluster runs already");
        let mut child = Run::get()
            .spawn(
                self.command("postgres")
                    .arg("-D")
                    .arg(self.data())
                    .stdout(Stdio::null())
                    .stderr(log),
                Signal::Quit,
            )
            .map_err(|fault| format!("postgres: {fault}"))?;
        let ready = blocking_eventually("PostgreSQL is ready", START_DEADLINE, || {
            let file = fs::read_to_string(&pid_file).unwrap_or_default();
            let ready = file != stale
                && file.lines().next().map(str::trim) == Some(child.id().to_string().as_str())
                && matches!(
                    file.lines().nth(7).map(str::trim),
                    Some("ready" | "standby")
                );
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            (ready || ended).then_some(ready)
        });
        *server = Some(child);
        match ready {
            Ok(true) => Ok(()),
            _ => Err(format!(
                "PostgreSQL did not start:\n{}",
                fs::read_to_string(self.log_path()).unwrap_or_default()
            )),
        }
    }

    /// A fast shutdown: sessions are cut, everything is written out.
    pub fn stop(&self) {
        self.end(Signal::Interrupt);
    }

    /// An immediate shutdown, as after a crash: the next start recovers from the log.
    pub fn crash(&self) {
        self.end(Signal::Quit);
    }

    /// Holds one of the server's processes still. It ends with the server, and does nothing more until then.
    pub fn hold_still(&self, process: u32) {
        signal(process, Signal::Stop);
        *self.held.lock().expect("who is held") = Some(process);
    }

    /// Has the process that is held still go on.
    pub fn let_go_on(&self) {
        if let Some(process) = self.held.lock().expect("who is held").take() {
            signal(process, Signal::Continue);
        }
    }

    /// Kills the process that is held still: it cannot end by itself.
    pub(super) fn end_who_is_held(&self) {
        if let Some(process) = self.held.lock().expect("who is held").take() {
            signal(process, Signal::Kill);
        }
    }

    /// The files of a stopped server: a backup to go [back](Self::go_back) to.
    pub fn save(&self) -> PathBuf {
        let saved = self.dir.join("saved");
        copy_files(&self.data(), &saved).expect("a copy of the files");
        saved
    }

    /// Puts the files of an earlier moment in the place of a stopped server's. As a `recovery`, the next start begins
    /// a new timeline, as PostgreSQL's manual has backups restored; without, nothing tells the server that it went back.
    pub fn go_back(&self, saved: &Path, recovery: bool) {
        let data = self.data();
        fs::remove_dir_all(&data).expect("removed");
        copy_files(saved, &data).expect("a copy of the files");
        if recovery {
            fs::write(data.join("recovery.signal"), "").expect("written");
            self.set("restore_command = 'false'\n").expect("written");
        }
    }

    /// The same as a recovery that finds the history of all timelines that the replaced files knew of.
    pub fn go_back_knowing_what_was(&self, saved: &Path) {
        let history = self.dir.join("history");
        let wal = self.data().join("pg_wal");
        fs::create_dir_all(&history).expect("a directory");
        let histories = |dir: &Path| -> Vec<PathBuf> {
            let files = fs::read_dir(dir).expect("a directory").flatten();
            let paths = files.map(|file| file.path());
            paths
                .filter(|path| path.extension().is_some_and(|end| end == "history"))
                .collect()
        };
        for file in histories(&wal) {
            copy_files(&file, &history).expect("a copy");
        }
        self.go_back(saved, true);
        for file in histories(&history) {
            copy_files(&file, &wal).expect("a copy");
        }
        self.set("recovery_target_timeline = 'current'\n")
            .expect("written");
    }

    /// Has the server offer TLS with this certificate, from its next start or reload on.
    pub fn certify(&self, certificate: &str, key: &str) {
        let write = |name: &str, pem: &str| {
            let path = self.data().join(name);
            fs::write(&path, pem).expect("written");
            // PostgreSQL takes no key that others may read.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
            if let Some(account) = self.account {
                chown(&path, Some(account.uid), Some(account.gid)).expect("its owner");
            }
        };
        write("server.crt", certificate);
        write("server.key", key);
        self.set("ssl = on\n").expect("written");
    }

    /// Appends to the server's settings, for its next start.
    fn set(&self, settings: &str) -> Result<(), String> {
        fs::OpenOptions::new()
            .append(true)
            .open(self.data().join("postgresql.conf"))
            .and_then(|mut file| file.write_all(settings.as_bytes()))
            .map_err(|fault| fault.to_string())
    }

    fn end(&self, how: Signal) {
        let mut server = self.server.lock().expect("the server");
        let Some(mut child) = server.take() else {
            return;
        };
        signal(child.id(), how);
        self.end_who_is_held();
        let ended = blocking_eventually("PostgreSQL ends", START_DEADLINE, || {
            child.try_wait().ok().flatten()
        });
        if ended.is_err() {
            signal(child.id(), Signal::Kill);
            let _ = child.wait();
        }
        Run::get().forget(child.id());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.crash();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn copy_files(from: &Path, to: &Path) -> Result<(), String> {
    let copied = Command::new("cp")
        .arg("-a")
        .args([from, to])
        .output()
        .map_err(|fault| format!("cp: {fault}"))?;
    match copied.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&copied.stderr).trim().to_owned()),
    }
}

pub fn free_port() -> u16 {
    pgchat_harness::cluster::free_port().expect("a port")
}

fn server_account() -> Result<Option<Account>, String> {
    let ask = |flag: &str, name: Option<&str>| -> Option<u32> {
        let said = Command::new("id").arg(flag).args(name).output().ok()?;
        String::from_utf8_lossy(&said.stdout).trim().parse().ok()
    };
    if ask("-u", None) != Some(0) {
        return Ok(None);
    }
    ["postgres", "nobody"]
        .into_iter()
        .find_map(|name| {
            Some(Account {
                uid: ask("-u", Some(name))?,
                gid: ask("-g", Some(name))?,
            })
        })
        .map(Some)
        .ok_or_else(|| {
            "PostgreSQL refuses to run as root, and there is no other account".to_owned()
        })
}
