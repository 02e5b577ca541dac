use std::collections::BTreeSet;
use std::ops::Range;

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

fn large_send(n: u8, bytes: usize) -> Command {
    Command::SendMessage(Draft {
        conversation: conversation(n),
        content: "x".repeat(bytes / 2),
        message_type: Some("x".repeat(bytes / 4)),
        client_message_id: Some("x".repeat(bytes - bytes / 2 - bytes / 4)),
    })
}

fn request(command: Command) -> Request {
    Request { id: None, command }
}

fn mark_read(n: u8) -> Command {
    Command::Statement(Statement::MarkRead {
        conversation: conversation(n),
        up_to: None,
    })
}

fn typing(n: u8) -> Command {
    Command::Statement(Statement::Typing {
        conversation: conversation(n),
        is_typing: true,
    })
}

fn edit(n: u8, bytes: usize) -> Command {
    Command::Statement(Statement::EditMessage {
        message: MessageId(Uuid::from_u128(n.into())),
        content: "x".repeat(bytes),
    })
}

fn delete(n: u8) -> Command {
    Command::Statement(Statement::DeleteMessage {
        message: MessageId(Uuid::from_u128(n.into())),
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

/// Offers a command that must wait, and keep nothing else from being read.
fn waits(in_flight: &mut InFlight<()>, id: &str, command: Command) {
    let request = Request {
        id: Some(id.to_owned()),
        command,
    };
    assert!(in_flight.offer(request, None).is_none(), "{id} must wait");
    assert!(in_flight.startable().is_none(), "{id} must wait");
    assert!(in_flight.accepting());
}

/// Starts the only one that waits no longer.
fn starts(in_flight: &mut InFlight<()>) -> CommandId {
    let started = in_flight.startable().expect("waits no longer");
    assert!(in_flight.startable().is_none(), "one at a time");
    started.command_id
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
    waits(&mut it, "read", mark_read(1));
    waits(&mut it, "send again", send(1));
    it.finished(first, ());
    let read = starts(&mut it);
    it.finished(read, ());
    let again = starts(&mut it);
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
fn what_waits_delays_only_what_follows_it() {
    let mut it = InFlight::new();
    started(&mut it, "send", send(1));
    waits(&mut it, "read", mark_read(1));
    waits(&mut it, "send behind it", send(1));
    for (id, command) in [
        ("typing", typing(1)),
        ("send elsewhere", send(2)),
        ("read elsewhere", mark_read(3)),
        ("edit", edit(1, 1)),
        ("ping", Command::Ping),
    ] {
        let other = started(&mut it, id, command);
        it.finished(other, ());
        assert_eq!(answered(&mut it), [id]);
    }
}

#[test]
fn changes_of_one_message_are_made_in_order_and_wait_for_nothing_else() {
    let mut it = InFlight::new();
    started(&mut it, "send", send(1));
    started(&mut it, "read", mark_read(2));
    let edited = started(&mut it, "edit", edit(1, 1));
    waits(&mut it, "delete", delete(1));
    let other = started(&mut it, "another's", delete(2));
    it.finished(other, ());
    it.finished(edited, ());
    let deleted = starts(&mut it);
    it.finished(deleted, ());
    assert_eq!(answered(&mut it), ["edit", "delete", "another's"]);
}

/// Else it would be shown behind the message.
#[test]
fn a_send_does_not_overtake_typing_and_typing_overtakes_a_send() {
    let mut it = InFlight::new();
    let first = started(&mut it, "typing", typing(1));
    waits(&mut it, "more typing", typing(1));
    waits(&mut it, "send", send(1));
    started(&mut it, "typing elsewhere", typing(2));
    it.finished(first, ());
    let second = starts(&mut it);
    it.finished(second, ());
    let send = starts(&mut it);
    let last = started(&mut it, "typing again", typing(1));
    it.finished(last, ());
    assert_eq!(answered(&mut it), ["typing", "more typing", "typing again"]);
    it.finished(send, ());
    assert_eq!(answered(&mut it), ["send"]);
}

#[test]
fn no_more_than_the_limits_are_in_flight() {
    let mut it = InFlight::new();
    let mut running = Vec::new();
    for n in 0..STATEMENT_LIMIT as u8 {
        running.push(started(&mut it, "read", mark_read(n)));
    }
    waits(&mut it, "one read too many", mark_read(100));
    waits(&mut it, "an edit too many", edit(1, 1));
    // What meets no row that is held has places of its own.
    for n in 0..STATEMENT_LIMIT as u8 {
        started(&mut it, "typing", typing(n));
    }
    waits(&mut it, "one typing too many", typing(100));
    started(&mut it, "send", send(101));
    it.finished(running[0], ());
    let read = starts(&mut it);
    it.finished(read, ());
    starts(&mut it);

    let mut it = InFlight::new();
    for _ in 0..LIMIT {
        assert!(it.accepting());
        started(&mut it, "send", send(1));
    }
    assert!(!it.accepting());

    let mut it = InFlight::new();
    started(&mut it, "read", mark_read(1));
    for _ in 2..LIMIT {
        waits(&mut it, "send", send(1));
    }
    it.offer(request(send(1)), None);
    assert!(!it.accepting());
}

/// What waits and what runs here; what was sent is the writer's.
#[test]
fn so_many_bytes_are_kept_and_one_command_more() {
    const PART: usize = KEPT_BYTES / 4;
    let mut it = InFlight::new();
    for _ in 0..8 {
        started(&mut it, "send", large_send(1, KEPT_BYTES));
    }
    let running = started(&mut it, "edit", edit(1, PART));
    for _ in 0..3 {
        waits(&mut it, "edit", edit(1, PART));
    }
    // Up to here they fill it, and what has no text goes on.
    waits(&mut it, "delete", delete(1));
    it.offer(request(edit(1, 1)), None);
    assert!(!it.accepting());
    it.finished(running, ());
    assert!(it.accepting(), "one is done");

    // However large one is, there is room beside it.
    let mut it = InFlight::new();
    started(&mut it, "edit", edit(1, 16 * KEPT_BYTES));
    assert!(it.accepting());
    started(&mut it, "read", mark_read(1));
    assert!(it.accepting());
    it.offer(request(large_send(1, 1)), None);
    assert!(!it.accepting());
}

/// What the test does next: the client's next command, or the end of the nth running one.
#[derive(Clone, Debug)]
enum Step {
    Offer(u8),
    Finish(prop::sample::Index),
}

const SENDS: Range<u8> = 0..3;
const MARKS: Range<u8> = 3..6;
const TYPING: Range<u8> = 6..9;
const CHANGES: Range<u8> = 9..13;
/// And pings.
const KINDS: u8 = 14;

/// In one of three conversations, or of one of two messages.
fn command(kind: u8) -> Command {
    match kind {
        0..3 => send(kind),
        3..6 => mark_read(kind - 3),
        6..9 => typing(kind - 6),
        9..11 => edit(kind - 9, 1),
        11..13 => delete(kind - 11),
        _ => Command::Ping,
    }
}

/// What is promised of two kinds: that the later one is made and answered after the earlier one.
fn is_ordered(earlier: u8, later: u8) -> bool {
    let chat = |kind| SENDS.contains(&kind) || MARKS.contains(&kind);
    if CHANGES.contains(&earlier) && CHANGES.contains(&later) {
        return (earlier - CHANGES.start) % 2 == (later - CHANGES.start) % 2;
    }
    let ordered = (chat(earlier) && chat(later))
        || (TYPING.contains(&earlier) && (TYPING.contains(&later) || SENDS.contains(&later)));
    ordered && earlier % 3 == later % 3
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // Mostly sends, as from clients.
        3 => SENDS.prop_map(Step::Offer),
        2 => (0..KINDS).prop_map(Step::Offer),
        4 => any::<prop::sample::Index>().prop_map(Step::Finish),
    ];
    prop::collection::vec(step, 0..200)
}

/// Drives an [`InFlight`] and checks its promises at every step. Commands are told by their number in the client's order, which
/// is what their [`CommandId`] counts.
#[derive(Default)]
struct Checker {
    kinds: Vec<u8>,
    running: BTreeSet<usize>,
    waiting: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    answered: Vec<usize>,
}

impl Checker {
    fn offer(&mut self, it: &mut InFlight<usize>, kind: u8) {
        let number = self.kinds.len();
        self.kinds.push(kind);
        self.waiting.insert(number);
        let started = it.offer(request(command(kind)), None);
        self.start(started);
        self.nothing_waits_in_vain();
    }

    fn earlier(&self, number: usize) -> impl Iterator<Item = usize> + '_ {
        (0..number).filter(move |&n| is_ordered(self.kinds[n], self.kinds[number]))
    }

    fn start(&mut self, started: Option<Started>) {
        let Some(Started {
            command_id,
            command: what,
            ..
        }) = started
        else {
            return;
        };
        let number = command_id.0 as usize;
        let kind = self.kinds[number];
        assert_eq!(what, command(kind));
        assert!(self.waiting.remove(&number), "{number} started twice");
        let not_ended = self.not_ended_before(number);
        assert_eq!(not_ended, None, "{number} did not wait");
        self.running.insert(number);
        assert!(self.running.len() <= LIMIT);
        assert!(self.running_of(&[TYPING]) <= STATEMENT_LIMIT);
        assert!(self.running_of(&[MARKS, CHANGES]) <= STATEMENT_LIMIT);
    }

    /// What a command must wait for. Sends that run may overlap.
    fn not_ended_before(&self, number: usize) -> Option<usize> {
        let sends = |n: usize| SENDS.contains(&self.kinds[n]);
        self.earlier(number).find(|earlier| {
            let overlap = sends(number) && sends(*earlier) && self.running.contains(earlier);
            !self.ended.contains(earlier) && !overlap
        })
    }

    fn running_of(&self, kinds: &[Range<u8>]) -> usize {
        let of_these = |number: &usize| kinds.iter().any(|k| k.contains(&self.kinds[*number]));
        self.running.iter().copied().filter(of_these).count()
    }

    /// Each has something before it that it must wait for, or finds no connection.
    fn nothing_waits_in_vain(&self) {
        for &number in &self.waiting {
            let alike: &[_] = match self.kinds[number] {
                kind if TYPING.contains(&kind) => &[TYPING],
                kind if MARKS.contains(&kind) || CHANGES.contains(&kind) => &[MARKS, CHANGES],
                _ => &[],
            };
            assert!(
                self.running_of(alike) >= STATEMENT_LIMIT
                    || self.not_ended_before(number).is_some(),
                "{number} waits for nothing"
            );
        }
    }

    fn answer(&mut self, number: usize) {
        assert!(self.ended.contains(&number));
        assert!(!self.answered.contains(&number), "{number} answered twice");
        for earlier in self.earlier(number) {
            assert!(
                self.answered.contains(&earlier),
                "{number} answered before {earlier}"
            );
        }
        self.answered.push(number);
    }

    fn finish(&mut self, it: &mut InFlight<usize>, number: usize) {
        assert!(self.running.remove(&number));
        self.ended.insert(number);
        it.finished(CommandId(number as u64), number);
        while let Some(started) = it.startable() {
            self.start(Some(started));
        }
        self.nothing_waits_in_vain();
        while let Some(Answerable {
            outcome: number, ..
        }) = it.answerable()
        {
            self.answer(number);
        }
        // What has ended is answered at once, unless it follows something that has not.
        for &number in &self.ended {
            assert!(
                self.answered.contains(&number)
                    || self.earlier(number).any(|n| !self.answered.contains(&n)),
                "{number} is not answered"
            );
        }
    }
}

proptest! {
    #[test]
    fn any_interleaving_keeps_the_order_that_is_promised_and_loses_nothing(steps in steps()) {
        let mut it = InFlight::new();
        let mut checker = Checker::default();
        for step in steps {
            match step {
                Step::Offer(kind) if it.accepting() => checker.offer(&mut it, kind),
                Step::Finish(index) if !checker.running.is_empty() => {
                    let running: Vec<_> = checker.running.iter().copied().collect();
                    checker.finish(&mut it, *index.get(&running));
                }
                _ => {}
            }
        }
        // Whatever happened, once everything has ended nothing is held back.
        while let Some(&number) = checker.running.iter().next_back() {
            checker.finish(&mut it, number);
        }
        prop_assert!(it.is_idle());
        prop_assert_eq!(checker.answered.len(), checker.kinds.len());
    }
}
