//! Each connection is a file, and what starts a program limits how many it may open.

use crate::support::*;

/// So many connections at once, each of which has asked and got an answer; their statuses.
async fn connected(replica: &Replica, count: usize) -> (Vec<Raw>, Vec<u16>) {
    let mut open = Vec::new();
    let mut statuses = Vec::new();
    for _ in 0..count {
        let mut raw = Raw::connect(replica).await;
        raw.request("GET /health/live", &[]).await;
        statuses.push(raw.reply().await.expect("an answer").status);
        open.push(raw);
    }
    (open, statuses)
}

#[tokio::test]
async fn a_low_soft_limit_on_open_files_is_raised() {
    let database = Database::fresh().await;
    let mut replica = Replica::launch_where("ulimit -Sn 128", &database, &[]);
    replica.until_ready().await;
    let (_open, statuses) = connected(&replica, 200).await;
    assert_eq!(statuses, [200; 200]);
}

#[tokio::test]
async fn where_the_hard_limit_is_low_there_are_fewer_connections_and_the_rest_are_told() {
    let database = Database::fresh().await;
    let mut replica = Replica::launch_where("ulimit -n 200", &database, &[]);
    replica.until_ready().await;
    assert!(
        replica.log().contains("the process may open 200 files"),
        "{}",
        replica.log()
    );
    let sockets = replica.api().metric("pgchat_connections_limit").await;
    assert!((1.0..100.0).contains(&sockets), "{sockets}");
    let (_open, statuses) = connected(&replica, 110).await;
    let served = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(served > 80 && refused > 0, "{statuses:?}");
    assert_eq!(served + refused, 110, "{statuses:?}");
}
