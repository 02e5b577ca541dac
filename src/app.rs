//! Builds the pieces, starts them and stops them in order. STUB.
use std::sync::Arc;

use uuid::Uuid;

use crate::config::Config;
use crate::health::{Health, Lifecycle};
use crate::hub::Hub;
use crate::replay::Replay;
use crate::store::Store;
use crate::writer::Writer;

/// What the handlers of http and ws get.
#[derive(Clone)]
pub struct Services {
    pub config: Arc<Config>,
    pub replica_id: Uuid,
    pub store: Store,
    pub writer: Writer,
    pub hub: Hub,
    pub replay: Replay,
    pub health: Health,
    pub lifecycle: Lifecycle,
}

/// A run-time failure that ends the process: one line, exit code 1.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub String);

/// Migrates, then serves until `shutdown` resolves, then drains.
pub async fn serve(
    _config: Config,
    _shutdown: impl Future<Output = ()> + Send,
) -> Result<(), StartError> {
    unimplemented!()
}
/// Applies the schema and stops.
pub async fn migrate(_config: Config) -> Result<(), StartError> {
    unimplemented!()
}
/// Inserts demo users and conversations.
pub async fn demo_data(_config: Config) -> Result<(), StartError> {
    unimplemented!()
}
/// Whether the local instance answers `/health/ready` with 200.
pub async fn healthcheck(_config: &Config) -> Result<(), StartError> {
    unimplemented!()
}
