//! One WebSocket of the load. Everything runs on one thread, so nothing here is locked.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use pgchat_harness::Failure;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::frames::{self, Inbox};

/// How long a TCP connection and the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(20);

/// What all sockets read into, one after another.
pub type Buffer = Rc<RefCell<Box<[u8]>>>;

pub fn buffer() -> Buffer {
    Rc::new(RefCell::new(vec![0; 64 * 1024].into_boxed_slice()))
}

/// The half that reads; owned by the socket's task.
pub struct Reader {
    half: OwnedReadHalf,
    inbox: Inbox,
    buffer: Buffer,
    first: Vec<u8>,
}

/// The half that writes, for whoever has something to send.
pub struct Writer {
    half: OwnedWriteHalf,
    /// What the kernel would not take yet.
    rest: RefCell<Vec<u8>>,
    flushing: Cell<bool>,
    mask: Cell<u32>,
}

/// A connection from `from`, so that more sockets than an address has ports can be opened.
pub async fn connect(to: SocketAddr, from: IpAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The handshake of RFC 6455, section 4.1.
pub async fn open(
    to: SocketAddr,
    from: IpAddr,
    path: &str,
    buffer: &Buffer,
) -> Result<(Reader, Rc<Writer>), Failure> {
    let opened = timeout(HANDSHAKE, handshake(to, from, path)).await;
    let (stream, first) = opened.map_err(|_| "a handshake had no answer in time")??;
    let (read, write) = stream.into_split();
    let reader = Reader {
        half: read,
        inbox: Inbox::default(),
        buffer: buffer.clone(),
        first,
    };
    let writer = Writer {
        half: write,
        rest: RefCell::default(),
        flushing: Cell::new(false),
        mask: Cell::new(rand::random()),
    };
    Ok((reader, Rc::new(writer)))
}

async fn handshake(
    to: SocketAddr,
    from: IpAddr,
    path: &str,
) -> Result<(TcpStream, Vec<u8>), Failure> {
    let mut stream = connect(to, from).await?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: cGdjaGF0LWJlbmNobWFyaw==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut read = Vec::with_capacity(512);
    let end = loop {
        if stream.read_buf(&mut read).await? == 0 {
            return Err("the connection was closed during the handshake".into());
        }
        if let Some(at) = memchr::memmem::find(&read, b"\r\n\r\n") {
            break at + 4;
        }
    };
    if !read.starts_with(b"HTTP/1.1 101") {
        let answer = String::from_utf8_lossy(&read).into_owned();
        return Err(format!("a handshake was refused: {answer}").into());
    }
    Ok((stream, read.split_off(end)))
}

impl Reader {
    /// Waits for something to read, and hands each frame in it to `each`. `false`: the connection has ended.
    pub async fn read(&mut self, mut each: impl FnMut(u8, &[u8])) -> Result<bool, Failure> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.inbox.take(&first, each)?;
            return Ok(true);
        }
        poll_fn(|context| {
            let mut buffer = self.buffer.borrow_mut();
            let mut into = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut self.half).poll_read(context, &mut into))?;
            if into.filled().is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.inbox.take(into.filled(), &mut each)?;
            Poll::Ready(Ok(true))
        })
        .await
    }
}

impl Writer {
    /// Sends a frame at once, or as soon as the kernel takes it, in order. Errors are seen by the reader.
    pub fn send(self: &Rc<Self>, opcode: u8, payload: &[u8]) {
        // xorshift: masks keep proxies from being fooled, and there is none here.
        let mut mask = self.mask.get() | 1;
        mask ^= mask << 13;
        mask ^= mask >> 17;
        mask ^= mask << 5;
        self.mask.set(mask);
        let mut rest = self.rest.borrow_mut();
        let was_empty = rest.is_empty();
        frames::write(opcode, payload, mask.to_be_bytes(), &mut rest);
        if was_empty && let Ok(written) = self.half.try_write(&rest) {
            rest.drain(..written);
        }
        if !rest.is_empty() && !self.flushing.replace(true) {
            tokio::task::spawn_local(self.clone().flush());
        }
    }

    async fn flush(self: Rc<Self>) {
        while !self.rest.borrow().is_empty() {
            if self.half.writable().await.is_err() {
                break;
            }
            let mut rest = self.rest.borrow_mut();
            match self.half.try_write(&rest) {
                Ok(written) => {
                    rest.drain(..written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        self.flushing.set(false);
    }
}
