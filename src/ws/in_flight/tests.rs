use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::model::MessageId;
use crate::ws::protocol::Draft;

fn conversation(n: u8) -> ConversationId {
    ConversationId(Uuid::from_u128(n.into()))
}

fn send(n: u8) -> Command {
    Command::SendMessage(Draft {
        conversation: conversation(n),
        content: "x".to_owned(),
        message_type: None,
        client_message_id: None,
    })
}

fn mark_read(n: u8) -> Command {
    Command::Statement(Statement::MarkRead {
        conversation: conversation(n),
        up_to: None,
    })
}

fn delete() -> Command {
    Command::Statement(Statement::DeleteMessage {
        message: MessageId(Uuid::nil()),
    })
}

/// Offers a command that must start at once.
fn started(in_flight: &mut InFlight<()>, id: &str, command: Command) -> CommandId {
    let request = Request {
        id: Some(id.to_owned()),
        command,
    };
    in_flight
        .offer(request, None)
        .expect("must start at once")
        .command_id
}

fn held(in_flight: &mut InFlight<()>, id: &str, command: Command) {
    let request = Request {
        id: Some(id.to_owned()),
        command,
    };
    assert!(in_flight.offer(request, None).is_none(), "{id} must wait");
    assert!(!in_flight.accepting());
}

fn answered(in_flight: &mut InFlight<()>) -> Vec<String> {
    std::iter::from_fn(|| in_flight.answerable())
        .map(|answerable| answerable.id.unwrap())
        .collect()
}

#[test]
fn sends_overlap_and_are_answered_in_order_for_each_conversation() {
    let mut it = InFlight::new();
    let stuck = started(&mut it, "a1", send(1));
    let later = started(&mut it, "a2", send(1));
    let other = started(&mut it, "b1", send(2));
    // The other conversation is not delayed; the later answer of this one is.
    it.finished(later, ());
    it.finished(other, ());
    assert_eq!(answered(&mut it), ["b1"]);
    it.finished(stuck, ());
    assert_eq!(answered(&mut it), ["a1", "a2"]);
    assert!(it.is_idle());
}

#[test]
fn a_statement_waits_for_the_sends_before_it_and_the_sends_behind_it_wait_too() {
    let mut it = InFlight::new();
    let first = started(&mut it, "send", send(1));
    held(&mut it, "read", mark_read(1));
    assert!(it.unhold().is_none());
    it.finished(first, ());
    let read = it.unhold().unwrap().command_id;
    assert!(it.accepting());
    held(&mut it, "send again", send(1));
    it.finished(read, ());
    let again = it.unhold().unwrap().command_id;
    it.finished(again, ());
    assert_eq!(answered(&mut it), ["send", "read", "send again"]);
}

#[test]
fn a_statement_does_not_delay_another_conversation() {
    let mut it = InFlight::new();
    started(&mut it, "read", mark_read(1));
    let other = started(&mut it, "send", send(2));
    it.finished(other, ());
    assert_eq!(answered(&mut it), ["send"]);
}

#[test]
fn an_edit_or_delete_waits_for_everything_but_pings() {
    let mut it = InFlight::new();
    let ping = started(&mut it, "ping", Command::Ping);
    let first = started(&mut it, "send", send(1));
    held(&mut it, "delete", delete());
    it.finished(first, ());
    let deleted = it.unhold().unwrap().command_id;
    it.finished(deleted, ());
    assert_eq!(answered(&mut it), ["send", "delete"]);
    it.finished(ping, ());
    assert_eq!(answered(&mut it), ["ping"]);
}

#[test]
fn no_more_than_the_limits_are_in_flight() {
    let mut it = InFlight::new();
    for n in 0..STATEMENT_LIMIT as u8 {
        started(&mut it, "read", mark_read(n));
    }
    held(&mut it, "one read too many", mark_read(100));

    let mut it = InFlight::new();
    for _ in 0..LIMIT {
        assert!(it.accepting());
        started(&mut it, "send", send(1));
    }
    assert!(!it.accepting());
}

/// What the test does next: the client's next command, or the end of the nth running one.
#[derive(Clone, Debug)]
enum Step {
    Offer(u8),
    Finish(prop::sample::Index),
}

/// 0 to 2 send, 3 to 5 mark read, 6 deletes, 7 pings.
fn command(kind: u8) -> Command {
    match kind {
        0..=2 => send(kind),
        3..=5 => mark_read(kind - 3),
        6 => delete(),
        _ => Command::Ping,
    }
}

/// Whether two kinds touch the same conversation, as far as the socket can tell.
fn related(one: u8, two: u8) -> bool {
    match (one, two) {
        (7, _) | (_, 7) => false,
        (6, _) | (_, 6) => true,
        _ => one % 3 == two % 3,
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // Mostly sends, as from clients.
        3 => (0u8..3).prop_map(Step::Offer),
        2 => (0u8..8).prop_map(Step::Offer),
        4 => any::<prop::sample::Index>().prop_map(Step::Finish),
    ];
    prop::collection::vec(step, 0..200)
}

/// Drives an [`InFlight`] and checks its promises at every step.
#[derive(Default)]
struct Checker {
    /// The kind of each command, by its number in the client's order.
    kinds: Vec<u8>,
    running: BTreeMap<CommandId, usize>,
    started: Vec<usize>,
    ended: BTreeSet<usize>,
    answered: Vec<usize>,
}

impl Checker {
    fn start(&mut self, command_id: CommandId, number: usize) {
        let kind = self.kinds[number];
        for earlier in (0..number).filter(|&n| related(self.kinds[n], kind)) {
            assert!(
                self.started.contains(&earlier),
                "{number} overtook {earlier}"
            );
            let both_send = kind < 3 && self.kinds[earlier] < 3;
            assert!(
                both_send || self.ended.contains(&earlier),
                "{number} did not wait for {earlier}"
            );
        }
        self.started.push(number);
        self.running.insert(command_id, number);
        assert!(self.running.len() <= LIMIT);
    }

    fn answer(&mut self, number: usize) {
        assert!(self.ended.contains(&number));
        assert!(!self.answered.contains(&number), "{number} answered twice");
        for earlier in (0..number).filter(|&n| related(self.kinds[n], self.kinds[number])) {
            assert!(
                self.answered.contains(&earlier),
                "{number} answered before {earlier}"
            );
        }
        self.answered.push(number);
    }

    fn finish(&mut self, it: &mut InFlight<usize>, command_id: CommandId) {
        let number = self.running.remove(&command_id).unwrap();
        self.ended.insert(number);
        it.finished(command_id, number);
        if let Some(Started { command_id, .. }) = it.unhold() {
            self.start(command_id, self.kinds.len() - 1);
        }
        while let Some(Answerable {
            outcome: number, ..
        }) = it.answerable()
        {
            self.answer(number);
        }
    }
}

proptest! {
    #[test]
    fn any_interleaving_keeps_the_order_of_each_conversation(steps in steps()) {
        let mut it = InFlight::new();
        let mut checker = Checker::default();
        for step in steps {
            match step {
                Step::Offer(kind) if it.accepting() => {
                    checker.kinds.push(kind);
                    let request = Request { id: None, command: command(kind) };
                    if let Some(Started { command_id, .. }) = it.offer(request, None) {
                        checker.start(command_id, checker.kinds.len() - 1);
                    }
                }
                Step::Finish(index) if !checker.running.is_empty() => {
                    let ids: Vec<_> = checker.running.keys().copied().collect();
                    checker.finish(&mut it, *index.get(&ids));
                }
                _ => {}
            }
        }
        // Whatever happened, once everything has ended nothing is held back.
        while let Some((&command_id, _)) = checker.running.iter().next_back() {
            checker.finish(&mut it, command_id);
        }
        prop_assert!(it.is_idle());
        prop_assert_eq!(checker.answered.len(), checker.kinds.len());
    }
}
