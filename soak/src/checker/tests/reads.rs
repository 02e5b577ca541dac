//! What is marked as read, and who is told of it.

use super::*;

#[test]
fn reading_is_neither_lost_nor_invented() {
    let mut story = Story::new();
    let (mut one, mut two) = (story.done(1), story.done(2));
    story.checker.read_asked(1, 0, 1);
    story.checker.read_acknowledged(1, 0, 1, 1, 30);
    story.read_frame(1, 1, 1);
    story.read_frame(2, 1, 1);
    one.is_read = true;
    story.table(&[&one, &two]);
    assert_eq!(story.kinds(), []);
    one.is_read = false;
    two.is_read = true;
    story.table(&[&one, &two]);
    assert_eq!(story.kinds(), [Kind::ReadLost, Kind::ReadFromNobody]);
}

#[test]
fn a_read_mark_that_a_participant_was_not_told_of_is_found() {
    let mut story = Story::new();
    let mut one = story.done(1);
    one.is_read = true;
    story.checker.read_asked(1, 0, 1);
    story.checker.read_acknowledged(1, 0, 1, 1, 30);
    story.read_frame(1, 1, 1);
    story.table(&[&one]);
    assert_eq!(story.kinds(), [Kind::ReadUnseen]);
    assert_eq!(story.checker.violations()[0].client, Some(1));
    // A reload over HTTP shows it as well.
    story.checker.resync_required(2);
    assert_eq!(story.checker.reload_from(2, 0), 0);
    story.checker.reloaded(2, &one, 40);
    story.checker.reload_complete(2, 41);
    story.table(&[&one]);
    assert_eq!(story.kinds(), [Kind::ReadUnseen]);
}

/// It was under way when the reload read the message.
#[test]
fn a_read_mark_that_was_only_asked_for_when_a_reload_read_the_message_must_be_told() {
    let mut story = Story::new();
    let mut one = story.done(1);
    story.checker.read_asked(1, 0, 1);
    story.checker.resync_required(1);
    story.checker.reloaded(1, &one, 30);
    story.checker.reload_complete(1, 31);
    story.checker.read_acknowledged(1, 0, 1, 1, 40);
    one.is_read = true;
    story.read_frame(2, 1, 1);
    story.table(&[&one]);
    assert_eq!(story.kinds(), [Kind::ReadUnseen]);
    assert_eq!(story.checker.violations()[0].client, Some(0));
}

/// Nor does it tell a participant.
#[test]
fn a_read_mark_on_a_strangers_socket_is_found() {
    let mut story = Story::new();
    let mut one = story.done(1);
    one.is_read = true;
    story.checker.read_asked(1, 0, 1);
    story.checker.read_acknowledged(1, 0, 1, 1, 30);
    story.read_frame(2, 1, 1);
    story.read_frame(3, 1, 1);
    assert_eq!(story.kinds(), [Kind::Misdelivered]);
    story.table(&[&one]);
    assert_eq!(story.kinds(), [Kind::Misdelivered, Kind::ReadUnseen]);
    assert_eq!(story.checker.violations()[1].client, Some(0));
}

#[test]
fn a_read_mark_that_nobody_asked_for_is_found() {
    let mut story = Story::new();
    story.done(1);
    story.done(2);
    story.checker.read_asked(1, 0, 1);
    story.read_frame(1, 1, 1);
    assert_eq!(story.kinds(), []);
    // Further than was asked for, of the other one, and of somebody who takes no part.
    for (reader, up_to) in [(1, 2), (0, 1), (2, 1)] {
        story.read_frame(1, reader, up_to);
    }
    let (nobody, at) = (Uuid::from_u128(9), story.tick());
    for (conversation, reader) in [(story.conversation, nobody), (nobody, story.users[1])] {
        story.checker.read_frame(1, conversation, reader, 1, at);
    }
    assert_eq!(story.kinds(), [Kind::ReadFromNobody; 5]);
}
