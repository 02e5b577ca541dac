//! The probes.

use serde_json::json;

use crate::support::*;

#[tokio::test]
async fn a_healthy_replica_says_so() {
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[("SERVICE_NAME", "chat-eu")]).await;
    let api = replica.api();

    let health = api.get("/health").await.ok(200);
    assert_eq!(health["status"], "ok");
    assert_eq!(health["service"], "chat-eu");
    assert_eq!(health, json!({"status": "ok", "service": "chat-eu"}));
    assert_eq!(api.get("/health/live").await.status, 200);
    assert_eq!(api.get("/health/ready").await.status, 200);
}
