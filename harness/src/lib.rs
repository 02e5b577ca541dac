//! What the soak, the benchmarks and the black-box tests have in common: PostgreSQL's programs on this machine, and the
//! roles of a careful host; and for the first two processes that end with their owner, a private PostgreSQL, and the
//! program under test.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod cluster;
pub mod process;
pub mod program;
pub mod programs;
pub mod roles;
pub mod users;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What keeps a run from coming to a result.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// As many open files as the system allows, for us and what we start; how many that is.
pub fn raise_open_files() -> Result<u64, Failure> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
