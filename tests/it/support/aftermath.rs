//! What becomes of a database when its test ends, and what is told of it when the test has failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use super::cluster::Cluster;
use super::database::Database;
use super::roles;
use super::wait::blocking;

impl Drop for Database {
    /// Keeps nothing of a test that passed. What a failed one left goes with the cluster, but for its sessions: one whose client is
    /// gone may be in the midst of a statement, and its transaction would hold back the cursors of all other tests. Of a cluster of
    /// the test's own all goes with it, and what is done later would keep it alive.
    fn drop(&mut self) {
        let name = self.name.clone();
        let has_failed = std::thread::panicking();
        if has_failed {
            eprintln!(
                "--- PostgreSQL about {name}\n{}\n--- its processes\n{}",
                self.cluster.log_of(&name),
                blocking(activity(self.cluster.clone(), name.clone()))
            );
        }
        if !self.cluster.is_shared() {
            return;
        }
        if has_failed {
            self.execute_later(vec![format!(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
            )]);
            return;
        }
        self.execute_later(vec![
            format!("drop database if exists {name} with (force)"),
            roles::drop_all_of(&name),
        ]);
    }
}

impl Database {
    /// From outside of it, and not waited for: to drop a database costs a checkpoint, and frees nothing but disk.
    fn execute_later(&self, statements: Vec<String>) {
        let cluster = self.cluster.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(async {
                    if let Ok(client) = cluster.try_connect("postgres", "postgres").await {
                        for statement in statements {
                            let _ = client.batch_execute(&statement).await;
                        }
                    }
                });
            }
        });
    }
}

/// What the sessions of a database do, and the processes of the server. It never fails: it is asked for when something else has.
async fn activity(cluster: Arc<Cluster>, database: String) -> String {
    let sql = format!(
        "select pid, coalesce(nullif(application_name, ''), backend_type), state, wait_event, left(query, 300)
           from pg_stat_activity
          where (datname = '{database}' or datname is null) and pid <> pg_backend_pid()
          order by datname, pid"
    );
    let asked = async {
        let client = cluster.try_connect("postgres", "postgres").await?;
        client.simple_query(&sql).await
    };
    let rows = match timeout(Duration::from_secs(10), asked).await {
        Ok(Ok(rows)) => rows,
        Ok(Err(fault)) => return fault.to_string(),
        Err(_) => return "no answer".to_owned(),
    };
    let mut lines = Vec::new();
    for row in rows {
        if let SimpleQueryMessage::Row(row) = row {
            let columns = (0..row.len()).map(|column| row.get(column).unwrap_or("-"));
            lines.push(columns.collect::<Vec<_>>().join(" | "));
        }
    }
    lines.join("\n")
}

/// What would be done later to its database would keep it: its server waits for a process that is held still.
#[tokio::test]
async fn nothing_is_left_of_a_cluster_of_a_tests_own() {
    let cluster = Cluster::private();
    let database = Database::fresh_on(&cluster).await;
    database.flush_seldom().await;
    let address = ("127.0.0.1", cluster.port);
    drop((database, cluster));
    let connected = tokio::net::TcpStream::connect(address).await;
    assert!(connected.is_err(), "its server runs");
}
