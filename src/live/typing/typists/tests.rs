mod sequences;

use super::*;

const TIMES: TypingTimes = TypingTimes {
    lasting: Duration::from_millis(6000),
    interval: Duration::from_millis(2000),
};

#[test]
fn between_two_notifications_a_renewal_is_in_time_however_long_typing_lasts() {
    for (lasting, interval) in [
        ("2", 1000),
        ("3", 1500),
        ("4", 2000),
        ("6", 2000),
        ("300", 2000),
    ] {
        let config = Config::from_vars(&[("TYPING_SECONDS", lasting)]).unwrap();
        let times = TypingTimes::from(&config);
        assert_eq!(times.interval.as_millis(), interval, "{lasting} s");
        assert!(times.interval * 2 <= times.lasting, "{lasting} s");
    }
}

fn pair() -> Pair {
    Pair {
        typist: UserId(Uuid::from_u128(1)),
        to: UserId(Uuid::from_u128(2)),
    }
}

const CONVERSATION: ConversationId = ConversationId(Uuid::from_u128(3));
const SOCKET: ConnectionId = ConnectionId(Uuid::from_u128(4));
const OTHER_SOCKET: ConnectionId = ConnectionId(Uuid::from_u128(5));

/// A replica whose notifications arrive at once, and the other participant's view.
struct Stage {
    typists: Typists,
    start: Instant,
    now: Instant,
    told: Vec<(u128, bool)>,
}

impl Stage {
    fn new() -> Self {
        let start = Instant::now();
        Self {
            typists: Typists::new(TIMES),
            start,
            now: start,
            told: Vec::new(),
        }
    }

    fn types(&mut self) {
        self.typists.types(pair(), CONVERSATION, SOCKET, self.now);
        self.work();
    }

    fn stops(&mut self) {
        self.typists.stops(pair(), self.now);
        self.work();
    }

    fn work(&mut self) {
        for telling in self.typists.take(self.now, 100) {
            self.told
                .push(((self.now - self.start).as_millis(), telling.is_typing));
            self.typists.told(&telling, true, self.now);
        }
    }

    /// Lets time pass, doing what is due on the way.
    fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while let Some(next) = self.typists.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.work();
        }
        self.now = end;
    }
}

#[tokio::test]
async fn the_first_is_told_at_once_and_renewals_once_an_interval() {
    let mut stage = Stage::new();
    for _ in 0..10 {
        stage.types();
        stage.wait(500);
    }
    stage.stops();
    stage.wait(60_000);
    assert_eq!(
        stage.told,
        [(0, true), (2000, true), (4000, true), (6000, false)]
    );
    assert_eq!(stage.typists.len(), 0, "nothing is kept");
}

#[tokio::test]
async fn a_burst_of_changes_is_told_as_its_last_state() {
    let mut stage = Stage::new();
    for _ in 0..50 {
        stage.types();
        stage.stops();
    }
    stage.wait(60_000);
    assert_eq!(stage.told, [(0, true), (2000, false)]);
}

#[tokio::test]
async fn typing_without_renewal_ends_without_a_notification() {
    let mut stage = Stage::new();
    stage.types();
    stage.wait(60_000);
    assert_eq!(stage.told, [(0, true)]);
    assert_eq!(stage.typists.len(), 0);
}

#[tokio::test]
async fn a_message_ends_typing_without_a_notification() {
    let mut stage = Stage::new();
    stage.types();
    stage.wait(100);
    stage.types();
    stage.typists.wrote(pair(), stage.now);
    stage.wait(60_000);
    assert_eq!(stage.told, [(0, true)]);
}

#[tokio::test]
async fn typing_that_arrives_after_the_message_is_taken_back() {
    let mut stage = Stage::new();
    stage.types();
    stage.typists.wrote(pair(), stage.now);
    stage.typists.heard(pair(), true, stage.now);
    stage.wait(60_000);
    assert_eq!(stage.told, [(0, true), (2000, false)]);

    let mut stage = Stage::new();
    stage.typists.types(pair(), CONVERSATION, SOCKET, stage.now);
    let [in_flight] = stage.typists.take(stage.now, 9)[..] else {
        panic!("one is due");
    };
    stage.typists.wrote(pair(), stage.now);
    stage.typists.told(&in_flight, true, stage.now);
    stage.wait(60_000);
    assert_eq!(stage.told, [(2000, false)]);
}

#[tokio::test]
async fn only_the_socket_that_typed_last_ends_it_by_leaving() {
    let mut stage = Stage::new();
    stage.types();
    stage.typists.leaves(pair().typist, OTHER_SOCKET, stage.now);
    stage.wait(3000);
    assert_eq!(stage.told, [(0, true)]);
    stage.typists.leaves(pair().typist, SOCKET, stage.now);
    stage.wait(60_000);
    assert_eq!(stage.told, [(0, true), (3000, false)]);
}

#[tokio::test]
async fn a_false_that_the_database_did_not_take_is_told_again_while_it_matters() {
    let mut stage = Stage::new();
    stage.types();
    stage.wait(2500);
    stage.typists.stops(pair(), stage.now);
    let [lost] = stage.typists.take(stage.now, 9)[..] else {
        panic!("one is due");
    };
    stage.typists.told(&lost, false, stage.now);
    stage.wait(60_000);
    assert_eq!(stage.told, [(0, true), (4500, false)]);
    assert_eq!(stage.typists.len(), 0);
}

#[tokio::test]
async fn the_replica_that_told_last_is_the_one_that_ends_it() {
    let mut stage = Stage::new();
    stage.types();
    stage.wait(100);
    stage.typists.heard_elsewhere(pair(), stage.now);
    stage.stops();
    stage.wait(60_000);
    assert_eq!(stage.told, [(0, true)], "the other one ends it");

    let mut stage = Stage::new();
    stage.types();
    stage.wait(100);
    stage.typists.heard_elsewhere(pair(), stage.now);
    // Its own came behind, though its answer was there before.
    stage.typists.heard(pair(), true, stage.now);
    stage.stops();
    stage.wait(60_000);
    assert_eq!(stage.told, [(0, true), (2000, false)]);
}

#[tokio::test]
async fn what_was_heard_late_is_taken_back_when_it_is_over() {
    let mut stage = Stage::new();
    stage.typists.types(pair(), CONVERSATION, SOCKET, stage.now);
    let [late] = stage.typists.take(stage.now, 9)[..] else {
        panic!("one is due");
    };
    stage.now += Duration::from_millis(4250);
    stage.typists.told(&late, true, stage.now);
    stage.typists.heard(pair(), true, stage.now);
    stage.wait(60_000);
    // It is over at 6000; who hears of it at 4250 would show it until 10250.
    assert_eq!(stage.told, [(6000, false)]);
    assert_eq!(stage.typists.len(), 0, "nothing is kept");
}
