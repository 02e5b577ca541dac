//! A data directory, its processes, and what tests do to them.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command};

use super::super::*;

const ROLE: &str = "PGCHAT_TEST_ROLE";
const DATA_DIR: &str = "PGCHAT_TEST_DATA_DIR";
const PATIENCE: Duration = Duration::from_secs(60);

/// Not a test but the main function of the processes that the tests start.
#[test]
fn process() {
    match std::env::var(ROLE).as_deref() {
        Ok("watchdog") => {
            let args: Vec<OsString> = std::env::args_os().collect();
            if let Err(error) = watchdog_main(args[args.len() - 2..].to_vec()) {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        Ok("replica") => {
            let data_dir = PathBuf::from(std::env::var_os(DATA_DIR).unwrap());
            match attach(&data_dir) {
                Ok((_database, url)) => {
                    eprintln!("ready {url}");
                    // Until the test closes our standard input, or kills us.
                    std::io::stdin().lines().for_each(drop);
                }
                Err(error) => eprintln!("failed {error}"),
            }
        }
        _ => {}
    }
}

/// What `EmbeddedPostgres::start` does, with this binary as the watchdog.
pub(super) fn attach(data_dir: &Path) -> Result<(EmbeddedPostgres, String), EmbeddedError> {
    let launcher = Launcher {
        program: std::env::current_exe().unwrap(),
        args: ["--exact", "embedded::tests::site::process", "--nocapture"]
            .map(OsString::from)
            .to_vec(),
        env: vec![(ROLE, "watchdog".into())],
    };
    let bin_dir = std::env::var_os("PG_BIN_DIR").map(PathBuf::from);
    block_on(async {
        let database =
            EmbeddedPostgres::start_with(data_dir, bin_dir.as_deref(), &launcher).await?;
        let url = database.url();
        Ok((database, url))
    })
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// A data directory, and a copy of this binary that any account can run.
pub(super) struct Site {
    pub directory: PathBuf,
    uid: Option<u32>,
}

impl Site {
    pub fn new() -> Self {
        Self::owned_by(None)
    }

    pub fn owned_by(uid: Option<u32>) -> Self {
        let directory =
            std::env::temp_dir().join(format!("pgchat-test-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&directory, uid, None).unwrap();
        fs::copy(std::env::current_exe().unwrap(), directory.join("program")).unwrap();
        Self { directory, uid }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn layout(&self) -> Layout {
        Layout::new(&self.data_dir()).unwrap()
    }

    pub fn replica(&self) -> Replica {
        let mut command = Command::new(self.directory.join("program"));
        command
            .args(["--exact", "embedded::tests::site::process", "--nocapture"])
            .env(ROLE, "replica")
            .env(DATA_DIR, self.data_dir())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        let mut child = spawned(&mut command);
        let mut output = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while output.read_line(&mut line).unwrap() > 0 {
            if let Some(url) = line.trim().strip_prefix("ready ") {
                let url = url.to_owned();
                return Replica {
                    child,
                    url,
                    _output: output,
                };
            }
            line.clear();
        }
        child.wait().unwrap();
        panic!("the replica did not start:\n{}", self.log());
    }

    pub fn postmaster(&self) -> u32 {
        let path = self.layout().cluster().join("postmaster.pid");
        let text = fs::read_to_string(path).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    pub fn watchdog(&self) -> u32 {
        let text = fs::read_to_string(self.layout().watchdog_lock()).unwrap();
        text.trim().parse().unwrap()
    }

    pub fn wait_for_the_end(&self) {
        until("PostgreSQL and its watchdog end", || {
            !self.layout().postgres_runs().unwrap() && !self.layout().watchdog_runs().unwrap()
        });
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.layout().log()).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {}:\n{}", self.directory.display(), self.log());
        } else {
            self.wait_for_the_end();
            fs::remove_dir_all(&self.directory).unwrap();
        }
    }
}

pub(super) struct Replica {
    child: Child,
    pub url: String,
    _output: BufReader<ChildStderr>,
}

impl Replica {
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn leave(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    pub fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
        let config: tokio_postgres::Config = self.url.parse().unwrap();
        block_on(execute(&config, sql))
    }
}

/// A test that failed must not leave processes behind.
impl Drop for Replica {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(
            since.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn kill(pid: u32) {
    // Its own: the program is in a package that not every machine has.
    let kill = format!("kill -9 {pid}");
    let status = Command::new("sh").arg("-c").arg(kill).status();
    assert!(status.unwrap().success());
}

/// Another test that starts a process at the moment in which the program is copied holds the copy open for writing for an
/// instant, and it cannot be executed.
fn spawned(command: &mut Command) -> Child {
    let since = Instant::now();
    loop {
        match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                assert!(since.elapsed() < PATIENCE, "{error}");
                std::thread::sleep(Duration::from_millis(20));
            }
            spawned => return spawned.unwrap(),
        }
    }
}

/// The fifth field (proc(5)); the second is a name in parentheses.
#[cfg(target_os = "linux")]
pub(super) fn process_group(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    after_name.split(' ').nth(2).unwrap().parse().unwrap()
}

pub(super) fn am_root() -> bool {
    nix::unistd::geteuid().is_root()
}
