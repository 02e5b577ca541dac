//! A million messages: how long it takes, and how long anybody waits. Its figures are in docs/migrating-from-the-go-service.md.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::{GO_SENDS, MADE_LAST, assert_taken_over, go_service};
use crate::support::*;

/// Minutes, on a slow machine.
const DEADLINE: Duration = Duration::from_secs(600);

/// The longest of the waits, and how many there were.
#[derive(Debug, Default)]
struct Waits {
    longest: Duration,
    count: i64,
}

impl Waits {
    /// Executes a statement again and again until the tables are taken over, or the migration has failed.
    async fn of(database: &Database, ended: &Cell<bool>, sql: impl Fn(i64) -> String) -> Self {
        let client = database.sql().await;
        let mut waits = Self::default();
        loop {
            let sql = sql(waits.count);
            let started = Instant::now();
            client.batch_execute(&sql).await.expect("not hindered");
            waits.longest = waits.longest.max(started.elapsed());
            waits.count += 1;
            if ended.get() || database.count(MADE_LAST).await > 0 {
                return waits;
            }
            // A load, and not all that the machine has.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
#[ignore = "takes minutes: make takeover runs it"]
async fn a_million_messages_are_taken_over_while_the_go_service_writes() {
    let database = go_service(1_000_000).await;
    let started = Instant::now();
    let ended = Cell::new(false);
    let migrating = async {
        let outcome = database.migrate_within(DEADLINE).await;
        ended.set(true);
        (outcome, started.elapsed())
    };
    let writes = Waits::of(&database, &ended, |number| {
        GO_SENDS.replace("$1", &(number % 1000).to_string())
    });
    let reads = Waits::of(&database, &ended, |number| {
        format!(
            "select * from messages where conversation_id = (select id from conversations offset {} limit 1) limit 50",
            number % 1000
        )
    });
    let ((outcome, took), writes, reads) = tokio::join!(migrating, writes, reads);
    outcome.assert_ok();
    println!("{}", outcome.stderr);
    println!(
        "taken over in {took:?}; waits of the other service: writing {writes:?}, reading {reads:?}"
    );
    assert_taken_over(&database, writes.count).await;
    let size = database
        .sql()
        .await
        .query_one("select pg_size_pretty(pg_table_size('expected.messages')), pg_size_pretty(pg_total_relation_size('messages'))", &[])
        .await
        .expect("sizes");
    println!(
        "table before {}, with indexes after {}",
        size.get::<_, String>(0),
        size.get::<_, String>(1)
    );
}
