//! Replicas of the service as real processes: started, killed, drained, stopped and continued.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pgchat_harness::process::Process;
use pgchat_harness::program::{last_lines, quiet};
use pgchat_harness::roles::SERVICE;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::Failure;
use crate::checker::{Kind, Violation};
use crate::world::World;

/// Upper bound of a drain, as the replicas are told.
const DRAIN: Duration = Duration::from_secs(10);
/// A replica that was told to drain must have ended this much after its bound.
const DRAIN_MARGIN: Duration = Duration::from_secs(10);
/// How long a start may take, recovery of the database included.
const START: Duration = Duration::from_secs(60);
/// How often each replica is probed, and how long it may take to answer.
const PROBE: Duration = Duration::from_millis(200);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// One replica's place: its port and its way to the database stay the same over restarts.
pub struct Replica {
    pub number: usize,
    pub addr: SocketAddr,
    program: PathBuf,
    dir: PathBuf,
    log: PathBuf,
    settings: Vec<(&'static str, String)>,
    process: Arc<Mutex<Option<Process>>>,
}

/// A replica that is taken for a fault: nobody else touches it meanwhile.
pub struct Lease<'a> {
    replica: &'a Replica,
    process: OwnedMutexGuard<Option<Process>>,
}

impl Replica {
    /// `database` is the address of its own proxy to PostgreSQL. `dir` has no `config.env`.
    pub fn new(
        number: usize,
        addr: SocketAddr,
        database: SocketAddr,
        program: PathBuf,
        dir: PathBuf,
        log: PathBuf,
    ) -> Self {
        let settings = vec![
            ("DB_HOST", database.ip().to_string()),
            ("DB_PORT", database.port().to_string()),
            ("DB_USER", SERVICE.to_owned()),
            ("DB_NAME", "postgres".to_owned()),
            ("DB_SSL_MODE", "disable".to_owned()),
            ("SERVER_PORT", addr.port().to_string()),
            ("SERVICE_NAME", format!("soak-{number}")),
            // Faults last seconds here, so what notices them is quicker than usual.
            ("LISTENER_HEARTBEAT_SECONDS", "1".to_owned()),
            ("PRESENCE_GRACE_SECONDS", "2".to_owned()),
            ("HEARTBEAT_SECONDS", "4".to_owned()),
            ("SHUTDOWN_GRACE_SECONDS", DRAIN.as_secs().to_string()),
            ("SHUTDOWN_DELAY_SECONDS", "1".to_owned()),
            // Sockets that a fault has orphaned count until the service notices.
            ("MAX_CONNECTIONS_PER_USER", "50".to_owned()),
            // Low, so that an absence of seconds is enough for `resync_required`.
            ("REPLAY_EVENTS", "200".to_owned()),
        ];
        Self {
            number,
            addr,
            program,
            dir,
            log,
            settings,
            process: Arc::default(),
        }
    }

    /// `None` when another fault has it.
    pub fn take(&self) -> Option<Lease<'_>> {
        let process = self.process.clone().try_lock_owned().ok()?;
        Some(Lease {
            replica: self,
            process,
        })
    }

    fn spawn(&self) -> Result<Process, Failure> {
        let mut command = Command::new(&self.program);
        quiet(&mut command, &self.log)?
            .arg("serve")
            .env("RUST_BACKTRACE", "1")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir);
        let process = Process::spawn(&mut command, Signal::SIGKILL);
        process.map_err(|error| format!("{}: {error}", self.program.display()).into())
    }
}

impl Lease<'_> {
    pub fn start(&mut self) -> Result<(), Failure> {
        *self.process = Some(self.replica.spawn()?);
        Ok(())
    }

    pub fn signal(&mut self, signal: Signal) {
        if let Some(process) = self.process.as_mut() {
            process.signal(signal);
        }
    }

    /// kill -9; returns when it is gone.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGKILL);
            process.wait(Duration::from_secs(10)).await;
        }
    }

    /// SIGTERM; what is wrong with how it ended, if anything.
    pub async fn drain(&mut self) -> Result<Duration, String> {
        let Some(mut process) = self.process.take() else {
            return Err("it was not running".to_owned());
        };
        let began = Instant::now();
        process.signal(Signal::SIGTERM);
        match process.wait(DRAIN + DRAIN_MARGIN).await {
            Some(status) if status.success() => Ok(began.elapsed()),
            Some(status) => Err(format!("a drain ended with {status}")),
            None => {
                let limit = DRAIN + DRAIN_MARGIN;
                Err(format!("a drain did not end within {} s", limit.as_secs()))
            }
        }
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(Process::exited)
    }
}

/// Starts them one after another, and returns when all are ready.
pub async fn start_all(replicas: &[Replica], probes: &reqwest::Client) -> Result<(), Failure> {
    for replica in replicas {
        replica.take().ok_or("a new replica is taken")?.start()?;
        let deadline = Instant::now() + START;
        while !ready(probes, replica).await.unwrap_or(false) {
            let exited = replica.take().and_then(|mut taken| taken.exited());
            if exited.is_some() || Instant::now() > deadline {
                let end = exited.map_or("is not ready".to_owned(), |status| status.to_string());
                let last = last_lines(&replica.log);
                return Err(format!("replica {}: {end}\n{last}", replica.number).into());
            }
            tokio::time::sleep(PROBE).await;
        }
    }
    Ok(())
}

/// Probes each replica for the load balancer, and starts again the one that has ended by itself.
pub async fn supervise(world: Arc<World>, number: usize) {
    let replica = &world.replicas[number];
    let mut misses = 0;
    loop {
        match ready(&world.probes, replica).await {
            Some(true) => {
                misses = 0;
                world.edge.set_up(number, true);
            }
            Some(false) => world.edge.set_up(number, false),
            None => {
                // One late answer may be a busy machine.
                misses += 1;
                if misses >= 2 {
                    world.edge.set_up(number, false);
                }
            }
        }
        if let Some(mut taken) = replica.take()
            && let Some(status) = taken.exited()
        {
            let text = format!("replica {number} ended by itself: {status}");
            world
                .checker()
                .violate(Violation::new(Kind::ReplicaFailed, world.clock.now(), text));
            if let Err(error) = taken.start() {
                eprintln!("replica {number}: {error}");
            }
        }
        tokio::time::sleep(PROBE).await;
    }
}

/// `None`: no answer.
async fn ready(probes: &reqwest::Client, replica: &Replica) -> Option<bool> {
    let answer = probes
        .get(format!("http://{}/health/ready", replica.addr))
        .timeout(PROBE_TIMEOUT)
        .send()
        .await
        .ok()?;
    Some(answer.status().is_success())
}
