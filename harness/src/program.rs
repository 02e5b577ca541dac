//! The program under test.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Failure;

/// `named`, or the one beside our own. Under `cargo run` that one is built first, in the same profile, so
/// that nobody judges an old one. Blocks.
pub fn pgchat(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        let path = std::path::absolute(path)?;
        return if path.is_file() {
            Ok(path)
        } else {
            Err(format!("{} is no program", path.display()).into())
        };
    }
    let own = env::current_exe()?;
    let path = own.with_file_name("pgchat");
    if let Some(cargo) = env::var_os("CARGO") {
        let mut build = Command::new(cargo);
        build
            .args(["build", "-p", "pgchat", "--bin", "pgchat"])
            .args([
                "--manifest-path",
                concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"),
            ])
            .stdin(Stdio::null());
        if own.parent().is_some_and(|dir| dir.ends_with("release")) {
            build.arg("--release");
        }
        if !build.status()?.success() {
            return Err("pgchat could not be built".into());
        }
    }
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("{} is not there; name it with --pgchat", path.display()).into())
    }
}
