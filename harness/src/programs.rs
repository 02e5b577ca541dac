//! PostgreSQL's programs on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The oldest supported PostgreSQL.
const OLDEST_MAJOR: u32 = 14;

/// A program beside the server's (`psql`, `pg_dump`), or from the path; `None` where it is not installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let beside = server_programs().ok().map(|bin| bin.join(name));
    let on_path = std::env::var_os("PATH")
        .into_iter()
        .flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
        .map(|dir| dir.join(name));
    beside
        .into_iter()
        .chain(on_path)
        .find(|path| path.is_file())
}

/// Where `initdb` and `postgres` are: `PG_BIN_DIR`, the path, what `pg_config` says, Debian's directories.
pub fn server_programs() -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            candidates()
                .into_iter()
                .find(|dir| major_version(dir).is_some_and(|major| major >= OLDEST_MAJOR))
                .ok_or_else(|| {
                    format!(
                        "no PostgreSQL {OLDEST_MAJOR} or newer found: install its server, or name the \
                         directory of initdb and postgres in PG_BIN_DIR"
                    )
                })
        })
        .clone()
}

fn candidates() -> Vec<PathBuf> {
    if let Some(dir) = std::env::var_os("PG_BIN_DIR") {
        return vec![dir.into()];
    }
    let mut dirs: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    if let Ok(said) = Command::new("pg_config").arg("--bindir").output() {
        dirs.push(String::from_utf8_lossy(&said.stdout).trim().into());
    }
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    installed.sort_by_key(|dir| std::cmp::Reverse(major_version(dir)));
    dirs.extend(installed);
    dirs
}

fn major_version(dir: &Path) -> Option<u32> {
    if !dir.join("initdb").is_file() {
        return None;
    }
    let said = Command::new(dir.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    // "postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)", "… 19beta1"
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let digits: String = text
        .split_whitespace()
        .nth(2)?
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}
