//! What is measured: pgchat and its peers, each as real processes on a database of its own.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pgchat_harness::Failure;
use pgchat_harness::cluster::{Cluster, RunDir, free_addr};
use pgchat_harness::process::Process;
use pgchat_harness::program::{last_lines, quiet};
use pgchat_harness::{roles, users};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::cpu::Part;
use crate::load::Dialect;

/// How long a replica may take until it is ready.
const START: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_millis(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    Pgchat,
    /// pgchat with `SEARCH_LANGUAGE=off`: what it does without search, as its peers do.
    #[serde(rename = "pgchat-without-search")]
    PgchatWithoutSearch,
    Gin,
    SocketIo,
}

impl System {
    /// What can be chosen; without search pgchat is measured beside itself.
    pub const ALL: [Self; 3] = [Self::Pgchat, Self::Gin, Self::SocketIo];

    pub fn name(self) -> &'static str {
        match self {
            Self::Pgchat => "pgchat",
            Self::PgchatWithoutSearch => "pgchat-without-search",
            Self::Gin => "gin",
            Self::SocketIo => "socketio",
        }
    }

    /// The role that it connects as. The peers own their tables, as such services mostly do.
    fn role(self) -> &'static str {
        match self {
            Self::Pgchat | Self::PgchatWithoutSearch => roles::SERVICE,
            Self::Gin | Self::SocketIo => "postgres",
        }
    }

    pub fn dialect(self) -> Dialect {
        match self {
            Self::Pgchat | Self::PgchatWithoutSearch | Self::Gin => Dialect::Plain,
            Self::SocketIo => Dialect::SocketIo,
        }
    }
}

/// Where the programs are.
pub struct Programs {
    pub pgchat: PathBuf,
    /// The directory of the peers, built.
    pub peers: PathBuf,
}

/// Everything that a scenario needs to start systems.
pub struct Bench {
    pub cluster: Cluster,
    pub programs: Programs,
    pub logs: PathBuf,
    pub cwd: PathBuf,
}

/// A database with users, for one system.
pub struct Database {
    pub name: String,
    pub users: Vec<Uuid>,
    pub client: Client,
}

/// Replicas of one system that run and are ready.
pub struct Deployment {
    pub replicas: Vec<Replica>,
}

pub struct Replica {
    pub addr: SocketAddr,
    pub process: Process,
    /// From its start until it was ready.
    pub ready_after: Duration,
}

impl Deployment {
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(|replica| replica.addr).collect()
    }

    pub fn parts(&self) -> Vec<Part> {
        self.replicas
            .iter()
            .enumerate()
            .map(|(number, replica)| Part {
                name: format!("replica {number}"),
                pid: replica.process.id(),
            })
            .collect()
    }
}

impl Bench {
    pub fn new(cluster: Cluster, programs: Programs, dir: &RunDir) -> Self {
        Self {
            cluster,
            programs,
            logs: dir.logs(),
            cwd: dir.path.clone(),
        }
    }

    /// A session of our own.
    pub async fn connect(&self, database: &str) -> Result<Client, Failure> {
        Ok(self.cluster.connect_to(database).await?)
    }

    /// A new database with the host system's table of users, and the tables of pgchat or of the peers.
    pub async fn database(&self, system: System, users: usize) -> Result<Database, Failure> {
        let database = self.host_database(users).await?;
        let scripts: &[&str] = match system {
            System::Pgchat | System::PgchatWithoutSearch => &[],
            System::Gin => &["schema.sql", "gin/trigger.sql"],
            System::SocketIo => &["schema.sql"],
        };
        for script in scripts {
            let sql = fs::read_to_string(self.programs.peers.join(script))?;
            database.client.batch_execute(&sql).await?;
        }
        if matches!(system, System::Pgchat | System::PgchatWithoutSearch) {
            let pgchat = &self.programs.pgchat;
            roles::install(&self.cluster, &database.name, pgchat, &self.cwd).await?;
        }
        if matches!(system, System::PgchatWithoutSearch) {
            let drop_index = "drop index chat_messages_search_simple";
            database.client.batch_execute(drop_index).await?;
        }
        Ok(database)
    }

    /// A new database with the host system's table of users alone.
    pub async fn host_database(&self, users: usize) -> Result<Database, Failure> {
        let name = format!("bench_{}", Uuid::new_v4().simple());
        let admin = self.connect("postgres").await?;
        admin
            .batch_execute(&format!("create database {name}"))
            .await?;
        let client = self.connect(&name).await?;
        let users = users::make(&client, users).await?;
        Ok(Database {
            name,
            users,
            client,
        })
    }

    pub async fn drop_database(&self, database: Database) -> Result<(), Failure> {
        let Database { name, client, .. } = database;
        drop(client);
        let admin = self.connect("postgres").await?;
        admin
            .batch_execute(&format!("drop database {name} with (force)"))
            .await?;
        Ok(())
    }

    /// Starts replicas, one after another.
    pub async fn start(
        &self,
        system: System,
        database: &str,
        replicas: usize,
    ) -> Result<Deployment, Failure> {
        let mut started = Vec::new();
        for number in 0..replicas {
            started.push(self.start_replica(system, database, number).await?);
        }
        Ok(Deployment { replicas: started })
    }

    pub async fn start_replica(
        &self,
        system: System,
        database: &str,
        number: usize,
    ) -> Result<Replica, Failure> {
        let addr = free_addr()?;
        let log_path = self.logs.join(format!("{}-{number}.log", system.name()));
        let mut command = self.command(system)?;
        quiet(&mut command, &log_path)?
            .env("DB_HOST", "127.0.0.1")
            .env("DB_PORT", self.cluster.addr.port().to_string())
            .env("DB_USER", system.role())
            .env("DB_NAME", database)
            .env("DB_SSL_MODE", "disable")
            .env("SERVER_PORT", addr.port().to_string())
            .env("LOG_LEVEL", "warn")
            // The load is a few users who write as fast as they can.
            .env("RATE_LIMIT_PER_SECOND", "0")
            .env("RATE_LIMIT_BURST", "0")
            .env("MAX_CONNECTIONS_PER_USER", "0")
            .env("GIN_MODE", "release")
            .env("NODE_ENV", "production")
            .envs(
                matches!(system, System::PgchatWithoutSearch).then_some(("SEARCH_LANGUAGE", "off")),
            );
        let began = Instant::now();
        let mut process = Process::spawn(&mut command, Signal::SIGKILL)
            .map_err(|error| format!("{}: {error}", system.name()))?;
        loop {
            if is_ready(addr).await {
                break;
            }
            let exited = process.exited();
            if exited.is_some() || began.elapsed() > START {
                let end = exited.map_or("is not ready".to_owned(), |status| status.to_string());
                let last = last_lines(&log_path);
                return Err(format!("{} {number}: {end}\n{last}", system.name()).into());
            }
            sleep(PROBE).await;
        }
        Ok(Replica {
            addr,
            process,
            ready_after: began.elapsed(),
        })
    }

    fn command(&self, system: System) -> Result<Command, Failure> {
        let peers = &self.programs.peers;
        let (program, argument, cwd): (PathBuf, &str, &Path) = match system {
            // A directory without a config.env.
            System::Pgchat | System::PgchatWithoutSearch => {
                (self.programs.pgchat.clone(), "serve", &self.cwd)
            }
            System::Gin => (peers.join("gin/gin-peer"), "", &self.cwd),
            System::SocketIo => ("node".into(), "server.js", &peers.join("socketio")),
        };
        if program.is_absolute() && !program.is_file() {
            return Err(
                format!("{} is not there: build the peers first", program.display()).into(),
            );
        }
        let mut command = Command::new(program);
        command.current_dir(cwd);
        if !argument.is_empty() {
            command.arg(argument);
        }
        Ok(command)
    }
}

impl Database {
    /// A conversation for each pair of users, in the order of the pairs; those that are there stay.
    pub async fn conversations(&self, pairs: &[(usize, usize)]) -> Result<Vec<Uuid>, Failure> {
        let one: Vec<Uuid> = pairs.iter().map(|pair| self.users[pair.0]).collect();
        let other: Vec<Uuid> = pairs.iter().map(|pair| self.users[pair.1]).collect();
        self.client
            .execute(
                "insert into conversations (participant1_id, participant2_id)
                 select * from unnest($1::uuid[], $2::uuid[])
                     on conflict do nothing",
                &[&one, &other],
            )
            .await?;
        let rows = self
            .client
            .query(
                "select c.id from unnest($1::uuid[], $2::uuid[]) with ordinality as p (one, other, place)
                   join conversations c on c.participant1_id = p.one and c.participant2_id = p.other
                  order by p.place",
                &[&one, &other],
            )
            .await?;
        if rows.len() != pairs.len() {
            return Err("a conversation is missing".into());
        }
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

async fn is_ready(addr: SocketAddr) -> bool {
    let probe = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream
            .write_all(b"GET /health/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
            .await?;
        let mut head = [0_u8; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head.starts_with(b"HTTP/1.1 200"))
    };
    matches!(timeout(PROBE_TIMEOUT, probe).await, Ok(Ok(true)))
}
