//! Any interleaving of a client's commands and their ends.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;

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
