//! The process, under the names that Prometheus's own client libraries give these figures.

use std::fmt;
use std::fs;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use nix::sys::resource::{Resource, getrlimit};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::figures::Figures;

/// In Unix seconds. Taken once: a clock that is set must not look like a new start.
static STARTED: LazyLock<f64> = LazyLock::new(|| {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
});

/// Takes this moment for the start of the process, unless one was taken before. To be called first of all: what comes before a replica
/// has figures (its database starts, or is waited for) may take minutes.
pub fn process_starts() {
    LazyLock::force(&STARTED);
}

/// What the system says of this process. Memory and files are read from Linux's `/proc`; elsewhere they are absent.
#[derive(Debug)]
pub struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = [
            (
                "process_start_time_seconds",
                "When the process started, in Unix seconds",
                Some(*STARTED),
            ),
            (
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM",
                resident_bytes(),
            ),
            (
                "process_open_fds",
                "Open files, each connection being one",
                open_files(),
            ),
            (
                "process_max_fds",
                "How many files the process may open",
                most_files(),
            ),
        ];
        let mut written = Figures(encoder);
        for (name, help, value) in figures {
            if let Some(value) = value {
                written.gauge(name, help, value)?;
            }
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<f64> {
    resident_of(&fs::read_to_string("/proc/self/status").ok()?)
}

/// By the line `VmRSS:     1234 kB`.
fn resident_of(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn open_files() -> Option<f64> {
    const OPEN: &str = "/proc/self/fd";
    // From Linux 6.2 on the folder's size is their number, and 50,000 need not be listed at each scrape.
    match fs::metadata(OPEN).ok()?.len() {
        0 => Some(fs::read_dir(OPEN).ok()?.count().saturating_sub(1) as f64), // without the one that lists
        number => Some(number as f64),
    }
}

fn most_files() -> Option<f64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    Some(soft as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let status = "Name:\tpgchat\nVmHWM:\t  9999 kB\nVmRSS:\t   1234 kB\nRssAnon:\t 1 kB\n";
        assert_eq!(resident_of(status), Some(1234.0 * 1024.0));
        assert_eq!(resident_of("Name:\tpgchat\n"), None);
    }

    /// Other tests open files at the same time, so only bounds can be told.
    #[cfg(target_os = "linux")]
    #[test]
    fn files_and_memory_are_those_of_this_process() {
        let mine: Vec<_> = (0..50)
            .map(|_| fs::File::open("/proc/self/status").expect("a file"))
            .collect();
        let open = open_files().expect("their number");
        assert!(open >= mine.len() as f64, "{open}");
        assert!(most_files().expect("a limit") >= open);
        let resident = resident_bytes().expect("a size");
        assert!((1e6..1e12).contains(&resident), "{resident}");
    }
}
