//! What is true only for the moment: typing and presence.

use super::*;

impl Story {
    fn typing(&mut self, connection: ConnectionNo, typist: usize, is_typing: bool) {
        let (conversation, typist, at) = (self.conversation, self.users[typist], self.tick());
        self.checker
            .typing_frame(connection, conversation, typist, is_typing, at);
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
fn it_is_known_since_when_typing_was_shown() {
    let mut story = Story::new();
    story.checker.types(0, 0);
    let since = story.tick();
    assert!(!story.checker.typing_shown(0, 0, since));
    story.typing(2, 0, true);
    assert!(story.checker.typing_shown(0, 0, since));
    assert!(!story.checker.typing_shown(1, 0, since), "another types");
    story.typing(2, 0, false);
    let later = story.tick();
    assert!(!story.checker.typing_shown(0, 0, later));
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
