//! What the command line can ask for besides serving.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::StartError;
use super::database::Database;
use super::hints::reachable;
use crate::config::Config;
use crate::store::Purpose;

/// Applies the schema, builds the search index, and stops. Where the service runs as a role that owns nothing, nobody
/// else can build it.
pub async fn migrate(config: Config) -> Result<(), StartError> {
    let mut database = Database::reach(&config).await?;
    database.migrate(&config, Purpose::Migrate).await?;
    let store = database.store(&config)?;
    database.require_search_language(&store, &config).await?;
    database
        .search_index(&config)
        .complete()
        .await
        .map_err(StartError::because)?;
    log::info!("the schema is up to date");
    Ok(())
}

/// Applies the schema and inserts demo users and conversations.
pub async fn demo_data(config: Config) -> Result<(), StartError> {
    let mut database = Database::reach(&config).await?;
    database.migrate(&config, Purpose::Migrate).await?;
    database.insert_demo_data(&config).await?;
    log::info!("demo users and conversations are there");
    Ok(())
}

/// What is asked of the local instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Whether it takes traffic.
    Ready,
    /// Whether it runs, full or not, and whatever the database does.
    Live,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Ready => "/health/ready",
            Self::Live => "/health/live",
        }
    }
}

/// Whether the local instance answers `probe` with 200.
pub async fn healthcheck(config: &Config, probe: Probe) -> Result<(), StartError> {
    let path = probe.path();
    let address = reachable(config.server_addr);
    // Where the machine has no IPv6, what listens on [::] is reached by IPv4 only.
    let by_ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()));
    let addresses = match config.server_addr.ip().is_unspecified() {
        true => vec![address, by_ipv4],
        false => vec![address],
    };
    let ask = async {
        let mut stream = TcpStream::connect(&addresses[..]).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(4096).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match timeout(Duration::from_secs(5), ask).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(StartError(format!("no answer from {address}: {error}"))),
        Err(_) => return Err(StartError(format!("no answer from {address} within 5 s"))),
    };
    let status = answer.lines().next().unwrap_or_default();
    if status.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(StartError(format!("{path} answers {status}")))
    }
}
