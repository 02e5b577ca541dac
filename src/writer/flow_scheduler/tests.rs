use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use uuid::Uuid;

use super::super::MAX_WAITING_BYTES;
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

    /// The turn's messages of these conversations are stored.
    fn end(&mut self, turn: Turn, free: &[u128]) {
        let (messages, _, of) = turn.into_parts();
        let again = messages
            .into_iter()
            .filter_map(|pending| {
                let stored = free.contains(&conversation(&pending));
                if stored {
                    (pending.reply)(Err(crate::error::Error::unavailable("stored")));
                    return None;
                }
                Some(pending)
            })
            .collect();
        self.now += self.took;
        let done = Done {
            again,
            at_fault: HashSet::new(),
            took: Some(self.took),
            silent: false,
            of,
        };
        self.scheduler.give_back(done, self.now);
    }

    /// There is no answer to the turn in time, though the database answers others.
    fn end_silent(&mut self, turn: Turn) {
        let (again, _, of) = turn.into_parts();
        self.now += self.took;
        let done = Done {
            again,
            at_fault: HashSet::new(),
            took: None,
            silent: true,
            of,
        };
        self.scheduler.give_back(done, self.now);
    }

    /// The fast lane had no answer to the messages of these conversations.
    fn had_no_answer(&mut self, conversations: impl IntoIterator<Item = u128>) {
        let flows = conversations.into_iter().map(flow).collect();
        self.scheduler.had_no_answer(&flows);
    }
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

#[test]
fn one_flow_waits_for_its_lock_and_for_long_after_some_turns_in_vain() {
    let mut lane = Lane::new(100);
    let sent: Vec<_> = (0..3).map(|_| lane.push(1)).collect();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let turn = lane.next_turn();
        assert_eq!(numbers(&turn), sent);
        let Locks::Wait(wait) = turn.locks else {
            panic!("{:?}", turn.locks);
        };
        waits.push(wait);
        lane.end(turn, &[]);
    }
    assert_eq!(waits.iter().filter(|wait| **wait == LONG_WAIT).count(), 1);
    assert_eq!(waits[3], LONG_WAIT, "{waits:?}");
    let turn = lane.next_turn();
    lane.end(turn, &[1]);
    lane.assert_empty();
    assert_eq!(lane.answered(), sent);
}

#[test]
fn of_many_flows_one_message_each_is_looked_at_together() {
    let mut lane = Lane::new(100);
    for conversation in [1, 1, 2, 3, 3] {
        lane.push(conversation);
    }
    let turn = lane.turn().expect("a turn");
    assert_eq!(turn.messages.len(), 3);
    assert!(matches!(turn.locks, Locks::Skip { wait } if wait == LEAST_WAIT));
    assert!(lane.turn().is_none(), "all are on their way");
    lane.end(turn, &[3]);
    // What is free goes on at once, with all that it has.
    let turn = lane.turn().expect("a turn");
    assert_eq!(numbers(&turn), [4]);
    lane.end(turn, &[3]);
    assert!(lane.turn().is_none(), "the others pause");
    assert_eq!(lane.scheduler.len(), 3);
}

#[test]
fn after_a_look_in_vain_the_lane_rests_for_as_long_as_it_took() {
    const MANY: u128 = 3 * BATCH as u128;
    let mut lane = Lane::new(100);
    lane.took = Duration::from_millis(40);
    for conversation in 0..MANY {
        lane.push(conversation);
    }
    let first = lane.turn().expect("a look");
    let seen: Vec<u128> = first.messages.iter().map(conversation).collect();
    lane.end(first, &[]);
    let moment = Duration::from_millis(1);
    lane.now += lane.took - moment;
    assert!(lane.turn().is_none(), "half of the time is for others");
    lane.now += moment;
    let second = lane.turn().expect("a look at the next ones");
    let others: Vec<u128> = second.messages.iter().map(conversation).collect();
    assert!(others.iter().all(|other| !seen.contains(other)));
    lane.end(second, &others[..1]);
    assert!(lane.turn().is_some(), "what is free again goes on at once");
}

#[test]
fn who_is_at_fault_is_tried_alone_until_something_of_it_is_stored() {
    let mut lane = Lane::new(100);
    for conversation in [1, 2, 3] {
        lane.push(conversation);
    }
    let (messages, _, of) = lane.next_turn().into_parts();
    let at_fault = messages
        .iter()
        .filter(|pending| conversation(pending) == 2)
        .map(Pending::flow)
        .collect();
    let done = Done {
        again: messages,
        at_fault,
        took: Some(lane.took),
        silent: false,
        of,
    };
    lane.scheduler.give_back(done, lane.now);
    for _ in 0..10 {
        let turn = lane.next_turn();
        let conversations: Vec<_> = turn.messages.iter().map(conversation).collect();
        let alone = conversations == [2];
        assert!(alone || !conversations.contains(&2), "{conversations:?}");
        lane.end(turn, &[]);
    }
}

#[test]
fn when_one_that_was_at_fault_goes_through_the_others_are_looked_at_together() {
    let mut lane = Lane::new(100);
    for conversation in [1, 2, 3] {
        lane.push(conversation);
    }
    let (messages, _, of) = lane.next_turn().into_parts();
    let done = Done {
        at_fault: messages.iter().map(Pending::flow).collect(),
        again: messages,
        took: Some(lane.took),
        silent: false,
        of,
    };
    lane.scheduler.give_back(done, lane.now);
    let turn = lane.next_turn();
    assert_eq!(turn.messages.len(), 1);
    let free = conversation(&turn.messages[0]);
    lane.end(turn, &[free]);
    assert_eq!(lane.next_turn().messages.len(), 2);
}

#[test]
fn one_that_has_no_answer_is_found_among_five_hundred_in_nine_silences() {
    const FLOWS: u128 = 500;
    for slow in [0, 137, FLOWS - 1] {
        let mut lane = Lane::new(1000);
        lane.batch = 500;
        for conversation in 0..FLOWS {
            lane.push(conversation);
        }
        lane.had_no_answer(0..FLOWS);
        let all: Vec<u128> = (0..FLOWS).collect();
        let mut silences = 0;
        let alone = loop {
            let turn = lane.next_turn();
            let takes_long = turn
                .messages
                .iter()
                .any(|pending| conversation(pending) == slow);
            if let Patience::After(_) = turn.of.patience {
                break turn;
            }
            assert_eq!(turn.of.patience, Patience::Brief);
            if takes_long {
                silences += 1;
                lane.end_silent(turn);
            } else {
                lane.end(turn, &all);
            }
        };
        assert_eq!(conversation(&alone.messages[0]), slow);
        assert!(silences <= 9, "{silences}");
        assert_eq!(lane.scheduler.len(), 1, "the others are stored");
    }
}

/// Then it is the database that was slow, and each of them would take as long as one.
#[test]
fn when_one_that_had_no_answer_has_one_the_others_are_looked_at_together() {
    let mut lane = Lane::new(100);
    for conversation in 0..BATCH as u128 {
        lane.push(conversation);
        lane.had_no_answer([conversation]);
    }
    let turn = lane.next_turn();
    assert_eq!(turn.of.patience, Patience::After(1));
    lane.end_silent(turn);
    let turn = lane.next_turn();
    assert_eq!(turn.messages.len(), 1);
    let answered = conversation(&turn.messages[0]);
    lane.end(turn, &[answered]);
    let turn = lane.later_turn().expect("a turn");
    assert_eq!(turn.of.patience, Patience::Usual);
    assert!(turn.messages.len() > 1);
}

#[test]
fn behind_what_has_no_answer_its_flow_waits_and_nobody_else_for_longer_than_its_turn() {
    let mut lane = Lane::new(100);
    lane.took = Duration::from_secs(4);
    let sent = [lane.push(1), lane.push(1)];
    lane.had_no_answer([1]);
    let turn = lane.next_turn();
    assert_eq!(numbers(&turn), sent[..1], "one at a time");
    let held = lane.push(2);
    lane.end_silent(turn);
    lane.took = Duration::from_millis(1);
    let end = lane.now + Duration::from_millis(900);
    let mut turns = 0;
    while lane.now < end {
        let turn = lane.next_turn();
        assert_eq!(numbers(&turn), [held]);
        turns += 1;
        lane.end(turn, &[]);
    }
    assert!(turns >= 3, "{turns}");
    // Once it is late, what is behind it need not take long.
    lane.now += TIMEOUT;
    let next = lane.push(1);
    lane.scheduler.expire(lane.now);
    let mut late = lane.answered();
    late.sort_unstable();
    assert_eq!(late, [sent[0], sent[1], held]);
    let turn = lane.next_turn();
    assert_eq!(numbers(&turn), [next]);
    assert_eq!(turn.of.patience, Patience::Brief);
}

#[test]
fn who_is_late_is_answered_whoever_has_a_turn() {
    let mut lane = Lane::new(100);
    let first = lane.push(1);
    lane.now += TIMEOUT / 2;
    let turn = lane.turn().expect("a turn");
    let behind = lane.push(1);
    let second = lane.push(2);
    lane.now += TIMEOUT / 2;
    lane.scheduler.expire(lane.now);
    assert_eq!(lane.answered(), [], "the first is on its way");
    lane.end(turn, &[]);
    let late = lane.scheduler.next_event(true).expect("late messages");
    assert!(late <= lane.now + SWEEP);
    lane.now = late;
    lane.scheduler.expire(lane.now);
    assert_eq!(lane.answered(), [first]);
    lane.now += TIMEOUT;
    lane.scheduler.expire(lane.now);
    let mut answered = lane.answered();
    answered.sort_unstable();
    assert_eq!(answered, [first, behind, second]);
    lane.assert_empty();
    assert!(lane.scheduler.next_event(false).is_none());
}

#[test]
fn more_than_may_wait_is_refused_those_on_their_way_included() {
    let mut lane = Lane::new(2);
    lane.push(1);
    lane.push(2);
    let turn = lane.turn().expect("a turn");
    let refused = lane.push(3);
    assert_eq!(lane.answered(), [refused]);
    lane.end(turn, &[1, 2]);
    lane.push(3);
    assert_eq!(lane.scheduler.len(), 1);
}

#[test]
fn more_bytes_than_may_wait_are_refused_and_what_is_answered_makes_room() {
    const LONG: usize = 1024 * 1024;
    let mut lane = Lane::new(1000);
    let share = MAX_WAITING_BYTES / LONG / 8;
    for _ in 0..share {
        lane.push_content(1, "x".repeat(LONG));
    }
    let refused = lane.push_content(1, "x".repeat(LONG));
    assert_eq!(lane.answered(), [refused]);
    let turn = lane.turn().expect("a turn");
    let stored = turn.messages.len();
    assert_eq!(stored, MAX_BATCH_BYTES / LONG);
    lane.end(turn, &[1]);
    for _ in 0..stored {
        lane.push_content(1, "x".repeat(LONG));
    }
    assert_eq!(lane.scheduler.len(), share);
}

/// A step of whoever holds conversations, sends, or stores.
#[derive(Clone, Debug)]
enum Move {
    Push(u128),
    Turn { free: Vec<u128> },
    SilentTurn,
    Pass(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let conversation = 0..6u128;
    let one = prop_oneof![
        4 => conversation.clone().prop_map(Move::Push),
        4 => prop::collection::vec(conversation, 0..6).prop_map(|free| Move::Turn { free }),
        1 => Just(Move::SilentTurn),
        1 => (0..400u64).prop_map(Move::Pass),
    ];
    prop::collection::vec(one, 0..120)
}

proptest! {
    #[test]
    fn every_message_is_answered_once_and_in_the_order_of_its_flow(moves in moves()) {
        let mut lane = Lane::new(1000);
        let mut sent: HashMap<u128, Vec<u128>> = HashMap::new();
        for step in moves {
            match step {
                Move::Push(conversation) => {
                    let number = lane.push(conversation);
                    sent.entry(conversation).or_default().push(number);
                }
                Move::Turn { free } => {
                    if let Some(turn) = lane.turn() {
                        lane.end(turn, &free);
                    }
                }
                Move::SilentTurn => {
                    if let Some(turn) = lane.turn() {
                        lane.end_silent(turn);
                    }
                }
                Move::Pass(millis) => {
                    lane.now += Duration::from_millis(millis);
                    lane.scheduler.expire(lane.now);
                }
            }
            let waiting: usize = lane.scheduler.flows.values().map(|waiting| waiting.queue.len()).sum();
            prop_assert_eq!(waiting, lane.scheduler.len());
        }
        let all: Vec<u128> = (0..6).collect();
        while let Some(turn) = lane.later_turn() {
            lane.end(turn, &all);
        }
        let answered = lane.answered();
        prop_assert_eq!(answered.len() as u128, lane.next);
        for messages in sent.values() {
            let order: Vec<u128> =
                answered.iter().copied().filter(|number| messages.contains(number)).collect();
            prop_assert_eq!(&order, messages);
        }
    }
}
