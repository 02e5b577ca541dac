//! One user's WebSocket: connects through the load balancer, reconnects with its last cursor, and does as
//! the faults order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::api::Miss;
use crate::checker::State;
use crate::model::*;
use crate::session::{Session, SessionEnd};
use crate::world::World;

/// Full jitter: a random wait up to this bound, which doubles from failure to failure.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(3);
/// How long a TCP connection and the handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// In bytes; see the proxy's.
const RECEIVE_BUFFER: u32 = 16 * 1024;

/// What a fault wants of a client.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Stop reading for so long, with the socket open.
    Stall(Duration),
    /// Leave, and come back after so long.
    Leave(Duration),
    /// Leave for good.
    Depart,
}

/// Why a request was never sent.
pub const UNSENT: &str = "no socket";

/// A frame to be sent and answered. If the socket ends first, its reply is dropped.
pub struct Request {
    pub kind: &'static str,
    pub data: Value,
    pub conversation: ConversationIx,
    pub about: About,
    pub reply: oneshot::Sender<Result<(), Miss>>,
}

#[derive(Clone, Copy, Debug)]
pub enum About {
    Message(Key),
    Read { up_to: u32 },
    Change { key: Key, to: State },
    Typing,
}

impl About {
    /// Whether it is executed and acknowledged after `earlier`, of the same conversation on the same socket (docs/api.md, "Order").
    pub fn follows(&self, earlier: &Self) -> bool {
        match (earlier, self) {
            (Self::Message(_) | Self::Read { .. }, Self::Message(_) | Self::Read { .. })
            | (Self::Typing, Self::Typing | Self::Message(_)) => true,
            (Self::Change { key: one, .. }, Self::Change { key: two, .. }) => one == two,
            _ => false,
        }
    }
}

pub struct Client {
    pub ix: ClientIx,
    pub world: Arc<World>,
    /// Where to go on; only ever one up to which everything has been seen.
    pub cursor: Option<String>,
    pub requests: mpsc::Receiver<Request>,
    pub orders: mpsc::Receiver<Order>,
    rng: StdRng,
    failures: u32,
}

impl Client {
    pub fn new(
        ix: ClientIx,
        world: Arc<World>,
        requests: mpsc::Receiver<Request>,
        orders: mpsc::Receiver<Order>,
    ) -> Self {
        let rng = StdRng::seed_from_u64(world.settings.seed ^ (u64::from(ix) << 32));
        Self {
            ix,
            world,
            cursor: None,
            requests,
            orders,
            rng,
            failures: 0,
        }
    }

    /// Until the run stops, or the client is to leave for good.
    pub async fn run(mut self) {
        let stop = self.world.stages.stop.clone();
        stop.run_until_cancelled(async {
            while let Some(away) = self.connect_once().await {
                self.stay_away(away).await;
            }
        })
        .await;
    }

    /// One socket from its opening to its end; how long to stay away after it, or none: for good.
    async fn connect_once(&mut self) -> Option<Duration> {
        let (stream, replica) = match timeout(HANDSHAKE, self.handshake()).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(note)) => return Some(self.failed(&note)),
            Err(_) => return Some(self.failed("no answer in time")),
        };
        let number = self.world.checker().opened(
            self.ix,
            replica,
            self.cursor.clone(),
            self.world.clock.now(),
        );
        let world = self.world.clone();
        let (end, was_connected) = Session::new(self, number, stream).run().await;
        let text = end.to_string();
        world.checker().closed(number, &text, world.clock.now());
        world.count(&format!("socket end: {text}"));
        if was_connected {
            self.failures = 0;
        }
        Some(match end {
            SessionEnd::Departed => return None,
            SessionEnd::Left(away) => away,
            SessionEnd::Closing(after) => self.rng.random_range(Duration::ZERO..=after),
            _ => self.backoff(),
        })
    }

    /// The stream, and the replica that the load balancer chose.
    async fn handshake(&self) -> Result<(WebSocketStream<TcpStream>, usize), String> {
        let edge = &self.world.edge;
        let socket = TcpSocket::new_v4().map_err(|error| error.to_string())?;
        // It fails only for a size that no system has.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        let stream = socket
            .connect(edge.addr)
            .await
            .map_err(|error| error.kind().to_string())?;
        let _ = stream.set_nodelay(true);
        let port = stream.local_addr().map_or(0, |addr| addr.port());
        let user = self.world.users[usize::from(self.ix)];
        let mut url = format!("ws://{}/ws?user_id={user}", edge.addr);
        if let Some(cursor) = &self.cursor {
            url.push_str("&cursor=");
            url.push_str(&percent_encoded(cursor));
        }
        match client_async(url, stream).await {
            Ok((stream, _)) => Ok((stream, edge.target_of(port).unwrap_or(usize::MAX))),
            Err(WsError::Http(answer)) => {
                let status = answer.status().as_u16();
                if !matches!(status, 429 | 503) {
                    let body = answer.into_body().unwrap_or_default();
                    let body = String::from_utf8_lossy(&body).into_owned();
                    let text = format!("handshake: {status} {body}");
                    self.world.refused(self.ix, None, text);
                }
                Err(status.to_string())
            }
            Err(_) => Err("connection lost".to_owned()),
        }
    }

    fn failed(&mut self, note: &str) -> Duration {
        self.world.count(&format!("handshake failed: {note}"));
        self.backoff()
    }

    fn backoff(&mut self) -> Duration {
        let bound = FIRST_BACKOFF * 2_u32.saturating_pow(self.failures.min(10));
        self.failures += 1;
        self.rng
            .random_range(Duration::ZERO..=bound.min(LONGEST_BACKOFF))
    }

    /// Requests that come meanwhile find no socket.
    async fn stay_away(&mut self, away: Duration) {
        let mut until = Instant::now() + away;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return,
                () = self.world.stages.calm.cancelled(), if away > LONGEST_BACKOFF => return,
                Some(request) = self.requests.recv() => {
                    drop(request.reply.send(Err(Miss::Retry(UNSENT.to_owned()))));
                }
                Some(order) = self.orders.recv() => if let Order::Leave(more) = order {
                    until = until.max(Instant::now() + more);
                },
            }
        }
    }
}

/// Counts a client as online while it lives.
pub struct Online(Arc<World>);

impl Online {
    pub fn new(world: &Arc<World>) -> Self {
        world.online.fetch_add(1, Ordering::Relaxed);
        Self(world.clone())
    }
}

impl Drop for Online {
    fn drop(&mut self) {
        self.0.online.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All but RFC 3986's unreserved characters.
fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_follows_those_of_its_kind_and_a_message_the_typing_before_it() {
        let change = |key| About::Change {
            key,
            to: State::Edited,
        };
        let (message, read) = (About::Message(1), About::Read { up_to: 1 });
        for (later, earlier, follows) in [
            (message, message, true),
            (message, read, true),
            (read, message, true),
            (message, About::Typing, true),
            (About::Typing, About::Typing, true),
            (About::Typing, message, false),
            (About::Typing, read, false),
            (read, About::Typing, false),
            (change(1), change(1), true),
            (change(1), change(2), false),
            (change(1), message, false),
            (message, change(1), false),
        ] {
            assert_eq!(
                later.follows(&earlier),
                follows,
                "{later:?} after {earlier:?}"
            );
        }
    }
}
