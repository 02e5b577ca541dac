//! The one task of a socket: what it reads, what it sends, and when it ends.

mod answering;
mod delivering;
mod greeting;
mod leaving;
mod sending;

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_util::sync::CancellationToken;

use answering::next_frame;

use super::close::{self, CloseReason};
use super::commands::{Commands, Reply};
use super::expiry::{Expiry, Step};
use super::heartbeat::{Heartbeat, Verdict};
use super::limited_stream::{LimitedStream, MessageReservation};
use super::protocol::Frames;
use crate::auth::Caller;
use crate::hub::{Delivery, Subscription};
use crate::limits::{FLOOD_PAUSE, UserLimiter};
use crate::live::Attending;
use crate::model::UserId;
use crate::replay::Missed;
use crate::services::Services;

/// How long a drain waits for the answers of commands in flight, once a socket's time has come.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// A socket's session. Kept small: tens of thousands of them are idle at any time, so what only few need is boxed.
pub struct Session<S> {
    services: Arc<Services>,
    caller: Caller,
    user: UserId,
    stream: WebSocketStream<LimitedStream<S>>,
    subscription: Subscription,
    attending: Attending,
    heartbeat: Heartbeat,
    /// Of the caller's token.
    expiry: Expiry,
    /// The user's sockets have sent too many frames: this one is not read until then, so that TCP holds its client back.
    held_back: Option<Instant>,
    /// Frames that it has sent and that are not counted yet, for that reason.
    uncounted: u32,
    /// What the client has sent before it was greeted; done after that, in order.
    early: Option<Box<Early>>,
    /// From the first command until the client is quiet again.
    commands: Option<Box<Commands>>,
    /// After a replay: tells which live events were replayed.
    replayed: Option<Box<Missed>>,
    /// Set when the replica closes: when this socket's turn to go comes.
    leave_at: Option<Instant>,
    traffic: Traffic,
    /// A child of the replica's token: one shared by all sockets would be a lock that all of them take at each turn.
    closing: CancellationToken,
}

/// Frames that came before the first one went out.
#[derive(Default)]
struct Early(VecDeque<Incoming>);

/// What a client has sent.
struct Incoming {
    message: Message,
    reservation: MessageReservation,
}

impl Incoming {
    /// The one that was just read from `stream`.
    fn of<S>(message: Message, stream: &mut WebSocketStream<LimitedStream<S>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Pings may come between the frames of another one.
        let is_counted = message.is_text() || message.is_binary();
        let reservation = is_counted
            .then(|| stream.get_mut().take_reservation())
            .flatten();
        Self {
            message,
            reservation,
        }
    }
}

/// Frames of a socket's life, for the log; pings and pongs are none.
#[derive(Default)]
struct Traffic {
    received: u32,
    sent: u32,
}

/// What wakes a session up.
enum Input {
    Frame(Option<Result<Incoming, SocketError>>),
    Delivery(Delivery),
    Reply(Reply),
    Timer,
    Closing,
}

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    pub fn new(
        services: Arc<Services>,
        caller: Caller,
        user: UserId,
        stream: WebSocketStream<LimitedStream<S>>,
        subscription: Subscription,
        is_active: bool,
    ) -> Self {
        let interval = services.config.timeouts.heartbeat;
        Self {
            closing: services.lifecycle.closing.child_token(),
            heartbeat: Heartbeat::new(interval, rand::random(), Instant::now()),
            expiry: Expiry::of(&caller, services.config.auth.token_warning, Instant::now()),
            held_back: None,
            uncounted: 0,
            early: None,
            attending: services
                .live
                .attend(user, subscription.connection_id(), is_active),
            services,
            caller,
            user,
            stream,
            subscription,
            commands: None,
            replayed: None,
            leave_at: None,
            traffic: Traffic::default(),
        }
    }

    /// Runs until the connection is closed. `cursor`: the last one that the client saw, if it comes back.
    ///
    /// In it `self` is moved only at the end, to be closed: what is moved has a second place in the future, as a parameter of an `async
    /// fn` has.
    #[expect(
        clippy::manual_async_fn,
        reason = "what is passed to an async fn has two places in its future, and this is most of what an idle socket has"
    )]
    pub fn run(mut self, cursor: Option<String>) -> impl Future<Output = ()> + Send {
        async move {
            let started = Instant::now();
            let id = self.subscription.connection_id();
            let user = self.user;
            // Boxed, and gone afterwards: the futures of a query would stay part of every idle session.
            let reason = match Box::pin(self.greet(cursor)).await {
                Ok(()) => self.serve().await,
                Err(reason) => reason,
            };
            self.services
                .metrics
                .connections
                .socket_closed(reason.kind());
            let Traffic { received, sent } = self.traffic;
            let seconds = started.elapsed().as_secs_f64();
            log::debug!(
                connectionId:% = id, userId:% = user, seconds = seconds, framesReceived = received, framesSent = sent;
                "socket {id} of user {user}: {reason}, after {seconds:.1} s, {received} frames received, {sent} sent"
            );
            // Out of the hub first: a client that comes back must not count twice while its old socket lingers.
            self.subscription.leave();
            if matches!(reason, CloseReason::ClientClosed(_) | CloseReason::Lost(_)) {
                Box::pin(self.start_what_waits()).await;
            }
            drop(self.subscription);
            drop(self.attending);
            // However long the close takes: commands that wait for a held row end here.
            drop(self.commands);
            Box::pin(close::close(self.stream, &reason)).await;
        }
    }

    /// The loop of a live socket. Its inputs: frames of the client, events from the hub, answers to commands, the timer
    /// (heartbeat, the token's end, and the time to leave), and the replica's closing.
    async fn serve(&mut self) -> CloseReason {
        let mut timer = pin!(sleep_until(self.due()));
        let token = self.closing.clone();
        let mut closing = pin!(token.cancelled());
        loop {
            // To the next thing that depends on time; most turns leave it where it is.
            let due = self.due();
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            let listening = self.listening();
            let input = tokio::select! {
                frame = next_frame(&mut self.early, &mut self.stream), if listening => Input::Frame(frame),
                delivery = self.subscription.next() => Input::Delivery(delivery),
                Some(reply) = next_reply(&mut self.commands) => Input::Reply(reply),
                () = &mut timer => Input::Timer,
                () = &mut closing, if self.leave_at.is_none() => Input::Closing,
            };
            if let Err(reason) = self.turn(input).await {
                return reason;
            }
        }
    }

    /// Handles one input and whatever else is there by now, then flushes once.
    async fn turn(&mut self, input: Input) -> Result<(), CloseReason> {
        match input {
            Input::Frame(frame) => {
                self.on_frame(frame).await?;
                self.held_back = self.hold_back();
            }
            Input::Delivery(delivery) => self.deliver(delivery).await?,
            Input::Reply(reply) => self.on_reply(reply).await?,
            Input::Timer => self.on_timer().await?,
            Input::Closing => self.plan_to_leave(),
        }
        if self.leaving() && self.nothing_in_flight() {
            return Err(Box::pin(self.take_leave()).await);
        }
        self.flush().await
    }

    fn hold_back(&mut self) -> Option<Instant> {
        let came = self.stream.get_mut().take_frames();
        let frames = &self.services.frame_limiter;
        hold_back(frames, self.user, came, &mut self.uncounted)
    }

    /// Whether the client's frames are read: not while too many commands run or wait, or too many frames came.
    fn listening(&self) -> bool {
        self.accepting() && self.held_back.is_none() && !self.leaving()
    }

    fn accepting(&self) -> bool {
        self.commands
            .as_ref()
            .is_none_or(|commands| commands.in_flight.accepting())
    }

    fn nothing_in_flight(&self) -> bool {
        self.commands
            .as_ref()
            .is_none_or(|commands| commands.in_flight.is_idle())
    }

    fn frames(&self) -> Frames {
        Frames {
            user: self.user,
            connection: self.subscription.connection_id(),
        }
    }

    async fn on_timer(&mut self) -> Result<(), CloseReason> {
        let now = Instant::now();
        if self.held_back.is_some_and(|until| now >= until) {
            self.held_back = self.hold_back();
        }
        match self.heartbeat.beat(self.listening(), now) {
            Verdict::Wait => {}
            Verdict::Ping => {
                self.feed_message(Message::Ping(Default::default())).await?;
                if self.nothing_in_flight() {
                    self.commands = None;
                }
                self.forget_replay();
            }
            Verdict::Dead => return Err(CloseReason::NoPong),
        }
        match self.expiry.step(now) {
            Step::Wait => {}
            Step::Warn(expires) => {
                let frame = self.frames().token_expiring(expires);
                self.feed(frame).await?;
            }
            Step::End => return Err(CloseReason::TokenExpired),
        }
        if let Some(at) = self.leave_at
            && now >= at + ANSWER_PATIENCE
        {
            return Err(Box::pin(self.take_leave()).await);
        }
        Ok(())
    }

    /// When the next thing is to be done that depends on time.
    fn due(&self) -> Instant {
        let leave = match self.leave_at {
            Some(at) if self.leaving() => Some(at + ANSWER_PATIENCE),
            at => at,
        };
        let others = [leave, self.expiry.due(), self.held_back];
        others
            .into_iter()
            .flatten()
            .fold(self.heartbeat.due(), Instant::min)
    }
}

/// Counts frames that have come. If they were too many: until when no more are read.
fn hold_back(
    frames: &UserLimiter,
    user: UserId,
    came: u32,
    uncounted: &mut u32,
) -> Option<Instant> {
    *uncounted = uncounted.saturating_add(came);
    let pause = frames.pause(user, uncounted)?;
    Some(Instant::now() + pause.max(FLOOD_PAUSE))
}

/// Never resolves for a socket without commands.
async fn next_reply(commands: &mut Option<Box<Commands>>) -> Option<Reply> {
    match commands {
        Some(commands) => commands.replies.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
