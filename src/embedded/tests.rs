//! The promises about processes, with real ones: this test binary is also the replica and the watchdog.
//! PostgreSQL is the one that PG_BIN_DIR names, else the one that is found.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command};

use super::*;

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
fn attach(data_dir: &Path) -> Result<(EmbeddedPostgres, String), EmbeddedError> {
    let launcher = Launcher {
        program: std::env::current_exe().unwrap(),
        args: ["--exact", "embedded::tests::process", "--nocapture"]
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
struct Site {
    directory: PathBuf,
    uid: Option<u32>,
}

impl Site {
    fn new() -> Self {
        Self::owned_by(None)
    }

    fn owned_by(uid: Option<u32>) -> Self {
        let directory =
            std::env::temp_dir().join(format!("pgchat-test-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir(&directory).unwrap();
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&directory, uid, None).unwrap();
        fs::copy(std::env::current_exe().unwrap(), directory.join("program")).unwrap();
        Self { directory, uid }
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn layout(&self) -> Layout {
        Layout::new(&self.data_dir()).unwrap()
    }

    fn replica(&self) -> Replica {
        let mut command = Command::new(self.directory.join("program"));
        command
            .args(["--exact", "embedded::tests::process", "--nocapture"])
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

    fn postmaster(&self) -> u32 {
        let path = self.layout().cluster().join("postmaster.pid");
        let text = fs::read_to_string(path).unwrap();
        text.lines().next().unwrap().parse().unwrap()
    }

    fn watchdog(&self) -> u32 {
        let text = fs::read_to_string(self.layout().watchdog_lock()).unwrap();
        text.trim().parse().unwrap()
    }

    fn wait_for_the_end(&self) {
        until("PostgreSQL and its watchdog end", || {
            !self.layout().postgres_runs().unwrap() && !self.layout().watchdog_runs().unwrap()
        });
    }

    fn log(&self) -> String {
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

struct Replica {
    child: Child,
    url: String,
    _output: BufReader<ChildStderr>,
}

impl Replica {
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn leave(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }

    fn run(&self, sql: &str) -> Result<(), tokio_postgres::Error> {
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

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(
            since.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(pid: u32) {
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
fn process_group(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, after_name) = stat.rsplit_once(") ").unwrap();
    after_name.split(' ').nth(2).unwrap().parse().unwrap()
}

fn am_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn replicas_share_a_database_that_ends_with_the_last_of_them() {
    let site = Site::new();
    let first = site.replica();
    first.run("create table kept (n int)").unwrap();
    let second = site.replica();
    assert_eq!(first.url, second.url);
    let postmaster = site.postmaster();
    // Ctrl-C in a replica's terminal is none for it.
    #[cfg(target_os = "linux")]
    assert_eq!(process_group(site.watchdog()), site.watchdog());

    first.kill();
    second.run("insert into kept values (1)").unwrap();
    assert_eq!(site.postmaster(), postmaster);

    second.kill();
    site.wait_for_the_end();

    // The next one finds the data, the port and the password as they were.
    let third = site.replica();
    third.run("insert into kept values (2)").unwrap();
    third.leave();
}

#[test]
fn replicas_may_start_together() {
    let site = Site::new();
    let replicas: Vec<Replica> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..4).map(|_| scope.spawn(|| site.replica())).collect();
        starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .collect()
    });
    for replica in &replicas {
        replica.run("select 1").unwrap();
        assert_eq!(replica.url, replicas[0].url);
    }
}

#[test]
fn a_killed_postgres_comes_back_and_a_killed_watchdog_is_succeeded() {
    let site = Site::new();
    let first = site.replica();
    first.run("create table kept (n int)").unwrap();

    let postmaster = site.postmaster();
    kill(postmaster);
    until("PostgreSQL is back on its port, with its data", || {
        first.run("insert into kept values (1)").is_ok() && site.postmaster() != postmaster
    });

    let (postmaster, watchdog) = (site.postmaster(), site.watchdog());
    kill(watchdog);
    first.run("insert into kept values (2)").unwrap();
    let second = site.replica();
    second.run("insert into kept values (3)").unwrap();
    until("another watchdog looks after the same PostgreSQL", || {
        site.watchdog() != watchdog && site.layout().watchdog_runs().unwrap()
    });
    assert_eq!(site.postmaster(), postmaster);

    first.kill();
    second.leave();
    site.wait_for_the_end();
}

/// A directory stands where it makes the file: as on a full disk, nothing can be written.
#[test]
fn a_watchdog_that_cannot_write_looks_after_postgres_and_publishes_it_once_it_can() {
    let site = Site::new();
    let first = site.replica();
    let (postmaster, watchdog) = (site.postmaster(), site.watchdog());
    let obstacle = site.layout().ready().with_extension("new");
    fs::create_dir(&obstacle).unwrap();
    kill(postmaster);
    until("the watchdog says what it cannot write", || {
        site.log().contains("ready.new")
    });
    first.run("select 1").unwrap();
    fs::remove_dir(&obstacle).unwrap();
    let second = site.replica();
    assert_eq!(
        (first.url.as_str(), watchdog),
        (second.url.as_str(), site.watchdog())
    );
    first.kill();
    second.leave();
}

#[test]
fn postgres_runs_as_oneself_or_for_root_as_another_account() {
    let site = Site::new();
    let replica = site.replica();
    let cluster = fs::metadata(site.layout().cluster()).unwrap();
    let own = fs::metadata(site.data_dir()).unwrap().uid();
    assert_eq!(cluster.uid() == own, !am_root());
    let password = fs::metadata(site.layout().password()).unwrap();
    assert_eq!((password.uid(), password.mode() & 0o777), (own, 0o600));
    replica.leave();
}

#[test]
fn an_ordinary_user_needs_no_root() {
    if !am_root() {
        return; // Every other test shows it.
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    assert!(passwd.contains(":65534:"), "no account to try it with");
    let site = Site::owned_by(Some(65534));
    let replica = site.replica();
    replica.run("select 1").unwrap();
    let cluster = fs::metadata(site.layout().cluster()).unwrap();
    assert_eq!(cluster.uid(), 65534);
    replica.leave();
}

#[test]
fn a_cluster_of_another_major_version_is_refused_in_one_line() {
    let site = Site::new();
    let layout = site.layout();
    layout.create().unwrap();
    fs::create_dir(layout.cluster()).unwrap();
    fs::write(layout.cluster().join("PG_VERSION"), "9\n").unwrap();
    fs::write(layout.password(), "x").unwrap();
    let line = attach(&site.data_dir()).unwrap_err().to_string();
    assert!(line.contains("made by PostgreSQL 9, but"), "{line}");
    assert!(
        line.contains("EMBEDDED_DATA_DIR") && !line.contains('\n'),
        "{line}"
    );
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let site = Site::new();
    let layout = site.layout();
    fs::create_dir_all(layout.cluster()).unwrap();
    fs::write(layout.cluster().join("thesis.tex"), "precious").unwrap();
    let line = attach(&site.data_dir()).unwrap_err().to_string();
    assert!(line.contains("no PostgreSQL data directory"), "{line}");
}

#[test]
fn a_directory_that_postgres_cannot_enter_is_named() {
    if !am_root() {
        return; // Only root runs PostgreSQL as somebody else.
    }
    let site = Site::new();
    fs::set_permissions(&site.directory, fs::Permissions::from_mode(0o700)).unwrap();
    let line = attach(&site.data_dir()).unwrap_err().to_string();
    assert!(line.contains("may not enter there"), "{line}");
    assert!(
        line.contains(&site.data_dir().display().to_string()),
        "{line}"
    );
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let site = Site::new();
    site.replica().leave();
    site.wait_for_the_end();
    let settings = site.layout().cluster().join("postgresql.conf");
    let broken = fs::read_to_string(&settings).unwrap() + "\nshared_buffers = 'plenty'\n";
    fs::write(&settings, broken).unwrap();
    let line = attach(&site.data_dir()).unwrap_err().to_string();
    assert!(line.contains("ended 6 times in a row"), "{line}");
    assert!(
        line.contains("postgres.log") && !line.contains('\n'),
        "{line}"
    );
}
