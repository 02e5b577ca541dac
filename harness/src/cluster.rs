//! A PostgreSQL of our own: in a directory of the run, on loopback, with fsync on, under the uid of
//! `postgres` when we are root.

use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::{Uid, User, geteuid};
use tokio::sync::Mutex;
use tokio_postgres::{Client, Config, NoTls};

use crate::Failure;
use crate::process::Process;
use crate::programs::server_programs;

/// What every start of a server is told, besides the settings of the run.
const ALWAYS: [&str; 4] = [
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=on",
    "log_line_prefix=%m [%p] %a ",
];

/// Where the run keeps its data and logs. The data goes with the run; the logs stay when it failed.
pub struct RunDir {
    pub path: PathBuf,
    keep_logs: bool,
}

impl RunDir {
    /// A new directory below `parent`, named after the run and our pid.
    pub fn make(parent: &Path, name: &str) -> Result<Self, Failure> {
        let path = parent.join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(path.join("logs"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(Self {
            path,
            keep_logs: true,
        })
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// All went well: nobody will read the logs.
    pub fn discard_logs(&mut self) {
        self.keep_logs = false;
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let gone = if self.keep_logs {
            println!("logs are in {}", self.logs().display());
            fs::remove_dir_all(self.path.join("data"))
        } else {
            fs::remove_dir_all(&self.path)
        };
        if let Err(error) = gone {
            eprintln!("could not remove {}: {error}", self.path.display());
        }
    }
}

/// What a run wants of its PostgreSQL.
pub struct Wanted {
    /// Where `initdb` is; looked for when it is not named.
    pub bin: Option<PathBuf>,
    /// `application_name` of our own sessions.
    pub name: &'static str,
    /// `NAME=VALUE`, for each start of the server.
    pub settings: Vec<String>,
}

pub struct Cluster {
    pub addr: SocketAddr,
    name: &'static str,
    settings: Vec<String>,
    bin: PathBuf,
    data: PathBuf,
    log: PathBuf,
    owner: Option<User>,
    process: Mutex<Process>,
}

impl Cluster {
    /// `initdb`, then `postgres`; returns when it answers.
    pub async fn start(dir: &RunDir, wanted: Wanted) -> Result<Self, Failure> {
        let bin = match wanted.bin {
            Some(bin) => bin,
            None => server_programs()?,
        };
        let data = dir.path.join("data");
        let log = dir.logs().join("postgres.log");
        fs::create_dir_all(&data)?;
        let owner = if geteuid() == Uid::from_raw(0) {
            let user = User::from_name("postgres")?
                .ok_or("PostgreSQL refuses to run as root, and there is no user `postgres`")?;
            chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            Some(user)
        } else {
            None
        };
        let addr = free_addr()?;
        let output = command(&bin.join("initdb"), owner.as_ref())
            .arg("-D")
            .arg(&data)
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8"])
            .args(["--locale=C", "--no-sync", "--no-instructions"])
            .output()?;
        if !output.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let process = spawn(&bin, &data, &log, owner.as_ref(), addr, &wanted.settings)?;
        let cluster = Self {
            addr,
            name: wanted.name,
            settings: wanted.settings,
            bin,
            data,
            log,
            owner,
            process: Mutex::new(process),
        };
        cluster.wait_ready().await?;
        Ok(cluster)
    }

    /// A session of our own, past all proxies.
    pub async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        self.connect_to("postgres").await
    }

    pub async fn connect_to(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config(database).connect(NoTls).await?;
        // Ends when the client is dropped; its error comes out of the client's calls too.
        tokio::spawn(connection);
        Ok(client)
    }

    /// How our own sessions reach a database.
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host("127.0.0.1")
            .port(self.addr.port())
            .user("postgres")
            .dbname(database)
            .application_name(self.name)
            .connect_timeout(Duration::from_secs(5));
        config
    }

    /// Of the postmaster, the parent of all of PostgreSQL's processes.
    pub async fn pid(&self) -> u32 {
        self.process.lock().await.id()
    }

    /// Immediate mode: no checkpoint, every session is cut, and the next start recovers from the log.
    pub async fn restart_immediately(&self) -> Result<(), Failure> {
        let mut process = self.process.lock().await;
        process.signal(Signal::SIGQUIT);
        if process.wait(Duration::from_secs(20)).await.is_none() {
            return Err("PostgreSQL did not end within 20 s of SIGQUIT".into());
        }
        *process = spawn(
            &self.bin,
            &self.data,
            &self.log,
            self.owner.as_ref(),
            self.addr,
            &self.settings,
        )?;
        drop(process);
        self.wait_ready().await
    }

    async fn wait_ready(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.connect().await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    let log = self.log.display();
                    return Err(format!("PostgreSQL is not ready: {error}; see {log}").into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

fn spawn(
    bin: &Path,
    data: &Path,
    log: &Path,
    owner: Option<&User>,
    addr: SocketAddr,
    settings: &[String],
) -> Result<Process, Failure> {
    let log = append(log)?;
    let settings = ALWAYS
        .iter()
        .copied()
        .chain(settings.iter().map(String::as_str));
    let process = Process::spawn(
        command(&bin.join("postgres"), owner)
            .arg("-D")
            .arg(data)
            .args(["-p", &addr.port().to_string()])
            .args(settings.flat_map(|setting| ["-c", setting]))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log),
        Signal::SIGQUIT,
    )?;
    Ok(process)
}

fn command(program: &Path, owner: Option<&User>) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/");
    if let Some(user) = owner {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    command
}

/// A log that is written to its end.
pub fn append(path: &Path) -> Result<File, Failure> {
    Ok(OpenOptions::new().create(true).append(true).open(path)?)
}

/// A loopback address that nobody listens on.
pub fn free_addr() -> Result<SocketAddr, Failure> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}

/// A port of loopback that nobody listens on, and that this process was not given before. Below the range from which systems
/// take the local ports of outgoing connections: while its server is stopped, no connection can sit down there.
pub fn free_port() -> Result<u16, Failure> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let place = std::process::id().wrapping_mul(31).wrapping_add(step) % COUNT;
        let port = u16::try_from(FIRST + place)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port on loopback".into())
}
