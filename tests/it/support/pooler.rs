//! PgBouncer in transaction mode.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::cluster::free_port;
use super::database::Database;
use super::process::Process;
use super::run::{Signal, fresh_dir};
use super::wait::eventually;

/// `scripts/ensure-pgbouncer.sh` installs it where it is missing.
fn program() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ensure-pgbouncer.sh");
    let found = Command::new("sh").arg(script).output().expect("sh runs");
    let fault = String::from_utf8_lossy(&found.stderr);
    assert!(found.status.success(), "{fault}");
    PathBuf::from(String::from_utf8_lossy(&found.stdout).trim())
}

/// PgBouncer before one database; it ends with this value.
pub struct Pooler {
    pub port: String,
    /// Past it, for `LISTEN_DATABASE_URL`.
    pub direct: String,
    _process: Process,
}

pub async fn pooler(database: &Database, server_connections: i64) -> Pooler {
    let dir = fresh_dir("pgbouncer");
    let port = free_port();
    let settings = dir.join("pgbouncer.ini");
    fs::write(
        &settings,
        format!(
            "[databases]\n* = host=127.0.0.1 port={} user={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = {server_connections}\nmax_client_conn = 100\n",
            database.cluster.port, database.served_by
        ),
    )
    .expect("its settings");
    let log = fs::File::create(dir.join("log")).expect("its log");
    let mut command = Command::new(program());
    database
        .cluster
        .as_its_account(&mut command)
        .arg(&settings)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("its log"))
        .stderr(log);
    // What would have it end in an orderly way is ignored where the tests run in the background of a shell.
    let process = Process::start(&mut command, Signal::Kill);
    eventually("PgBouncer listens", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port))
            .await
            .ok()
            .map(drop)
    })
    .await;
    Pooler {
        port: port.to_string(),
        direct: database.url(database.served_by),
        _process: process,
    }
}

impl Pooler {
    /// Of a replica behind it.
    pub fn settings(&self) -> [(&str, &str); 2] {
        [
            ("DB_PORT", &self.port),
            ("LISTEN_DATABASE_URL", &self.direct),
        ]
    }
}
