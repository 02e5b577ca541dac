//! What the fuzzer runs (`make fuzz`): a function for each parser of what strangers send, which panics when something does
//! not hold that must hold for any input. Tests run the corpus that was kept through the same functions.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is the report

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::auth;
use crate::config::Config;
use crate::listener::fuzzing::ListenerHarness;
use crate::metrics::ConnectionCounts;
use crate::model::UserId;
use crate::position::Cursor;
use crate::server::{self, ServerLimits};
use crate::services::Services;
use crate::{http, testing, ws};

/// The user whom the corpus names.
const USER: UserId = UserId(Uuid::from_u128(0x1111_1111_1111_4111_8111_1111_1111_1111));

const SECRET: &str = "the fuzzer's secret, of 32 bytes or more";
/// Stands in the corpus as it is.
const SERVICE_TOKEN: &str = "fuzzing-service-token-0123456789";
/// Becomes a token of [`USER`], which no fuzzer could sign.
const TOKEN_PLACE: &[u8] = b"@JWT@";

/// Much longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A text frame of a client.
pub fn client_frame(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        ws::fuzzing::client_frame(text);
    }
}

/// A cursor: nothing is one but what a cursor is written as.
pub fn cursor(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input)
        && let Some(cursor) = Cursor::decode(text)
    {
        assert_eq!(cursor.encode(), text);
    }
}

/// A file of settings.
pub fn config_file(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        crate::config::fuzzing::config_file(text);
    }
}

/// The text of a notification.
pub fn notification(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    LISTENER.with_borrow_mut(|harness| {
        let (runtime, listener) = harness.get_or_insert_with(start_listener);
        runtime.block_on(listener.receive(text));
    });
}

/// What a client sends on a connection: heads, bodies, a WebSocket handshake, frames. The first byte chooses `AUTH_MODE`.
pub fn http(input: &[u8]) {
    let Some((mode, sent)) = input.split_first() else {
        return;
    };
    HTTP.with_borrow_mut(|harness| {
        harness
            .get_or_insert_with(HttpHarness::start)
            .exchange(mode % 2 == 1, sent)
    });
}

thread_local! {
    static LISTENER: RefCell<Option<(Runtime, ListenerHarness)>> = const { RefCell::new(None) };
    static HTTP: RefCell<Option<HttpHarness>> = const { RefCell::new(None) };
}

/// One thread, so that what an input does depends on nothing else.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// A replica without a database: whatever needs one is refused within a moment.
fn services(mode: &[(&str, &str)]) -> Services {
    let hub = testing::hub(1000);
    let database = [("DB_HOST", "/nowhere"), ("RATE_LIMIT_PER_SECOND", "0")];
    let mut config = Config::from_vars(&[&database, mode].concat()).unwrap();
    config.auth.user_check = Duration::from_secs(u64::from(u32::MAX));
    config.timeouts.write = Duration::from_millis(5);
    config.timeouts.database = Duration::from_millis(50);
    testing::services_of(hub, config)
}

fn start_listener() -> (Runtime, ListenerHarness) {
    let runtime = runtime();
    let entered = runtime.enter();
    let listener = ListenerHarness::new(&services(&[]), USER);
    drop(entered);
    (runtime, listener)
}

/// The service on two ports: in trusted mode and in jwt mode.
struct HttpHarness {
    runtime: Runtime,
    servers: [Server; 2],
}

struct Server {
    address: SocketAddr,
    connections: TaskTracker,
    token: Vec<u8>,
}

impl HttpHarness {
    fn start() -> Self {
        let runtime = runtime();
        let jwt = [("JWT_SECRET", SECRET), ("SERVICE_TOKENS", SERVICE_TOKEN)];
        let servers =
            runtime.block_on(async { [Server::start(&[]).await, Server::start(&jwt).await] });
        Self { runtime, servers }
    }

    fn exchange(&self, jwt: bool, sent: &[u8]) {
        let server = &self.servers[usize::from(jwt)];
        let received = self.runtime.block_on(async {
            tokio::time::timeout(PATIENCE, server.exchange(sent))
                .await
                .expect("the connection ends once the client's side of it has")
        });
        assert!(
            received.is_empty() || received.starts_with(b"HTTP/1."),
            "{}",
            received.escape_ascii()
        );
        let failed = b"HTTP/1.1 500";
        assert!(
            !received.windows(failed.len()).any(|part| part == failed),
            "{}",
            received.escape_ascii()
        );
    }
}

impl Server {
    async fn start(mode: &[(&str, &str)]) -> Self {
        let services = services(mode);
        services.auth.believe_active(USER);
        let hour = Duration::from_secs(3600);
        let token = auth::mint(&services.config.auth, USER, hour * 24);
        let limits = ServerLimits::from(&*services.config);
        let lifecycle = services.lifecycle.clone();
        let routes = http::routes(services.clone(), ws::route(services.clone()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = lifecycle.connections.clone();
        tokio::spawn(server::serve(
            listener,
            routes,
            limits,
            lifecycle,
            ConnectionCounts::default(),
        ));
        Self {
            address,
            connections,
            token: token.unwrap_or_default().into_bytes(),
        }
    }

    /// Sends all of it and ends its side; what came back, when nothing of the connection is left.
    async fn exchange(&self, sent: &[u8]) -> Vec<u8> {
        let sent = replaced(sent, TOKEN_PLACE, &self.token);
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut received = Vec::new();
        let (mut read, mut write) = stream.split();
        // Either may fail: a server may close over what it did not read.
        let sending = async {
            let _ = write.write_all(&sent).await;
            let _ = write.shutdown().await;
        };
        let (_, _) = tokio::join!(sending, read.read_to_end(&mut received));
        drop(stream);
        while !self.connections.is_empty() {
            tokio::task::yield_now().await;
        }
        received
    }
}

fn replaced(text: &[u8], place: &[u8], by: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(place.len()).position(|part| part == place) {
        made.extend_from_slice(&rest[..at]);
        made.extend_from_slice(by);
        rest = &rest[at + place.len()..];
    }
    made.extend_from_slice(rest);
    made
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What the fuzzer found to be worth keeping, and what it found to be wrong once.
    fn run_corpus(target: &str, run: fn(&[u8])) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let mut count = 0;
        for entry in std::fs::read_dir(dir.join(target)).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            run(&std::fs::read(&path).unwrap());
            count += 1;
        }
        assert!(count > 4, "the corpus of {target} is gone");
    }

    #[test]
    fn the_corpus_of_client_frames_holds() {
        run_corpus("client_frame", client_frame);
    }

    #[test]
    fn the_corpus_of_cursors_holds() {
        run_corpus("cursor", cursor);
    }

    #[test]
    fn the_corpus_of_notifications_holds() {
        run_corpus("notification", notification);
    }

    #[test]
    fn the_corpus_of_configurations_holds() {
        run_corpus("config", config_file);
    }

    #[test]
    fn the_corpus_of_connections_holds() {
        run_corpus("http", http);
    }
}
