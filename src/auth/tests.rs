use super::*;
use crate::config::Config;
use crate::testing;

/// The settings of jwt mode have no effect there: that one names a file that is missing is no fault.
#[tokio::test(start_paused = true)]
async fn trusted_mode_looks_at_no_key_file() {
    let vars = [
        ("DB_HOST", "127.0.0.1"),
        ("AUTH_MODE", "trusted"),
        ("JWT_JWKS_FILE", "/nonexistent"),
    ];
    let hub = testing::hub(1);
    let services = testing::services_of(hub.clone(), Config::from_vars(&vars).unwrap());
    let watching = services.auth.clone().watch(hub);
    // Too short for the first question to the database.
    let watched = tokio::time::timeout(Duration::from_secs(10), watching).await;
    assert!(watched.is_err(), "it watches until it is stopped");
    assert!(services.auth.key_files_are_usable());
}
