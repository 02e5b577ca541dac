//! The least that a replica does: it has a message stored, answers, and writes each notification to all of its sockets. No
//! HTTP, no WebSocket, no user is looked at: what is left is what two more processes on a message's way cost any service.
//!
//! A process of its own (`pgchat-bench relay`), as a replica is. Lines over TCP: inwards a [`Line`], outwards [`STORED`] or
//! why not for each of them, and the payload of each notification.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use memchr::memchr;
use nix::sys::signal::Signal;
use pgchat_harness::cluster::{append, free_addr};
use pgchat_harness::process::Process;
use pgchat_harness::{Failure, with_causes};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::sleep;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::{Listener, Work, notifications};
use crate::systems::Bench;

/// The first argument of the process; behind it come its port, the database's URL, the channel, and the statement that stores a message.
pub const COMMAND: &str = "relay";
const STORED: &[u8] = b"stored";
/// How long a relay may take until it accepts connections.
const START: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_millis(5);

/// A message, as the statements want it.
pub struct Line {
    pub conversation: Uuid,
    pub sender: Uuid,
    pub name: i64,
    pub content: String,
    /// Of the notification.
    pub payload: String,
}

impl Line {
    /// With an id of its own, as a replica gives it.
    pub async fn store(&self, client: &Client, statement: &Statement) -> Result<(), Failure> {
        let params: [&(dyn ToSql + Sync); 6] = [
            &Uuid::now_v7(),
            &self.conversation,
            &self.sender,
            &self.content,
            &self.name,
            &self.payload,
        ];
        client
            .execute(statement, &params[..statement.params().len()])
            .await?;
        Ok(())
    }

    fn written(&self) -> String {
        format!(
            "{}\t{}\t{}\t{}\t{}",
            self.conversation, self.sender, self.name, self.content, self.payload
        )
    }

    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '\t');
        Some(Self {
            conversation: parts.next()?.parse().ok()?,
            sender: parts.next()?.parse().ok()?,
            name: parts.next()?.parse().ok()?,
            content: parts.next()?.to_owned(),
            payload: parts.next()?.to_owned(),
        })
    }
}

// The process ---------------------------------------------------------------------------------------

/// Serves until it is killed, or something fails: that ends its sockets, and so is noticed by whoever uses it.
pub fn serve(args: &[String]) -> Result<(), Failure> {
    let [port, url, channel, statement] = args else {
        return Err("relay: a port, a URL, a channel and a statement are wanted".into());
    };
    let port: u16 = port.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let (failed, mut failures) = mpsc::channel(1);
        let tasks = Tasks(failed);
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        tasks.spawn(async {
            connection.await?;
            Err("the connection has ended".into())
        });
        let store = Rc::new((client.prepare(statement).await?, client));
        let sockets = Rc::new(RefCell::new(Vec::new()));
        let (listener, connection) = tokio_postgres::connect(url, NoTls).await?;
        tasks.spawn(hear(connection, sockets.clone()));
        listener.batch_execute(&format!("listen {channel}")).await?;
        tasks.spawn(accept(port, store, sockets, tasks.clone()));
        failures.recv().await.map_or(Ok(()), Err)
    })
}

/// Tasks of which none fails unnoticed.
#[derive(Clone)]
struct Tasks(mpsc::Sender<Failure>);

impl Tasks {
    fn spawn(&self, task: impl Future<Output = Result<(), Failure>> + 'static) {
        let failed = self.0.clone();
        spawn_local(async move {
            if let Err(failure) = task.await {
                // Nobody hears of it once another one has ended the process.
                let _ = failed.try_send(failure);
            }
        });
    }
}

type Sockets = Rc<RefCell<Vec<Rc<TcpStream>>>>;
type Store = Rc<(Statement, Client)>;

async fn accept(port: u16, store: Store, sockets: Sockets, tasks: Tasks) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let socket = Rc::new(socket);
        sockets.borrow_mut().push(socket.clone());
        let (store, sockets, each) = (store.clone(), sockets.clone(), tasks.clone());
        tasks.spawn(async move {
            let end = each_line(&socket, |line| {
                let line = Line::read(&String::from_utf8_lossy(line)).ok_or("no message")?;
                let (store, socket) = (store.clone(), socket.clone());
                each.spawn(async move {
                    let answer = match line.store(&store.1, &store.0).await {
                        Ok(()) => STORED.to_vec(),
                        Err(error) => with_causes(&*error).replace('\n', " ").into_bytes(),
                    };
                    write_line(&socket, &answer)
                });
                Ok(())
            })
            .await;
            sockets.borrow_mut().retain(|one| !Rc::ptr_eq(one, &socket));
            end
        });
    }
}

async fn hear(connection: Listener, sockets: Sockets) -> Result<(), Failure> {
    notifications(connection, |payload| {
        for socket in sockets.borrow().iter() {
            write_line(socket, payload)?;
        }
        Ok(())
    })
    .await?;
    Err("the listener's connection has ended".into())
}

/// Hands on each line, without its end, until the other side closes.
pub async fn each_line(
    socket: &TcpStream,
    mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut read = Vec::with_capacity(64 << 10);
    loop {
        socket.readable().await?;
        match socket.try_read_buf(&mut read) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        }
        let mut from = 0;
        while let Some(length) = memchr(b'\n', &read[from..]) {
            each(&read[from..from + length])?;
            from += length + 1;
        }
        read.drain(..from);
    }
}

/// At once: at the rates of a floor the socket's buffer always has room.
fn write_line(socket: &TcpStream, line: &[u8]) -> Result<(), Failure> {
    let mut text = Vec::with_capacity(line.len() + 1);
    text.extend_from_slice(line);
    text.push(b'\n');
    if socket.try_write(&text)? < text.len() {
        return Err("a socket does not keep up".into());
    }
    Ok(())
}

// Who uses two of them ------------------------------------------------------------------------------

type Waiting = VecDeque<oneshot::Sender<Result<(), Failure>>>;

/// The socket to a relay that takes messages in.
pub struct Intake {
    socket: Rc<TcpStream>,
    /// What is under way, in the order of the answers: of two at a time it does not matter whose is whose.
    unanswered: Rc<RefCell<Waiting>>,
    answers: AbortOnDropHandle<()>,
}

impl Intake {
    pub fn new(socket: TcpStream) -> Self {
        let socket = Rc::new(socket);
        let unanswered: Rc<RefCell<Waiting>> = Rc::default();
        let (reads, waiting) = (socket.clone(), unanswered.clone());
        let answers = AbortOnDropHandle::new(spawn_local(async move {
            let end = each_line(&reads, |line| {
                // It hears of all notifications, too.
                if line.starts_with(b"{") {
                    return Ok(());
                }
                let answer = match line {
                    STORED => Ok(()),
                    _ => Err(String::from_utf8_lossy(line).into()),
                };
                let answered = waiting.borrow_mut().pop_front();
                // Whoever waited may have given up.
                let _ = answered.ok_or("an answer too many")?.send(answer);
                Ok(())
            })
            .await;
            if let Err(error) = end {
                eprintln!("  relay: {error}");
            }
            // Whoever still waits is told of the end.
            waiting.borrow_mut().clear();
        }));
        Self {
            socket,
            unanswered,
            answers,
        }
    }

    /// Until the answer is there.
    pub async fn store(&self, line: &Line) -> Result<(), Failure> {
        const ENDED: &str = "a relay has ended: its log says why";
        if self.answers.is_finished() {
            return Err(ENDED.into());
        }
        let (answered, answer) = oneshot::channel();
        write_line(&self.socket, line.written().as_bytes())?;
        self.unanswered.borrow_mut().push_back(answered);
        answer.await.map_err(|_| ENDED)?
    }
}

/// A relay, and a socket to it.
pub async fn start(
    bench: &Bench,
    database: &str,
    work: Work,
    number: usize,
) -> Result<(Process, TcpStream), Failure> {
    let addr = free_addr()?;
    let log = append(&bench.logs.join(format!("relay-{number}.log")))?;
    let url = format!("postgres://postgres@{}/{database}", bench.cluster.addr);
    let mut process = Process::spawn(
        Command::new(std::env::current_exe()?)
            .args([COMMAND, &addr.port().to_string(), &url])
            .args([work.channel(), work.statement()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log),
        Signal::SIGKILL,
    )?;
    let socket = connect(addr, || process.exited().is_some()).await?;
    socket.set_nodelay(true)?;
    Ok((process, socket))
}

async fn connect(addr: SocketAddr, mut ended: impl FnMut() -> bool) -> Result<TcpStream, Failure> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(addr).await {
            Ok(socket) => return Ok(socket),
            Err(error) if ended() || began.elapsed() > START => {
                return Err(format!("a relay does not start: {error}").into());
            }
            Err(_) => sleep(PROBE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use pgchat_harness::cluster::{Cluster, RunDir, Wanted};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;

    fn line(payload: &str) -> Line {
        Line {
            conversation: Uuid::from_u128(1),
            sender: Uuid::from_u128(2),
            name: -3,
            content: "with spaces".to_owned(),
            payload: payload.to_owned(),
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = line("{\"a\":\t\"b\"}");
        let read = Line::read(&line.written()).unwrap();
        assert_eq!(read.written(), line.written());
        assert_eq!(read.payload, line.payload);
        assert!(Line::read("no\tline").is_none());
    }

    /// What becomes of two messages to a relay that answers so and ends, and of one thereafter.
    async fn answered(answers: &[u8]) -> [Result<(), String>; 2] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (relay, _) = listener.accept().await.unwrap();
        let relay = async {
            let mut relay = BufReader::new(relay);
            for _ in 0..2 {
                relay.read_line(&mut String::new()).await.unwrap();
            }
            relay.write_all(answers).await.unwrap();
        };
        LocalSet::new()
            .run_until(async {
                let intake = Intake::new(socket.unwrap());
                let (one, other) = (line("one"), line("other"));
                let ((), one, other) =
                    tokio::join!(relay, intake.store(&one), intake.store(&other));
                assert!(intake.store(&line("late")).await.is_err());
                [one, other].map(|result| result.map_err(|error| error.to_string()))
            })
            .await
    }

    #[tokio::test]
    async fn a_message_that_a_relay_could_not_store_or_ended_over_is_no_stored_one() {
        let refused = Err("db error".to_owned());
        let seen = answered(b"{\"a\":1}\ndb error\nstored\n").await;
        assert_eq!(seen, [refused, Ok(())]);
        let ended = Err("a relay has ended: its log says why".to_owned());
        assert_eq!(answered(b"stored\n").await, [Ok(()), ended]);
    }

    #[tokio::test]
    async fn a_relay_that_cannot_write_its_answers_ends() {
        let mut dir = RunDir::make(&std::env::temp_dir(), "relay").unwrap();
        let wanted = Wanted {
            bin: None,
            name: "relay",
            settings: Vec::new(),
        };
        let cluster = Cluster::start(&dir, wanted).await.unwrap();
        let addr = free_addr().unwrap();
        let url = format!("postgres://postgres@{}/postgres", cluster.addr);
        // Refused, with a long reason.
        let statement = "select repeat($4, 1000000)::int, $1::uuid, $2::uuid, $3::uuid";
        let args = [&addr.port().to_string(), &url, "nothing", statement].map(str::to_owned);
        let relay = thread::spawn(move || serve(&args).map_err(|error| error.to_string()));
        let mut socket = connect(addr, || relay.is_finished()).await.unwrap();
        let text = line("").written() + "\n";
        // Nobody reads; it may have ended before the last.
        let _ = socket.write_all(text.repeat(50).as_bytes()).await;
        let end = tokio::task::spawn_blocking(|| relay.join().unwrap());
        assert_eq!(
            tokio::time::timeout(START, end).await.unwrap().unwrap(),
            Err("a socket does not keep up".to_owned())
        );
        drop(cluster);
        dir.discard_logs();
    }
}
