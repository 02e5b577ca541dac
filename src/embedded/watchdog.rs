//! The process that owns PostgreSQL: makes the cluster, runs the server, restarts it, and ends it with the last replica.
//! Plain threads and blocking calls: it shares nothing with the service but this binary.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::parent_id;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::account::Account;
use super::initdb::make_cluster;
use super::layout::{self, Layout, note};
use super::programs::Programs;
use super::{EmbeddedError, HOST, failed};

/// Ends in a row that the watchdog mends; at the next it gives up. The pauses between them double from the first.
const MAX_ENDS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A server that ran this long had no trouble starting: the count begins anew.
const STABLE: Duration = Duration::from_mins(1);

/// After this PostgreSQL is told to drop everything and recover at its next start.
const STOP_DEADLINE: Duration = Duration::from_mins(1);

/// Outside of the ports that systems hand out to outgoing connections (from 32768 on), so that the
/// database finds its own port free again after a restart.
const PORTS: std::ops::Range<u16> = 15_500..20_000;

/// A replica needs up to 13 connections (`DB_POOL_SIZE` and five more); psql and other programs need some, too.
const MAX_CONNECTIONS: u32 = 200;

enum Event {
    /// Carries the exclusive lock on `users.lock`: a replica that starts now waits until this process has ended.
    LastReplicaGone(File),
    /// Every process of the server has ended; how, where we are the parent.
    PostgresGone(String),
}

/// Runs the watchdog: `args` are the data directory and the directory of the server programs.
///
/// Returns when the last replica is gone and PostgreSQL has ended, or at once if another watchdog is there.
/// An error has also been left for the replica that waits for the start.
pub fn watchdog_main(args: Vec<OsString>) -> Result<(), String> {
    let [data_dir, bin_dir] = &args[..] else {
        return Err("the watchdog takes two arguments: DATA_DIR BIN_DIR".to_owned());
    };
    let layout = Layout::new(Path::new(data_dir)).map_err(|error| error.to_string())?;
    run(&layout, Path::new(bin_dir)).map_err(|error| {
        // Without the pointer to the log that the reader of the log, or of the replica's error, has already.
        let reason = match error {
            EmbeddedError::Start { reason, .. } => reason,
            other => other.to_string(),
        };
        note(&reason);
        layout::write_private(&layout.failure(), &reason).ok();
        reason
    })
}

fn run(layout: &Layout, bin_dir: &Path) -> Result<(), EmbeddedError> {
    let Some(mut alive) = lock_shortly(&layout.watchdog_lock())? else {
        return Ok(());
    };
    // For people who look for this process; only the lock counts.
    let pid = std::process::id();
    if let Err(error) = alive.set_len(0).and_then(|()| writeln!(alive, "{pid}")) {
        note(&format!("watchdog.lock does not name pid {pid}: {error}"));
    }
    let (sender, events) = sync_channel(2);
    watch_users(layout, sender.clone())?;
    let account = Account::choose(layout)?;
    let cluster_major = layout.cluster_major()?;
    let programs = Programs::find(Some(bin_dir), &account, cluster_major, &layout.cluster())?;
    let watchdog = Watchdog {
        layout,
        account,
        programs,
        sender,
        events,
    };
    if cluster_major.is_none() {
        make_cluster(layout, &watchdog.account, &watchdog.programs)?;
    }
    let last_replica_gone = watchdog.supervise()?;
    // In this order: the next replica goes on as soon as it gets the second one, and must not take us for alive.
    drop(alive);
    drop(last_replica_gone);
    Ok(())
}

struct Watchdog<'a> {
    layout: &'a Layout,
    account: Account,
    programs: Programs,
    sender: SyncSender<Event>,
    events: Receiver<Event>,
}

impl Watchdog<'_> {
    /// Keeps PostgreSQL running until the last replica is gone, and ends it. Returns the lock that keeps new ones waiting.
    fn supervise(&self) -> Result<File, EmbeddedError> {
        let mut ends = 0;
        let mut pause = FIRST_PAUSE;
        loop {
            let started = Instant::now();
            let log_start = fs::metadata(self.layout.log()).map_or(0, |log| log.len());
            let pid = self.start_or_adopt()?;
            let how = match self.next_event(pid) {
                Event::LastReplicaGone(lock) => return self.stop().map(|()| lock),
                Event::PostgresGone(how) => how,
            };
            layout::remove(&self.layout.ready())?;
            if started.elapsed() >= STABLE {
                (ends, pause) = (0, FIRST_PAUSE);
            }
            ends += 1;
            let fault = self.layout.last_fault(log_start);
            let why = fault.map_or_else(|| how.clone(), |fault| format!("{how}: {fault}"));
            if ends > MAX_ENDS {
                let reason = format!("it ended {ends} times in a row, {why}");
                return Err(failed(self.layout, reason));
            }
            note(&format!(
                "PostgreSQL ended ({why}); starting it again in {pause:?} ({ends} of {MAX_ENDS})"
            ));
            if let Ok(Event::LastReplicaGone(lock)) = self.events.recv_timeout(pause) {
                return Ok(lock);
            }
            pause *= 2;
        }
    }

    /// The pid of a server started now; `None` for one that was running already.
    fn start_or_adopt(&self) -> Result<Option<u32>, EmbeddedError> {
        if self.layout.postgres_runs()? {
            note("PostgreSQL is running already: looking after it from here on");
            self.watch_postgres(None)?;
            return Ok(None);
        }
        // Before the lock is taken: a replica that sees it taken believes what `ready` says.
        layout::remove(&self.layout.ready())?;
        let path = self.layout.postgres_lock();
        let Some(lock) = lock_shortly(&path)? else {
            let after = Duration::from_secs(2);
            return Err(EmbeddedError::Busy { path, after });
        };
        let port = self.choose_port()?;
        let child = self
            .account
            .command(&self.programs.program("postgres"))
            .arg("-D")
            .arg(self.layout.cluster())
            .args(server_settings(port))
            // In a container that starts anew the same pids come again: an old postmaster.pid that names the
            // replica's must not look like another server (PostgreSQL source, CreateLockFile in miscinit.c).
            .env("PG_GRANDPARENT_PID", parent_id().to_string())
            .stdin(Stdio::from(lock))
            .spawn()
            .map_err(|source| layout::at(&self.programs.program("postgres"), source))?;
        let pid = child.id();
        note(&format!("started PostgreSQL, pid {pid}, port {port}"));
        self.watch_postgres(Some(child))?;
        Ok(Some(pid))
    }

    /// Waits for what happens next, and publishes the port as soon as PostgreSQL accepts connections.
    fn next_event(&self, pid: Option<u32>) -> Event {
        const READY_POLL: Duration = Duration::from_millis(20);
        const RETRY: Duration = Duration::from_secs(1);
        const IDLE: Duration = Duration::from_hours(1);
        let mut wait = READY_POLL;
        loop {
            // A timeout; the channel cannot be closed, since we hold a sender.
            if let Ok(event) = self.events.recv_timeout(wait) {
                return event;
            }
            if wait != IDLE
                && let Some(port) = self.accepting_port(pid)
            {
                wait = match self.publish(port) {
                    Ok(()) => IDLE,
                    // The disk is full, perhaps, and somebody has to end PostgreSQL all the same.
                    Err(error) => {
                        note(&format!("the port is not published yet: {error}"));
                        RETRY
                    }
                };
            }
        }
    }

    /// For replicas that wait for it, and for the next start.
    fn publish(&self, port: u16) -> Result<(), EmbeddedError> {
        let port = port.to_string();
        layout::write_private(&self.layout.port(), &port)?;
        layout::write_private(&self.layout.ready(), &port)
    }

    /// From postmaster.pid (PostgreSQL source, src/include/utils/pidfile.h): pid, port and state are its
    /// lines 1, 4 and 8. The pid tells a crashed predecessor's file from ours.
    fn accepting_port(&self, pid: Option<u32>) -> Option<u16> {
        let text = fs::read_to_string(self.layout.cluster().join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let ours = pid.is_none_or(|pid| lines.first() == Some(&pid.to_string().as_str()));
        let ready = lines.get(7) == Some(&"ready");
        (ours && ready).then(|| lines[3].parse().ok()).flatten()
    }

    fn watch_postgres(&self, child: Option<Child>) -> Result<(), EmbeddedError> {
        let lock = layout::open_lock(&self.layout.postgres_lock())?;
        let sender = self.sender.clone();
        thread::spawn(move || {
            lock.lock_shared().ok();
            // At once, or a replica would take our lock for a running server's.
            drop(lock);
            let how = match child.map(|mut child| child.wait()) {
                Some(Ok(status)) => status.to_string(),
                _ => "we were not its parent".to_owned(),
            };
            sender.send(Event::PostgresGone(how))
        });
        Ok(())
    }

    /// The port of last time unless somebody else has it now.
    fn choose_port(&self) -> Result<u16, EmbeddedError> {
        let random = std::iter::repeat_with(|| rand::random_range(PORTS)).take(100);
        self.layout
            .last_port()
            .into_iter()
            .chain(random)
            .find(|port| TcpListener::bind((HOST, *port)).is_ok())
            .ok_or_else(|| {
                let reason = format!("no free port on {HOST} from {} on", PORTS.start);
                failed(self.layout, reason)
            })
    }

    /// Ends PostgreSQL, ours or adopted, and returns when all of its processes are gone.
    fn stop(&self) -> Result<(), EmbeddedError> {
        note("the last replica is gone: stopping PostgreSQL");
        let since = Instant::now();
        while self.layout.postgres_runs()? {
            let mode = match since.elapsed() {
                elapsed if elapsed < STOP_DEADLINE => "fast",
                elapsed if elapsed < 2 * STOP_DEADLINE => "immediate",
                _ => return Err(failed(self.layout, "PostgreSQL did not stop".to_owned())),
            };
            // Fails while there is no postmaster.pid: just started, or just gone.
            let stopped = self
                .account
                .command(&self.programs.program("pg_ctl"))
                .args(["stop", "--silent", "--wait", "--mode", mode])
                .args(["--timeout", &STOP_DEADLINE.as_secs().to_string()])
                .arg("--pgdata")
                .arg(self.layout.cluster())
                .stderr(Stdio::null())
                .status();
            if !stopped.is_ok_and(|status| status.success()) {
                thread::sleep(Duration::from_millis(50));
            }
        }
        layout::remove(&self.layout.ready())
    }
}

fn server_settings(port: u16) -> Vec<String> {
    let settings = [
        format!("listen_addresses={HOST}"),
        format!("port={port}"),
        "unix_socket_directories=".to_owned(),
        format!("max_connections={MAX_CONNECTIONS}"),
        "logging_collector=off".to_owned(),
    ];
    settings
        .into_iter()
        .flat_map(|setting| ["-c".to_owned(), setting])
        .collect()
}

/// Waits in the kernel for the exclusive lock on `users.lock`: it comes when the last replica is gone.
fn watch_users(layout: &Layout, sender: SyncSender<Event>) -> Result<(), EmbeddedError> {
    let lock = layout::open_lock(&layout.users_lock())?;
    thread::spawn(move || {
        if let Err(error) = lock.lock() {
            // Locks that do not work here would have failed the replica first. Better no database than one for ever.
            note(&format!("users.lock: {error}"));
        }
        sender.send(Event::LastReplicaGone(lock))
    });
    Ok(())
}

/// Takes a lock that others take for an instant, to see whether it is free; `None` if it is really held.
fn lock_shortly(path: &Path) -> Result<Option<File>, EmbeddedError> {
    let file = layout::open_lock(path)?;
    for _ in 0..100 {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::Error(source)) => return Err(layout::at(path, source)),
        }
    }
    Ok(None)
}
