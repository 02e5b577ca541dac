//! All that a run consists of, for those who act in it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pgchat_harness::cluster::Cluster;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::api::Api;
use crate::checker::{Checker, FaultRecord, Kind, Stage, Violation};
use crate::client::{Order, Request};
use crate::model::*;
use crate::proxy::{Proxy, lock};
use crate::replicas::Replica;
use crate::settings::Settings;

pub struct World {
    pub settings: Settings,
    pub clock: Clock,
    // Before the cluster: what is dropped first ends first.
    pub replicas: Vec<Replica>,
    pub cluster: Cluster,
    /// The load balancer in front of the replicas.
    pub edge: Arc<Proxy>,
    /// The network between each replica and PostgreSQL.
    pub networks: Vec<Arc<Proxy>>,
    /// Through the load balancer.
    pub api: Api,
    /// To each replica itself.
    pub probes: reqwest::Client,
    pub users: Vec<Uuid>,
    pub conversations: Vec<Conversation>,
    /// How to reach each client's socket task.
    pub clients: Vec<ClientHandle>,
    /// Replicas that may be under a fault at once: one is always left in peace.
    pub replicas_at_once: Semaphore,
    /// Clients that have a socket and nothing left to reload.
    pub online: AtomicUsize,
    checker: Mutex<Checker>,
    faults: Mutex<Vec<FaultRecord>>,
    counters: Mutex<BTreeMap<String, u64>>,
    pub stages: Stages,
}

/// The ends of a run, in this order.
#[derive(Default)]
pub struct Stages {
    /// No more faults, and those under way end early.
    pub calm: CancellationToken,
    /// No more new messages; those under way are still sent.
    pub quiet: CancellationToken,
    /// All clients are online, and all that was sent is seen.
    pub settled: CancellationToken,
    /// Everything ends.
    pub stop: CancellationToken,
}

impl Stages {
    pub fn reached(&self) -> Stage {
        match (self.calm.is_cancelled(), self.settled.is_cancelled()) {
            (_, true) => Stage::Settled,
            (true, false) => Stage::Calm,
            (false, false) => Stage::Faults,
        }
    }
}

pub struct ClientHandle {
    pub requests: mpsc::Sender<Request>,
    pub orders: mpsc::Sender<Order>,
    /// The conversations that this client takes part in.
    pub conversations: Vec<ConversationIx>,
}

/// What has been started before there are users.
pub struct Machines {
    pub replicas: Vec<Replica>,
    pub cluster: Cluster,
    pub edge: Arc<Proxy>,
    pub networks: Vec<Arc<Proxy>>,
    pub api: Api,
    pub probes: reqwest::Client,
}

impl World {
    pub fn new(
        settings: Settings,
        machines: Machines,
        users: Vec<Uuid>,
        conversations: Vec<Conversation>,
        clients: Vec<ClientHandle>,
    ) -> Self {
        let at_once = machines.replicas.len().saturating_sub(1).max(1);
        let checker = Checker::new(settings.seed, &users, conversations.clone());
        Self {
            settings,
            clock: Clock::start(),
            replicas: machines.replicas,
            cluster: machines.cluster,
            edge: machines.edge,
            networks: machines.networks,
            api: machines.api,
            probes: machines.probes,
            users,
            conversations,
            clients,
            replicas_at_once: Semaphore::new(at_once),
            online: AtomicUsize::new(0),
            checker: Mutex::new(checker),
            faults: Mutex::default(),
            counters: Mutex::default(),
            stages: Stages::default(),
        }
    }

    /// Never held over an await.
    pub fn checker(&self) -> MutexGuard<'_, Checker> {
        lock(&self.checker)
    }

    pub fn faults(&self) -> MutexGuard<'_, Vec<FaultRecord>> {
        lock(&self.faults)
    }

    pub fn counters(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        lock(&self.counters)
    }

    /// Counts what is no violation but good to know, e.g. `close 1012`.
    pub fn count(&self, what: &str) {
        let mut counters = self.counters();
        if let Some(count) = counters.get_mut(what) {
            *count += 1;
        } else {
            counters.insert(what.to_owned(), 1);
        }
    }

    /// An answer that a valid call may never get.
    pub fn refused(&self, client: ClientIx, key: Option<Key>, text: String) {
        let mut violation = Violation::new(Kind::Refused, self.clock.now(), text).client(client);
        violation.key = key;
        self.checker().violate(violation);
    }

    /// For the length of a fault: ends early when faults end.
    pub async fn pause(&self, duration: Duration) {
        let sleep = tokio::time::sleep(duration);
        self.stages.calm.run_until_cancelled(sleep).await;
    }
}
