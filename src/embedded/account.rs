//! Under which account PostgreSQL's programs run. They refuse to run as root.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use uuid::Uuid;

use super::EmbeddedError;
use super::layout::Layout;

/// Looked for in this order when we are root. PostgreSQL's packages make the first one.
const SERVICE_ACCOUNTS: [&str; 3] = ["postgres", "_postgres", "nobody"];

/// All of the environment that PostgreSQL gets: ours holds secrets, and `PG*` variables would change what it does.
const KEPT_VARIABLES: [&str; 4] = ["PATH", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// Not root: as oneself.
    Own,
    Other {
        name: String,
        uid: u32,
        gid: u32,
    },
}

impl Account {
    /// As root, the owner of a cluster that exists keeps it; a new one goes to a service account of the system.
    pub fn choose(layout: &Layout) -> Result<Self, EmbeddedError> {
        if effective_uid() != Some(0) {
            return Ok(Self::Own);
        }
        match fs::metadata(layout.cluster()) {
            Ok(cluster) if cluster.uid() != 0 => Ok(Self::Other {
                name: format!("uid {}", cluster.uid()),
                uid: cluster.uid(),
                gid: cluster.gid(),
            }),
            _ => fs::read_to_string("/etc/passwd")
                .ok()
                .and_then(|passwd| service_account(&passwd))
                .ok_or(EmbeddedError::NoAccount),
        }
    }

    /// A command that runs under this account, away from our directory, environment and terminal.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").stdin(Stdio::null()).env_clear();
        for name in KEPT_VARIABLES {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("LC_ALL", "C");
        if let Self::Other { uid, gid, .. } = self {
            // std also drops root's supplementary groups when it changes the uid.
            command.uid(*uid).gid(*gid);
        }
        command
    }

    pub fn give(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid)),
        }
    }

    /// Fails when this account can't pass through the directories above and including `directory`.
    /// `program` is one that is known to run under this account.
    pub fn check_reach(&self, directory: &Path, program: &Path) -> Result<(), EmbeddedError> {
        let Self::Other { name, .. } = self else {
            return Ok(());
        };
        // The working directory is entered after the change of account.
        let probe = self
            .command(program)
            .arg("--version")
            .current_dir(directory)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match probe {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Err(EmbeddedError::Unreachable {
                    path: directory.to_owned(),
                    account: name.clone(),
                })
            }
            Err(source) => Err(super::layout::at(directory, source)),
        }
    }
}

/// Who we are; std has no `geteuid`. `None` where neither way tells.
pub(super) fn effective_uid() -> Option<u32> {
    if let Ok(process) = fs::metadata("/proc/self") {
        return Some(process.uid());
    }
    // No procfs (macOS): a file that we make is ours.
    let path = std::env::temp_dir().join(format!("pgchat-{}", Uuid::new_v4()));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .ok()?;
    let uid = file.metadata().ok().map(|metadata| metadata.uid());
    fs::remove_file(&path).ok();
    uid
}

fn service_account(passwd: &str) -> Option<Account> {
    SERVICE_ACCOUNTS.iter().find_map(|wanted| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| name == wanted)?;
            let uid = id(fields.nth(1)?)?;
            let gid = id(fields.next()?)?;
            (uid != 0).then(|| Account::Other {
                name: name.to_owned(),
                uid,
                gid,
            })
        })
    })
}

/// macOS writes nobody's uid as -2.
fn id(text: &str) -> Option<u32> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(name: &str, uid: u32, gid: u32) -> Option<Account> {
        Some(Account::Other {
            name: name.to_owned(),
            uid,
            gid,
        })
    }

    /// Cargo adds some that are not to be kept.
    #[test]
    fn a_program_gets_of_our_environment_what_it_needs_and_no_more() {
        let output = Account::Own.command(Path::new("env")).output();
        let output = String::from_utf8(output.expect("env").stdout).expect("text");
        assert!(output.contains("LC_ALL=C\n"), "{output}");
        for line in output.lines() {
            let name = line.split('=').next().unwrap_or_default();
            let is_kept = name == "LC_ALL" || KEPT_VARIABLES.contains(&name);
            assert!(is_kept, "{line}");
        }
    }

    #[test]
    fn postgres_is_preferred_to_nobody() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:n:/:/bin/false\n\
                      postgres:x:101:104:P,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(service_account(passwd), other("postgres", 101, 104));
    }

    #[test]
    fn nobody_will_do_and_may_be_negative() {
        let passwd = "root:*:0:0::/:\nnobody:*:-2:-2:Unprivileged:/var/empty:/usr/bin/false\n";
        assert_eq!(
            service_account(passwd),
            other("nobody", 4_294_967_294, 4_294_967_294)
        );
        assert_eq!(service_account("root:x:0:0:root:/root:/bin/sh\n"), None);
    }
}
