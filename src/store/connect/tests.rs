//! Connections of a pool, by servers that are not all there.

use deadpool_postgres::{PoolError, TimeoutType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::{Config, DatabaseSource};

/// Answers one who connects, up to the first statement of ours.
async fn let_in(client: &mut TcpStream) {
    // AuthenticationOk; to "show transaction_read_only" a row of one column, which says off; to which timeline it is on, none.
    const LET_IN: &[u8] = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
    const TAKES_WRITES: &[u8] = b"T\0\0\0\x1a\0\x01o\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\0\0\0\0\0\0\
        D\0\0\0\x0d\0\x01\0\0\0\x03off\
        C\0\0\0\x09SHOW\0Z\0\0\0\x05I";
    const IS_ON_NO_TIMELINE: &[u8] = b"C\0\0\0\x0dSELECT 0\0Z\0\0\0\x05I";
    for answer in [LET_IN, TAKES_WRITES, IS_ON_NO_TIMELINE] {
        let asked = client.read(&mut [0; 1024]).await.unwrap();
        assert!(asked > 0);
        client.write_all(answer).await.unwrap();
    }
}

/// Of one connection.
fn pool_of(server: &TcpListener, timeout: Duration, way: Way) -> RenewablePool {
    let port = server.local_addr().unwrap().port().to_string();
    let vars = [
        ("DB_HOST", "127.0.0.1"),
        ("DB_PORT", port.as_str()),
        ("DB_SSL_MODE", "disable"),
    ];
    let DatabaseSource::External(database) = Config::from_vars(&vars).unwrap().database else {
        panic!("DB_HOST is set");
    };
    Connector::new(&database)
        .unwrap()
        .pool(1, timeout, way)
        .unwrap()
}

/// Answers the first statement.
async fn obey(client: &mut TcpStream) {
    assert!(client.read(&mut [0; 1024]).await.unwrap() > 0);
    let set = b"C\0\0\0\x08SET\0Z\0\0\0\x05I";
    client.write_all(set).await.unwrap();
}

/// Bounds a test.
async fn in_time(test: impl Future<Output = ()>) {
    let all = tokio::time::timeout(Duration::from_secs(60), test);
    all.await.expect("it goes on");
}

/// Its server is one that the others have left by the time at which it lets in.
#[tokio::test]
async fn a_connection_that_was_under_way_when_the_pool_was_renewed_is_made_anew() {
    in_time(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = pool_of(&server, Duration::from_secs(60), Way::Pooler);
        let made = tokio::spawn({
            let pool = pool.clone();
            async move { pool.get().await.map(drop) }
        });
        let (mut former, _) = server.accept().await.unwrap();
        pool.renew();
        let_in(&mut former).await;
        let (mut next, _) = server.accept().await.unwrap();
        let_in(&mut next).await;
        made.await.unwrap().unwrap();
        assert_eq!(
            former.read(&mut [0; 1024]).await.unwrap_or(0),
            0,
            "it is closed"
        );
    })
    .await;
}

/// Its first statement belongs to the making of it.
#[tokio::test]
async fn a_connection_whose_first_statement_ran_when_the_pool_was_renewed_is_made_anew() {
    in_time(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = pool_of(&server, Duration::from_secs(60), Way::Direct);
        let made = tokio::spawn({
            let pool = pool.clone();
            async move { pool.get().await.map(drop) }
        });
        let (mut former, _) = server.accept().await.unwrap();
        let_in(&mut former).await;
        former.readable().await.unwrap();
        pool.renew();
        obey(&mut former).await;
        let (mut next, _) = server.accept().await.unwrap();
        let_in(&mut next).await;
        obey(&mut next).await;
        made.await.unwrap().unwrap();
    })
    .await;
}

/// Of a trigger that fails each time, say, while others need a connection.
#[tokio::test]
async fn a_connection_is_made_however_often_statements_are_lost_meanwhile() {
    in_time(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let pool = pool_of(&server, Duration::from_secs(60), Way::Pooler);
        let made = tokio::spawn({
            let pool = pool.clone();
            async move { pool.get().await.map(drop) }
        });
        let (mut client, _) = server.accept().await.unwrap();
        pool.renew_sessions();
        let_in(&mut client).await;
        made.await.unwrap().unwrap();
        assert_eq!(pool.status().size, 1);
        // Now it may have lost the same.
        pool.renew_sessions();
        assert_eq!(pool.status().size, 0);
    })
    .await;
}

/// As a proxy does whose server has been paused, or a pooler that waits for one.
#[tokio::test]
async fn a_server_that_is_silent_once_it_has_let_in_keeps_no_place_of_the_pool() {
    const PATIENCE: Duration = Duration::from_secs(1);
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pool = pool_of(&server, PATIENCE, Way::Direct);
    tokio::spawn(async move {
        let mut all = Vec::new();
        loop {
            let (mut client, _) = server.accept().await.unwrap();
            let_in(&mut client).await;
            all.push(client);
        }
    });
    for _ in 0..2 {
        let got = tokio::time::timeout(PATIENCE * 20, pool.get()).await;
        let failed = got.expect("given up").expect_err("nothing was answered");
        let in_making = matches!(failed, PoolError::Timeout(TimeoutType::Create));
        assert!(in_making, "{failed}");
    }
}
