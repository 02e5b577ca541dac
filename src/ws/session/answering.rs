//! What a client asks for: its frames, the commands in them, and the answers.

use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};

use super::{Early, Incoming, Session, next_reply};
use crate::frame::Frame;
use crate::metrics::CommandEnd;
use crate::until::until;
use crate::ws::close::CloseReason;
use crate::ws::commands::{self, Actor, CommandOutcome, Commands, Reply};
use crate::ws::expiry::Expiry;
use crate::ws::in_flight::{Answerable, Started};
use crate::ws::limited_stream::{LimitedStream, MessageReservation, next_message};
use crate::ws::protocol::{self, Command, Done, Frames, Refused};

/// How long what a client sent before it closed may wait for what it follows. Longer than a statement takes that no row keeps waiting,
/// and no longer: the client may be back, and repeat what it has had no answer to.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(1);

impl<S> Session<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    pub(super) async fn on_frame(
        &mut self,
        frame: Option<Result<Incoming, SocketError>>,
    ) -> Result<(), CloseReason> {
        let Incoming {
            message,
            reservation,
        } = frame.ok_or_else(|| CloseReason::Lost("end of stream".to_owned()))??;
        self.heartbeat.alive();
        if message.is_text() || message.is_binary() {
            self.traffic.received = self.traffic.received.saturating_add(1);
        }
        match message {
            Message::Text(text) => match self.on_text(&text, reservation) {
                Ok(()) => Ok(()),
                Err(refused) => self.refuse(&refused).await,
            },
            Message::Binary(_) => {
                let refused = Refused::unnamed("frames must be text");
                self.refuse(&refused).await
            }
            Message::Close(frame) => Err(CloseReason::closed_by_client(frame)),
            // A ping's answer is queued by the protocol's own code and goes out with the flush.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => Ok(()),
        }
    }

    /// Takes a command; starts it, unless it must wait.
    fn on_text(&mut self, text: &str, reservation: MessageReservation) -> Result<(), Refused> {
        let request = protocol::parse(text)?;
        let frames = &self.services.metrics.frames;
        frames.received(Some(request.command.kind()));
        self.on_request(request, reservation);
        Ok(())
    }

    /// Answers a frame that names nothing that could be run.
    async fn refuse(&mut self, refused: &Refused) -> Result<(), CloseReason> {
        let metrics = &self.services.metrics;
        metrics.frames.received(None);
        metrics.commands.unreadable();
        self.feed(self.frames().refused(refused)).await
    }

    fn on_request(&mut self, request: protocol::Request, reservation: MessageReservation) {
        let commands = self
            .commands
            .get_or_insert_with(|| Box::new(Commands::new()));
        if let Some(started) = commands.in_flight.offer(request, reservation) {
            self.start(started);
        }
    }

    fn start(&mut self, started: Started) {
        let Some(commands) = &self.commands else {
            return;
        };
        let reply = commands.reply_to(started.command_id, started.reservation);
        let services = &self.services;
        let actor = Actor {
            caller: self.caller,
            user: self.user,
            connection: self.subscription.connection_id(),
        };
        let socket = &self.subscription;
        match started.command {
            Command::SendMessage(draft) => commands::send_message(services, actor, draft, reply),
            Command::Row(command) => {
                commands::run_row_command(services, actor, socket, command, reply)
            }
            Command::WatchPresence { users } => {
                reply.send(commands::watch_presence(services, self.user, socket, users));
            }
            Command::SetActive { is_active } => {
                let attending = &mut self.attending;
                let user = self.user;
                reply.send(commands::set_active(services, user, attending, is_active));
            }
            Command::Authenticate { token } => reply.send(self.renew(token.expose())),
            Command::Ping => reply.send(Ok(Done::Nothing)),
        }
    }

    /// Takes a new token. Counted: to verify one costs more than most commands.
    fn renew(&mut self, token: &str) -> CommandOutcome {
        self.services.other_limiter.check(self.user)?;
        self.caller = self.services.auth.renewed(self.caller, self.user, token)?;
        let warning = self.services.config.auth.token_warning;
        let fresh = Expiry::of(&self.caller, warning, Instant::now());
        self.expiry = fresh.in_place_of(&self.expiry);
        Ok(Done::Nothing)
    }

    /// The one place where commands are answered, and so counted.
    fn answer(&self, frames: Frames, answerable: Answerable<CommandOutcome>) -> Frame {
        let Answerable {
            id,
            kind,
            read_at,
            outcome,
        } = answerable;
        let end = CommandEnd::of(&outcome);
        let figures = &self.services.metrics.commands;
        figures.answered(kind, end, read_at.elapsed());
        frames.answer(&id, outcome)
    }

    /// The client is gone: the commands that it had sent are carried out, as far as the commands that they follow end soon. A client that sends
    /// and closes has sent. Nothing is answered any more.
    pub(super) async fn start_what_waits(&mut self) {
        let _ = timeout(START_PATIENCE, async {
            loop {
                if self.take_what_came() && !self.has_waiting() {
                    return;
                }
                let held_back = self.held_back;
                let reply = tokio::select! {
                    reply = next_reply(&mut self.commands) => reply,
                    () = until(held_back), if held_back.is_some() => {
                        self.held_back = self.hold_back();
                        continue;
                    }
                };
                if let (Some(commands), Some(reply)) = (self.commands.as_mut(), reply) {
                    commands.in_flight.finished(reply.command_id, reply.outcome);
                    // So that others of its frames have room.
                    while commands.in_flight.answerable().is_some() {}
                }
                self.start_startable();
            }
        })
        .await;
    }

    /// Takes the commands that have come and were not looked at: those that came before the greeting, which have been counted, and what
    /// is left where an answer found nobody. Whether there are no more to take: `false` while too many run or wait, or too many came.
    fn take_what_came(&mut self) -> bool {
        while self.accepting() && !self.leaving() {
            if self.held_back.is_some() && self.early.is_none() {
                return false;
            }
            let frame = next_frame(&mut self.early, &mut self.stream).now_or_never();
            let Some(Some(Ok(incoming))) = frame else {
                return true;
            };
            if let Message::Text(text) = incoming.message {
                let _nobody_hears_of_it = self.on_text(&text, incoming.reservation);
            }
            self.held_back = self.hold_back();
        }
        self.accepting()
    }

    fn has_waiting(&self) -> bool {
        self.commands
            .as_ref()
            .is_some_and(|commands| commands.in_flight.has_waiting())
    }

    fn start_startable(&mut self) {
        while let Some(started) = self
            .commands
            .as_mut()
            .and_then(|commands| commands.in_flight.startable())
        {
            self.start(started);
        }
    }

    /// Takes the outcomes that are there, starts what has waited for them, and answers what can be answered.
    pub(super) async fn on_reply(&mut self, first: Reply) -> Result<(), CloseReason> {
        let frames = self.frames();
        let mut next = Some(first);
        while let Some(Reply {
            command_id,
            outcome,
        }) = next
        {
            let Some(commands) = &mut self.commands else {
                return Ok(());
            };
            commands.in_flight.finished(command_id, outcome);
            next = commands.replies.try_recv().ok();
        }
        self.start_startable();
        while let Some(answerable) = self
            .commands
            .as_mut()
            .and_then(|commands| commands.in_flight.answerable())
        {
            let frame = self.answer(frames, answerable);
            self.feed(frame).await?;
        }
        Ok(())
    }
}

/// The client's next frame, of those that came before the greeting first; cancel safe.
pub(super) async fn next_frame<S>(
    early: &mut Option<Box<Early>>,
    stream: &mut WebSocketStream<LimitedStream<S>>,
) -> Option<Result<Incoming, SocketError>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let Some(frame) = early.as_mut().and_then(|early| early.0.pop_front()) {
        return Some(Ok(frame));
    }
    // No more come, and the session may be idle for days.
    *early = None;
    let message = next_message(stream).await?;
    Some(message.map(|message| Incoming::of(message, stream)))
}
