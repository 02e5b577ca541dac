//! Which commands of one socket may run now, and in which order they are answered. No I/O.
//!
//! The promise: frames of one socket are executed and answered in order for one conversation. Sends go to the
//! writer one after another, which keeps their order, so they may overlap; everything else waits for
//! the commands before it that touch the same conversation. A command that must wait is held, and while one is
//! held the client's frames are not read: TCP holds the client back, and nothing queues up here.

use std::collections::VecDeque;
use std::time::Instant;

use super::limited_stream::MessageReservation;
use super::protocol::{Command, Request, RequestId, Statement};
use crate::frame::CommandType;
use crate::model::ConversationId;

/// Commands of one socket that have not been answered yet. Also the capacity of its reply channel.
pub const LIMIT: usize = 32;

/// Commands among them that take a pooled connection each, which sends do not.
pub const STATEMENT_LIMIT: usize = 4;

/// How a command takes part in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The writer keeps the order of sends among themselves.
    Send(ConversationId),
    /// A statement of its own about one conversation.
    Statement(ConversationId),
    /// A statement of its own about a message, whose conversation is not known here: ordered with everything.
    AnyStatement,
    Free,
}

impl Order {
    fn of(command: &Command) -> Self {
        match command {
            Command::SendMessage(draft) => Self::Send(draft.conversation),
            Command::Statement(
                Statement::MarkRead { conversation, .. } | Statement::Typing { conversation, .. },
            ) => Self::Statement(*conversation),
            Command::Statement(Statement::EditMessage { .. } | Statement::DeleteMessage { .. }) => {
                Self::AnyStatement
            }
            Command::WatchPresence { .. } | Command::Authenticate { .. } | Command::Ping => {
                Self::Free
            }
        }
    }

    fn is_statement(self) -> bool {
        matches!(self, Self::Statement(_) | Self::AnyStatement)
    }

    /// Whether the two must be answered in the order in which they came.
    fn same_order(self, other: Self) -> bool {
        match (self, other) {
            (Self::Free, _) | (_, Self::Free) => false,
            (Self::AnyStatement, _) | (_, Self::AnyStatement) => true,
            (Self::Send(one) | Self::Statement(one), Self::Send(two) | Self::Statement(two)) => {
                one == two
            }
        }
    }

    /// Whether a command must wait for the end of `earlier`.
    fn waits_for(self, earlier: Self) -> bool {
        self.same_order(earlier) && (self.is_statement() || earlier.is_statement())
    }
}

/// Names a command in flight; unique on its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

struct Entry<R> {
    command_id: CommandId,
    order: Order,
    id: RequestId,
    kind: CommandType,
    /// When its frame was read.
    read_at: Instant,
    outcome: Option<R>,
}

/// A command that has ended and whose turn to be answered has come.
pub struct Answerable<R> {
    pub id: RequestId,
    pub kind: CommandType,
    /// When its frame was read.
    pub read_at: Instant,
    pub outcome: R,
}

/// A command that waits for others before it starts.
struct Held {
    request: Request,
    reservation: MessageReservation,
    read_at: Instant,
}

/// A command that is to be started, and what it counts for as long as it is there.
pub struct Started {
    pub command_id: CommandId,
    pub command: Command,
    pub reservation: MessageReservation,
}

/// The commands of one socket between their frame and their answer. `R` is what a command ends with.
pub struct InFlight<R> {
    /// In the order of the client's frames.
    entries: VecDeque<Entry<R>>,
    held: Option<Held>,
    next: CommandId,
}

impl<R> InFlight<R> {
    pub fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            held: None,
            next: CommandId(0),
        }
    }

    /// Whether another frame of the client may be read.
    pub fn accepting(&self) -> bool {
        self.held.is_none() && self.entries.len() < LIMIT
    }

    /// Whether everything is answered.
    pub fn is_idle(&self) -> bool {
        self.held.is_none() && self.entries.is_empty()
    }

    /// Takes the client's next command: to be started now if one is given back, else held for [`InFlight::unhold`].
    /// Only while [`InFlight::accepting`].
    pub fn offer(&mut self, request: Request, reservation: MessageReservation) -> Option<Started> {
        debug_assert!(self.accepting());
        self.start_or_hold(Held {
            request,
            reservation,
            read_at: Instant::now(),
        })
    }

    fn start_or_hold(&mut self, new: Held) -> Option<Started> {
        let Held {
            request,
            reservation,
            read_at,
        } = new;
        let order = Order::of(&request.command);
        if self.must_wait(order) {
            self.held = Some(Held {
                request,
                reservation,
                read_at,
            });
            return None;
        }
        let command_id = self.next;
        self.next.0 += 1;
        self.entries.push_back(Entry {
            command_id,
            order,
            id: request.id,
            kind: request.command.kind(),
            read_at,
            outcome: None,
        });
        Some(Started {
            command_id,
            command: request.command,
            reservation,
        })
    }

    /// The held command, once it may start.
    pub fn unhold(&mut self) -> Option<Started> {
        let held = self.held.take()?;
        self.start_or_hold(held)
    }

    /// A started command ended.
    pub fn finished(&mut self, command_id: CommandId, outcome: R) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.command_id == command_id) {
            entry.outcome = Some(outcome);
        }
    }

    /// The next command that can be answered: it ended, and so did all before it that share its order.
    pub fn answerable(&mut self) -> Option<Answerable<R>> {
        let index = (0..self.entries.len()).find(|&index| {
            let entry = &self.entries[index];
            entry.outcome.is_some()
                && !self
                    .entries
                    .range(..index)
                    .any(|earlier| earlier.order.same_order(entry.order))
        })?;
        let entry = self.entries.remove(index)?;
        entry.outcome.map(|outcome| Answerable {
            id: entry.id,
            kind: entry.kind,
            read_at: entry.read_at,
            outcome,
        })
    }

    fn must_wait(&self, order: Order) -> bool {
        let mut running = self.entries.iter().filter(|e| e.outcome.is_none());
        if order.is_statement()
            && running.clone().filter(|e| e.order.is_statement()).count() >= STATEMENT_LIMIT
        {
            return true;
        }
        running.any(|earlier| order.waits_for(earlier.order))
    }
}

#[cfg(test)]
mod tests;
