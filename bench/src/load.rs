//! The load: sockets of both participants of each conversation, senders over HTTP or those sockets, and the
//! account of what arrived.

mod board;
mod checker;
mod content;
mod dialect;
mod frames;
mod http;
mod schedule;
mod socket;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use pgchat_harness::Failure;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use uuid::Uuid;

pub use board::{Board, Client, LaneSpec, Tally};
pub use checker::Faults;
pub use content::Stamp;
pub use dialect::Dialect;
pub use schedule::{Alarm, Schedule};

use board::Pipe;
use http::{Connection, Queue};

/// Handshakes under way at once.
const HANDSHAKES: usize = 128;
/// How long a socket may take to be live once it is open.
const LIVE: Duration = Duration::from_secs(30);

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    WebSocket,
    Http,
}

/// When messages are sent.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// Each lane sends its next message when the last one is answered.
    Closed,
    /// So many a second over all lanes, whatever comes back.
    Open(u64),
}

pub struct Plan {
    pub dialect: Dialect,
    pub replicas: Vec<SocketAddr>,
    pub users: Vec<Uuid>,
    pub lanes: Vec<LaneSpec>,
    /// User and replica of each socket.
    pub sockets: Vec<(usize, usize)>,
    pub via: Via,
    /// Bytes of each content.
    pub size: usize,
}

/// A load that is connected.
pub struct Load {
    pub board: Rc<Board>,
    replicas: Vec<SocketAddr>,
    buffer: socket::Buffer,
    tasks: JoinSet<()>,
}

impl Load {
    pub async fn connect(plan: Plan) -> Result<Self, Failure> {
        let clients = plan
            .sockets
            .iter()
            .enumerate()
            .map(|(ix, (user, replica))| {
                let id = plan.users[*user].to_string();
                Rc::new(Client::new(*user, id, *replica, local_address(ix)))
            })
            .collect();
        let board = Board::new(plan.dialect, plan.lanes, clients, &plan.users, plan.size)?;
        let mut load = Self {
            board: Rc::new(board),
            replicas: plan.replicas,
            buffer: socket::buffer(),
            tasks: JoinSet::new(),
        };
        load.open_sockets(&load.board.clients.clone()).await?;
        load.open_pipes(plan.via).await?;
        Ok(load)
    }

    /// Opens the sockets of these clients, each with its cursor if it has one, and waits until all are live.
    async fn open_sockets(&mut self, clients: &[Rc<Client>]) -> Result<(), Failure> {
        let tasks = self.reopen(clients).await?;
        self.adopt(tasks);
        Ok(())
    }

    /// Opens the sockets of these clients while something else is sent. What is returned reads from the sockets, and wants to be adopted.
    pub async fn reopen(&self, clients: &[Rc<Client>]) -> Result<JoinSet<()>, Failure> {
        let (replicas, buffer, board) = (&self.replicas, &self.buffer, &self.board);
        let mut tasks = JoinSet::new();
        let mut opened = futures_util::stream::iter(clients.iter().cloned())
            .map(|client| async move {
                let cursor = client.cursor.borrow().clone();
                let cursor = Some(cursor).filter(|cursor| !cursor.is_empty());
                let path = board.dialect.path(&client.user_id, cursor.as_deref());
                let to = replicas[client.replica.get()];
                let (reader, writer) = socket::open(to, client.from, &path, buffer).await?;
                Ok::<_, Failure>((client, reader, writer))
            })
            .buffer_unordered(HANDSHAKES);
        while let Some((client, mut reader, writer)) = opened.try_next().await? {
            *client.writer.borrow_mut() = Some(writer.clone());
            let board = self.board.clone();
            tasks.spawn_local(async move {
                let ended = loop {
                    let each = |opcode, payload: &[u8]| {
                        board.frame(&client, &writer, opcode, payload);
                    };
                    match reader.read(each).await {
                        Ok(true) => {}
                        Ok(false) => break "the connection has ended".to_owned(),
                        Err(error) => break error.to_string(),
                    }
                };
                client.live.set(false);
                if !board.closing.get() && !client.leaving.get() {
                    board.tally.borrow_mut().faults.cut += 1;
                    board.complain(|| format!("a socket: {ended}"));
                }
            });
        }
        for client in clients {
            // Asked again after each wake-up: what an earlier connection left behind wakes at once.
            let live = async {
                while !client.live.get() {
                    client.came_live.notified().await;
                }
            };
            timeout(LIVE, live)
                .await
                .map_err(|_| "a socket was opened and did not come live")?;
        }
        Ok(tasks)
    }

    /// Ends with the load from now on.
    pub fn adopt(&mut self, mut tasks: JoinSet<()>) {
        self.tasks
            .spawn_local(async move { while tasks.join_next().await.is_some() {} });
    }

    /// Gives each lane its way to send: the sender's first socket, or an HTTP connection to the same replica.
    async fn open_pipes(&mut self, via: Via) -> Result<(), Failure> {
        for (ix, lane) in self.board.lanes.iter().enumerate() {
            let client = self
                .board
                .clients
                .iter()
                .find(|client| client.user == lane.spec.sender)
                .ok_or("a sender without a socket")?
                .clone();
            if via == Via::WebSocket {
                self.board.set_pipe(ix, Pipe::Socket(client));
                continue;
            }
            let to = self.replicas[client.replica.get()];
            let mut connection = Connection::open(to, client.from).await?;
            let queue = Rc::new(Queue::default());
            self.board.set_pipe(ix, Pipe::Http(queue.clone()));
            let board = self.board.clone();
            self.tasks.spawn_local(async move {
                let lane = &board.lanes[ix];
                loop {
                    let stamp = queue.next().await;
                    let posted = connection
                        .post(&lane.conversation, &lane.sender, stamp, board.size)
                        .await;
                    match posted {
                        Ok(status) => {
                            let accepted = status == 200 || status == 201;
                            board.answered(stamp.lane, stamp.number, accepted, || {
                                format!("POST was answered with {status}")
                            });
                        }
                        Err(error) => {
                            if !board.closing.get() {
                                board.tally.borrow_mut().faults.cut += 1;
                                board.complain(|| format!("a POST: {error}"));
                            }
                            return;
                        }
                    }
                }
            });
        }
        Ok(())
    }

    /// Sends for as long as the future takes.
    pub async fn send_during<T>(
        &self,
        pace: Pace,
        during: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        self.board.sending.set(true);
        self.board.closed_loop.set(matches!(pace, Pace::Closed));
        let sending = async {
            match pace {
                Pace::Closed => {
                    for lane in 0..self.board.paced.get() {
                        self.board.send(lane, self.board.now());
                    }
                    std::future::pending().await
                }
                Pace::Open(rate) => self.keep_schedule(rate).await,
            }
        };
        let done = tokio::select! {
            error = sending => Err(error),
            done = during => Ok(done),
        };
        self.board.sending.set(false);
        done
    }

    /// Until it is dropped, or the timer fails.
    async fn keep_schedule(&self, rate: u64) -> Failure {
        let alarm = match Alarm::new() {
            Ok(alarm) => alarm,
            Err(error) => return error.into(),
        };
        let schedule = Schedule::new(rate);
        let began = self.board.now();
        let lanes = self.board.paced.get().max(1) as u64;
        let mut next = 0;
        loop {
            let now = self.board.now() - began;
            let due = schedule.due_by(now);
            while next < due {
                let lane = usize::try_from(next % lanes).unwrap_or(0);
                self.board.send(lane, began + schedule.due(next));
                next += 1;
            }
            let wait = schedule
                .due(next)
                .saturating_sub(self.board.now() - began)
                .max(1);
            if let Err(error) = alarm.sleep(Duration::from_nanos(wait)).await {
                return error.into();
            }
        }
    }

    /// Sends at this pace, counts after the warm-up, and calls `at` at both ends of the window.
    pub async fn measure(
        &self,
        pace: Pace,
        warm_up: Duration,
        measured: Duration,
        mut at: impl FnMut() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let from = self.board.now() + nanos(warm_up);
        let to = from + nanos(measured);
        self.board.window.set((from, to));
        let during = async {
            sleep_until(self.board.instant(from)).await;
            at()?;
            sleep_until(self.board.instant(to)).await;
            at()
        };
        self.send_during(pace, during).await?
    }

    /// Waits until nothing is under way, before more is sent.
    pub async fn settle_quietly(&self, limit: Duration) -> Result<(), Failure> {
        let arrived = async {
            while self.board.under_way() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(limit, arrived)
            .await
            .map_err(|_| "messages do not arrive".into())
    }

    /// Waits for what is still under way, and counts what does not come as lost.
    pub async fn settle(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        while self.board.under_way() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        // What would come twice comes now, if at all.
        sleep(Duration::from_millis(100)).await;
        self.board.count_missing();
    }

    /// Ends all connections; what came of the run stays on the board.
    pub async fn close(mut self) -> Rc<Board> {
        self.board.closing.set(true);
        self.tasks.shutdown().await;
        self.board
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Sockets are spread over a few addresses: each has some 28,000 ports.
fn local_address(ix: usize) -> IpAddr {
    let last = u8::try_from(2 + ix % 8).unwrap_or(2);
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, last))
}
