//! Each connection is a file, and what starts a program limits how many it may open.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::support::*;

/// So many connections at once, each of which has asked for what is not answered beyond the limit, and got an answer; their statuses.
async fn connected(replica: &Replica, count: usize) -> (Vec<Raw>, Vec<u16>) {
    let mut open = Vec::new();
    let mut statuses = Vec::new();
    for _ in 0..count {
        let mut raw = Raw::connect(replica).await;
        raw.request("GET /api/v1/users/active", &[]).await;
        statuses.push(raw.reply().await.expect("an answer").status);
        open.push(raw);
    }
    (open, statuses)
}

/// As many come back at once when another replica is lost.
#[tokio::test]
async fn connections_that_come_while_a_replica_is_held_up_wait_for_it() {
    const COME: usize = 500;
    let database = Database::fresh().await;
    let replica = Replica::start(&database, &[]).await;
    replica.freeze();
    let mut waiting = Vec::new();
    for _ in 0..COME {
        waiting.push(within("a connection", Raw::connect(&replica)).await);
    }
    replica.thaw();
    for raw in &mut waiting {
        raw.request("GET /health/live", &[]).await;
        assert_eq!(raw.reply().await.expect("an answer").status, 200);
    }
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
    let told = "the process may open 200 files";
    assert_eq!(
        level_of(&replica, told),
        "INFO",
        "nobody has set the limits"
    );
    let sockets = replica.api().metric("pgchat_connections_limit").await;
    assert!((1.0..100.0).contains(&sockets), "{sockets}");
    let (_open, statuses) = connected(&replica, 110).await;
    let served = statuses.iter().filter(|status| **status == 200).count();
    let refused = statuses.iter().filter(|status| **status == 503).count();
    assert!(served > 80 && refused > 0, "{statuses:?}");
    assert_eq!(served + refused, 110, "{statuses:?}");
}

/// A hard limit below what the defaults need is common, and a warning at each start that asks for nothing is soon overlooked.
#[tokio::test]
async fn who_has_set_more_connections_than_there_are_files_is_warned() {
    let database = Database::fresh().await;
    for setting in ["MAX_CONNECTIONS", "MAX_HTTP_CONNECTIONS"] {
        let mut replica = Replica::launch_where("ulimit -n 200", &database, &[(setting, "500")]);
        replica.until_ready().await;
        let told = "the process may open 200 files";
        assert_eq!(level_of(&replica, told), "WARN", "{setting}");
    }
}

/// Of the line of the log that has these words.
fn level_of(replica: &Replica, words: &str) -> String {
    let log = replica.log();
    let line = log.lines().find(|line| line.contains(words));
    let line = line.unwrap_or_else(|| panic!("{words:?} is not in\n{log}"));
    let levels = ["ERROR", "WARN", "INFO"];
    let level = levels.into_iter().find(|level| line.contains(level));
    level.expect("a level").to_owned()
}

/// Each file that is free again is taken by a connection that has waited, and the next one is tried for without a longer pause.
#[tokio::test]
async fn however_often_no_connection_can_be_accepted_one_line_a_second_says_so() {
    const CHANGING: Duration = Duration::from_secs(2);
    const PACE: Duration = Duration::from_millis(20);
    let database = Database::fresh().await;
    let boundless = [("MAX_CONNECTIONS", "0")];
    let mut replica = Replica::launch_where("ulimit -n 150", &database, &boundless);
    replica.until_ready().await;
    let told = || {
        replica
            .log()
            .matches("accepting a connection failed")
            .count()
    };
    let mut open = VecDeque::new();
    for _ in 0..200 {
        open.push_back(Raw::connect(&replica).await);
    }
    eventually("there is no file left", || async {
        (told() > 0).then_some(())
    })
    .await;
    // The time that is measured encloses both counts.
    let began = Instant::now();
    let before = told();
    while began.elapsed() < CHANGING {
        open.pop_front();
        open.push_back(Raw::connect(&replica).await);
        tokio::time::sleep(PACE).await;
    }
    let written = told() - before;
    let seconds = began.elapsed().as_secs() as usize;
    assert!(
        written <= seconds + 1,
        "{written} in {seconds} s: {}",
        replica.log()
    );
}
