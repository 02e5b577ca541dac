//! A lane whose messages are numbered; what is promised of it is below, by subject.

mod bounds;
mod order;
mod silences;
mod turns;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use super::*;
use crate::limits::Reservation;
use crate::model::{ConversationId, MessageType, NewMessage, UserId};
use crate::store::Outgoing;
use crate::sync::lock;

const TIMEOUT: Duration = Duration::from_secs(10);
const BATCH: usize = 8;

/// A lane whose messages are numbered, and what was answered of them.
struct Lane {
    scheduler: FlowScheduler,
    now: Instant,
    answered: Arc<Mutex<Vec<u128>>>,
    next: u128,
    /// How long each turn takes.
    took: Duration,
    /// Most messages of a turn.
    batch: usize,
}

impl Lane {
    fn new(capacity: usize) -> Self {
        Self {
            scheduler: FlowScheduler::new(capacity),
            now: Instant::now(),
            answered: Arc::default(),
            next: 0,
            took: Duration::ZERO,
            batch: BATCH,
        }
    }

    /// A message into this conversation; its number.
    fn push(&mut self, conversation: u128) -> u128 {
        self.push_content(conversation, "x".to_owned())
    }

    fn push_content(&mut self, conversation: u128, content: String) -> u128 {
        let number = self.next;
        self.next += 1;
        let answered = Arc::clone(&self.answered);
        let pending = Pending {
            outgoing: Outgoing {
                id: Uuid::from_u128(number),
                message: NewMessage {
                    conversation: ConversationId(Uuid::from_u128(conversation)),
                    sender: UserId(Uuid::nil()),
                    content,
                    message_type: MessageType::Text,
                    client_message_id: None,
                },
            },
            reply: Box::new(move |_| lock(&answered).push(number)),
            deadline: self.now + TIMEOUT,
            tries: 0,
            sent: false,
            suspect: false,
            had_no_answer: false,
            _reservation: Reservation::default(),
        };
        if let Some(pending) = self.scheduler.push(pending, self.now) {
            (pending.reply)(Err(crate::error::Error::unavailable("refused")));
        }
        number
    }

    fn assert_empty(&self) {
        assert_eq!(
            (self.scheduler.flows.len(), self.scheduler.messages),
            (0, 0)
        );
    }

    fn answered(&self) -> Vec<u128> {
        lock(&self.answered).clone()
    }

    fn turn(&mut self) -> Option<Turn> {
        self.scheduler.take_turn(self.now, self.batch)
    }

    /// The next turn, however long it takes to come; `None`: all that waited was late.
    fn later_turn(&mut self) -> Option<Turn> {
        loop {
            let next = self.scheduler.next_event(false)?;
            self.now = self.now.max(next);
            self.scheduler.expire(self.now);
            if let Some(turn) = self.turn() {
                return Some(turn);
            }
        }
    }

    fn next_turn(&mut self) -> Turn {
        self.later_turn().expect("a turn")
    }

    /// As [`Lane::end`], after an answer that took longer than others take.
    fn end_after_long(&mut self, turn: Turn, free: &[u128]) {
        self.end_with(turn, free, true);
    }

    /// The turn's messages of these conversations are stored.
    fn end(&mut self, turn: Turn, free: &[u128]) {
        self.end_with(turn, free, false);
    }

    fn end_with(&mut self, turn: Turn, free: &[u128], took_long: bool) {
        let (again, of) = stored(turn, free);
        self.now += self.took;
        let done = Done {
            again,
            at_fault: HashSet::new(),
            took: Some(self.took),
            took_long,
            silence: None,
            of,
        };
        self.scheduler.give_back(done, self.now);
    }

    /// There is no answer to the turn in time, though the database answers others.
    fn end_silent(&mut self, turn: Turn) {
        self.end_silent_but_for(turn, &[]);
    }

    /// As [`Lane::end_silent`], after the messages of these conversations were stored by
    /// themselves.
    fn end_silent_but_for(&mut self, turn: Turn, free: &[u128]) {
        let (mut again, of) = stored(turn, free);
        self.now += self.took;
        let done = Done {
            silence: Some(Silence::of(&mut again)),
            again,
            at_fault: HashSet::new(),
            took: None,
            took_long: false,
            of,
        };
        self.scheduler.give_back(done, self.now);
    }

    /// The connection breaks during the turn, or none is to be had.
    fn end_unreached(&mut self, turn: Turn) {
        let (again, _, of) = turn.into_parts();
        self.now += self.took;
        let done = Done {
            again,
            at_fault: HashSet::new(),
            took: None,
            took_long: false,
            silence: None,
            of,
        };
        self.scheduler.give_back(done, self.now);
    }

    /// The fast lane had no answer to the messages of these conversations.
    fn had_no_answer(&mut self, conversations: impl IntoIterator<Item = u128>) {
        let flows: HashSet<Flow> = conversations.into_iter().map(flow).collect();
        let waiting = flows.iter().map(|flow| &self.scheduler.flows[flow]);
        let messages = waiting.map(|waiting| waiting.queue.len()).sum();
        let silence = Silence { flows, messages };
        self.scheduler.had_no_answer(&silence);
    }
}

/// The turn's messages of these conversations are; the others are left.
fn stored(turn: Turn, free: &[u128]) -> (Vec<Pending>, TurnOf) {
    let (messages, _, of) = turn.into_parts();
    let (stored, again): (Vec<_>, _) = messages
        .into_iter()
        .partition(|pending| free.contains(&conversation(pending)));
    for pending in stored {
        (pending.reply)(Err(crate::error::Error::unavailable("stored")));
    }
    (again, of)
}

fn flow(conversation: u128) -> Flow {
    Flow {
        conversation: ConversationId(Uuid::from_u128(conversation)),
        sender: UserId(Uuid::nil()),
    }
}

fn conversation(pending: &Pending) -> u128 {
    pending.flow().conversation.0.as_u128()
}

fn numbers(turn: &Turn) -> Vec<u128> {
    turn.messages
        .iter()
        .map(|pending| pending.outgoing.id.as_u128())
        .collect()
}
