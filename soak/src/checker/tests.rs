//! Crafted histories: each broken promise is found, and a clean one finds nothing.

mod changes;
mod moments;
mod reads;
mod rewrites;
mod tables;

use super::*;
use crate::content;

const SEED: u64 = 7;

/// Two users, one conversation, a socket each.
struct Story {
    checker: Checker,
    users: [Uuid; 3],
    conversation: Uuid,
    now: At,
    stage: Stage,
}

impl Story {
    fn new() -> Self {
        let users = [Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];
        let conversation = Uuid::from_u128(100);
        let conversations = vec![Conversation {
            id: conversation,
            members: [0, 1],
        }];
        let mut checker = Checker::new(SEED, &users, conversations);
        for client in 0..3 {
            checker.opened(client, 0, None, 1);
        }
        Self {
            checker,
            users,
            conversation,
            now: 10,
            stage: Stage::Calm,
        }
    }

    fn tick(&mut self) -> At {
        self.now += 1;
        self.now
    }

    /// A message of user 0 as it should look everywhere.
    fn sent(&mut self, seq: i64) -> (Key, MessageView) {
        let at = self.tick();
        let key = self.checker.register(0, 0, Via::Http, at);
        let view = MessageView {
            id: Uuid::from_u128(1_000 + u128::from(key)),
            conversation_id: self.conversation,
            sender_id: self.users[0],
            content: content::make(SEED, key),
            seq,
            client_message_id: Some(client_message_id(SEED, key)),
            is_read: false,
            deleted_at: None,
        };
        (key, view)
    }

    fn acknowledge(&mut self, key: Key, view: &MessageView) {
        let at = self.tick();
        self.checker
            .acknowledged(key, view, Via::Http, 0, "201", at);
    }

    /// Connections 1 and 2 are those of users 0 and 1.
    fn frame(&mut self, connection: ConnectionNo, view: &MessageView) {
        let at = self.tick();
        self.checker.frame(connection, view.sender_id, view, at);
    }

    /// A user (`reader` is their number) has read the conversation so far.
    fn read_frame(&mut self, connection: ConnectionNo, reader: usize, up_to: i64) {
        let (conversation, reader, at) = (self.conversation, self.users[reader], self.tick());
        self.checker
            .read_frame(connection, conversation, reader, up_to, at);
    }

    fn both(&mut self, view: &MessageView) {
        self.frame(1, view);
        self.frame(2, view);
    }

    /// Sent, acknowledged and seen by both.
    fn done(&mut self, seq: i64) -> MessageView {
        let (key, view) = self.sent(seq);
        self.acknowledge(key, &view);
        self.both(&view);
        view
    }

    fn table(&mut self, rows: &[&MessageView]) -> TablePass {
        let at = self.tick();
        let mut pass = self.checker.begin_table();
        for row in rows {
            self.checker.row(&mut pass, row, at);
        }
        self.checker.end_table(&pass, at);
        pass
    }

    fn kinds(&self) -> Vec<Kind> {
        self.checker.violations().iter().map(|v| v.kind).collect()
    }

    /// A message of user 0 that both have seen, and then a change of it that is acknowledged.
    fn changing(&mut self) -> (Key, MessageView, [MessageView; 2], State) {
        let (key, view) = self.sent(1);
        self.acknowledge(key, &view);
        self.both(&view);
        let (chosen, state) = self.checker.begin_change(0, 1).expect("a candidate");
        assert_eq!((chosen, state), (key, State::Edited));
        let views = changed(key, &view);
        let at = self.tick();
        self.checker.changed(key, state, Some(&views[0]), at);
        self.checker.end_change(key);
        (key, view, views, state)
    }

    fn change_frame(&mut self, connection: ConnectionNo, view: &MessageView) {
        let at = self.tick();
        self.checker.change_frame(connection, view, at);
    }

    fn found(&self) -> Vec<Kind> {
        self.checker.totals().keys().copied().collect()
    }

    fn table_of(&mut self, row: &MessageView) {
        let at = self.tick();
        let mut pass = self.checker.begin_table();
        self.checker.row(&mut pass, row, at);
        self.checker.end_table(&pass, at);
    }
}

/// As edited, and as deleted.
fn changed(key: Key, view: &MessageView) -> [MessageView; 2] {
    let mut edited = view.clone();
    edited.content = content::edited(SEED, key);
    let mut deleted = view.clone();
    deleted.content = String::new();
    deleted.deleted_at = Some("2026-01-01T00:00:00Z".to_owned());
    [edited, deleted]
}

#[test]
fn a_clean_history_has_no_violation() {
    let mut story = Story::new();
    let (one, two) = (story.done(1), story.done(2));
    assert_eq!(story.checker.unfinished(), 0);
    assert!(story.checker.caught_up(&[(story.conversation, 2)]));
    assert!(!story.checker.caught_up(&[(story.conversation, 3)]));
    let pass = story.table(&[&one, &two]);
    story.checker.unread_count(&pass, 0, 0, 99);
    story.checker.unread_count(&pass, 1, 2, 99);
    let view = ConversationView {
        id: story.conversation,
        last_seq: 2,
        last_message_id: Some(two.id),
        unread: 2,
    };
    story.checker.conversation(&pass, 1, &view, 99);
    assert_eq!(story.kinds(), []);
}

#[test]
fn a_message_stored_and_not_seen_by_one_participant_is_found() {
    let mut story = Story::new();
    let (key, one) = story.sent(1);
    story.acknowledge(key, &one);
    story.frame(1, &one);
    assert_eq!(story.checker.unfinished(), 1);
    story.table(&[&one]);
    assert_eq!(story.kinds(), [Kind::Unseen]);
    assert_eq!(story.checker.violations()[0].client, Some(1));
}

#[test]
fn a_row_whose_commit_got_no_answer_must_be_seen_all_the_same() {
    let mut story = Story::new();
    let (key, mut row) = story.sent(1);
    story.checker.messages[key as usize].via = Via::Sql;
    row.client_message_id = None;
    story.checker.unknown(key, "connection lost", 20);
    story.table(&[&row]);
    assert_eq!(story.kinds(), [Kind::Unseen, Kind::Unseen]);
}

#[test]
fn a_message_twice_on_one_socket_is_found_but_a_repeat_on_the_next_is_not() {
    let mut story = Story::new();
    let (one, two) = (story.done(1), story.done(2));
    let next = story.checker.opened(1, 1, Some("cursor".to_owned()), 50);
    story.frame(next, &one);
    story.frame(next, &two);
    assert_eq!(story.kinds(), []);
    story.frame(next, &two);
    assert_eq!(story.kinds(), [Kind::Twice]);
}

#[test]
fn an_older_message_after_a_newer_one_is_out_of_order() {
    let mut story = Story::new();
    let (one, two) = (story.done(1), story.done(2));
    let next = story.checker.opened(1, 1, Some("cursor".to_owned()), 50);
    story.frame(next, &two);
    story.frame(next, &one);
    assert_eq!(story.kinds(), [Kind::OutOfOrder]);
}

#[test]
fn a_message_passed_over_is_found_at_once() {
    let mut story = Story::new();
    story.done(1);
    let (key, two) = story.sent(2);
    story.acknowledge(key, &two);
    story.frame(1, &two);
    let (_, three) = story.sent(3);
    story.both(&three);
    assert_eq!(story.kinds(), [Kind::Skipped]);
    let violation = story.checker.violations()[0].clone();
    assert_eq!((violation.client, violation.place), (Some(1), Some((0, 2))));
    let history = story.checker.history(&violation, &[]);
    assert!(
        history.contains("of client 0 in conversation 0"),
        "{history}"
    );
    assert!(history.contains("client 1 has not seen it"), "{history}");
}

#[test]
fn a_resync_may_pass_over_what_its_reload_fills() {
    let mut story = Story::new();
    let (key, one) = story.sent(1);
    story.acknowledge(key, &one);
    let (_, two) = story.sent(2);
    story.frame(1, &one);
    story.frame(1, &two);
    let next = story.checker.opened(1, 1, Some("old".to_owned()), 50);
    story.checker.resync_required(next);
    story.frame(next, &two);
    story.checker.reloaded(next, &one, 60);
    story.checker.reload_complete(next, 61);
    assert_eq!(story.kinds(), []);
}

#[test]
fn a_hole_that_a_reload_leaves_is_found() {
    let mut story = Story::new();
    let (_, one) = story.sent(1);
    let (_, two) = story.sent(2);
    story.frame(1, &one);
    let next = story.checker.opened(1, 1, Some("old".to_owned()), 50);
    story.checker.resync_required(next);
    story.frame(next, &two);
    story.checker.reload_complete(next, 61);
    assert_eq!(story.kinds(), [Kind::Skipped]);
}

#[test]
fn a_second_acknowledgement_with_another_id_is_found() {
    let mut story = Story::new();
    let (key, one) = story.sent(1);
    story.acknowledge(key, &one);
    story.acknowledge(key, &one);
    assert_eq!(story.kinds(), []);
    let mut other = one.clone();
    other.id = Uuid::from_u128(5);
    story.acknowledge(key, &other);
    assert_eq!(story.kinds(), [Kind::StoredTwice]);
}

#[test]
fn altered_content_is_found() {
    let mut story = Story::new();
    let (_, mut one) = story.sent(1);
    one.content.push('!');
    story.frame(2, &one);
    assert_eq!(story.kinds(), [Kind::Altered]);
}

#[test]
fn a_message_that_nobody_sent_is_found() {
    let mut story = Story::new();
    let (_, mut one) = story.sent(1);
    one.content = content::make(SEED, 99);
    story.frame(2, &one);
    one.content = "hello".to_owned();
    story.frame(2, &one);
    assert_eq!(story.kinds(), [Kind::FromNobody, Kind::FromNobody]);
}

#[test]
fn a_message_that_was_rolled_back_must_not_be_seen() {
    let mut story = Story::new();
    let (key, mut one) = story.sent(1);
    story.checker.messages[key as usize].via = Via::Sql;
    one.client_message_id = None;
    story.checker.rolled_back(key, "rollback", 20);
    assert_eq!(story.checker.unfinished(), 0);
    story.frame(2, &one);
    assert_eq!(story.kinds(), [Kind::FromNobody]);
}

#[test]
fn a_message_on_a_strangers_socket_is_found() {
    let mut story = Story::new();
    let (_, one) = story.sent(1);
    story.frame(3, &one);
    assert_eq!(story.kinds(), [Kind::Misdelivered]);
}

#[test]
fn a_message_without_an_answer_is_found() {
    let mut story = Story::new();
    story.sent(1);
    story.table(&[]);
    assert_eq!(story.kinds(), [Kind::NeverAnswered]);
}

#[test]
fn a_run_in_which_something_never_happened_has_shown_nothing() {
    let mut story = Story::new();
    story.checker.all_was_done(0, 20);
    assert_eq!(story.kinds(), [Kind::NothingDone; 3]);
    let mut story = Story::new();
    story.checker.connected(2, "its id".to_owned(), true);
    for (acknowledged, found) in [(999, 0), (1_000, 1)] {
        story.checker.counts.acknowledged = acknowledged;
        story.checker.all_was_done(1, 20);
        assert_eq!(story.kinds(), vec![Kind::NothingDone; found]);
    }
    let mut story = Story::new();
    let (key, one) = story.sent(1);
    story.acknowledge(key, &one);
    story.checker.connected(2, "its id".to_owned(), true);
    let before = story.checker.states(key);
    story.checker.searched(0, key, before, &[one], 20);
    story.checker.all_was_done(1, 21);
    assert_eq!(story.kinds(), []);
}
