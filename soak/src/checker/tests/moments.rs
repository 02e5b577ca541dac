//! What is true only for the moment: typing and presence.

use super::*;

impl Story {
    fn typing(&mut self, connection: ConnectionNo, typist: usize, is_typing: bool) {
        let (conversation, typist, at) = (self.conversation, self.users[typist], self.tick());
        self.checker
            .typing_frame(connection, conversation, typist, is_typing, at);
    }

    /// User 0 goes on typing; both sockets are connected.
    fn insists(&mut self) -> Insistence {
        for socket in [1, 2] {
            self.checker.connected(socket, socket.to_string(), false);
        }
        self.checker.types(0, 0);
        Insistence::begin(0, 0, self.tick())
    }

    /// A client, by another socket.
    fn comes_back(&mut self, client: ClientIx) {
        let at = self.tick();
        let socket = self.checker.opened(client, 0, None, at);
        self.checker.connected(socket, "again".to_owned(), false);
    }

    /// After so many seconds.
    fn judge(&mut self, typing: &mut Insistence, seconds: u64) -> Typed {
        self.now += seconds * 1_000_000;
        self.checker.judge(typing, self.stage, self.now)
    }

    /// Not before its time, with nothing in its way.
    fn assert_is_lost(&mut self, typing: &mut Insistence) {
        for seconds in [0, 20, 19] {
            assert_eq!(self.judge(typing, seconds), Typed::Open);
        }
        assert_eq!(self.judge(typing, 1), Typed::Unseen);
    }

    fn presence(&mut self, connection: ConnectionNo, user: usize, is_online: bool) {
        let (user, at) = (self.users[user], self.tick());
        self.checker.presence_frame(connection, user, is_online, at);
    }

    /// What is untrue once the third user has left, and the third socket with it.
    fn untrue(&mut self) -> Vec<Kind> {
        let at = self.tick();
        self.checker.closed(3, "departed", at);
        let untrue = self.checker.untrue_moments(&HashSet::from([2]), at);
        untrue.iter().map(|violation| violation.kind).collect()
    }
}

#[test]
fn typing_concerns_the_other_participant_of_whoever_types_and_nobody_else() {
    let mut story = Story::new();
    story.checker.types(0, 0);
    story.typing(2, 0, true);
    story.typing(2, 0, false);
    assert_eq!(story.found(), []);
    // The typist, a stranger, and of somebody who never did.
    for (connection, typist) in [(1, 0), (3, 0), (1, 1)] {
        let mut story = Story::new();
        story.checker.types(0, 0);
        story.typing(connection, typist, true);
        assert_eq!(story.found(), [Kind::TypingStray]);
    }
}

#[test]
fn typing_that_is_shown_after_it_began_is_not_lost() {
    let mut story = Story::new();
    story.checker.types(0, 0);
    story.typing(2, 0, true);
    let mut typing = story.insists();
    assert_eq!(story.judge(&mut typing, 1), Typed::Open, "that was before");
    let at = story.tick();
    story.checker.types(1, 0);
    let mut others = Insistence::begin(1, 0, at);
    story.typing(2, 0, true);
    story.typing(2, 0, false);
    assert_eq!(story.judge(&mut others, 1), Typed::Open, "another types");
    assert_eq!(story.judge(&mut typing, 60), Typed::Shown);
}

#[test]
fn typing_with_nothing_in_its_way_that_is_not_shown_is_lost() {
    let mut story = Story::new();
    let mut typing = story.insists();
    story.assert_is_lost(&mut typing);
}

#[test]
fn while_something_is_in_its_way_typing_may_be_shown_later() {
    let mut story = Story::new();
    let mut typing = story.insists();
    let mut delayed = |story: &mut Story, what: &str| {
        assert_eq!(story.judge(&mut typing, 30), Typed::Open, "{what}");
        assert_eq!(story.judge(&mut typing, 30), Typed::Open, "{what}");
    };
    story.stage = Stage::Faults;
    delayed(&mut story, "a fault");
    story.stage = Stage::Calm;
    let (key, view) = story.sent(1);
    delayed(&mut story, "a message without an answer");
    story.acknowledge(key, &view);
    delayed(&mut story, "a message that nobody has seen");
    story.both(&view);
    let at = story.tick();
    story.checker.closed(2, "broken", at);
    delayed(&mut story, "the other has no socket");
    let socket = story.checker.opened(1, 0, None, at);
    delayed(&mut story, "the other has none that is connected");
    story.checker.connected(socket, "again".to_owned(), false);
    story.assert_is_lost(&mut typing);
}

#[test]
fn on_each_socket_typing_has_its_time_to_be_shown() {
    let mut story = Story::new();
    let mut typing = story.insists();
    for client in [0, 1, 0] {
        assert_eq!(story.judge(&mut typing, 30), Typed::Open);
        story.comes_back(client);
    }
    story.assert_is_lost(&mut typing);
}

#[test]
fn typing_is_lost_also_where_sockets_come_and_go_after_all_has_settled() {
    let mut story = Story::new();
    let mut typing = story.insists();
    let mut again = |story: &mut Story, seconds| {
        story.comes_back(1);
        story.judge(&mut typing, seconds)
    };
    for _ in 0..10 {
        assert_eq!(again(&mut story, 30), Typed::Open);
    }
    story.stage = Stage::Settled;
    for _ in 0..5 {
        assert_eq!(again(&mut story, 30), Typed::Open);
    }
    assert_eq!(again(&mut story, 30), Typed::Unseen);
}

#[test]
fn typing_that_does_not_end_is_found() {
    let mut story = Story::new();
    story.checker.types(0, 0);
    story.typing(2, 0, true);
    assert_eq!(story.untrue(), [Kind::TypingStuck]);
    story.typing(2, 0, false);
    assert_eq!(story.untrue(), []);
}

#[test]
fn presence_is_shown_to_those_who_watch_and_is_the_truth_at_the_end() {
    let mut story = Story::new();
    story.checker.watches(1, &[1, 2]);
    story.presence(1, 1, true);
    assert_eq!(
        story.untrue(),
        [Kind::PresenceWrong],
        "nothing was shown of one"
    );
    story.presence(1, 2, true);
    assert_eq!(story.untrue(), [Kind::PresenceWrong], "they have left");
    story.presence(1, 2, false);
    assert_eq!(story.untrue(), []);
    assert_eq!(story.found(), []);
    story.presence(1, 0, true);
    assert_eq!(story.found(), [Kind::PresenceStray]);
}
