//! A TCP proxy that can hurt: it spreads connections over its targets, and can cut, delay or silence each one.
//!
//! It stands between the clients and the replicas as their load balancer, and between each replica and
//! PostgreSQL as the network.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Socket buffers of the clients' side, in bytes: small, so that a client that does not read is felt by
/// the service and not by kernel buffers.
const SMALL_BUFFER: u32 = 16 * 1024;
/// How long the proxy tries one target.
const CONNECT: Duration = Duration::from_secs(1);

/// What happens to the bytes of a connection, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Each chunk waits this long.
    Delay(Duration),
    /// Nothing passes, not even an end: both sides believe that the other is silent.
    Mute,
    /// Both sides get a reset.
    Cut,
}

/// One proxied connection.
pub struct Link {
    pub target: usize,
    /// The port that the connecting side has.
    pub from_port: u16,
    /// The port that the target sees, as in `pg_stat_activity.client_port`.
    pub to_port: u16,
    mode: watch::Sender<Mode>,
}

impl Link {
    pub fn set(&self, mode: Mode) {
        // A cut is final.
        self.mode.send_if_modified(|now| {
            let change = *now != Mode::Cut && *now != mode;
            if change {
                *now = mode;
            }
            change
        });
    }
}

struct Target {
    addr: SocketAddr,
    up: AtomicBool,
    open: AtomicUsize,
}

pub struct Proxy {
    pub addr: SocketAddr,
    targets: Vec<Target>,
    small_buffers: bool,
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    next_link: AtomicU64,
    /// What a new connection begins with.
    initial: Mutex<Mode>,
}

impl Proxy {
    pub fn start(
        targets: &[SocketAddr],
        small_buffers: bool,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> io::Result<Arc<Self>> {
        let socket = TcpSocket::new_v4()?;
        if small_buffers {
            // Accepted sockets inherit it.
            socket.set_send_buffer_size(SMALL_BUFFER)?;
        }
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(1024)?;
        let proxy = Arc::new(Self {
            addr: listener.local_addr()?,
            targets: targets
                .iter()
                .map(|addr| Target {
                    addr: *addr,
                    up: AtomicBool::new(true),
                    open: AtomicUsize::new(0),
                })
                .collect(),
            small_buffers,
            links: Mutex::default(),
            next_link: AtomicU64::new(0),
            initial: Mutex::new(Mode::Pass),
        });
        let accepting = proxy.clone().accept(listener, tasks.clone(), stop.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(proxy)
    }

    /// All connections that are open, oldest first.
    pub fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.links).values().cloned().collect()
    }

    /// Which target a connection from this local port goes to.
    pub fn target_of(&self, from_port: u16) -> Option<usize> {
        lock(&self.links)
            .values()
            .find(|link| link.from_port == from_port)
            .map(|link| link.target)
    }

    /// What connections that are opened from now on begin with.
    pub fn begin_with(&self, mode: Mode) {
        *lock(&self.initial) = mode;
    }

    /// A target that is not up gets no new connections.
    pub fn set_up(&self, target: usize, up: bool) {
        self.targets[target].up.store(up, Ordering::Relaxed);
    }

    /// Connections of each target.
    pub fn open(&self) -> Vec<usize> {
        let open = |target: &Target| target.open.load(Ordering::Relaxed);
        self.targets.iter().map(open).collect()
    }

    async fn accept(
        self: Arc<Self>,
        listener: TcpListener,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) {
        loop {
            match listener.accept().await {
                Ok((stream, from)) => {
                    let serving = self.clone().serve(stream, from);
                    tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
                }
                Err(error) => {
                    eprintln!("proxy: accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(self: Arc<Self>, mut down: TcpStream, from: SocketAddr) {
        let Some((target, mut up, _open)) = self.dial().await else {
            reset(&down);
            return;
        };
        let to_port = up.local_addr().map_or(0, |addr| addr.port());
        let (mode, watching) = watch::channel(*lock(&self.initial));
        let number = self.next_link.fetch_add(1, Ordering::Relaxed);
        lock(&self.links).insert(
            number,
            Arc::new(Link {
                target,
                from_port: from.port(),
                to_port,
                mode,
            }),
        );
        let _ = (down.set_nodelay(true), up.set_nodelay(true));
        let (down_read, down_write) = down.split();
        let (up_read, up_write) = up.split();
        let both = tokio::try_join!(
            pump(down_read, up_write, watching.clone()),
            pump(up_read, down_write, watching)
        );
        if both.is_err() {
            reset(&down);
            reset(&up);
        }
        lock(&self.links).remove(&number);
    }

    /// The target with the fewest connections that is up and accepts. It is counted from the choice on, so
    /// that many at once do not all choose the same.
    async fn dial(&self) -> Option<(usize, TcpStream, Open<'_>)> {
        let mut refused = Vec::new();
        loop {
            let (ix, target) = self
                .targets
                .iter()
                .enumerate()
                .filter(|(ix, target)| target.up.load(Ordering::Relaxed) && !refused.contains(ix))
                .min_by_key(|(_, target)| target.open.load(Ordering::Relaxed))?;
            let open = Open::new(&target.open);
            let socket = TcpSocket::new_v4().ok()?;
            if self.small_buffers {
                socket.set_recv_buffer_size(SMALL_BUFFER).ok()?;
            }
            match tokio::time::timeout(CONNECT, socket.connect(target.addr)).await {
                Ok(Ok(stream)) => return Some((ix, stream, open)),
                _ => refused.push(ix),
            }
        }
    }
}

/// Carries one direction to its end. An error ends the other direction as well.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut cut = mode.clone();
    let carry = async {
        let mut buffer = [0; 4096];
        loop {
            let count = from.read(&mut buffer).await?;
            loop {
                let now = *mode.borrow_and_update();
                match now {
                    Mode::Pass => break,
                    Mode::Delay(delay) => {
                        tokio::time::sleep(delay).await;
                        break;
                    }
                    Mode::Mute | Mode::Cut => {
                        mode.changed().await.map_err(io::Error::other)?;
                    }
                }
            }
            if count == 0 {
                return to.shutdown().await;
            }
            to.write_all(&buffer[..count]).await?;
        }
    };
    tokio::select! {
        result = carry => result,
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// Counts a connection as open while it lives.
struct Open<'a>(&'a AtomicUsize);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets the drop of a stream send RST instead of FIN.
fn reset(stream: &TcpStream) {
    // It fails only on a socket that is already closed.
    let _ = stream.set_zero_linger();
}

/// A panic elsewhere ends the run anyway; what stands behind the lock is still good for the report.
#[expect(clippy::disallowed_methods, reason = "this is the one place")]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends back what it gets.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        addr
    }

    async fn exchange(stream: &mut TcpStream) -> io::Result<()> {
        stream.write_all(b"hello").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"hello");
        Ok(())
    }

    #[tokio::test]
    async fn a_link_passes_falls_silent_and_is_cut() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let proxy = Proxy::start(&[echo().await], true, &tasks, &stop).unwrap();
        let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
        exchange(&mut stream).await.unwrap();
        let link = proxy.links().remove(0);
        assert_eq!(
            proxy.target_of(stream.local_addr().unwrap().port()),
            Some(0)
        );

        link.set(Mode::Mute);
        let silent = tokio::time::timeout(Duration::from_millis(100), exchange(&mut stream)).await;
        assert!(silent.is_err());
        link.set(Mode::Pass);
        let mut late = [0; 5];
        stream.read_exact(&mut late).await.unwrap();
        exchange(&mut stream).await.unwrap();

        link.set(Mode::Cut);
        let error = stream.read(&mut late).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn connections_go_to_the_target_with_the_fewest_that_is_up() {
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let proxy = Proxy::start(&[echo().await, echo().await], false, &tasks, &stop).unwrap();
        let mut streams = Vec::new();
        for up in [true, true, false, false] {
            proxy.set_up(0, up);
            let mut stream = TcpStream::connect(proxy.addr).await.unwrap();
            exchange(&mut stream).await.unwrap();
            streams.push(stream);
        }
        let targets: Vec<usize> = proxy.links().iter().map(|link| link.target).collect();
        assert_eq!(targets, [0, 1, 1, 1]);
        stop.cancel();
    }
}
