//! A TCP proxy on loopback that misbehaves on demand: it mutes, cuts, refuses and delays connections, and loses answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};
use tokio_util::task::AbortOnDropHandle;

use super::database::Database;
use super::wait::within;

pub struct Proxy {
    pub port: String,
    listen_url: String,
    rules: Arc<watch::Sender<Rules>>,
    traps: Traps,
    journal: Journal,
    _accepting: AbortOnDropHandle<()>,
}

/// What was asked over each connection, by its number.
type Journal = Arc<Mutex<HashMap<u64, Vec<u8>>>>;

/// Connections are numbered from 1; what happens to one follows from its number.
#[derive(Clone, Default)]
struct Rules {
    newest: u64,
    /// Up to this one nothing passes, in either direction, not even the end of the connection.
    muted: u64,
    /// Up to this one they are closed.
    cut: u64,
    refuse: bool,
    delay: Duration,
}

/// What happens to the answer of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The connection is closed instead.
    Cut,
    /// It is kept for ever.
    Held,
}

/// Waits for a request that contains `needle`; `sprung` when its answer has come, and been lost.
#[derive(Clone)]
struct Trap {
    needle: &'static str,
    answer: Answer,
    sprung: watch::Sender<bool>,
    /// For all such requests, and not for the next one alone.
    stays: bool,
}

type Traps = Arc<Mutex<VecDeque<Trap>>>;

impl Proxy {
    /// In front of the server of this database.
    pub async fn before(database: &Database) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (role, name) = (database.served_by, &database.name);
        let rules = Arc::new(watch::Sender::new(Rules::default()));
        let traps = Traps::default();
        let journal = Journal::default();
        let accepting = tokio::spawn(accept(
            listener,
            database.cluster.port,
            rules.clone(),
            traps.clone(),
            journal.clone(),
        ));
        Self {
            port: port.to_string(),
            listen_url: format!("postgres://{role}@127.0.0.1:{port}/{name}?sslmode=disable"),
            rules,
            traps,
            journal,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// The settings that lead all of a replica through it.
    pub fn for_all(&self) -> [(&str, &str); 2] {
        // What is asked is looked at on its way.
        [("DB_PORT", &self.port), ("DB_SSL_MODE", "disable")]
    }

    /// Those that lead the listener, and nothing else, through it.
    pub fn for_listener(&self) -> [(&str, &str); 1] {
        [("LISTEN_DATABASE_URL", &self.listen_url)]
    }

    /// A session of the replicas' role through it.
    pub async fn sql(&self) -> Client {
        let connected = tokio_postgres::connect(&self.listen_url, NoTls).await;
        let (client, connection) = connected.expect("a session");
        tokio::spawn(connection);
        client
    }

    /// The connections that are open now go silent, as when a router forgets them; new ones pass.
    pub fn mute_open(&self) {
        self.rules.send_modify(|rules| rules.muted = rules.newest);
    }

    /// All connections are silent, new ones too.
    pub fn mute(&self) {
        self.rules.send_modify(|rules| rules.muted = u64::MAX);
    }

    /// What was held back passes, late.
    pub fn unmute(&self) {
        self.rules.send_modify(|rules| rules.muted = 0);
    }

    /// Those that are silent are closed, as when the other end's patience is over at last.
    pub fn cut_muted(&self) {
        self.rules
            .send_modify(|rules| rules.cut = rules.muted.min(rules.newest));
    }

    pub fn cut_open(&self) {
        self.rules.send_modify(|rules| rules.cut = rules.newest);
    }

    /// Closes new connections at once.
    pub fn refuse(&self) {
        self.rules.send_modify(|rules| rules.refuse = true);
    }

    pub fn accept(&self) {
        self.rules.send_modify(|rules| rules.refuse = false);
    }

    /// Every piece of data waits so long, one after another.
    pub fn delay(&self, delay: Duration) {
        self.rules.send_modify(|rules| rules.delay = delay);
    }

    /// Of the connections that ever asked for one of `needles`: how often they did, and the round trips that they made for
    /// it and for anything else. A round trip ends with PostgreSQL's Sync or is a simple Query.
    pub fn round_trips(&self, needles: &[&str]) -> (usize, usize) {
        let count =
            |text: &[u8], part: &[u8]| text.windows(part.len()).filter(|w| *w == part).count();
        let journal = self.journal.lock().expect("the journal");
        let asked = journal.values().map(|text| {
            let calls: usize = needles
                .iter()
                .map(|needle| count(text, needle.as_bytes()))
                .sum();
            (
                calls,
                if calls > 0 {
                    count(text, b"S\0\0\0\x04")
                } else {
                    0
                },
            )
        });
        asked.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// The next request that contains `needle` reaches the server, and its answer does not reach the client.
    pub fn lose_answer(&self, needle: &'static str, answer: Answer) -> Lost {
        self.set_trap(needle, answer, false)
    }

    /// Every request that contains `needle` reaches the server, and no answer reaches the client, until
    /// [`lose_no_more`](Self::lose_no_more).
    pub fn lose_answers(&self, needle: &'static str, answer: Answer) -> Lost {
        self.set_trap(needle, answer, true)
    }

    pub fn lose_no_more(&self) {
        self.traps.lock().expect("the traps").clear();
    }

    fn set_trap(&self, needle: &'static str, answer: Answer, stays: bool) -> Lost {
        let (sprung, lost) = watch::channel(false);
        let trap = Trap {
            needle,
            answer,
            sprung,
            stays,
        };
        self.traps.lock().expect("the traps").push_back(trap);
        Lost(lost)
    }
}

/// An answer that will be lost.
pub struct Lost(watch::Receiver<bool>);

impl Lost {
    /// Waits until the server has answered, which nobody heard.
    pub async fn happened(mut self) {
        within("an answer that is lost", self.0.wait_for(|lost| *lost))
            .await
            .expect("the proxy lives");
    }
}

async fn accept(
    listener: TcpListener,
    target: u16,
    rules: Arc<watch::Sender<Rules>>,
    traps: Traps,
    journal: Journal,
) {
    let mut links = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        if rules.borrow().refuse {
            continue;
        }
        let mut number = 0;
        rules.send_modify(|rules| {
            rules.newest += 1;
            number = rules.newest;
        });
        let link = Link {
            number,
            rules: rules.subscribe(),
            traps: traps.clone(),
            journal: journal.clone(),
            caught: Arc::default(),
        };
        links.spawn(async move {
            if let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await {
                let _ = client.set_nodelay(true);
                let _ = server.set_nodelay(true);
                let (client_in, client_out) = client.into_split();
                let (server_in, server_out) = server.into_split();
                let requests = link.clone().pump(client_in, server_out, Link::request);
                let answers = link.pump(server_in, client_out, Link::answer);
                // The end of either direction is the end of both.
                tokio::select! {
                    () = requests => {}
                    () = answers => {}
                }
            }
        });
    }
}

#[derive(Clone)]
struct Link {
    number: u64,
    rules: watch::Receiver<Rules>,
    traps: Traps,
    journal: Journal,
    caught: Arc<Mutex<Option<Trap>>>,
}

impl Link {
    async fn pump(
        mut self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        look: fn(&Self, &[u8]) -> Option<Answer>,
    ) {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            if !self.may_pass().await {
                return;
            }
            let count = tokio::select! {
                changed = self.rules.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                read = from.read(&mut buffer) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(count) => count,
                },
            };
            // It may have been muted while it read.
            if !self.may_pass().await {
                return;
            }
            match look(&self, &buffer[..count]) {
                None => {}
                Some(Answer::Cut) => return,
                Some(Answer::Held) => std::future::pending().await,
            }
            let delay = self.rules.borrow().delay;
            if !delay.is_zero() {
                // The network's fault that a test asked for.
                tokio::time::sleep(delay).await;
            }
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }

    /// Waits while it is muted; `false` when it is cut.
    async fn may_pass(&mut self) -> bool {
        let number = self.number;
        let rules = self
            .rules
            .wait_for(|rules| number <= rules.cut || number > rules.muted)
            .await;
        rules.is_ok_and(|rules| number > rules.cut)
    }

    fn request(&self, data: &[u8]) -> Option<Answer> {
        self.journal
            .lock()
            .expect("the journal")
            .entry(self.number)
            .or_default()
            .extend_from_slice(data);
        let mut traps = self.traps.lock().expect("the traps");
        let next = traps.front()?.clone();
        let waits_for = next.needle.as_bytes();
        if data.windows(waits_for.len()).any(|part| part == waits_for) {
            if !next.stays {
                traps.pop_front();
            }
            *self.caught.lock().expect("the trap") = Some(next);
        }
        None
    }

    fn answer(&self, _data: &[u8]) -> Option<Answer> {
        let trap = self.caught.lock().expect("the trap").take()?;
        trap.sprung.send_replace(true);
        Some(trap.answer)
    }
}
