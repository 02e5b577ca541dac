//! What each command of a client does. The order in which they run is decided in `in_flight`.

use std::sync::Arc;

use tokio::sync::mpsc;
use uuid::Uuid;

use super::in_flight::{self, InFlight, Ticket};
use super::metered::Weight;
use super::protocol::{Command, Done};
use crate::app::Services;
use crate::auth::Caller;
use crate::error::Error;
use crate::hub::Subscription;
use crate::model::{NewMessage, UserId, content_faults};
use crate::writer::Protocol;

pub type Outcome = Result<Done, Error>;

/// The end of one command, on its way back to its session.
#[derive(Debug)]
pub struct Reply {
    pub ticket: Ticket,
    pub outcome: Outcome,
}

/// What a socket has only while its client sends commands; most sockets only listen.
pub struct Commands {
    pub in_flight: InFlight<Outcome>,
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

    /// Where the command of `ticket` puts its outcome, and what it counts for until then.
    pub fn reply_to(&self, ticket: Ticket, weight: Weight) -> ReplyTo {
        ReplyTo {
            ticket,
            sender: Some(self.sender.clone()),
            weight,
        }
    }
}

/// Takes the one outcome of a command. Dropped without one (its task died, the writer has stopped), it reports that,
/// so that no command stays in flight for ever.
pub struct ReplyTo {
    ticket: Ticket,
    sender: Option<mpsc::Sender<Reply>>,
    weight: Weight,
}

impl ReplyTo {
    pub fn send(mut self, outcome: Outcome) {
        self.put(outcome);
    }

    fn put(&mut self, outcome: Outcome) {
        if let Some(sender) = self.sender.take() {
            let ticket = self.ticket;
            // It can fail only when the session has ended: then nobody is left to answer.
            let _ = sender.try_send(Reply { ticket, outcome });
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        self.put(Err(Error::unavailable("the command was given up")));
    }
}

/// Starts a command and returns at once; its outcome goes to `reply`. `user` is the one for whom `caller` opened the
/// socket, and acts by every command.
pub fn start(
    services: &Arc<Services>,
    caller: Caller,
    user: UserId,
    socket: &Subscription,
    command: Command,
    mut reply: ReplyTo,
) {
    let max_bytes = services.config.limits.message_bytes;
    match command {
        Command::SendMessage {
            conversation,
            content,
            message_type,
            client_message_id,
        } => {
            let checked = NewMessage::checked(
                conversation,
                user,
                content,
                message_type.as_deref(),
                client_message_id,
                max_bytes,
            );
            let admitted = checked.and_then(|message| {
                services.limiter.check(user)?;
                Ok(message)
            });
            match admitted {
                Ok(message) => {
                    // The writer counts what it has.
                    reply.weight = None;
                    services
                        .writer
                        .submit(message, Protocol::WebSocket, move |stored| {
                            let stored = stored.map_err(|error| caller.told(error));
                            reply.send(stored.map(|sent| Done::Message(sent.message)))
                        })
                }
                Err(fault) => reply.send(Err(fault)),
            }
        }
        // Done at once, so that the last list is the one that counts.
        Command::WatchPresence { users } => {
            let limit = services.config.limits.watched_users;
            reply.send(match users.len() > limit {
                true => Err(Error::Validation(vec![format!(
                    "userIds must name at most {limit} users"
                )])),
                false => services
                    .live
                    .watch(user, socket.connection_id(), socket.mailbox(), users)
                    .map(|()| Done::Nothing),
            });
        }
        Command::Ping => reply.send(Ok(Done::Nothing)),
        // The session's own: it changes what the session knows of its caller.
        Command::Authenticate { .. } => {}
        Command::MarkRead { .. }
        | Command::EditMessage { .. }
        | Command::DeleteMessage { .. }
        | Command::Typing { .. } => {
            // Typing has a limit of its own.
            if !matches!(command, Command::Typing { .. })
                && let Err(fault) = services.limiter.check(user)
            {
                return reply.send(Err(fault));
            }
            let services_of_task = Arc::clone(services);
            let connection = socket.connection_id();
            // On a task of its own, tracked for the drain: a statement that runs is not given up when its socket goes.
            services.lifecycle.connections.spawn(async move {
                let outcome = query(&services_of_task, user, connection, command, max_bytes).await;
                reply.send(outcome.map_err(|error| caller.told(error)));
            });
        }
    }
}

/// The commands that are one statement each, if any.
async fn query(
    services: &Services,
    user: UserId,
    connection: Uuid,
    command: Command,
    max_bytes: usize,
) -> Outcome {
    let store = &services.store;
    match command {
        Command::MarkRead {
            conversation,
            up_to,
        } => {
            let marked = store.mark_read(conversation, user, up_to).await?;
            Ok(Done::Marked {
                conversation,
                marked_count: marked.marked_count,
                read_seq: marked.read_seq,
            })
        }
        Command::EditMessage { message, content } => {
            let faults = content_faults(&content, max_bytes);
            if !faults.is_empty() {
                return Err(Error::Validation(faults));
            }
            let edited = store.edit_message(message, user, &content).await?;
            Ok(Done::Message(edited))
        }
        Command::DeleteMessage { message } => {
            store.delete_message(message, user).await?;
            Ok(Done::Nothing)
        }
        Command::Typing {
            conversation,
            is_typing,
        } => {
            let live = &services.live;
            live.typing(conversation, user, connection, is_typing)
                .await?;
            Ok(Done::Nothing)
        }
        Command::SendMessage { .. }
        | Command::WatchPresence { .. }
        | Command::Authenticate { .. }
        | Command::Ping => Ok(Done::Nothing),
    }
}
