//! What the commands do that others than the session see. The order in which they run is decided in `in_flight`.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::in_flight::{self, CommandId, InFlight};
use super::limited_stream::MessageReservation;
use super::protocol::{Done, Draft, RowCommand};
use crate::auth::Caller;
use crate::error::Error;
use crate::hub::{Mailbox, Subscription};
use crate::live::Attending;
use crate::model::{ConnectionId, Content, UserId, check_content};
use crate::services::Services;
use crate::store::Gone;
use crate::writer::{Protocol, SENT_LOG};

/// Users for whom a list to watch counts as one command: the state of each is asked for and sent.
const WATCHED_OF_A_COMMAND: usize = 50;

/// What a command answers.
pub type CommandOutcome = Result<Done, Error>;

/// The end of one command, on its way back to its session.
#[derive(Debug)]
pub struct Reply {
    pub command_id: CommandId,
    pub outcome: CommandOutcome,
}

/// What a socket has only while its client sends commands; most sockets only listen.
pub struct Commands {
    pub in_flight: InFlight<CommandOutcome>,
    pub replies: mpsc::Receiver<Reply>,
    sender: mpsc::Sender<Reply>,
}

impl Commands {
    pub fn new() -> Self {
        // As many replies as commands in flight: a reply always finds room.
        let (sender, replies) = mpsc::channel(in_flight::LIMIT);
        Self {
            in_flight: InFlight::new(),
            replies,
            sender,
        }
    }

    /// Where this command puts its outcome, and what it counts for until then.
    pub fn reply_to(&self, command_id: CommandId, reservation: MessageReservation) -> ReplyTo {
        ReplyTo {
            command_id,
            sender: Some(self.sender.clone()),
            reservation,
        }
    }
}

/// Takes the one outcome of a command. Dropped without one (its task died, the writer has stopped), it reports that,
/// so that no command stays in flight for ever.
pub struct ReplyTo {
    command_id: CommandId,
    sender: Option<mpsc::Sender<Reply>>,
    reservation: MessageReservation,
}

impl ReplyTo {
    pub fn send(mut self, outcome: CommandOutcome) {
        self.put(outcome);
    }

    /// Until the session has ended: then nobody hears of the outcome.
    fn gone(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender.clone();
        async move {
            match sender {
                Some(sender) => sender.closed().await,
                None => pending().await,
            }
        }
    }

    fn put(&mut self, outcome: CommandOutcome) {
        if let Some(sender) = self.sender.take() {
            let command_id = self.command_id;
            // It can fail only when the session has ended: then nobody is left to answer.
            let _ = sender.try_send(Reply {
                command_id,
                outcome,
            });
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        self.put(Err(Error::unavailable("the command was given up")));
    }
}

/// On whose behalf a socket's commands act.
#[derive(Clone, Copy)]
pub struct Actor {
    pub caller: Caller,
    /// For whom `caller` opened the socket.
    pub user: UserId,
    pub connection: ConnectionId,
}

/// Hands the message to the writer, which answers to `reply`.
pub fn send_message(services: &Services, actor: Actor, draft: Draft, mut reply: ReplyTo) {
    let Actor {
        caller,
        user,
        connection,
    } = actor;
    let checked = Content::checked(
        draft.content,
        draft.message_type.as_deref(),
        draft.client_message_id,
        services.config.limits.message_bytes,
    );
    let admitted = checked.map_err(Error::Validation).and_then(|content| {
        let message = content.of(user, draft.conversation);
        services
            .send_limiter
            .check_content(user, &message.content)?;
        Ok(message)
    });
    match admitted {
        Ok(message) => {
            // The writer counts what it has.
            reply.reservation = None;
            let writer = &services.writer;
            writer.submit(message, Protocol::WebSocket, move |stored| {
                let stored = stored.map_err(|error| caller.concealed(error));
                if let Ok(sent) = &stored {
                    sent.log(|sent| {
                        log::debug!(target: SENT_LOG, connectionId:% = connection, userId:% = user, messageId:% = sent.id, seq = sent.seq.0;
                            "socket {connection} of user {user}: {sent}");
                    });
                }
                reply.send(stored.map(|sent| Done::Message(sent.message)))
            })
        }
        Err(fault) => reply.send(Err(fault)),
    }
}

/// Done at once, so that the last list is the one that counts.
pub fn watch_presence(
    services: &Services,
    user: UserId,
    socket: &Subscription,
    users: Vec<UserId>,
) -> CommandOutcome {
    let limit = services.config.limits.watched_users;
    if users.len() > limit {
        return Err(Error::Validation(vec![format!(
            "userIds must name at most {limit} users"
        )]));
    }
    let weight = users.len().div_ceil(WATCHED_OF_A_COMMAND);
    services.live_limiter.check_weight(user, weight)?;
    let presence = services.live.presence();
    presence.watch(socket.connection_id(), socket.mailbox(), users);
    Ok(Done::Nothing)
}

/// Done at once, so that the last one is the one that counts. Counted also where it changes nothing.
pub fn set_active(
    services: &Services,
    user: UserId,
    attending: &mut Attending,
    is_active: bool,
) -> CommandOutcome {
    services.live_limiter.check(user)?;
    attending.set_active(is_active);
    Ok(Done::Nothing)
}

/// Runs the command on a task of its own, tracked for the drain: a statement that runs is not given up when its socket goes. But a
/// command that waits for a held row does not outlive its socket: the client may have repeated it on another one, and changed the same row
/// once more.
pub fn run_row_command(
    services: &Arc<Services>,
    actor: Actor,
    socket: &Subscription,
    command: RowCommand,
    reply: ReplyTo,
) {
    if let Err(fault) = admit(services, actor.user, &command) {
        return reply.send(Err(fault));
    }
    let tasks = &services.lifecycle.connections;
    let services = Arc::clone(services);
    let mailbox = Arc::clone(socket.mailbox());
    tasks.spawn(async move {
        let outcome = run(
            &services,
            actor,
            &mailbox,
            command,
            Gone::when(pin!(reply.gone())),
        )
        .await;
        reply.send(outcome.map_err(|error| actor.caller.concealed(error)));
    });
}

/// Whether the command is one that may run, and is counted.
fn admit(services: &Services, user: UserId, command: &RowCommand) -> Result<(), Error> {
    match command {
        RowCommand::Typing { .. } => services.live_limiter.check(user),
        RowCommand::MarkRead { .. } | RowCommand::DeleteMessage { .. } => {
            services.other_limiter.check(user)
        }
        RowCommand::EditMessage { content, .. } => {
            // Before it is counted by its length: one that is too long is not made.
            let max_bytes = services.config.limits.message_bytes;
            check_content(content, max_bytes).map_err(Error::Validation)?;
            services.send_limiter.check_content(user, content)
        }
    }
}

async fn run(
    services: &Services,
    actor: Actor,
    mailbox: &Mailbox,
    command: RowCommand,
    gone: Gone<'_>,
) -> CommandOutcome {
    let Actor {
        user, connection, ..
    } = actor;
    let store = &services.store;
    match command {
        RowCommand::MarkRead {
            conversation,
            up_to,
        } => {
            // Up to a seq it says the same, whenever it is made.
            let gone = match up_to {
                None => gone,
                Some(_) => Gone::never(),
            };
            let marked = store.mark_read(conversation, user, up_to, gone).await?;
            Ok(Done::Marked {
                conversation,
                marked_count: marked.marked_count,
                read_seq: marked.read_seq,
            })
        }
        RowCommand::EditMessage { message, content } => {
            let edited = store.edit_message(message, user, &content, gone).await?;
            Ok(Done::Message(edited))
        }
        RowCommand::DeleteMessage { message } => {
            store.delete_message(message, user).await?;
            Ok(Done::Nothing)
        }
        RowCommand::Typing {
            conversation,
            is_typing,
        } => {
            let typing = services.live.typing();
            typing
                .set(conversation, user, connection, mailbox, is_typing)
                .await?;
            Ok(Done::Nothing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_nobody_finishes_is_answered_and_one_that_is_finished_is_answered_once() {
        let mut commands = Commands::new();
        drop(commands.reply_to(CommandId(1), None));
        let Reply {
            command_id,
            outcome,
        } = commands.replies.try_recv().unwrap();
        assert_eq!(command_id, CommandId(1));
        assert_eq!(outcome.unwrap_err().code().name(), "unavailable");
        commands
            .reply_to(CommandId(2), None)
            .send(Ok(Done::Nothing));
        let Reply {
            command_id,
            outcome,
        } = commands.replies.try_recv().unwrap();
        assert!(command_id == CommandId(2) && outcome.is_ok());
        assert!(commands.replies.try_recv().is_err(), "nothing more");
    }
}
