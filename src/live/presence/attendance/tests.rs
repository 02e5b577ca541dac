use std::collections::HashSet;

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const GRACE: Duration = Duration::from_millis(5000);

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

/// A replica, and the roll as its database has it.
struct Stage {
    attendance: Attendance,
    now: Instant,
    roll: Roll,
    listed: HashSet<UserId>,
    told: usize,
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self {
            attendance: Attendance::new(GRACE),
            now: Instant::now(),
            roll: Roll(Uuid::nil()),
            listed: HashSet::new(),
            told: 0,
        };
        stage.begin();
        stage
    }

    fn begin(&mut self) {
        self.roll = Roll(Uuid::new_v4());
        self.listed.clear();
        self.attendance.begin(self.roll, self.now);
    }

    /// Tells what is due; of `outcome` (whether the database took it, whether it said so).
    fn work(&mut self, outcome: (bool, bool)) {
        let Some((roll, changes)) = self.attendance.take(self.now, 2) else {
            return;
        };
        let (taken, answered) = outcome;
        if taken && roll == self.roll {
            for change in &changes {
                match change {
                    RollChange::Comes(user) => self.listed.insert(*user),
                    RollChange::Went(user, _) => self.listed.remove(user),
                };
            }
        }
        self.told += changes.len();
        let done = taken && answered;
        self.attendance.told(roll, &changes, done, self.now);
    }

    /// Lets time pass, doing what is due on the way.
    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(next) = self.attendance.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.work((true, true));
        }
        self.now = end;
    }
}

#[tokio::test]
async fn whoever_comes_is_told_at_once_and_whoever_goes_after_the_grace() {
    let mut stage = Stage::new();
    let start = stage.now;
    stage.attendance.comes(user(1), stage.now);
    assert_eq!(stage.attendance.next(), Some(start));
    stage.wait(1000);
    assert!(stage.listed.contains(&user(1)));
    stage.attendance.leaves(user(1), stage.now);
    assert_eq!(stage.attendance.next(), Some(stage.now + GRACE));
    stage.now += GRACE + Duration::from_secs(1);
    let (_, changes) = stage.attendance.take(stage.now, 10).unwrap();
    assert_eq!(
        changes,
        [RollChange::Went(user(1), GRACE + Duration::from_secs(1))]
    );
    stage.attendance.told(stage.roll, &changes, true, stage.now);
    assert_eq!(stage.attendance.len(), 0, "nothing is kept of who is gone");
}

#[tokio::test]
async fn a_reconnect_within_the_grace_is_not_told() {
    let mut stage = Stage::new();
    stage.attendance.comes(user(1), stage.now);
    stage.wait(10);
    for _ in 0..100 {
        stage.attendance.leaves(user(1), stage.now);
        stage.wait(4999);
        stage.attendance.comes(user(1), stage.now);
        stage.wait(10);
    }
    assert_eq!(stage.told, 1);
}

#[tokio::test]
async fn who_may_have_been_put_on_the_roll_without_an_answer_is_taken_off_it() {
    let mut stage = Stage::new();
    stage.attendance.comes(user(1), stage.now);
    stage.work((true, false));
    stage.attendance.leaves(user(1), stage.now);
    stage.now += GRACE;
    stage.wait(10);
    assert!(stage.listed.is_empty());
}

#[tokio::test]
async fn a_user_goes_with_the_last_socket() {
    let mut stage = Stage::new();
    stage.attendance.comes(user(1), stage.now);
    stage.attendance.comes(user(1), stage.now);
    stage.attendance.leaves(user(1), stage.now);
    stage.wait(60_000);
    assert!(stage.listed.contains(&user(1)));
    stage.attendance.leaves(user(1), stage.now);
    stage.wait(5000);
    assert!(stage.listed.is_empty());
}

#[tokio::test]
async fn a_new_roll_holds_everybody_and_an_answer_about_the_old_one_is_passed_over() {
    let mut stage = Stage::new();
    stage.attendance.comes(user(1), stage.now);
    let (old, changes) = stage.attendance.take(stage.now, 10).unwrap();
    stage.attendance.end();
    assert_eq!(stage.attendance.take(stage.now, 10), None);
    assert_eq!(stage.attendance.next(), None, "nothing can be told");
    stage.begin();
    stage.attendance.told(old, &changes, true, stage.now);
    stage.wait(10);
    assert!(stage.listed.contains(&user(1)));
}

#[derive(Clone, Debug)]
enum Step {
    Comes(u128),
    Leaves(u128),
    Wait(u64),
    Work(bool, bool),
    Begin,
    End,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u128).prop_map(Step::Comes),
        (0..4u128).prop_map(Step::Leaves),
        (0..7000u64).prop_map(Step::Wait),
        (any::<bool>(), any::<bool>()).prop_map(|(taken, answered)| Step::Work(taken, answered)),
        Just(Step::Begin),
        Just(Step::End),
    ]
}

proptest! {
    /// Whatever happened, and whatever the database did not take or did not answer: once it does, the roll is the truth.
    #[test]
    fn the_roll_comes_to_be_the_truth(steps in proptest::collection::vec(step(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut stage = Stage::new();
        let mut sockets = [0usize; 4];
        for step in steps {
            match step {
                Step::Comes(n) => {
                    sockets[n as usize] += 1;
                    stage.attendance.comes(user(n), stage.now);
                }
                Step::Leaves(n) if sockets[n as usize] > 0 => {
                    sockets[n as usize] -= 1;
                    stage.attendance.leaves(user(n), stage.now);
                }
                Step::Leaves(_) => {}
                Step::Wait(millis) => stage.now += Duration::from_millis(millis),
                Step::Work(taken, answered) => stage.work((taken, answered)),
                Step::Begin => stage.begin(),
                Step::End => stage.attendance.end(),
            }
            prop_assert!(stage.attendance.agenda.len() <= stage.attendance.entries.len());
        }
        if stage.attendance.roll().is_none() {
            stage.begin();
        }
        stage.wait(60_000);
        let present: HashSet<UserId> = (0..4).filter(|n| sockets[*n as usize] > 0).map(user).collect();
        prop_assert_eq!(&stage.listed, &present);
        prop_assert_eq!(stage.attendance.len(), present.len());
        prop_assert_eq!(stage.attendance.next(), None);
    }
}
