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

use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};

/// What keeps a run from coming to a result.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What macOS always allows, however high its hard limit pretends to be.
const OPEN_MAX: rlim_t = 10_240;

/// As many open files as the system allows, for us and what we start; how many that is.
pub fn raise_open_files() -> Result<u64, Failure> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raise = |files| setrlimit(Resource::RLIMIT_NOFILE, files, hard);
    if raise(hard).is_ok() {
        return Ok(hard);
    }
    let files = OPEN_MAX.clamp(soft.min(hard), hard);
    raise(files)?;
    Ok(files)
}

/// An error and what caused it: of PostgreSQL's errors, the causes hold the words.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    /// As the client of PostgreSQL has it.
    #[derive(Debug)]
    struct Database(std::num::ParseIntError);

    impl fmt::Display for Database {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("db error")
        }
    }

    impl std::error::Error for Database {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_failure_is_told_with_its_causes() {
        let failure: Failure = Database("x".parse::<i32>().unwrap_err()).into();
        let told = with_causes(&*failure);
        assert_eq!(told, "db error: invalid digit found in string");
    }
}
