//! Requests that meet a replica that is gone or answers no more: where nginx sends them, and what their clients are told.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::dns::NameServer;
use super::nginx::{self, Nginx, Replicas};
use super::{address, connect, started};
use crate::support::*;

/// By least connections, some of them go where there are none.
const AT_ONCE: usize = 12;

/// No address is left alone for what nginx's own first request met there.
const NEVER_ALONE: (&str, &str) = ("max_fails=1 fail_timeout=3s", "max_fails=0");

/// What waits hears of the new list meanwhile: nginx gives up an address later than it asks the DNS again.
const PATIENCE: [(&str, &str); 4] = [
    ("valid=5s", "valid=1s"),
    ("proxy_connect_timeout 2s", "proxy_connect_timeout 6s"),
    (
        "proxy_next_upstream_timeout 10s",
        "proxy_next_upstream_timeout 60s",
    ),
    NEVER_ALONE,
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn a_send_that_waits_for_an_address_that_left_the_dns_goes_to_another_replica() {
    let leaving = Leaving::start(30).await;
    for left in [2, 1] {
        let user = leaving.database.add_users(1).await[0];
        let api = leaving.replicas[0].api();
        let conversation = api.open_conversation(ALICE, user).await;
        let sent = leaving
            .outlived_by(left, |nginx, number| {
                let api = nginx.api();
                async move { id_of(&api.send(conversation, ALICE, &number.to_string()).await) }
            })
            .await;
        let history = api.history(conversation).await;
        assert_eq!(history.len(), AT_ONCE, "each is stored once");
        let stored: HashSet<_> = history.iter().map(id_of).collect();
        assert_eq!(stored, HashSet::from_iter(sent));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn a_handshake_that_waits_for_an_address_that_left_the_dns_goes_to_another_replica() {
    let leaving = Leaving::start(33).await;
    for left in [2, 1] {
        let user = leaving.database.add_users(1).await[0];
        let sockets = leaving
            .outlived_by(left, |nginx, _| {
                let port = nginx.port;
                async move { connect(port, user, None).await }
            })
            .await;
        for socket in sockets {
            socket.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn so_does_a_probe() {
    let leaving = Leaving::start(36).await;
    for left in [2, 1] {
        let answered = leaving
            .outlived_by(left, |nginx, _| {
                let api = nginx.api();
                async move { api.get("/health/ready").await.status }
            })
            .await;
        assert_eq!(answered, [200; AT_ONCE]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn what_a_replica_took_and_does_not_answer_is_told_as_a_504_and_not_sent_again() {
    let database = Database::fresh().await;
    let port = free_port();
    let addresses = [address(40), address(41)];
    let mut replicas = Vec::new();
    for address in addresses {
        replicas.push(started(&database, address, port).await);
    }
    let names = NameServer::start(&addresses).await;
    let changes = [
        ("proxy_read_timeout 30s", "proxy_read_timeout 1s"),
        NEVER_ALONE,
    ];
    let program = nginx::program(true);
    let nginx = Nginx::start_with(&program, Replicas::Named(&names), port, &changes).await;
    for replica in &replicas {
        replica.freeze();
    }
    let timeouts = || nginx.log().matches("while reading response header").count();
    let before = timeouts();
    assert_eq!(status(&nginx, Method::POST).await, 504);
    assert_eq!(timeouts(), before + 1, "it was sent once");
    // What reads is asked of both.
    assert_eq!(status(&nginx, Method::GET).await, 504);
    assert_eq!(timeouts(), before + 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx: scripts/test-deployment.sh runs it"]
async fn what_a_replica_took_before_it_died_is_told_as_a_502_and_not_sent_again() {
    let dying = TcpListener::bind((address(42), 0)).await.expect("a port");
    let port = dying.local_addr().expect("its address").port();
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    // It answers probes, and ends at what is sent.
    let _answering = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((mut stream, _)) = dying.accept().await {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap_or_default();
            if request[..length].starts_with(b"POST") {
                counted.fetch_add(1, Ordering::SeqCst);
            } else {
                let answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
            }
        }
    }));
    let names = NameServer::start(&[address(42)]).await;
    let program = nginx::program(true);
    let named = Replicas::Named(&names);
    let nginx = Nginx::start_with(&program, named, port, &[NEVER_ALONE]).await;
    assert_eq!(status(&nginx, Method::POST).await, 502);
    assert_eq!(taken.load(Ordering::SeqCst), 1, "it was sent once");
}

/// nginx answers for itself, in no shape of pgchat's.
async fn status(nginx: &Nginx, method: Method) -> u16 {
    let request = nginx.api().request(method, "/api/v1/chat/messages");
    let answer = request.body("{}").send().await.expect("an answer");
    answer.status().as_u16()
}

/// Replicas, and an address that the DNS names with theirs until it leaves.
struct Leaving {
    database: Database,
    replicas: Vec<Replica>,
    addresses: [Ipv4Addr; 2],
    port: u16,
    gone: Ipv4Addr,
    _silent: (TcpListener, TcpStream),
}

impl Leaving {
    /// `first`: the number of the first of three addresses.
    async fn start(first: usize) -> Self {
        let database = Database::fresh().await;
        let port = free_port();
        let addresses = [address(first), address(first + 1)];
        let mut replicas = Vec::new();
        for address in addresses {
            replicas.push(started(&database, address, port).await);
        }
        let gone = address(first + 2);
        Self {
            database,
            replicas,
            addresses,
            port,
            gone,
            _silent: silent(SocketAddr::from((gone, port))).await,
        }
    }

    /// Makes requests through nginx, has the address leave while some of them wait for it, and returns what came of all. `left`
    /// replicas take part: a list of one address is a case of its own for nginx.
    async fn outlived_by<F>(
        &self,
        left: usize,
        request: impl Fn(&Nginx, usize) -> F,
    ) -> Vec<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let names = NameServer::start(&self.addresses[..left]).await;
        names.add(self.gone);
        let program = nginx::program(true);
        let named = Replicas::Named(&names);
        let nginx = Nginx::start_with(&program, named, self.port, &PATIENCE).await;
        let mut requests = JoinSet::new();
        for number in 0..AT_ONCE {
            requests.spawn(request(&nginx, number));
        }
        eventually("some wait for the address that is gone", || async {
            is_waited_for(self.gone, self.port).then_some(())
        })
        .await;
        names.remove(self.gone);
        let answered = requests.join_all().await;
        let waited = "upstream timed out (110: Operation timed out) while connecting";
        assert!(nginx.log().contains(waited), "none of them waited");
        answered
    }
}

/// Somebody who listens, with no room for a further connection: the system drops what would open one.
async fn silent(address: SocketAddr) -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(address).expect("an address of this machine");
    let listening = socket.listen(0).expect("a listener");
    let waiting = TcpStream::connect(address).await.expect("room for one");
    (listening, waiting)
}

/// Whether somebody on this machine tries to connect there, and has had no answer.
fn is_waited_for(address: Ipv4Addr, port: u16) -> bool {
    const SYN_SENT: &str = "02";
    let remote = format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()));
    let table = fs::read_to_string("/proc/net/tcp").expect("the table of connections");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next() == Some(&remote) && fields.next() == Some(SYN_SENT)
    })
}
