//! Under which account PostgreSQL's programs run. They refuse to run as root.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{User, geteuid};

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
        if !geteuid().is_root() {
            return Ok(Self::Own);
        }
        match fs::metadata(layout.cluster()) {
            Ok(cluster) if cluster.uid() != 0 => Ok(Self::Other {
                name: format!("uid {}", cluster.uid()),
                uid: cluster.uid(),
                gid: cluster.gid(),
            }),
            _ => service_account(of_the_system).ok_or(EmbeddedError::NoAccount),
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

    /// Makes this account the owner of a file or directory.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Own => Ok(()),
            Self::Other { uid, gid, .. } => chown(path, Some(*uid), Some(*gid)),
        }
    }

    /// Fails when this account can't pass through the directories above and including `directory`, as far as they are there:
    /// those that are made later let it pass ([`Layout::create`]). `program` is one that is known to run under this account.
    pub fn check_reach(&self, directory: &Path, program: &Path) -> Result<(), EmbeddedError> {
        let Self::Other { name, .. } = self else {
            return Ok(());
        };
        let there = directory.ancestors().find(|above| above.exists());
        // The working directory is entered after the change of account.
        let probe = self
            .command(program)
            .arg("--version")
            .current_dir(there.unwrap_or(directory))
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

/// The first of [`SERVICE_ACCOUNTS`] that there is and that is not root's; `ids` looks up the user and group of a name.
fn service_account(ids: impl Fn(&str) -> Option<(u32, u32)>) -> Option<Account> {
    SERVICE_ACCOUNTS.iter().find_map(|name| {
        let (uid, gid) = ids(name).filter(|(uid, _)| *uid != 0)?;
        let name = (*name).to_owned();
        Some(Account::Other { name, uid, gid })
    })
}

fn of_the_system(name: &str) -> Option<(u32, u32)> {
    let user = User::from_name(name).ok()??;
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn postgres_is_preferred_to_nobody_and_root_is_not_taken() {
        let among = |accounts: &[(&str, u32)]| {
            let ids = |name: &str| {
                let known = accounts.iter().find(|(known, _)| *known == name);
                known.map(|(_, uid)| (*uid, uid + 1))
            };
            service_account(ids).map(|account| match account {
                Account::Other { name, uid, gid } => (name, uid, gid),
                Account::Own => unreachable!("never for root"),
            })
        };
        let nobody = Some(("nobody".to_owned(), 65534, 65535));
        let both = [("nobody", 65534), ("postgres", 101)];
        assert_eq!(among(&both), Some(("postgres".to_owned(), 101, 102)));
        assert_eq!(among(&[("nobody", 65534), ("postgres", 0)]), nobody);
        assert_eq!(among(&both[..1]), nobody);
        assert_eq!(among(&[("bin", 2)]), None);
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
}
