//! The service as it is run: the built program, a process for each replica.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::api::Api;
use super::database::Database;
use super::process::Process;
use super::run::{Run, Signal, signal};
use super::wait::eventually;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pgchat");

/// A replica may have to migrate before it listens, and ten may start at once. The embedded database is given 180 s by the program
/// itself.
const START_DEADLINE: Duration = Duration::from_secs(300);

/// The start-up line that names the port.
const LISTENING: &str = "listening on http://";

type Settings = Vec<(String, String)>;

/// The environment that points the program to this database, and `more`, which wins.
pub fn settings(database: &Database, more: &[(&str, &str)]) -> Settings {
    let port = database.cluster.port.to_string();
    let base = [
        ("DB_HOST", "127.0.0.1"),
        ("DB_PORT", &port),
        ("DB_USER", database.served_by),
        ("DB_NAME", &database.name),
        ("SERVER_PORT", "0"),
    ];
    base.iter()
        .chain(more)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A program with nothing of the caller's environment but what any program needs, and away from any `config.env`.
fn command(program: &str, arguments: &[&str], settings: &Settings, dir: &PathBuf) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(dir).env_clear();
    for kept in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
        .env("RUST_BACKTRACE", "1")
        .envs(settings.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null());
    command
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Outcome {
    /// `None`: ended by a signal, for being late too.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Outcome {
    /// The one line that a failed start leaves, after whatever was logged before it.
    pub fn last_line(&self) -> &str {
        self.stderr.trim_end().lines().last().unwrap_or_default()
    }

    pub fn assert_ok(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// A failure for whoever runs the program: the exit code, and a last line that names all of `words`;
    /// no panic, no backtrace.
    pub fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:#?}");
        for word in words {
            assert!(
                self.last_line().contains(word),
                "the last line does not say {word:?}: {self:#?}"
            );
        }
        assert!(!self.stderr.contains("panicked at"), "{self:#?}");
        assert!(!self.stderr.contains("stack backtrace"), "{self:#?}");
    }
}

/// Runs a command of the program to its end.
pub async fn pgchat(arguments: &[&str], settings: &Settings) -> Outcome {
    let dir = Run::get().fresh_dir("command");
    pgchat_in(&dir, arguments, settings).await
}

/// Runs a command of the program to its end, in a directory that the test has prepared.
pub async fn pgchat_in(dir: &PathBuf, arguments: &[&str], settings: &Settings) -> Outcome {
    pgchat_within(START_DEADLINE, dir, arguments, settings).await
}

/// Runs a command of the program in a directory; ends it at the deadline.
pub async fn pgchat_within(
    deadline: Duration,
    dir: &PathBuf,
    arguments: &[&str],
    settings: &Settings,
) -> Outcome {
    let started = Instant::now();
    let output = |name: &str| File::create(dir.join(name)).expect("an output file");
    let mut process = Process::start(
        command(PROGRAM, arguments, settings, dir)
            .stdout(output("stdout"))
            .stderr(output("stderr")),
        Signal::Kill,
    );
    while process.ended().is_none() && started.elapsed() < deadline {
        // A poll: the end of a process is told to nobody here.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let status = process.ended();
    drop(process);
    let text = |name: &str| fs::read_to_string(dir.join(name)).expect("an output file");
    Outcome {
        code: status.and_then(|status| status.code()),
        stdout: text("stdout"),
        stderr: text("stderr"),
        took: started.elapsed(),
    }
}

/// A running replica. It is killed when the value ends; after a failed test its log is printed.
pub struct Replica {
    process: Process,
    /// Port 0 until it listens.
    address: SocketAddr,
    log: PathBuf,
}

impl Replica {
    /// Ready to serve this database.
    pub async fn start(database: &Database, more: &[(&str, &str)]) -> Self {
        let mut replica = Self::launch(database, more);
        replica.until_ready().await;
        replica
    }

    /// With these settings and no others, `SERVER_PORT=0` among them: no database of the test's.
    pub async fn start_with(settings: &Settings) -> Self {
        Self::start_by(&["serve"], settings).await
    }

    /// With these arguments and settings and no others, and ready.
    pub async fn start_by(arguments: &[&str], settings: &Settings) -> Self {
        let mut replica = Self::launch_by(arguments, settings);
        replica.until_ready().await;
        replica
    }

    /// Several at once, as after a deployment.
    pub async fn start_many<const N: usize>(
        database: &Database,
        more: &[(&str, &str)],
    ) -> [Self; N] {
        let mut replicas = std::array::from_fn(|_| Self::launch(database, more));
        for replica in &mut replicas {
            replica.until_ready().await;
        }
        replicas
    }

    /// Started, and nothing more.
    pub fn launch(database: &Database, more: &[(&str, &str)]) -> Self {
        Self::launch_by(&["serve"], &settings(database, more))
    }

    /// Started by a shell that runs `before` first, such as `ulimit -n 200`, and nothing more.
    pub fn launch_where(before: &str, database: &Database, more: &[(&str, &str)]) -> Self {
        let line = format!("{before} && exec {PROGRAM} serve");
        Self::launch_program("sh", &["-c", &line], &settings(database, more))
    }

    fn launch_by(arguments: &[&str], settings: &Settings) -> Self {
        Self::launch_program(PROGRAM, arguments, settings)
    }

    fn launch_program(program: &str, arguments: &[&str], settings: &Settings) -> Self {
        let dir = Run::get().fresh_dir("replica");
        let log = dir.join("log");
        let file = File::create(&log).expect("a log file");
        let process = Process::start(
            command(program, arguments, settings, &dir)
                .stdout(file.try_clone().expect("a log file"))
                .stderr(file),
            Signal::Kill,
        );
        Self {
            process,
            address: (Ipv4Addr::UNSPECIFIED, 0).into(),
            log,
        }
    }

    pub async fn until_ready(&mut self) {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.ended() {
                panic!("the replica ended: {status}");
            }
            if self.port() == 0 {
                self.address = self.address_from_log().unwrap_or(self.address);
            } else if self.api().status("/health/ready").await == Some(200) {
                return;
            }
            assert!(
                started.elapsed() < START_DEADLINE,
                "the replica is not ready"
            );
            // A poll, which also sees the process end.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn address_from_log(&self) -> Option<SocketAddr> {
        let log = self.log();
        let address = log.split(LISTENING).nth(1)?;
        // The line may be half written.
        let (address, _) = address.split_once(|c: char| c.is_whitespace() || c == '"')?;
        address.parse().ok()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn api(&self) -> Api {
        Api::new(&format!("http://{}", self.address))
    }

    /// All that it has written to stdout and stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Holds the process still, as a machine that swaps or a paused virtual machine does.
    pub fn freeze(&self) {
        self.signal(Signal::Stop);
    }

    pub fn thaw(&self) {
        self.signal(Signal::Continue);
    }

    /// Resident memory, in KiB; `None` where the system does not tell.
    pub fn resident_kib(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most that it ever was.
    pub fn most_resident_kib(&self) -> Option<u64> {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }

    /// What it has used of the processors since its start; zero where the system does not tell.
    pub fn processor_time(&self) -> Duration {
        /// `USER_HZ`, which Linux keeps at that for all programs (proc(5)).
        const TICKS_A_SECOND: u64 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.unwrap_or_default();
        // Behind the program's name, which may hold anything: fields 14 and 15 of all.
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 1000 / TICKS_A_SECOND)
    }

    /// Open file descriptors, sockets among them; 0 where the system does not tell.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).map_or(0, Iterator::count)
    }

    /// Asks it to end, and does not wait.
    pub fn terminate(&self) {
        self.signal(Signal::Terminate);
    }

    pub fn signal(&self, which: Signal) {
        signal(self.process.id(), which);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub async fn ended(&mut self) -> ExitStatus {
        let process = std::cell::RefCell::new(&mut self.process);
        eventually("the replica ends", || async {
            process.borrow_mut().ended()
        })
        .await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(200)..];
            eprintln!(
                "--- replica at {} wrote\n{}",
                self.address,
                shown.join("\n")
            );
        }
    }
}
