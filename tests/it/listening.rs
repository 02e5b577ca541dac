//! When a replica takes connections: none before it can serve them, so that whoever asks goes to another one at once.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream};
use tokio_postgres::Client;

use crate::support::*;

/// A replica whose start waits for its first heartbeat, and what it waits for.
async fn held_back(database: &Database, port: u16) -> (Replica, Client) {
    let registry = "lock table chat_replicas in access exclusive mode";
    let holder = database.holding(registry).await;
    let port = port.to_string();
    let patience = [
        ("SERVER_PORT", port.as_str()),
        ("DB_CONNECT_TIMEOUT_SECONDS", "300"),
    ];
    let replica = Replica::launch(database, &patience);
    eventually("the start waits for the registry", || async {
        let waiting = "pg_locks where not granted and relation = 'chat_replicas'::regclass";
        (database.count(waiting).await > 0).then_some(())
    })
    .await;
    (replica, holder)
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[tokio::test]
async fn a_connection_is_refused_until_it_can_be_served() {
    let database = Database::fresh().await;
    let port = free_port();
    let (mut replica, holder) = held_back(&database, port).await;
    let refused = TcpStream::connect(loopback(port)).await;
    let error = refused.expect_err("a connection that nobody serves");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // And yet nobody else gets the address: a port in use is told before anything is started.
    let another = TcpSocket::new_v4().expect("a socket");
    let error = another.bind(loopback(port)).expect_err("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);

    holder.batch_execute("rollback").await.expect("released");
    replica.until_ready().await;
    assert_eq!(replica.port(), port);
}

/// Two that do not listen yet may have the same address.
#[tokio::test]
async fn a_port_that_is_taken_during_the_start_is_named_like_any_other() {
    let database = Database::fresh().await;
    let port = free_port();
    let (mut replica, holder) = held_back(&database, port).await;
    let quicker = TcpSocket::new_v4().expect("a socket");
    quicker.set_reuseaddr(true).expect("an option");
    quicker.bind(loopback(port)).expect("both may be bound");
    let _quicker = quicker.listen(1).expect("and one listens");
    holder.batch_execute("rollback").await.expect("released");
    assert_eq!(replica.ended().await.code(), Some(1));
    let log = replica.log();
    let line = format!("127.0.0.1:{port} is in use by another program; set SERVER_PORT");
    assert!(log.contains(&line), "{log}");
}
