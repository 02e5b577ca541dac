//! PostgreSQL ends an autovacuum that somebody waits for, but not before `deadlock_timeout`, which is longer than a migration waits.

use crate::support::*;
use crate::takeover::{assert_taken_over, go_service_in};

/// A cluster that vacuums whatever was changed within a second or two.
async fn vacuuming_soon() -> Database {
    let database = Database::empty_on(&Cluster::private()).await;
    database
        .execute("alter system set autovacuum_naptime = '1s'")
        .await;
    database.execute("select pg_reload_conf()").await;
    database
}

/// Has an autovacuum begin that takes many minutes: some 1,000 pages at up to 0.4 s each. Where it is ended, the next one begins. No
/// `analyze` beside it: one that has not seen the update would report that there is nothing to remove.
async fn vacuum_slowly(database: &Database, table: &str) {
    database
        .execute(&format!(
            "alter table {table} set (fillfactor = 10, autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
                                      autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1,
                                      autovacuum_analyze_threshold = 2000000000)"
        ))
        .await;
    database.execute(&format!("vacuum full {table}")).await;
    let pages = format!("generate_series(1, pg_relation_size('{table}') / 8192)");
    assert!(database.count(&pages).await > 1_000, "it is soon over");
    // An update changes nothing: its row has an older version, which is to go.
    database
        .execute(&format!("update {table} set id = id"))
        .await;
    let vacuum = format!(
        "pg_stat_progress_vacuum v join pg_stat_activity a using (pid)
          where v.relid = '{table}'::regclass and a.backend_type = 'autovacuum worker'"
    );
    eventually("an autovacuum", || async {
        (database.count(&vacuum).await == 1).then_some(())
    })
    .await;
}

/// The host's table: it may be referred to, and not locked.
#[tokio::test]
async fn pgchat_is_installed_though_an_autovacuum_of_the_users_table_takes_long() {
    let database = vacuuming_soon().await;
    create_users(&database.sql().await).await;
    database.make_roles(&[]).await;
    database.add_users(8_000).await;
    vacuum_slowly(&database, "users").await;
    database.migrate(&[]).await.assert_ok();
    let keys =
        "pg_constraint where contype = 'f' and confrelid = 'users'::regclass and convalidated";
    assert!(database.count(keys).await > 0);
}

/// Which begins anew after each step that changes rows.
#[tokio::test]
async fn tables_are_taken_over_though_an_autovacuum_of_the_messages_takes_long() {
    let database = go_service_in(vacuuming_soon().await, 8_000).await;
    vacuum_slowly(&database, "messages").await;
    database.migrate(&[]).await.assert_ok();
    assert_taken_over(&database, 0).await;
}
