//! A child that never outlives its value, nor the test process.

use std::process::{Child, Command, ExitStatus};

use super::run::{Run, Signal, signal};
use super::wait::{DEADLINE, blocking_eventually};

pub struct Process {
    child: Child,
    end: Signal,
}

impl Process {
    /// `end` is what it is sent when the value goes and it still runs.
    pub fn start(command: &mut Command, end: Signal) -> Self {
        let child = Run::get()
            .spawn(command, end)
            .unwrap_or_else(|fault| panic!("{:?}: {fault}", command.get_program()));
        Self { child, end }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child of ours")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("a child of ours");
        self.child.wait().expect("a child of ours");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().ok().flatten().is_none() {
            signal(self.child.id(), self.end);
            let gone = || self.child.try_wait().ok().flatten();
            if blocking_eventually("a process ends", DEADLINE, gone).is_err() {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        Run::get().forget(self.child.id());
    }
}
