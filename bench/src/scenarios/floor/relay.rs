//! The least that a replica does: it has a message stored, answers, and writes each notification to all of its sockets. No
//! HTTP, no WebSocket, no user is looked at: what is left is what two more processes on a message's way cost any service.
//!
//! A process of its own (`pgchat-bench relay`), as a replica is. Lines over TCP: inwards a [`Line`], outwards [`STORED`] for
//! each of them, and the payload of each notification.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use memchr::memchr;
use nix::sys::signal::Signal;
use pgchat_harness::Failure;
use pgchat_harness::cluster::{append, free_addr};
use pgchat_harness::process::Process;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
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
        let id = Uuid::now_v7();
        let Self {
            conversation,
            sender,
            name,
            content,
            payload,
        } = self;
        let params: [&(dyn ToSql + Sync); 6] = [&id, conversation, sender, content, name, payload];
        client
            .execute(statement, &params[..statement.params().len()])
            .await?;
        Ok(())
    }

    fn written(&self) -> String {
        let Self {
            conversation,
            sender,
            name,
            content,
            payload,
        } = self;
        format!("{conversation}\t{sender}\t{name}\t{content}\t{payload}")
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

/// Serves until it is killed.
pub fn serve(args: &[String]) -> Result<(), Failure> {
    let [port, url, channel, statement] = args else {
        return Err("relay: a port, a URL, a channel and a statement are wanted".into());
    };
    let port: u16 = port.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let storing = spawn_local(connection);
        let store = Rc::new((client.prepare(statement).await?, client));
        let sockets = Rc::new(RefCell::new(Vec::new()));
        let (listener, connection) = tokio_postgres::connect(url, NoTls).await?;
        let hearing = spawn_local(hear(connection, sockets.clone()));
        listener.batch_execute(&format!("listen {channel}")).await?;
        let accepting = accept(port, store, sockets);
        tokio::select! {
            end = storing => Err(format!("the connection has ended: {end:?}").into()),
            end = hearing => Err(format!("the listener has ended: {end:?}").into()),
            end = accepting => end,
        }
    })
}

type Sockets = Rc<RefCell<Vec<Rc<TcpStream>>>>;
type Store = Rc<(Statement, Client)>;

async fn accept(port: u16, store: Store, sockets: Sockets) -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let socket = Rc::new(socket);
        sockets.borrow_mut().push(socket.clone());
        let (store, sockets) = (store.clone(), sockets.clone());
        spawn_local(async move {
            let end = each_line(&socket, |line| {
                let line = Line::read(&String::from_utf8_lossy(line)).ok_or("no message")?;
                let (store, socket) = (store.clone(), socket.clone());
                spawn_local(async move {
                    let answer = match line.store(&store.1, &store.0).await {
                        Ok(()) => STORED.to_vec(),
                        Err(error) => format!("not stored: {error}").into_bytes(),
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
    .await
}

/// Hands on each line, without its end, until the other side closes.
async fn each_line(
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

/// A relay that takes messages in, and the socket to it.
pub struct Intake {
    _process: Process,
    socket: Rc<TcpStream>,
    /// What is under way, in the order of the answers.
    unanswered: Rc<RefCell<VecDeque<oneshot::Sender<()>>>>,
    _answers: AbortOnDropHandle<()>,
}

impl Intake {
    pub async fn start(bench: &Bench, database: &str, work: Work) -> Result<Self, Failure> {
        let (process, socket) = start(bench, database, work, 0).await?;
        let socket = Rc::new(socket);
        let unanswered: Rc<RefCell<VecDeque<oneshot::Sender<()>>>> = Rc::default();
        let (reads, waiting) = (socket.clone(), unanswered.clone());
        let answers = AbortOnDropHandle::new(spawn_local(async move {
            let end = each_line(&reads, |line| {
                if line == STORED {
                    let answered = waiting.borrow_mut().pop_front();
                    // Whoever waited may have given up.
                    let _ = answered.ok_or("an answer too many")?.send(());
                } else if !line.starts_with(b"{") {
                    return Err(String::from_utf8_lossy(line).into());
                }
                Ok(())
            })
            .await;
            if let Err(error) = end {
                eprintln!("  relay: {error}");
            }
            // Whoever still waits is told of the end.
            waiting.borrow_mut().clear();
        }));
        Ok(Self {
            _process: process,
            socket,
            unanswered,
            _answers: answers,
        })
    }

    /// Until the answer is there.
    pub async fn store(&self, line: &Line) -> Result<(), Failure> {
        let (answered, answer) = oneshot::channel();
        self.unanswered.borrow_mut().push_back(answered);
        write_line(&self.socket, line.written().as_bytes())?;
        answer.await.map_err(|_| "a relay has ended".into())
    }
}

/// A relay that brings the notifications, and the socket to it.
pub struct Outlet {
    _process: Process,
    socket: TcpStream,
}

impl Outlet {
    pub async fn start(bench: &Bench, database: &str, work: Work) -> Result<Self, Failure> {
        let (process, socket) = start(bench, database, work, 1).await?;
        Ok(Self {
            _process: process,
            socket,
        })
    }

    /// Until the relay ends.
    pub async fn hear(self, mut each: impl FnMut(&[u8])) -> Result<(), Failure> {
        each_line(&self.socket, |line| {
            each(line);
            Ok(())
        })
        .await
    }
}

async fn start(
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
    let socket = connect(addr, &mut process).await?;
    socket.set_nodelay(true)?;
    Ok((process, socket))
}

async fn connect(addr: SocketAddr, process: &mut Process) -> Result<TcpStream, Failure> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(addr).await {
            Ok(socket) => return Ok(socket),
            Err(error) if process.exited().is_some() || began.elapsed() > START => {
                return Err(format!("a relay does not start: {error}").into());
            }
            Err(_) => sleep(PROBE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = Line {
            conversation: Uuid::from_u128(1),
            sender: Uuid::from_u128(2),
            name: -3,
            content: "with spaces".to_owned(),
            payload: "{\"a\":\t\"b\"}".to_owned(),
        };
        let read = Line::read(&line.written()).unwrap();
        assert_eq!(read.written(), line.written());
        assert_eq!(read.payload, line.payload);
        assert!(Line::read("no\tline").is_none());
    }
}
