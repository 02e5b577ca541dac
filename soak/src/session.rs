//! One socket of a client: frames in, requests out.

mod answers;
mod reload;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_util::task::AbortOnDropHandle;

use crate::client::{About, Client, Online, Order, Request};
use crate::model::*;
use crate::wire::{Closing, Connected, Frame, MessagesRead, Presence, Typing};
use crate::world::World;

/// A frame must be taken by the other side within this.
const WRITE: Duration = Duration::from_secs(5);
/// Users whom a socket watches at most: what the service allows.
const WATCHED: usize = 500;
/// The `requestId` of that command.
const WATCH: &str = "watch";

/// Why a socket ended.
#[derive(Debug)]
pub enum SessionEnd {
    /// A close frame, with its code.
    Closed(u16),
    /// A close frame after `server_closing`, which said when to come back.
    Closing(Duration),
    /// The connection broke, or the other side left without a close frame.
    Broken,
    /// Nothing was heard for two and a half heartbeats.
    Silent,
    /// The other side did not take a frame.
    Stuck,
    /// By order of a fault.
    Left(Duration),
    /// At the end of the run, to be missed.
    Departed,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(code) => write!(f, "close {code}"),
            Self::Closing(_) => f.write_str("drained"),
            Self::Broken => f.write_str("broken"),
            Self::Silent => f.write_str("silent"),
            Self::Stuck => f.write_str("stuck"),
            Self::Left(_) => f.write_str("left"),
            Self::Departed => f.write_str("departed"),
        }
    }
}

pub struct Session<'a> {
    client: &'a mut Client,
    number: ConnectionNo,
    stream: WebSocketStream<TcpStream>,
    waiting: HashMap<String, Request>,
    /// Unanswered requests of each conversation, in the order of their frames: see [`About::follows`].
    order: HashMap<ConversationIx, VecDeque<String>>,
    next_request: u64,
    heard: Instant,
    heartbeat: Duration,
    stalled_until: Option<Instant>,
    /// The way back to the present, after `resync_required`; the cursor waits for its end.
    reload: Option<AbortOnDropHandle<()>>,
    /// Set while gaps may be open: cursors are kept here and not used yet.
    held_cursor: Option<Option<String>>,
    closing: Option<Duration>,
    online: Option<Online>,
    connected: bool,
    /// The list of those to watch is to be sent.
    watch_due: bool,
}

impl<'a> Session<'a> {
    pub fn new(
        client: &'a mut Client,
        number: ConnectionNo,
        stream: WebSocketStream<TcpStream>,
    ) -> Self {
        Self {
            client,
            number,
            stream,
            waiting: HashMap::new(),
            order: HashMap::new(),
            next_request: 0,
            heard: Instant::now(),
            heartbeat: Duration::from_secs(25),
            stalled_until: None,
            reload: None,
            held_cursor: None,
            closing: None,
            online: None,
            connected: false,
            watch_due: false,
        }
    }

    /// Until the socket ends; why it did, and whether it ever got `connected`.
    pub async fn run(mut self) -> (SessionEnd, bool) {
        loop {
            // A stalled client is deaf: it must not time out for what it does not read.
            let stalled = self.stalled_until.is_some();
            let silence = self.heard + self.heartbeat * 5 / 2;
            let end = tokio::select! {
                frame = self.stream.next(), if !stalled => self.incoming(frame),
                () = until(self.stalled_until) => self.read_again(),
                () = sleep_until(silence), if !stalled => Some(SessionEnd::Silent),
                () = finished(&mut self.reload) => self.reloaded(),
                Some(request) = self.client.requests.recv() => self.send(request).await,
                Some(order) = self.client.orders.recv() => self.obey(order),
            };
            let end = match end {
                None if std::mem::take(&mut self.watch_due) => self.watch().await,
                end => end,
            };
            if let Some(end) = end {
                let end = match self.closing {
                    Some(after) => SessionEnd::Closing(after),
                    None => end,
                };
                return (end, self.connected);
            }
        }
    }

    fn world(&self) -> &Arc<World> {
        &self.client.world
    }

    fn obey(&mut self, order: Order) -> Option<SessionEnd> {
        match order {
            Order::Leave(away) => return Some(SessionEnd::Left(away)),
            Order::Depart => return Some(SessionEnd::Departed),
            Order::Stall(time) => self.stalled_until = Some(Instant::now() + time),
        }
        None
    }

    fn read_again(&mut self) -> Option<SessionEnd> {
        self.stalled_until = None;
        self.heard = Instant::now();
        None
    }

    async fn send(&mut self, request: Request) -> Option<SessionEnd> {
        self.next_request += 1;
        let id = format!("{}-{}", self.number, self.next_request);
        let frame = json!({"type": request.kind, "requestId": id, "data": request.data});
        if let About::Message(key) = request.about {
            let now = self.world().clock.now();
            self.world()
                .checker()
                .attempt(key, Via::WebSocket, self.number, "send_message", now);
        }
        self.order
            .entry(request.conversation)
            .or_default()
            .push_back(id.clone());
        self.waiting.insert(id, request);
        self.write(frame.to_string()).await
    }

    /// Asks for the presence of those with whom this client talks, and for its own.
    async fn watch(&mut self) -> Option<SessionEnd> {
        let world = self.client.world.clone();
        let mut watched = vec![self.client.ix];
        for ix in &world.clients[usize::from(self.client.ix)].conversations {
            watched.extend(world.conversations[usize::from(*ix)].members);
        }
        watched.sort_unstable();
        watched.dedup();
        watched.truncate(WATCHED);
        let ids: Vec<_> = watched
            .iter()
            .map(|ix| world.users[usize::from(*ix)])
            .collect();
        world.checker().watches(self.number, &watched);
        let frame = json!({"type": "watch_presence", "requestId": WATCH, "data": {"userIds": ids}});
        self.write(frame.to_string()).await
    }

    async fn write(&mut self, text: String) -> Option<SessionEnd> {
        let sending = self.stream.send(Message::text(text));
        match timeout(WRITE, sending).await {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(SessionEnd::Broken),
            Err(_) => Some(SessionEnd::Stuck),
        }
    }

    fn incoming(&mut self, frame: Option<Result<Message, WsError>>) -> Option<SessionEnd> {
        self.heard = Instant::now();
        match frame {
            Some(Ok(Message::Text(text))) => {
                if let Err(error) = self.frame(&text) {
                    let start: String = text.chars().take(200).collect();
                    let text = format!("a frame that is not understood, {error}: {start}");
                    self.world().refused(self.client.ix, None, text);
                }
                None
            }
            Some(Ok(Message::Close(close))) => Some(SessionEnd::Closed(
                close.map_or(1005, |close| close.code.into()),
            )),
            // Pongs are sent by the next read.
            Some(Ok(_)) => None,
            Some(Err(_)) | None => Some(SessionEnd::Broken),
        }
    }

    fn frame(&mut self, text: &str) -> serde_json::Result<()> {
        let frame: Frame<'_> = serde_json::from_str(text)?;
        let data = frame.data.get();
        let (number, now) = (self.number, self.world().clock.now());
        match frame.kind {
            "connected" => return self.connected(serde_json::from_str(data)?),
            "chat_message" => {
                let view: MessageView = serde_json::from_str(data)?;
                let mut checker = self.world().checker();
                checker.frame(number, frame.user_id, &view, now);
            }
            "message_updated" | "message_deleted" => {
                let view: MessageView = serde_json::from_str(data)?;
                self.world().checker().change_frame(number, &view, now);
            }
            "messages_read" => {
                let MessagesRead {
                    conversation_id,
                    reader_id,
                    up_to_seq,
                } = serde_json::from_str(data)?;
                let mut checker = self.world().checker();
                checker.read_frame(number, conversation_id, reader_id, up_to_seq, now);
            }
            "typing" => {
                let Typing {
                    conversation_id,
                    user_id,
                    is_typing,
                } = serde_json::from_str(data)?;
                let mut checker = self.world().checker();
                checker.typing_frame(number, conversation_id, user_id, is_typing, now);
            }
            "presence" => {
                let Presence { user_id, is_online } = serde_json::from_str(data)?;
                let mut checker = self.world().checker();
                checker.presence_frame(number, user_id, is_online, now);
            }
            "ack" => self.acknowledged(serde_json::from_str(data)?),
            "error" => self.refused(serde_json::from_str(data)?),
            "resync_required" => self.resync(),
            "server_closing" => {
                let closing: Closing = serde_json::from_str(data)?;
                self.closing = Some(Duration::from_millis(closing.reconnect_after_ms));
            }
            _ => {}
        }
        if let Some(cursor) = frame.cursor {
            self.take_cursor(cursor);
        }
        Ok(())
    }

    fn take_cursor(&mut self, cursor: String) {
        match &mut self.held_cursor {
            Some(held) => *held = Some(cursor),
            None => self.client.cursor = Some(cursor),
        }
    }

    fn connected(&mut self, data: Connected) -> serde_json::Result<()> {
        self.connected = true;
        self.watch_due = true;
        if data.heartbeat_seconds > 0.0 {
            self.heartbeat = Duration::from_secs_f64(data.heartbeat_seconds);
        }
        if self.client.cursor.is_some() && !data.resumed {
            // `resync_required` will follow.
            self.held_cursor = Some(None);
        } else {
            self.online = Some(Online::new(&self.client.world));
        }
        self.world()
            .checker()
            .connected(self.number, data.connection_id, data.resumed);
        if let Some(cursor) = data.cursor {
            self.take_cursor(cursor);
        }
        Ok(())
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

/// The end of a task, if there is one; a panic of it is passed on.
async fn finished(task: &mut Option<AbortOnDropHandle<()>>) {
    match task {
        Some(task) => {
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        None => pending().await,
    }
}
