//! Detects a pooler that may give each transaction a different session (PgBouncer, `pool_mode = transaction`).

use std::time::Duration;

use tokio_postgres::{Client, Error};

use crate::store::connect::Connector;

/// For the question as a whole: a pooler whose sessions are all taken lets it wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// To be asked before a session is changed or locked: through such a pooler the setting or the lock would stay in a session
/// that is somebody else's a moment later, and nobody could take it back.
///
/// Two connections that are open at once and have one session prove it, as does one connection that finds itself in another
/// session. Where neither can be shown, there is none.
pub(super) async fn is_pooled(client: &Client, connector: &Connector) -> bool {
    tokio::time::timeout(PATIENCE, shares_sessions(client, connector))
        .await
        .unwrap_or(false)
}

async fn shares_sessions(client: &Client, connector: &Connector) -> bool {
    let Ok(other) = connector.session("pgchat start").await else {
        return false;
    };
    compare(client, &other).await.unwrap_or(false)
}

async fn compare(client: &Client, other: &Client) -> Result<bool, Error> {
    let before = session(client).await?;
    // From here to its end this transaction keeps its session.
    other.batch_execute("begin").await?;
    let shared = session(other).await? == before || session(client).await? != before;
    other.batch_execute("rollback").await?;
    Ok(shared)
}

/// No two sessions of a server have the same, and hardly two of different servers.
async fn session(client: &Client) -> Result<String, Error> {
    const SESSION: &str = "select pg_catalog.concat(pg_backend_pid(), ' ', \
         (select backend_start from pg_stat_activity where pid = pg_backend_pid()))";
    let row = client.query_typed_one(SESSION, &[]).await?;
    row.try_get(0)
}
