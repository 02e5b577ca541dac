//! The files of deploy/ at work: what they promise to somebody who runs several replicas.
//!
//! Needs programs that not every machine has; scripts/test-deployment.sh, which `make test` runs, sees to that.

mod below_a_path;
mod callers;
mod compressed;
mod dns;
mod gone;
mod nginx;
mod prometheus;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::*;
use dns::NameServer;
use nginx::{Nginx, Replicas};

/// As in docker-compose.yml; the grace is shorter, which ends the drain no earlier.
const DRAIN: [(&str, &str); 2] = [
    ("SHUTDOWN_DELAY_SECONDS", "6"),
    ("SHUTDOWN_GRACE_SECONDS", "15"),
];
const USERS: usize = 12;
/// Between two sends of one client, so that the machine has time for the rest.
const PACE: Duration = Duration::from_millis(150);

/// The local network has 16 million addresses of this machine: each replica gets one of its own, as a container has.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(number + 2).expect("a few replicas"))
}

fn launch(database: &Database, address: Ipv4Addr, port: u16) -> Replica {
    let (host, port) = (address.to_string(), port.to_string());
    let mut settings = vec![
        ("SERVER_HOST", host.as_str()),
        ("SERVER_PORT", &port),
        ("RATE_LIMIT_PER_SECOND", "0"),
        ("RATE_LIMIT_BURST", "0"),
    ];
    settings.extend(DRAIN);
    Replica::launch(database, &settings)
}

async fn started(database: &Database, address: Ipv4Addr, port: u16) -> Replica {
    let mut replica = launch(database, address, port);
    replica.until_ready().await;
    replica
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn a_rolling_restart_behind_nginx_fails_no_request_and_loses_no_message() {
    let program = nginx::program(true);
    let database = Database::fresh().await;
    let port = free_port();
    let mut replicas = Vec::new();
    for number in 0..3 {
        replicas.push(started(&database, address(number), port).await);
    }
    let names = NameServer::start(&[address(0), address(1), address(2)]).await;
    let nginx = Nginx::start(&program, Replicas::Named(&names), port).await;
    let load = Load::start(&database, &nginx).await;
    assert_spread(&replicas).await;

    // Each comes back under another address, which nginx hears of by asking again.
    for (number, replica) in replicas.iter_mut().enumerate() {
        replica.terminate();
        assert_eq!(replica.ended().await.code(), Some(0), "{}", replica.log());
        names.remove(address(number));
        *replica = started(&database, address(number + 3), port).await;
        names.add(address(number + 3));
    }
    load.assert_complete(&replicas[0]).await;

    // As `--scale pgchat=4`: nobody comes to it but by nginx.
    let fourth = started(&database, address(6), port).await;
    names.add(address(6));
    eventually("new sockets go to the new replica", || async {
        let socket = nginx.socket(ALICE, None).await;
        let found = fourth.api().metric("pgchat_connections").await > 0.0;
        socket.close().await;
        found.then_some(())
    })
    .await;

    // A machine that is gone: what reads is repeated elsewhere, sockets are opened elsewhere.
    replicas[1].kill();
    for _ in 0..50 {
        nginx.api().get("/api/v1/users/active").await.ok(200);
        nginx.socket(BORIS, None).await.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn so_it_is_with_an_older_nginx_and_a_list_of_addresses() {
    let program = nginx::program(false);
    let database = Database::fresh().await;
    let port = free_port();
    let addresses = [10, 11, 12].map(address);
    let mut replicas = Vec::new();
    for address in addresses {
        replicas.push(started(&database, address, port).await);
    }
    let nginx = Nginx::start(&program, Replicas::Listed(&addresses), port).await;
    let load = Load::start(&database, &nginx).await;
    assert_spread(&replicas).await;

    for (replica, address) in replicas.iter_mut().zip(addresses) {
        replica.terminate();
        assert_eq!(replica.ended().await.code(), Some(0), "{}", replica.log());
        *replica = started(&database, address, port).await;
    }
    load.assert_complete(&replicas[0]).await;
}

#[tokio::test]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn strangers_get_neither_figures_nor_probes_through_nginx() {
    let database = Database::fresh().await;
    let port = free_port();
    let replica = started(&database, address(20), port).await;
    let listed = [address(20)];
    let nginx = Nginx::start(&nginx::program(false), Replicas::Listed(&listed), port).await;
    // An address that is in none of the networks that the file names.
    let stranger = SocketAddr::from((address(77), 0));
    let status = async |path: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(stranger).expect("an address of this machine");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, nginx.port));
        let mut raw = Raw::over(socket.connect(to).await.expect("a connection"));
        raw.request(&format!("GET {path}"), &[]).await;
        raw.status().await
    };
    for private in [
        "/metrics",
        "/metrics/",
        "/%6detrics",
        "/health",
        "/health/ready",
    ] {
        assert_eq!(status(private).await, 403, "{private}");
    }
    assert_eq!(status("/api/v1/users/active").await, 200);
    assert_eq!(nginx.api().get("/metrics").await.status, 200);
    drop(replica);
}

/// By least connections: a third each.
async fn assert_spread(replicas: &[Replica]) {
    let mut sockets = Vec::new();
    for replica in replicas {
        sockets.push(replica.api().metric("pgchat_connections").await);
    }
    let fair = USERS as f64 / replicas.len() as f64;
    let near = |count: &f64| (count - fair).abs() <= 1.0;
    assert!(sockets.iter().all(near), "{sockets:?}");
}

impl Nginx {
    async fn socket(&self, user: Uuid, cursor: Option<&str>) -> Socket {
        connect(self.port, user, cursor).await
    }
}

async fn connect(port: u16, user: Uuid, cursor: Option<&str>) -> Socket {
    let cursor = cursor.map_or(String::new(), |cursor| format!("&cursor={cursor}"));
    let path = format!("/ws?user_id={user}{cursor}");
    Socket::connect_at(&format!("127.0.0.1:{port}"), user, &path).await
}

/// Users who chat with Alice: they by their sockets, she over HTTP.
struct Load {
    stop: CancellationToken,
    /// Each tells what it saw acknowledged.
    posting: JoinSet<(Uuid, Vec<Uuid>)>,
    clients: JoinSet<Client>,
}

impl Load {
    async fn start(database: &Database, nginx: &Nginx) -> Self {
        let mut load = Self {
            stop: CancellationToken::new(),
            posting: JoinSet::new(),
            clients: JoinSet::new(),
        };
        let count = i32::try_from(USERS).expect("a few users");
        let mut clients = Vec::new();
        for user in database.add_users(count).await {
            let api = nginx.api();
            let conversation = api.open_conversation(ALICE, user).await;
            // From the first message on, and while nothing else is asked for: nginx counts requests as well.
            let client = Client::connect(nginx.port, user, conversation).await;
            clients.push((api, conversation, client));
        }
        for (api, conversation, client) in clients {
            load.clients.spawn(client.run(load.stop.clone()));
            load.posting
                .spawn(post(api, conversation, load.stop.clone()));
        }
        load
    }

    /// Ends, and holds what everybody was told against what is stored, and what is stored against what
    /// everybody saw.
    async fn assert_complete(mut self, replica: &Replica) {
        self.stop.cancel();
        let mut acknowledged: Vec<Uuid> = Vec::new();
        while let Some(ended) = self.posting.join_next().await {
            let (_, posted) = ended.expect("no request failed");
            acknowledged.extend(posted);
        }
        let (mut stored, mut restarts) = (0, 0);
        while let Some(ended) = self.clients.join_next().await {
            let mut client = ended.expect("no client failed");
            let history = replica.api().history(client.conversation).await;
            let ids: HashSet<Uuid> = history.iter().map(id_of).collect();
            assert_eq!(ids.len(), history.len());
            for (message, seq) in history.iter().zip(1..) {
                assert_eq!(seq_of(message), seq, "a gap, or one that is stored twice");
            }
            let contents: HashSet<&str> = history
                .iter()
                .map(|message| message["content"].as_str().expect("content"))
                .collect();
            assert_eq!(contents.len(), history.len(), "one is stored twice");
            assert!(client.acknowledged.iter().all(|id| ids.contains(id)));
            within("everything arrives", client.see(&ids)).await;
            acknowledged.retain(|id| !ids.contains(id));
            stored += history.len();
            restarts += client.restarts;
        }
        assert!(
            acknowledged.is_empty(),
            "acknowledged, and not stored: {acknowledged:?}"
        );
        assert!(stored > 10 * USERS, "{stored} messages are no load");
        assert!(restarts >= USERS, "{restarts} reconnects");
    }
}

/// Sends and reads over HTTP; each request has one try.
async fn post(api: Api, conversation: Uuid, stop: CancellationToken) -> (Uuid, Vec<Uuid>) {
    let mut posted = Vec::new();
    while !stop.is_cancelled() {
        let content = format!("{} of Alice", posted.len());
        let message = api.send(conversation, ALICE, &content).await;
        posted.push(id_of(&message));
        api.messages(conversation, "limit=1").await.ok(200);
        // A load, and not all that the machine has.
        tokio::time::sleep(PACE).await;
    }
    (conversation, posted)
}

/// A client as README.md describes one: it comes back with its cursor, and repeats what was not answered.
struct Client {
    port: u16,
    user: Uuid,
    conversation: Uuid,
    socket: Socket,
    cursor: String,
    /// Its number, once it is sent and until it is acknowledged.
    unanswered: Option<usize>,
    sent: usize,
    acknowledged: Vec<Uuid>,
    seen: HashSet<Uuid>,
    last_seq: i64,
    restarts: usize,
}

impl Client {
    async fn connect(port: u16, user: Uuid, conversation: Uuid) -> Self {
        let socket = connect(port, user, None).await;
        Self {
            port,
            user,
            conversation,
            cursor: cursor(&socket.connected["data"]).expect("a cursor"),
            socket,
            unanswered: None,
            sent: 0,
            acknowledged: Vec::new(),
            seen: HashSet::new(),
            last_seq: 0,
            restarts: 0,
        }
    }

    async fn run(mut self, stop: CancellationToken) -> Self {
        let mut tick = tokio::time::interval(PACE);
        while !stop.is_cancelled() || self.unanswered.is_some() {
            tokio::select! {
                frame = self.socket.next_or_end() => self.take(frame).await,
                _ = tick.tick(), if self.unanswered.is_none() => {
                    self.sent += 1;
                    self.unanswered = Some(self.sent);
                    self.send().await;
                }
            }
        }
        self
    }

    async fn see(&mut self, all: &HashSet<Uuid>) {
        while !self.seen.is_superset(all) {
            let frame = self.socket.next_or_end().await;
            self.take(frame).await;
        }
    }

    async fn send(&mut self) {
        let Some(number) = self.unanswered else {
            return;
        };
        let data = json!({
            "conversationId": self.conversation,
            "content": format!("{number} of {}", self.user),
            "clientMessageId": format!("m{number}"),
        });
        self.socket.try_request("send_message", data).await;
    }

    async fn take(&mut self, frame: Result<Value, Option<u16>>) {
        let frame = match frame {
            Ok(frame) => frame,
            Err(code) => {
                assert_eq!(code, Some(1012), "a replica says that it restarts");
                self.restarts += 1;
                self.socket = connect(self.port, self.user, Some(&self.cursor)).await;
                let connected = &self.socket.connected["data"];
                assert_eq!(connected["resumed"], true, "{connected}");
                self.send().await;
                return;
            }
        };
        if let Some(cursor) = cursor(&frame) {
            self.cursor = cursor;
        }
        match frame["type"].as_str() {
            Some("ack") => {
                self.acknowledged.push(id_of(&frame["data"]["message"]));
                self.unanswered = None;
            }
            Some("chat_message") => {
                let message = &frame["data"];
                if self.seen.insert(id_of(message)) {
                    assert!(seq_of(message) > self.last_seq, "out of order: {frame}");
                    self.last_seq = seq_of(message);
                }
            }
            Some("conversation_created" | "server_closing") => {}
            _ => panic!("{frame}"),
        }
    }
}

fn cursor(of: &Value) -> Option<String> {
    of["cursor"].as_str().map(str::to_owned)
}
