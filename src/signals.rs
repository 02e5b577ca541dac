//! What ends the process from outside: the first signal begins the drain, the second does not wait for it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Resolves at the first SIGTERM, SIGINT or SIGHUP. The second one exits with 1, drain or not.
///
/// From the call on these signals no longer end the process by themselves. Needs the runtime.
pub fn drain() -> io::Result<WaitForCancellationFutureOwned> {
    let mut signals = Signals::new()?;
    let drain = CancellationToken::new();
    let begin = drain.clone();
    // A task of its own, so that a drain that hangs can't keep the second signal from being heard.
    tokio::spawn(async move {
        let name = signals.next().await;
        log::info!("{name}: draining; a second signal ends pgchat at once");
        begin.cancel();
        let name = signals.next().await;
        log::error!("{name} after the first signal: ending at once, without the rest of the drain");
        std::process::exit(1);
    });
    Ok(drain.cancelled_owned())
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// `None`: ignored, as by nohup.
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let hangup = if hangup_is_ignored() {
            None
        } else {
            Some(signal(SignalKind::hangup())?)
        };
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }
}

/// A user who starts pgchat with nohup wants it to outlive the terminal. Linux tells; elsewhere: no.
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is signal 1: the lowest bit.
    ignored.is_some_and(|mask| mask & 1 == 1)
}
