//! What the tables hold in the end.

use super::*;

#[test]
fn a_message_acknowledged_and_not_stored_is_lost() {
    let mut story = Story::new();
    let one = story.done(1);
    let (key, two) = story.sent(2);
    story.acknowledge(key, &two);
    story.table(&[&one]);
    assert_eq!(story.kinds(), [Kind::Lost]);
}

#[test]
fn a_gap_in_the_tables_seq_is_found() {
    let mut story = Story::new();
    let (one, three) = (story.done(1), story.sent(3));
    story.checker.messages[three.0 as usize].seen = [1, 1];
    story.acknowledge(three.0, &three.1);
    story.table(&[&one, &three.1]);
    assert_eq!(story.kinds(), [Kind::SeqGap]);
}

#[test]
fn one_client_message_id_in_two_rows_is_found() {
    let mut story = Story::new();
    let one = story.done(1);
    let mut again = one.clone();
    again.id = Uuid::from_u128(5);
    again.seq = 2;
    story.table(&[&one, &again]);
    assert!(story.kinds().contains(&Kind::StoredTwice));
}

#[test]
fn a_wrong_unread_count_is_found() {
    let mut story = Story::new();
    let one = story.done(1);
    let pass = story.table(&[&one]);
    story.checker.unread_count(&pass, 1, 2, 99);
    assert_eq!(story.kinds(), [Kind::UnreadWrong]);
}

#[test]
fn a_wrong_head_of_a_conversation_is_found() {
    let mut story = Story::new();
    let (one, two) = (story.done(1), story.done(2));
    let pass = story.table(&[&one, &two]);
    let view = ConversationView {
        id: story.conversation,
        last_seq: 1,
        last_message_id: Some(one.id),
        unread: 0,
    };
    story.checker.conversation(&pass, 0, &view, 99);
    assert_eq!(story.kinds(), [Kind::HeadWrong]);
}
