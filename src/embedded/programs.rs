//! Where the PostgreSQL server programs are.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::EmbeddedError;
use super::account::Account;

/// The oldest major version that the schema works with.
pub(super) const MIN_MAJOR: u32 = 14;

/// What must stand side by side; a client-only installation has none of them.
const NEEDED: [&str; 3] = ["initdb", "postgres", "pg_ctl"];

/// Globs of one level: packages of Debian, Red Hat, Alpine and SUSE, Homebrew (ARM, Intel, Linux), Postgres.app.
const PLACES: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/usr/lib", "postgresql", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/usr/local", "pgsql", "bin"),
];

/// One installation that runs under the chosen account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    pub bin_dir: PathBuf,
    pub major: u32,
}

impl Programs {
    /// The installation to use: `explicit` (`PG_BIN_DIR`) and no other, else one that fits the cluster's major
    /// version, else the first of PATH, `pg_config`, and the usual places from the newest on.
    pub fn find(
        explicit: Option<&Path>,
        account: &Account,
        cluster_major: Option<u32>,
        cluster: &Path,
    ) -> Result<Self, EmbeddedError> {
        let candidates = match explicit {
            Some(bin_dir) => vec![bin_dir.to_owned()],
            None => candidates(),
        };
        let (usable, refused) = probe(candidates, account);
        let chosen = match cluster_major {
            Some(major) => usable.iter().find(|programs| programs.major == major),
            None => usable.first(),
        };
        match (chosen, usable.first(), cluster_major) {
            (Some(programs), ..) => Ok(programs.clone()),
            (None, Some(other), Some(cluster_major)) => Err(EmbeddedError::OtherMajor {
                cluster: cluster.to_owned(),
                cluster_major,
                bin_dir: other.bin_dir.clone(),
                major: other.major,
            }),
            _ => Err(EmbeddedError::NoPrograms {
                tried: refused.map_or_else(String::new, |why| format!(" ({why})")),
            }),
        }
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// The usable installations in the order given, and why the first of the others is not usable.
fn probe(candidates: Vec<PathBuf>, account: &Account) -> (Vec<Programs>, Option<String>) {
    let mut usable: Vec<Programs> = Vec::new();
    let mut refused = None;
    for bin_dir in candidates {
        match installation(&bin_dir, account) {
            Ok(programs) if usable.contains(&programs) => {}
            Ok(programs) => usable.push(programs),
            Err(why) => {
                refused.get_or_insert(why);
            }
        }
    }
    (usable, refused)
}

fn installation(bin_dir: &Path, account: &Account) -> Result<Programs, String> {
    // Links in a PATH directory lead to the place where all of the programs are; wrappers do not.
    let real = fs::canonicalize(bin_dir.join("postgres"))
        .map_err(|error| format!("{}: {error}", bin_dir.join("postgres").display()))?;
    let missing = |bin_dir: &Path| NEEDED.iter().find(|name| !bin_dir.join(name).exists());
    let bin_dir = match (real.parent(), missing(bin_dir)) {
        (Some(parent), _) if missing(parent).is_none() => parent.to_owned(),
        (_, None) => bin_dir.to_owned(),
        (_, Some(name)) => return Err(format!("{} has no {name}", bin_dir.display())),
    };
    let postgres = bin_dir.join("postgres");
    // Under the account that will run it: root's own installation is of no use to another account.
    let output = account
        .command(&postgres)
        .arg("--version")
        .stderr(Stdio::null())
        .output()
        .map_err(|error| format!("{} does not run: {error}", postgres.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    match major(&text) {
        Some(major) if major >= MIN_MAJOR => Ok(Programs { bin_dir, major }),
        Some(major) => Err(format!("{} is version {major}, too old", bin_dir.display())),
        None => Err(format!(
            "{} --version says {:?}",
            postgres.display(),
            text.trim()
        )),
    }
}

/// From `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, `… 19beta1`.
fn major(version: &str) -> Option<u32> {
    let number = version.split("(PostgreSQL)").nth(1)?.trim_start();
    let end = number
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    found.extend(pg_config());
    found.extend(usual_places());
    found.extend(super::wheel_bin_dirs());
    // Only PG_BIN_DIR deserves a complaint about what is not there.
    found.retain(|bin_dir| NEEDED.iter().any(|name| bin_dir.join(name).exists()));
    found
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    let bin_dir = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(bin_dir.trim()))
}

fn usual_places() -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix, suffix) in PLACES {
        let Ok(entries) = fs::read_dir(parent) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(version) = name.to_str().and_then(|name| name.strip_prefix(prefix)) else {
                continue;
            };
            let major = version.split('.').next().and_then(|text| text.parse().ok());
            versions.push((major.unwrap_or(0), entry.path().join(suffix)));
        }
    }
    versions.sort_by_key(|(major, _)| Reverse(*major));
    versions.into_iter().map(|(_, bin_dir)| bin_dir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        assert_eq!(
            major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major("postgres (PostgreSQL) 18.6\n"), Some(18));
        assert_eq!(major("postgres (PostgreSQL) 19beta1\n"), Some(19));
        assert_eq!(major("psql: command not found"), None);
    }

    #[test]
    fn an_explicit_directory_without_programs_is_named() {
        let empty = std::env::temp_dir();
        let error = Programs::find(Some(&empty), &Account::Own, None, Path::new("/c")).unwrap_err();
        let line = error.to_string();
        assert!(
            line.contains(&empty.display().to_string()) && line.contains("PG_BIN_DIR"),
            "{line}"
        );
        assert!(!line.contains('\n'), "{line}");
    }
}
