//! The program under test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use crate::Failure;
use crate::cluster::append;

/// As many lines of a log tell why its program did not start.
const LAST_LINES: usize = 15;

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

/// Has a program read nothing and write to the end of `log` only, with no variables but `PATH`, `RUST_LOG` and those that are set after this.
pub fn quiet<'a>(command: &'a mut Command, log: &Path) -> Result<&'a mut Command, Failure> {
    let log = append(log)?;
    let kept = ["PATH", "RUST_LOG"].map(|name| Some((name, env::var_os(name)?)));
    Ok(command
        .env_clear()
        .envs(kept.into_iter().flatten())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log))
}

/// The last lines of `log`, or nothing where it cannot be read.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quiet_program_has_its_own_settings_and_its_last_lines_are_in_its_log() {
        let log = env::temp_dir().join(format!("pgchat-quiet-{}.log", std::process::id()));
        let _ = fs::remove_file(&log);
        assert_eq!(last_lines(&log), "");
        let script = r#"echo first; seq 13 >&2; echo $(wc -c) ${CARGO_MANIFEST_DIR-none} $OWN"#;
        for _ in 0..2 {
            let mut command = Command::new("sh");
            let command = quiet(&mut command, &log).unwrap();
            command.args(["-c", script]).env("OWN", "own");
            assert!(command.status().unwrap().success());
        }
        let (last, whole) = (last_lines(&log), fs::read_to_string(&log).unwrap());
        fs::remove_file(&log).unwrap();
        let numbers: String = (1..=13).map(|n| format!("{n}\n")).collect();
        assert_eq!(last, format!("first\n{numbers}0 none own"));
        assert_eq!(whole, format!("{last}\n{last}\n"));
    }
}
