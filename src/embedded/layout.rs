//! The files of one embedded database, and the locks on them. Nothing here starts a process.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::EmbeddedError;

/// A log that has grown past this is put aside when PostgreSQL is next started, in bytes.
const MAX_LOG_BYTES: u64 = 10 * 1024 * 1024;

/// `EMBEDDED_DATA_DIR`, always absolute: PostgreSQL runs with another working directory.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// An error where the working directory, from which a relative `data_dir` starts, is not known.
    pub fn new(data_dir: &Path) -> Result<Self, EmbeddedError> {
        let root = std::path::absolute(data_dir).map_err(|source| at(data_dir, source))?;
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// PostgreSQL's own data directory.
    pub fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    /// Locked shared by each replica while it lives; exclusively by the watchdog while it ends PostgreSQL.
    pub fn users_lock(&self) -> PathBuf {
        self.root.join("users.lock")
    }

    /// Locked by the one replica that is looking after the start.
    pub fn start_lock(&self) -> PathBuf {
        self.root.join("start.lock")
    }

    /// Locked by the watchdog while it lives.
    pub fn watchdog_lock(&self) -> PathBuf {
        self.root.join("watchdog.lock")
    }

    /// Locked for as long as any PostgreSQL process lives: they inherit it as their standard input.
    pub fn postgres_lock(&self) -> PathBuf {
        self.root.join("postgres.lock")
    }

    /// The superuser's password.
    pub fn password(&self) -> PathBuf {
        self.root.join("password")
    }

    /// The database's URL with its password, for people and their programs.
    pub fn url(&self) -> PathBuf {
        self.root.join("url")
    }

    /// The port that the database had last, so that it keeps it.
    pub fn port(&self) -> PathBuf {
        self.root.join("port")
    }

    /// The port that PostgreSQL accepts connections on. Means nothing while `postgres.lock` is free.
    pub fn ready(&self) -> PathBuf {
        self.root.join("ready")
    }

    /// Why the last watchdog gave up, in one line.
    pub fn failure(&self) -> PathBuf {
        self.root.join("watchdog.error")
    }

    /// What PostgreSQL and the watchdog print.
    pub fn log(&self) -> PathBuf {
        self.root.join("postgres.log")
    }

    /// Creates the directory. Others may pass through it, whatever the umask: as root, PostgreSQL's account
    /// must. They can't list it, and what is in it is closed to them.
    pub fn create(&self) -> Result<(), EmbeddedError> {
        let created: Vec<&Path> = self
            .root
            .ancestors()
            .take_while(|directory| !directory.exists())
            .collect();
        for directory in created.into_iter().rev() {
            match fs::create_dir(directory) {
                // Another replica was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                Err(source) => Err(source),
                Ok(()) => fs::set_permissions(directory, Permissions::from_mode(0o711)),
            }
            .map_err(|source| at(directory, source))?;
        }
        Ok(())
    }

    /// The major version that the cluster was made with; `None` when there is no cluster yet.
    pub fn cluster_major(&self) -> Result<Option<u32>, EmbeddedError> {
        let path = self.cluster().join("PG_VERSION");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.no_cluster(),
            Err(source) => return Err(at(&path, source)),
        };
        match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(EmbeddedError::Damaged {
                path,
                problem: format!("{:?} is not a PostgreSQL version", text.trim()),
            }),
        }
    }

    /// Nothing, or an empty directory, in the cluster's place is fine; anything else is not ours to overwrite.
    fn no_cluster(&self) -> Result<Option<u32>, EmbeddedError> {
        let path = self.cluster();
        match fs::read_dir(&path).map(|mut entries| entries.next().is_none()) {
            Ok(true) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Ok(false) => Err(EmbeddedError::Damaged {
                path,
                problem: "it has no PG_VERSION, so it is no PostgreSQL data directory".to_owned(),
            }),
            Err(source) => Err(at(&path, source)),
        }
    }

    /// The superuser's password, as `initdb` was given it.
    pub fn read_password(&self) -> Result<String, EmbeddedError> {
        let path = self.password();
        fs::read_to_string(&path).map_err(|source| at(&path, source))
    }

    /// Whether some PostgreSQL process of this cluster lives, be its watchdog alive or not.
    pub fn postgres_runs(&self) -> Result<bool, EmbeddedError> {
        is_locked(&self.postgres_lock())
    }

    /// Whether a watchdog lives that looks after this cluster.
    pub fn watchdog_runs(&self) -> Result<bool, EmbeddedError> {
        is_locked(&self.watchdog_lock())
    }

    /// The port at which PostgreSQL takes connections, once it does. Means nothing while [`Layout::postgres_runs`] is false.
    pub fn ready_port(&self) -> Option<u16> {
        read_port(&self.ready())
    }

    /// The port at which PostgreSQL was started last; `None` before its first start.
    pub fn last_port(&self) -> Option<u16> {
        read_port(&self.port())
    }

    /// The log, opened for appending; a long one is put aside first.
    pub fn open_log(&self) -> Result<File, EmbeddedError> {
        let path = self.log();
        if fs::metadata(&path).is_ok_and(|log| log.len() > MAX_LOG_BYTES) {
            fs::rename(&path, self.root.join("postgres.log.old"))
                .map_err(|source| at(&path, source))?;
        }
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| at(&path, source))
    }

    /// The line of the log that says why PostgreSQL ended ([`last_fault_line`]); what stands before `from` is an earlier run's.
    pub fn last_fault(&self, from: u64) -> Option<String> {
        const TAIL_BYTES: u64 = 16 * 1024;
        let mut log = File::open(self.log()).ok()?;
        let length = log.metadata().ok()?.len();
        log.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES))))
            .ok()?;
        let mut tail = Vec::new();
        log.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
        last_fault_line(&String::from_utf8_lossy(&tail))
    }
}

/// Of the lines that PostgreSQL or one of its programs marks as a fault, from the mark on, the one that says why it ended: a full disk
/// before all that follows from it, then a panic, then the last.
pub(super) fn last_fault_line(text: &str) -> Option<String> {
    const MARKS: [&str; 4] = ["PANIC: ", "FATAL: ", "error: ", "could not "];
    // What PostgreSQL tells clients that connect meanwhile.
    const REFUSAL: &str = "the database system is ";
    let faults = text.lines().filter(|line| !line.contains(REFUSAL));
    let faults = faults.filter_map(|line| {
        let start = MARKS.iter().filter_map(|mark| line.find(mark)).min()?;
        Some(line[start..].trim())
    });
    let faults: Vec<&str> = faults.collect();
    // An error of somebody's query has ended nothing.
    let is_deadly = |fault: &str| MARKS[..3].iter().any(|mark| fault.starts_with(mark));
    let by_rank: [&dyn Fn(&str) -> bool; 3] = [
        &|fault| is_deadly(fault) && fault.contains("No space left on device"),
        &|fault| fault.starts_with("PANIC: "),
        &|_| true,
    ];
    by_rank
        .iter()
        .find_map(|is_it| faults.iter().rev().find(|fault| is_it(fault)))
        .map(|fault| (*fault).to_owned())
}

pub(super) fn at(path: &Path, source: io::Error) -> EmbeddedError {
    EmbeddedError::File {
        path: path.to_owned(),
        source,
    }
}

pub(super) fn open_lock(path: &Path) -> Result<File, EmbeddedError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|source| at(path, source))
}

/// Whether someone holds the lock exclusively; nobody where there is no such file.
fn is_locked(path: &Path) -> Result<bool, EmbeddedError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened.map_err(|source| at(path, source))?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(at(path, source)),
    }
}

/// Replaces a file as a whole, so that no reader sees half of it; readable by its owner only.
pub(super) fn write_private(path: &Path, content: &str) -> Result<(), EmbeddedError> {
    let fresh = path.with_extension("new");
    remove(&fresh)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&fresh)
        .and_then(|mut file| {
            file.write_all(content.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(|source| at(path, source))
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), EmbeddedError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(at(path, source)),
        _ => Ok(()),
    }
}

fn read_port(path: &Path) -> Option<u16> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// One line for `postgres.log`, which is the standard error of the watchdog.
pub(super) fn note(text: &str) {
    let now = chrono::Utc::now().format("%Y-%m-%d %H:%M:%S%.3f UTC");
    // Not eprintln, which panics where the disk is full: PostgreSQL would be left to itself.
    let _ = writeln!(std::io::stderr(), "{now} pgchat watchdog: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_line_is_told_that_says_why_it_ended() {
        for (log, why) in [
            (
                "2026-11-29 21:00:00.000 UTC [7] FATAL:  could not open file \"global/pg_control\": Permission denied\n\
                 2026-11-29 21:00:00.010 UTC [9] FATAL:  the database system is starting up\n",
                "FATAL:  could not open file \"global/pg_control\": Permission denied",
            ),
            (
                "2026-11-29 21:00:00.000 UTC [7] FATAL:  could not write to file \"pg_wal/xlogtemp.7\": No space left on device\n\
                 2026-11-29 21:00:00.010 UTC [8] PANIC:  could not write to log file\n\
                 2026-11-29 21:00:00.020 UTC [6] LOG:  startup process (PID 7) exited with exit code 1\n",
                "FATAL:  could not write to file \"pg_wal/xlogtemp.7\": No space left on device",
            ),
            (
                "2026-11-29 21:00:00.000 UTC [7] PANIC:  could not locate a valid checkpoint record\n\
                 2026-11-29 21:00:00.010 UTC [8] FATAL:  terminating connection due to unexpected postmaster exit\n\
                 2026-11-29 21:00:00.020 UTC [9] FATAL:  the database system is in recovery mode\n",
                "PANIC:  could not locate a valid checkpoint record",
            ),
            (
                "2026-11-29 21:00:00.000 UTC [7] ERROR:  could not extend file \"base/1/2\": No space left on device\n\
                 2026-11-29 22:00:00.000 UTC [8] PANIC:  could not locate a valid checkpoint record\n",
                "PANIC:  could not locate a valid checkpoint record",
            ),
            (
                "initdb: error: directory \"/x\" exists but is not empty\n\
                 initdb: error: could not access directory \"/y\": Permission denied\n\
                 initdb: hint: run with another directory\n",
                "error: could not access directory \"/y\": Permission denied",
            ),
        ] {
            assert_eq!(last_fault_line(log).as_deref(), Some(why), "{log}");
        }
        assert_eq!(
            last_fault_line("LOG:  database system is shut down\n"),
            None
        );
    }
}
