//! What one test run leaves on the machine, and how all of it goes away, also after `kill -9`.
//!
//! Rust has no hook at the end of a test process, so a small shell process (the reaper) holds the reading end of a
//! pipe: it is told of every process that is started, and when the pipe closes, because the test process has
//! ended for whatever reason, it ends those that are left and removes the run's directory.
//! Should the reaper have been killed too, the next run sweeps: the directory's lock is free once its owner is dead.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

const PREFIX: &str = "pgchat-it-";

/// Names of signals, as `kill` takes them.
#[derive(Clone, Copy, Debug)]
pub enum Signal {
    Terminate,
    Interrupt,
    Quit,
    Kill,
    Stop,
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "TERM",
            Self::Interrupt => "INT",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// Whether there was such a process. The shell's own `kill`: not every machine has the program.
pub fn signal(pid: u32, signal: Signal) -> bool {
    Command::new("sh")
        .args(["-c", "kill -s \"$1\" \"$2\" 2>/dev/null", "sh"])
        .args([signal.name(), &pid.to_string()])
        .status()
        .is_ok_and(|status| status.success())
}

const REAPER: &str = r#"
started=
while read -r verb pid signal; do
    case $verb in
        add) started="$started $pid:$signal" ;;
        del)
            rest=
            for entry in $started; do
                [ "${entry%%:*}" = "$pid" ] || rest="$rest $entry"
            done
            started=$rest ;;
    esac
done
for entry in $started; do
    kill -s CONT "${entry%%:*}" 2>/dev/null
    kill -s "${entry##*:}" "${entry%%:*}" 2>/dev/null
done
tries=0
for entry in $started; do
    while kill -0 "${entry%%:*}" 2>/dev/null && [ $tries -lt 100 ]; do
        tries=$((tries + 1))
        # A poll, for ten seconds at most in all.
        sleep 0.1
    done
    kill -s KILL "${entry%%:*}" 2>/dev/null
done
rm -rf "$1"
"#;

pub struct Run {
    dir: PathBuf,
    reaper: Mutex<Child>,
    names: AtomicUsize,
    /// Held as long as this process lives; a sweep that gets it knows that the directory is a leftover.
    _lock: File,
}

impl Run {
    pub fn get() -> &'static Self {
        static RUN: OnceLock<Run> = OnceLock::new();
        RUN.get_or_init(|| Run::new(&std::env::temp_dir()))
    }

    fn new(parent: &Path) -> Self {
        // Many shells allow 1,024 files, and some tests have thousands of connections. Where no more is allowed, they say so.
        let _ = pgchat_harness::raise_open_files();
        sweep(parent);
        // Locked before it has a name that a sweep looks at.
        let pid = std::process::id();
        let unlocked = parent.join(format!(".{PREFIX}{pid}"));
        fs::create_dir_all(&unlocked).expect("a directory for this test run");
        // The database server's user must be able to pass through.
        fs::set_permissions(&unlocked, fs::Permissions::from_mode(0o755)).expect("its mode");
        let lock = File::create(unlocked.join("lock")).expect("its lock file");
        lock.lock().expect("its lock");
        let dir = parent.join(format!("{PREFIX}{pid}"));
        fs::rename(&unlocked, &dir).expect("its name");

        // A group of its own: Ctrl-C on the test run must not end the reaper before it has done its work.
        let reaper = Command::new("sh")
            .args(["-c", REAPER, "sh"])
            .arg(&dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("sh");
        Self {
            dir,
            reaper: Mutex::new(reaper),
            names: AtomicUsize::new(0),
            _lock: lock,
        }
    }

    /// A path in the run's directory that nobody has had before; nothing is created.
    pub fn fresh_path(&self, kind: &str) -> PathBuf {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{kind}-{number}"))
    }

    pub fn fresh_dir(&self, kind: &str) -> PathBuf {
        let path = self.fresh_path(kind);
        fs::create_dir(&path).expect("a directory");
        path
    }

    /// Starts a program that ends with the test process, by `signal`, unless it was [forgotten](Self::forget) before.
    pub fn spawn(&self, command: &mut Command, signal: Signal) -> std::io::Result<Child> {
        let child = command.process_group(0).spawn()?;
        self.tell(&format!("add {} {}", child.id(), signal.name()));
        Ok(child)
    }

    /// To be called once the process was waited for: from then on its id may be somebody else's.
    pub fn forget(&self, pid: u32) {
        self.tell(&format!("del {pid}"));
    }

    fn tell(&self, line: &str) {
        let mut reaper = self.reaper.lock().expect("the reaper");
        let pipe = reaper.stdin.as_mut().expect("its pipe");
        writeln!(pipe, "{line}").expect("the reaper lives");
    }
}

/// A directory for this test, which ends with the run.
pub fn fresh_dir(kind: &str) -> PathBuf {
    Run::get().fresh_dir(kind)
}

/// Removes what dead runs left: their database servers first, then their directories.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for dir in entries.flatten().map(|entry| entry.path()) {
        let ours = dir
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(PREFIX));
        let dead = || File::open(dir.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if ours && dead() {
            end_servers(&dir);
            // Another run may sweep the same directory at the same time.
            let _ = fs::remove_dir_all(&dir);
        }
    }
}

fn end_servers(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for data in entries.flatten().map(|entry| entry.path().join("data")) {
        let pid = fs::read_to_string(data.join("postmaster.pid"))
            .ok()
            .and_then(|file| file.lines().next()?.trim().parse::<u32>().ok());
        // A process id in a file may be somebody else's by now; the command line tells.
        let is_server = |pid: u32| {
            Command::new("ps")
                .args(["-o", "args=", "-p", &pid.to_string()])
                .output()
                .is_ok_and(|found| {
                    String::from_utf8_lossy(&found.stdout).contains(&*data.to_string_lossy())
                })
        };
        if let Some(pid) = pid.filter(|pid| is_server(*pid)) {
            signal(pid, Signal::Quit);
            let _ = super::wait::blocking_eventually("an old server ends", super::DEADLINE, || {
                (!is_server(pid)).then_some(())
            });
        }
    }
}
