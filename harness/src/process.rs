//! A process that ends with its owner: dropped in any way, also by a panic or Ctrl-C, it is ended by its pid.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a process is asked whether it has ended.
const POLL: Duration = Duration::from_millis(20);
/// How long a process may take to end when its owner is dropped, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

pub struct Process {
    child: Child,
    /// What ends it cleanly enough: PostgreSQL must not be killed, or its shared memory stays behind.
    end: Signal,
}

impl Process {
    /// In a process group of its own, so that Ctrl-C in a terminal reaches only its owner.
    pub fn spawn(command: &mut Command, end: Signal) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        Ok(Self { child, end })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, unless the process has ended: its pid may be someone else's by then.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_some() {
            return;
        }
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It fails only when the process has ended in between.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end; `None` after the limit.
    pub async fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
        self.signal(self.end);
        let deadline = Instant::now() + GRACE;
        while self.exited().is_none() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        self.signal(Signal::SIGKILL);
        // Reaps it; there is nobody left to tell of a failure.
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> (Process, Pid) {
        let process = Process::spawn(Command::new("sleep").arg("1000"), Signal::SIGTERM).unwrap();
        let pid = Pid::from_raw(i32::try_from(process.child.id()).unwrap());
        (process, pid)
    }

    fn is_gone(pid: Pid) -> bool {
        kill(pid, None).is_err()
    }

    #[test]
    fn a_process_ends_with_its_owner_even_when_it_is_stopped() {
        let (mut process, pid) = sleeper();
        process.signal(Signal::SIGSTOP);
        assert!(!is_gone(pid));
        drop(process);
        assert!(is_gone(pid));
    }

    #[test]
    fn a_process_ends_with_the_panic_of_its_owner() {
        let (process, pid) = sleeper();
        let panicked = std::panic::catch_unwind(move || {
            let _owned = process;
            panic!("as a mistake in its owner would");
        });
        assert!(panicked.is_err() && is_gone(pid));
    }
}
