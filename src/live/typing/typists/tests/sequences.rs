//! Sequences of what may happen, on one replica and on two, and what has to be true after each.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Types,
    Stops,
    Leaves,
    Wrote,
    Wait(u64),
    /// The database does not answer until the next one of these, or the end.
    Stall,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Types),
        2 => Just(Step::Stops),
        1 => Just(Step::Leaves),
        1 => Just(Step::Wrote),
        6 => (1u64..4000).prop_map(Step::Wait),
        1 => Just(Step::Stall),
    ]
}

proptest! {
    /// Whatever happens: never two notifications within the interval, and in the end the other side believes what is true.
    #[test]
    fn the_last_state_is_what_the_other_side_believes(steps in prop::collection::vec(step(), 0..60)) {
        let start = Instant::now();
        let mut now = start;
        let mut typists = Typists::new(TIMES);
        let mut stalled: Option<Vec<Telling>> = None;
        // What is true, and what the other side believes, each until a moment.
        let mut truth: Option<Instant> = None;
        let mut belief: Option<Instant> = None;
        let mut sent: Vec<Instant> = Vec::new();
        let arrive = |typists: &mut Typists, tellings: Vec<Telling>, now: Instant, belief: &mut Option<Instant>| {
            for telling in tellings {
                *belief = telling.is_typing.then_some(now + TIMES.lasting);
                typists.told(&telling, true, now);
                typists.heard(telling.pair, telling.is_typing, now);
            }
        };
        let settle = [Step::Wait(2100), Step::Wait(2100)];
        let count = steps.len();
        for (place, step) in steps.into_iter().chain(settle).enumerate() {
            if place == count {
                // The database answers in the end.
                if let Some(tellings) = stalled.take() {
                    arrive(&mut typists, tellings, now, &mut belief);
                }
            }
            match step {
                Step::Types => {
                    typists.types(pair(), CONVERSATION, SOCKET, now);
                    truth = Some(now + TIMES.lasting);
                }
                Step::Stops => {
                    typists.stops(pair(), now);
                    truth = None;
                }
                Step::Leaves => {
                    typists.leaves(pair().typist, SOCKET, now);
                    truth = None;
                }
                Step::Wrote => {
                    typists.wrote(pair(), now);
                    truth = None;
                    belief = None;
                }
                Step::Stall => match stalled.take() {
                    Some(tellings) => arrive(&mut typists, tellings, now, &mut belief),
                    None => stalled = Some(Vec::new()),
                },
                Step::Wait(millis) => {
                    let end = now + Duration::from_millis(millis);
                    while let Some(next) = typists.next().filter(|next| *next <= end) {
                        now = now.max(next);
                        let tellings = typists.take(now, 100);
                        sent.extend(tellings.iter().map(|_| now));
                        match &mut stalled {
                            Some(waiting) => waiting.extend(tellings),
                            None => arrive(&mut typists, tellings, now, &mut belief),
                        }
                    }
                    now = end;
                }
            }
        }
        for two in sent.windows(2) {
            prop_assert!(two[1] - two[0] >= TIMES.interval);
        }
        let truth = truth.filter(|until| *until > now);
        let mut belief = belief.filter(|until| *until > now);
        if truth.is_none() && stalled.is_none() {
            // What is no longer renewed ends by itself; what was stopped is told.
            prop_assert!(belief.is_none_or(|until| until <= now + TIMES.interval), "believed for {:?} more", belief.map(|u| u - now));
        }
        if truth.is_some() {
            prop_assert!(belief.is_some());
        }
        // Nothing is kept of those who are quiet.
        let quiet = now + TIMES.lasting * 3;
        while let Some(next) = typists.next().filter(|next| *next <= quiet) {
            let tellings = typists.take(next, 100);
            arrive(&mut typists, tellings, next, &mut belief);
        }
        prop_assert_eq!(typists.len(), 0);
    }
}

/// Two replicas on which the same user types, and the order in which their notifications are committed.
struct Stages {
    typists: [Typists; 2],
    now: Instant,
    /// On their way, in order: until when.
    coming: VecDeque<(Instant, usize, Telling)>,
    belief: Option<Instant>,
}

impl Stages {
    fn wait(&mut self, millis: u64, latency: Duration) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            let arrival = self.coming.front().map(|(at, ..)| *at);
            let due = self.typists.iter().filter_map(Typists::next).min();
            let Some(next) = [arrival, due].into_iter().flatten().min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                if let Some((_, from, telling)) = self.coming.pop_front() {
                    self.arrive(from, &telling);
                }
                continue;
            }
            for from in 0..2 {
                for telling in self.typists[from].take(self.now, 100) {
                    self.coming.push_back((self.now + latency, from, telling));
                }
            }
        }
        self.now = end;
    }

    fn arrive(&mut self, from: usize, telling: &Telling) {
        self.belief = telling.is_typing.then_some(self.now + TIMES.lasting);
        self.typists[from].told(telling, true, self.now);
        self.typists[from].heard(telling.pair, telling.is_typing, self.now);
        self.typists[1 - from].heard_elsewhere(telling.pair, self.now);
    }
}

proptest! {
    /// Once the user has stopped on both, the other side comes to believe it, whichever has told what.
    #[test]
    fn what_two_replicas_have_told_comes_to_an_end(
        steps in prop::collection::vec((0usize..2, any::<bool>(), 1u64..3000), 0..60),
        latency in 1u64..200,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let latency = Duration::from_millis(latency);
        let mut stages = Stages {
            typists: [Typists::new(TIMES), Typists::new(TIMES)],
            now: Instant::now(),
            coming: VecDeque::new(),
            belief: None,
        };
        for (place, types, millis) in steps {
            match types {
                true => stages.typists[place].types(pair(), CONVERSATION, SOCKET, stages.now),
                false => stages.typists[place].stops(pair(), stages.now),
            }
            stages.wait(millis, latency);
        }
        for place in 0..2 {
            stages.typists[place].stops(pair(), stages.now);
        }
        stages.wait(5000, latency);
        let now = stages.now;
        prop_assert!(stages.belief.is_none_or(|until| until <= now), "still believed to type");
        stages.wait(60_000, latency);
        prop_assert_eq!(stages.typists[0].len() + stages.typists[1].len(), 0);
    }
}
