//! Which commit a binary is built from, for `pgchat_build_info`: `PGCHAT_COMMIT` where it is set, else what git says, else
//! `unknown`.

use std::path::Path;
use std::process::Command;

const VARIABLE: &str = "PGCHAT_COMMIT";

/// As git shortens them in large repositories.
const LENGTH: usize = 12;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let given = std::env::var(VARIABLE).unwrap_or_default();
    let commit = shortened(&given)
        .or_else(|| is_release().then(of_git).flatten())
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env={VARIABLE}={commit}");
}

/// Else each commit would have all tests built anew.
fn is_release() -> bool {
    std::env::var("PROFILE").is_ok_and(|profile| profile == "release")
}

fn of_git() -> Option<String> {
    if !is_own_repository()? {
        return None;
    }
    // It changes with each commit, and with each checkout.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    shortened(&git(&["rev-parse", "HEAD"])?)
}

/// Sources that were unpacked, or vendored, below another repository are not of its commits.
fn is_own_repository() -> Option<bool> {
    let around = Path::new(&git(&["rev-parse", "--show-toplevel"])?).canonicalize();
    let own = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR")?).canonicalize();
    Some(around.ok()? == own.ok()?)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// A commit's name is in hexadecimal digits; anything else would come into a label.
fn shortened(commit: &str) -> Option<String> {
    let is_name = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_name.then(|| commit[..commit.len().min(LENGTH)].to_owned())
}
