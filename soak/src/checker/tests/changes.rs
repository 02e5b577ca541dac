//! Edits and deletions, and what a search shows of them.

use super::*;

#[test]
fn an_edit_and_a_deletion_that_all_were_shown_are_fine() {
    let mut story = Story::new();
    let (key, _, [edited, deleted], _) = story.changing();
    assert!(!story.checker.changes_seen());
    story.change_frame(1, &edited);
    story.change_frame(2, &edited);
    assert!(story.checker.changes_seen());
    assert_eq!(
        story.checker.begin_change(0, 0),
        Some((key, State::Deleted))
    );
    let at = story.tick();
    story.checker.changed(key, State::Deleted, None, at);
    story.change_frame(1, &deleted);
    story.change_frame(2, &deleted);
    story.table_of(&deleted);
    assert_eq!(story.found(), []);
}

/// It is told with the message.
#[test]
fn of_a_deleted_message_no_read_mark_is_waited_for() {
    let mut story = Story::new();
    let (key, _, [_, mut deleted], _) = story.changing();
    story.checker.begin_change(0, 0);
    let at = story.tick();
    story.checker.changed(key, State::Deleted, None, at);
    story.change_frame(1, &deleted);
    story.change_frame(2, &deleted);
    deleted.is_read = true;
    story.checker.read_asked(1, 0, 1);
    story.checker.read_acknowledged(1, 0, 1, 1, at);
    story.table_of(&deleted);
    assert_eq!(story.found(), []);
}

#[test]
fn an_acknowledged_edit_that_the_table_has_not_is_lost() {
    let mut story = Story::new();
    let (_, view, [edited, _], _) = story.changing();
    story.change_frame(1, &edited);
    story.change_frame(2, &edited);
    story.table_of(&view);
    assert_eq!(story.found(), [Kind::ChangeLost]);
}

#[test]
fn a_change_that_a_participant_was_not_shown_is_found() {
    let mut story = Story::new();
    let (_, _, [edited, _], _) = story.changing();
    story.change_frame(1, &edited);
    story.table_of(&edited);
    assert_eq!(story.found(), [Kind::ChangeUnseen]);
}

#[test]
fn a_change_that_nobody_asked_for_is_found() {
    let mut story = Story::new();
    let (_, _, [_, deleted], _) = story.changing();
    story.change_frame(1, &deleted);
    assert_eq!(story.found(), [Kind::Altered]);
}

#[test]
fn what_was_shown_as_changed_does_not_come_back_on_the_same_socket() {
    let mut story = Story::new();
    let (_, view, [edited, _], _) = story.changing();
    story.change_frame(2, &edited);
    story.change_frame(2, &view);
    assert_eq!(story.found(), [Kind::Revived]);
}

#[test]
fn a_search_that_finds_what_was_deleted_or_edited_or_misses_what_is_there_is_wrong() {
    let mut story = Story::new();
    let (key, _, [edited, _], _) = story.changing();
    let before = story.checker.states(key);
    let at = story.tick();
    story
        .checker
        .searched(0, key, before, std::slice::from_ref(&edited), at);
    assert_eq!(story.found(), []);
    story.checker.searched(0, key, before, &[], at);
    assert_eq!(story.found(), [Kind::SearchWrong]);

    let mut story = Story::new();
    let (key, original, _, _) = story.changing();
    let (before, at) = (story.checker.states(key), story.tick());
    story.checker.searched(0, key, before, &[original], at);
    assert_eq!(story.found(), [Kind::SearchWrong], "before the edit");

    let mut story = Story::new();
    let (key, _, [edited, _], _) = story.changing();
    story.checker.begin_change(0, 0);
    let at = story.tick();
    story.checker.changed(key, State::Deleted, None, at);
    let before = story.checker.states(key);
    story.checker.searched(0, key, before, &[edited], at);
    assert_eq!(story.found(), [Kind::SearchWrong]);
}

#[test]
fn a_change_that_was_never_sent_was_never_asked_for() {
    let mut story = Story::new();
    let (key, one) = story.sent(1);
    story.acknowledge(key, &one);
    story.both(&one);
    assert_eq!(story.checker.begin_change(0, 1), Some((key, State::Edited)));
    story.checker.change_unsent(key);
    story.checker.end_change(key);
    story.checker.resync_required(2);
    assert_eq!(story.checker.reload_from(2, 0), 1);
    let [edited, _] = changed(key, &one);
    story.change_frame(1, &edited);
    assert_eq!(story.found(), [Kind::Altered]);

    let mut story = Story::new();
    let (key, _, [edited, _], _) = story.changing();
    story.change_frame(1, &edited);
    story.change_frame(2, &edited);
    for _ in 0..2 {
        let again = story.checker.begin_change(0, 0);
        assert_eq!(again, Some((key, State::Deleted)));
        story.checker.change_unsent(key);
        story.checker.end_change(key);
    }
    story.checker.resync_required(2);
    assert_eq!(story.checker.reload_from(2, 0), 1);
    story.table_of(&edited);
    assert_eq!(story.found(), []);
}

/// It was under way when the reload read the message.
#[test]
fn a_change_that_was_only_asked_for_when_a_reload_read_the_message_must_be_told() {
    let mut story = Story::new();
    let (key, one) = story.sent(1);
    story.acknowledge(key, &one);
    story.both(&one);
    let (_, state) = story.checker.begin_change(0, 1).expect("a candidate");
    let [edited, _] = changed(key, &one);
    story.checker.resync_required(2);
    assert_eq!(story.checker.reload_from(2, 0), 0);
    story.checker.reloaded(2, &one, 30);
    story.checker.reload_complete(2, 31);
    story.checker.changed(key, state, Some(&edited), 40);
    story.checker.end_change(key);
    story.change_frame(1, &edited);
    story.table_of(&edited);
    assert_eq!(story.found(), [Kind::ChangeUnseen]);
    // The next one shows it.
    story.checker.resync_required(2);
    story.checker.reloaded(2, &edited, 50);
    story.checker.reload_complete(2, 51);
    assert!(story.checker.changes_seen());
}
