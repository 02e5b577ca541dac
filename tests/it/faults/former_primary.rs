//! A former primary that nobody has fenced: it takes writes, and is listed, and nothing may go back to it.

use serde_json::Value;

use super::failover::promote;
use super::*;

/// Ends the sessions of the replicas' pools at this server; how many there were.
async fn kill_pools(database: &Database) -> i64 {
    let killed = "(select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and application_name = 'pgchat pool') as killed";
    database.count(killed).await
}

async fn stored(database: &Database, content: &str) -> i64 {
    database
        .count(&format!("messages where content = '{content}'"))
        .await
}

/// The settings that lead a replica to one port of this machine, or else to the other.
fn hosts(ports: &str) -> Vec<(&str, &str)> {
    quick(&[
        ("DB_HOST", "127.0.0.1,127.0.0.1"),
        ("DB_PORT", ports),
        ("DB_SSL_MODE", "disable"),
    ])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_primary_gets_nothing_while_the_new_one_takes_no_connection() {
    let primary = Cluster::private();
    let former = Database::fresh_on(&primary).await;
    let standby = Cluster::standby_of(&primary);
    let conversation = former.conversation(ALICE, BORIS).await;
    let promoted = promote(&standby, &former).await;
    let way = Proxy::before(&promoted).await;
    let ports = format!("{},{}", way.port, primary.port);
    let replica = Replica::start(&promoted, &hosts(&ports)).await;
    let api = replica.api();
    let mut boris = Socket::connect(&replica, BORIS).await;

    // The writer needs another connection, and the listener has its own.
    way.refuse();
    assert!(kill_pools(&promoted).await > 0);
    let send = |content| api.send_once(conversation, ALICE, content, content);
    send("one").await.refused(503, "unavailable");
    until_logged(&replica, "a former primary").await;
    way.accept();
    eventually("it is stored", || async {
        matches!(send("one").await.status, 200 | 201).then_some(())
    })
    .await;
    boris.before_message("one").await;

    // All need one.
    way.refuse();
    way.cut_open();
    until_status(&replica, "/health/ready", 503).await;
    send("two").await.refused(503, "unavailable");
    assert_eq!(api.get("/health/ready").await.status, 503);
    way.accept();
    until_healthy(&replica).await;
    send("three").await.ok(201);
    let ahead = boris.before_message("three").await;
    let is_reload = |frame: &&Value| frame["type"] == "resync_required";
    assert_eq!(ahead.iter().filter(is_reload).count(), 0, "{ahead:?}");
    for content in ["one", "two", "three"] {
        assert_eq!(stored(&former, content).await, 0, "{content}");
    }
}

/// It is at the former one with all connections but the one that this would not take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_meets_the_new_primary_leaves_the_former_one_with_all_it_has() {
    let primary = Cluster::private();
    let former = Database::fresh_on(&primary).await;
    let standby = Cluster::standby_of(&primary);
    let way = Proxy::before(&former).await;
    let ports = format!("{},{}", way.port, standby.port);
    let replica = Replica::start(&former, &hosts(&ports)).await;
    let api = replica.api();
    let conversation = api.open_conversation(ALICE, BORIS).await;
    let mut boris = Socket::connect(&replica, BORIS).await;
    api.send(conversation, ALICE, "before").await;
    boris.before_message("before").await;

    let promoted = promote(&standby, &former).await;
    way.refuse();
    let writers = "(select pg_terminate_backend(pid) from pg_stat_activity
                     where datname = current_database() and application_name = 'pgchat pool'
                       and query like '%chat_store_message%') as killed";
    assert!(former.count(writers).await > 0);
    api.send_once(conversation, ALICE, "moved", "moved")
        .await
        .ok(201);
    assert_eq!(stored(&promoted, "moved").await, 1);
    boris.expect("resync_required").await;
    until_healthy(&replica).await;

    // It is listed first.
    way.accept();
    const RECONNECTS: &str = "pgchat_listener_reconnects_total";
    let before = api.metric(RECONNECTS).await;
    assert_eq!(kill_listeners(&promoted).await, 1);
    until_metric_above(&replica, RECONNECTS, before).await;
    until_healthy(&replica).await;
    api.send(conversation, ALICE, "after").await;
    boris.before_message("after").await;
    for content in ["moved", "after"] {
        assert_eq!(stored(&former, content).await, 0, "{content}");
    }
}

/// PostgreSQL gives both timelines one number.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_standbys_that_are_promoted_are_two_databases() {
    let primary = Cluster::private();
    let database = Database::fresh_on(&primary).await;
    let [one, other] = [(); 2].map(|()| Cluster::standby_of(&primary));
    let mut identities = Vec::new();
    for standby in [&one, &other] {
        let promoted = Database {
            name: database.name.clone(),
            cluster: standby.clone(),
            served_by: database.served_by,
        };
        promoted.execute("select pg_promote()").await;
        let ask = async |question: &str| -> String {
            let row = promoted.sql().await.query_one(question, &[]).await;
            row.expect("its identity").get(0)
        };
        // As replicas do that come at once.
        let settle = "select chat_settle_identity()";
        let (first, second) = tokio::join!(ask(settle), ask(settle));
        assert_eq!(first, second);
        assert_eq!(ask("select chat_identity()").await, first);
        identities.push(first);
    }
    let but_the_lot = |identity: &str| identity.rsplit_once('-').map(|(all, _)| all.to_owned());
    assert_ne!(identities[0], identities[1]);
    assert_eq!(but_the_lot(&identities[0]), but_the_lot(&identities[1]));
}
