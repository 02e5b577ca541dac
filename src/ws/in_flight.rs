//! Which commands of one socket may run now, and in which order they are answered. No I/O.
//!
//! The promise: commands that have an order among themselves (`Order::follows`) are executed and answered in the order of their
//! frames, and wait for no others. Sends go to the writer one after another, which keeps their order, so they may overlap; everything
//! else waits for the end of what it follows. That may take as long as another program holds a row. A command that must wait does so
//! here, and the client's next frames are read meanwhile, up to a number of commands and of bytes: beyond that TCP holds the client
//! back.

use std::collections::VecDeque;
use std::time::Instant;

use super::limited_stream::MessageReservation;
use super::protocol::{Command, Request, RequestId, RowCommand};
use crate::frame::CommandType;
use crate::limits::SMALL;
use crate::model::{ConversationId, MessageId};

/// Commands of one socket that have not been answered yet, whether they run or wait. Also the capacity of its reply channel.
pub const LIMIT: usize = 32;

/// Commands among them that run and take a pooled connection each, which sends do not: so many that may meet a row that is
/// held, and as many that cannot.
pub const STATEMENT_LIMIT: usize = 4;

/// Bytes of text that are kept for such commands before no more frames are read. One command may exceed this by itself: a second is still
/// accepted beside it.
const KEPT_BYTES: usize = SMALL;

/// How a command takes part in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The writer keeps the order of sends among themselves.
    Send(ConversationId),
    MarkRead(ConversationId),
    Typing(ConversationId),
    /// An edit or a deletion. In which conversation the message is, is not known here, and need not be: nobody can name a
    /// message before it is stored, a mark concerns other people's messages, and of two states of a message the later one says so.
    Change(MessageId),
    Free,
}

impl Order {
    fn of(command: &Command) -> Self {
        match command {
            Command::SendMessage(draft) => Self::Send(draft.conversation),
            Command::Row(command) => match command {
                RowCommand::MarkRead { conversation, .. } => Self::MarkRead(*conversation),
                RowCommand::Typing { conversation, .. } => Self::Typing(*conversation),
                RowCommand::EditMessage { message, .. } | RowCommand::DeleteMessage { message } => {
                    Self::Change(*message)
                }
            },
            Command::WatchPresence { .. }
            | Command::SetActive { .. }
            | Command::Authenticate { .. }
            | Command::Ping => Self::Free,
        }
    }

    /// Whether it must be executed and answered after `earlier`.
    ///
    /// A send follows typing, which its message ends: typing that it overtook would be shown until it lapses.
    /// That wait is short, since typing meets no row that anybody holds, and it is given up where whom it is for is not known within a
    /// second. Typing does not follow a send, which may wait for long. Where it
    /// overtakes one, the message ends it, and the client renews it within seconds; the same happens to typing that comes
    /// between a message's commit and its event.
    fn follows(self, earlier: Self) -> bool {
        match (earlier, self) {
            (Self::Send(one) | Self::MarkRead(one), Self::Send(two) | Self::MarkRead(two))
            | (Self::Typing(one), Self::Typing(two) | Self::Send(two)) => one == two,
            (Self::Change(one), Self::Change(two)) => one == two,
            _ => false,
        }
    }

    /// Whether it may run beside what it follows.
    fn overlaps(self, earlier: Self) -> bool {
        matches!((self, earlier), (Self::Send(_), Self::Send(_)))
    }

    /// Whether the two count towards the same limit of statements.
    fn shares_connections(self, other: Self) -> bool {
        match (self, other) {
            (Self::Typing(_), Self::Typing(_)) => true,
            (one, two) => one.may_be_held() && two.may_be_held(),
        }
    }

    /// Whether it is a statement that may meet a row that another program holds, and then takes long.
    fn may_be_held(self) -> bool {
        matches!(self, Self::MarkRead(_) | Self::Change(_))
    }
}

/// Names a command in flight; unique on its socket, and in the order of the client's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u64);

struct Entry<R> {
    command_id: CommandId,
    order: Order,
    id: RequestId,
    kind: CommandType,
    /// When its frame was read.
    read_at: Instant,
    /// Bytes of text that are kept for it.
    kept: usize,
    state: State<R>,
}

enum State<R> {
    /// For others, before it starts.
    Waiting {
        command: Command,
        reservation: MessageReservation,
    },
    Running,
    Ended(R),
}

impl<R> Entry<R> {
    fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// Whether `later` cannot start because of it.
    fn delays(&self, later: Order) -> bool {
        later.follows(self.order)
            && match self.state {
                State::Waiting { .. } => true,
                State::Running => !later.overlaps(self.order),
                State::Ended(_) => false,
            }
    }
}

/// A command that has ended and whose turn to be answered has come.
pub struct Answerable<R> {
    pub id: RequestId,
    pub kind: CommandType,
    /// When its frame was read.
    pub read_at: Instant,
    pub outcome: R,
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
    /// How many of them wait.
    waiting: usize,
    next: CommandId,
}

impl<R> InFlight<R> {
    pub fn new() -> Self {
        Self {
            entries: VecDeque::new(),
            waiting: 0,
            next: CommandId(0),
        }
    }

    /// Whether another frame of the client may be read.
    pub fn accepting(&self) -> bool {
        self.entries.len() < LIMIT && self.has_room()
    }

    fn has_room(&self) -> bool {
        let kept = self.entries.iter().map(|entry| entry.kept);
        let (count, bytes) = kept
            .filter(|&bytes| bytes > 0)
            .fold((0, 0), |(count, sum), bytes| (count + 1, sum + bytes));
        count <= 1 || bytes <= KEPT_BYTES
    }

    /// Whether a command waits for others before it starts.
    pub fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Whether everything is answered.
    pub fn is_idle(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes the client's next command: to be started now if one is given back, else it waits for [`InFlight::startable`].
    /// Only while [`InFlight::accepting`].
    pub fn offer(&mut self, request: Request, reservation: MessageReservation) -> Option<Started> {
        debug_assert!(self.accepting());
        let Request { id, command } = request;
        self.entries.push_back(Entry {
            command_id: self.next,
            order: Order::of(&command),
            id,
            kind: command.kind(),
            read_at: Instant::now(),
            kept: kept(&command, &reservation),
            state: State::Waiting {
                command,
                reservation,
            },
        });
        self.next.0 += 1;
        self.waiting += 1;
        self.start(self.entries.len() - 1)
    }

    /// The next command that waits no longer, once others have ended.
    pub fn startable(&mut self) -> Option<Started> {
        if self.waiting == 0 {
            return None;
        }
        (0..self.entries.len()).find_map(|index| self.start(index))
    }

    /// The command at this place, unless it must wait or has started.
    fn start(&mut self, index: usize) -> Option<Started> {
        if self.must_wait(index) {
            return None;
        }
        let entry = self.entries.get_mut(index)?;
        match std::mem::replace(&mut entry.state, State::Running) {
            State::Waiting {
                command,
                reservation,
            } => {
                self.waiting -= 1;
                if matches!(entry.order, Order::Send(_)) {
                    // The writer has it, and counts it.
                    entry.kept = 0;
                }
                Some(Started {
                    command_id: entry.command_id,
                    command,
                    reservation,
                })
            }
            started => {
                entry.state = started;
                None
            }
        }
    }

    /// A started command ended.
    pub fn finished(&mut self, command_id: CommandId, outcome: R) {
        if let Some(entry) = self.entries.iter_mut().find(|e| e.command_id == command_id) {
            entry.kept = 0;
            entry.state = State::Ended(outcome);
        }
    }

    /// The next command that can be answered: it ended, and all that it follows are answered.
    pub fn answerable(&mut self) -> Option<Answerable<R>> {
        let index = (0..self.entries.len()).find(|&index| {
            let entry = &self.entries[index];
            matches!(entry.state, State::Ended(_))
                && !self
                    .entries
                    .range(..index)
                    .any(|earlier| entry.order.follows(earlier.order))
        })?;
        let entry = self.entries.remove(index)?;
        match entry.state {
            State::Ended(outcome) => Some(Answerable {
                id: entry.id,
                kind: entry.kind,
                read_at: entry.read_at,
                outcome,
            }),
            State::Waiting { .. } | State::Running => None,
        }
    }

    fn must_wait(&self, index: usize) -> bool {
        let order = self.entries[index].order;
        let mut ahead = self.entries.range(..index);
        ahead.any(|earlier| earlier.delays(order)) || !self.has_free_connection(order)
    }

    fn has_free_connection(&self, order: Order) -> bool {
        let running = self.entries.iter().filter(|entry| entry.is_running());
        let alike = running.filter(|entry| order.shares_connections(entry.order));
        alike.count() < STATEMENT_LIMIT
    }
}

/// Bytes that a command's text takes. A command with a reservation came in a frame above this bound and counts as the whole of it, or many
/// such commands would use up the user's share.
fn kept(command: &Command, reservation: &MessageReservation) -> usize {
    if reservation.is_some() {
        return KEPT_BYTES;
    }
    match command {
        Command::SendMessage(draft) => {
            let others = [&draft.message_type, &draft.client_message_id];
            let others = others.into_iter().flatten().map(String::len);
            draft.content.len() + others.sum::<usize>()
        }
        Command::Row(RowCommand::EditMessage { content, .. }) => content.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
