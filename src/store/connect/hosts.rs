//! One database on several hosts: which of them is asked, and for how long.
//!
//! tokio-postgres would ask them one after the other as well, but bounds nothing but their TCP connections: one that is gone without a
//! word (its machine is off, its server hangs) would use up the time in which the next one would have answered.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::timelines::{Timeline, Timelines};
use super::tls::DbConnection;
use crate::logging::Repeats;
use crate::store::describe;

pub(super) struct Hosts {
    /// One for each, in their order; at least one.
    configs: Vec<Config>,
    /// Where the last connection was made, which comes first: after a failover nobody waits for the dead one again.
    last: AtomicUsize,
    timelines: Timelines,
}

impl Hosts {
    /// Splits `config` up; `complete` sets what is the same for all. `timelines`: those that were met on whatever way to the same database.
    pub fn new(config: &Config, timelines: Timelines, complete: impl Fn(&mut Config)) -> Self {
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
        let configs = (0..hosts.max(1)).map(|place| {
            let mut one = only(config, place);
            complete(&mut one);
            one
        });
        Self {
            configs: configs.collect(),
            last: AtomicUsize::new(0),
            timelines,
        }
    }

    pub fn configs(&self) -> &[Config] {
        &self.configs
    }

    pub fn timelines(&self) -> &Timelines {
        &self.timelines
    }

    /// Connects to the first that accepts writes, unless it is one from which another has taken over meanwhile. Each but the last has its share of `patience`, to whose end the caller sees.
    pub async fn connect(
        &self,
        application_name: &str,
        tls: &MakeRustlsConnect,
        patience: Duration,
    ) -> Result<(Client, DbConnection), Error> {
        let mut order = self.order();
        let last = order.pop().unwrap_or_default();
        let share = patience / u32::try_from(self.configs.len()).unwrap_or(u32::MAX);
        for place in order {
            let why = match timeout(share, self.connect_to(place, application_name, tls)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => describe(&error),
                Err(_) => format!("no answer within {share:?}"),
            };
            log::debug!("database host {}: {why}; trying the next one", place + 1);
        }
        self.connect_to(last, application_name, tls).await
    }

    fn order(&self) -> Vec<usize> {
        let count = self.configs.len();
        let first = match self.configs[0].get_load_balance_hosts() {
            LoadBalanceHosts::Random => rand::random_range(0..count),
            _ => self.last.load(Ordering::Relaxed),
        };
        (first..count).chain(0..first).collect()
    }

    async fn connect_to(
        &self,
        place: usize,
        application_name: &str,
        tls: &MakeRustlsConnect,
    ) -> Result<(Client, DbConnection), Error> {
        let mut config = self.configs[place].clone();
        config.application_name(application_name);
        let (client, mut connection) = config.connect(tls.clone()).await?;
        if let Some(here) = Timeline::of(&client, &mut connection).await?
            && let Err(former_primary) = self.timelines.admit(here)
        {
            static FORMER: Repeats = Repeats::new(module_path!());
            FORMER.warn(format_args!(
                "database host {}: {former_primary}",
                place + 1
            ));
            drop(connection);
            return Err(error_of_ended(&client).await);
        }
        self.last.store(place, Ordering::Relaxed);
        Ok((client, connection))
    }
}

/// What a client says whose connection has ended: tokio-postgres makes its errors itself.
async fn error_of_ended(client: &Client) -> Error {
    loop {
        if let Err(closed) = client.batch_execute("").await {
            return closed;
        }
    }
}

/// What `config` says of one of its hosts.
fn only(config: &Config, place: usize) -> Config {
    let mut one = Config::new();
    match config.get_hosts().get(place) {
        Some(Host::Tcp(name)) => _ = one.host(name),
        Some(Host::Unix(path)) => _ = one.host_path(path),
        None => {}
    }
    if let Some(address) = config.get_hostaddrs().get(place) {
        one.hostaddr(*address);
    }
    let ports = config.get_ports();
    if let Some(port) = ports.get(place).or(ports.first()) {
        one.port(*port);
    }
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    one.ssl_negotiation(config.get_ssl_negotiation())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    one
}
