//! Makes the cluster: its directory, its password, and what `initdb` puts into it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use uuid::Uuid;

use super::account::Account;
use super::layout::{self, Layout, note};
use super::programs::Programs;
use super::{EmbeddedError, USER, failed};

/// Locales tried for a new cluster: full-text search and `lower()` must know letters beyond ASCII.
const LOCALES: [&str; 3] = ["C.UTF-8", "en_US.UTF-8", "C"];
/// From this version on PostgreSQL brings Unicode rules of its own, the same on every system.
const BUILTIN_LOCALE_SINCE: u32 = 17;

/// Makes it under another name first, so that one that was interrupted is never taken for a whole one.
pub(super) fn make_cluster(
    layout: &Layout,
    account: &Account,
    programs: &Programs,
) -> Result<(), EmbeddedError> {
    remove_unfinished_clusters(layout)?;
    let name = Uuid::new_v4().simple();
    let fresh = layout.root().join(format!("unfinished-{name}"));
    let password_file = layout.root().join(format!("unfinished-{name}.pw"));
    DirBuilder::new()
        .mode(0o700)
        .create(&fresh)
        .and_then(|()| account.give(&fresh))
        .map_err(|source| layout::at(&fresh, source))?;

    let password = Uuid::new_v4().simple().to_string();
    layout::write_private(&layout.password(), &password)?;
    // A copy, for initdb's account must be able to read it.
    layout::write_private(&password_file, &password)?;
    account
        .give(&password_file)
        .map_err(|source| layout::at(&password_file, source))?;
    let made = initdb(account, programs, &fresh, &password_file);
    layout::remove(&password_file)?;
    made.map_err(|reason| failed(layout, format!("initdb: {reason}")))?;

    let cluster = layout.cluster();
    fs::rename(&fresh, &cluster).map_err(|source| layout::at(&cluster, source))?;
    note(&format!("made the cluster {}", cluster.display()));
    Ok(())
}

/// The error says why there is no cluster.
fn initdb(
    account: &Account,
    programs: &Programs,
    directory: &Path,
    password_file: &Path,
) -> Result<(), String> {
    let program = programs.program("initdb");
    let mut reason = String::new();
    for locale in LOCALES {
        let mut command = account.command(&program);
        command
            .arg("--pgdata")
            .arg(directory)
            .arg("--pwfile")
            .arg(password_file)
            .args(["--username", USER, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--locale", locale])
            .args(["--data-checksums", "--no-instructions"]);
        if programs.major >= BUILTIN_LOCALE_SINCE {
            command.args(["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]);
        }
        let output = command
            .output()
            .map_err(|error| format!("{} does not run: {error}", program.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        note(&format!("initdb with locale {locale}: {}", errors.trim()));
        reason = layout::last_fault_line(&errors).unwrap_or_else(|| output.status.to_string());
        if !errors.contains("locale") {
            break;
        }
    }
    Err(reason)
}

fn remove_unfinished_clusters(layout: &Layout) -> Result<(), EmbeddedError> {
    let root = layout.root();
    let entries = fs::read_dir(root).map_err(|source| layout::at(root, source))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().map(|name| name.to_string_lossy());
        if !name.is_some_and(|name| name.starts_with("unfinished-")) {
            continue;
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|source| layout::at(&path, source))?;
    }
    Ok(())
}
