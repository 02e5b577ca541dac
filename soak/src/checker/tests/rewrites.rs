//! What another program does by SQL to messages that both have seen.

use super::*;
use crate::checker::rewrites::Target;

const LATER: At = 60_000_000;

/// Messages 1 to 3 of user 0, seen by both; the one in the middle is to be rewritten.
fn begun(what: Rewrite) -> (Story, [MessageView; 3], Vec<Target>) {
    let mut story = Story::new();
    let views = [story.done(1), story.done(2), story.done(3)];
    story.now = LATER;
    let targets = story.checker.begin_rewrite(0, what, 1, 1, LATER);
    assert_eq!(targets.len(), 1);
    assert_eq!(targets[0].id, views[1].id);
    (story, views, targets)
}

fn commit(story: &mut Story, what: Rewrite, targets: &[Target]) {
    let (at, ids): (At, Vec<Uuid>) = (
        story.tick(),
        targets.iter().map(|target| target.id).collect(),
    );
    story.checker.rewrite_committed(targets, what, &ids, at);
}

fn deleted(view: &MessageView) -> MessageView {
    let [_, deleted] = changed(content::key_of(&view.content).unwrap(), view);
    deleted
}

#[test]
fn what_is_erased_and_shown_as_deleted_is_fine() {
    let (mut story, [one, two, three], targets) = begun(Rewrite::Erase);
    commit(&mut story, Rewrite::Erase, &targets);
    assert!(!story.checker.changes_seen());
    story.change_frame(1, &deleted(&two));
    story.change_frame(2, &deleted(&two));
    assert!(story.checker.changes_seen());
    let pass = story.table(&[&one, &three]);
    let view = ConversationView {
        id: story.conversation,
        last_seq: 3,
        last_message_id: Some(three.id),
        unread: 2,
    };
    story.checker.conversation(&pass, 1, &view, 99);
    assert!(story.checker.follows(0, 1, 3));
    assert_eq!(story.found(), []);
}

#[test]
fn the_seq_of_an_erased_message_is_not_given_again() {
    let mut story = Story::new();
    let (one, two) = (story.done(1), story.done(2));
    let targets = story.checker.begin_rewrite(0, Rewrite::Erase, 1, 0, LATER);
    commit(&mut story, Rewrite::Erase, &targets);
    for connection in [1, 2] {
        story.change_frame(connection, &deleted(&two));
    }
    let pass = story.table(&[&one]);
    for (last_seq, found) in [(2, vec![]), (1, vec![Kind::HeadWrong])] {
        let view = ConversationView {
            id: story.conversation,
            last_seq,
            last_message_id: Some(one.id),
            unread: 1,
        };
        story.checker.conversation(&pass, 1, &view, 99);
        assert_eq!(story.found(), found);
    }
}

#[test]
fn an_erasure_that_a_participant_was_not_shown_is_found() {
    let (mut story, [one, two, three], targets) = begun(Rewrite::Erase);
    commit(&mut story, Rewrite::Erase, &targets);
    story.change_frame(1, &deleted(&two));
    story.table(&[&one, &three]);
    assert_eq!(story.found(), [Kind::ChangeUnseen]);
    assert_eq!(story.checker.violations()[0].client, Some(1));
}

#[test]
fn an_erased_message_that_is_still_in_the_table_is_found() {
    let (mut story, [one, two, three], targets) = begun(Rewrite::Erase);
    commit(&mut story, Rewrite::Erase, &targets);
    for connection in [1, 2] {
        story.change_frame(connection, &deleted(&two));
    }
    story.table(&[&one, &deleted(&two), &three]);
    assert_eq!(story.found(), [Kind::ChangeLost]);
}

#[test]
fn any_other_row_that_is_gone_is_lost_and_leaves_a_gap() {
    let (mut story, [_, two, three], targets) = begun(Rewrite::Erase);
    commit(&mut story, Rewrite::Erase, &targets);
    for connection in [1, 2] {
        story.change_frame(connection, &deleted(&two));
    }
    story.table(&[&three]);
    assert_eq!(story.found(), [Kind::Lost, Kind::SeqGap]);
}

#[test]
fn an_erasure_that_was_rolled_back_took_nothing_away() {
    let (mut story, [one, two, three], targets) = begun(Rewrite::Erase);
    let at = story.tick();
    story.checker.rewrite_rolled_back(&targets, "rollback", at);
    story.table(&[&one, &two, &three]);
    assert_eq!(story.found(), []);
    assert!(!story.checker.follows(0, 1, 3));
    story.change_frame(1, &deleted(&two));
    assert_eq!(story.found(), [Kind::Altered]);
    story.table(&[&one, &three]);
    assert_eq!(story.found(), [Kind::Lost, Kind::SeqGap, Kind::Altered]);
}

#[test]
fn an_erasure_without_an_answer_may_be_done_or_not() {
    for is_done in [true, false] {
        let (mut story, [one, two, three], targets) = begun(Rewrite::Erase);
        let at = story.tick();
        story.checker.rewrite_unknown(&targets, "no answer", at);
        if is_done {
            story.change_frame(1, &deleted(&two));
            story.change_frame(2, &deleted(&two));
            story.table(&[&one, &three]);
        } else {
            story.table(&[&one, &two, &three]);
        }
        assert_eq!(story.found(), []);
    }
}

/// Of two messages the second one, which the socket 1 alone has seen, is erased.
fn erased_second() -> (Story, MessageView) {
    let mut story = Story::new();
    story.done(1);
    let (key, two) = story.sent(2);
    story.acknowledge(key, &two);
    story.frame(1, &two);
    let targets = story.checker.begin_rewrite(0, Rewrite::Erase, 1, 0, LATER);
    commit(&mut story, Rewrite::Erase, &targets);
    (story, two)
}

#[test]
fn who_had_not_seen_an_erased_message_is_shown_its_end_in_its_place() {
    let (mut story, two) = erased_second();
    assert_eq!(story.checker.unfinished(), 1);
    story.change_frame(2, &deleted(&two));
    assert_eq!(story.checker.unfinished(), 0);
    story.done(3);
    assert_eq!(story.found(), []);
    // Not even that.
    let (mut story, _) = erased_second();
    story.done(3);
    assert_eq!(story.found(), [Kind::Skipped]);
}

#[test]
fn a_reload_need_not_show_what_is_erased_and_must_show_all_else() {
    for also_lacks_three in [false, true] {
        let mut story = Story::new();
        story.done(1);
        let mut views = Vec::new();
        for seq in [2, 3, 4] {
            let (key, view) = story.sent(seq);
            story.acknowledge(key, &view);
            story.frame(1, &view);
            views.push(view);
        }
        let targets = story.checker.begin_rewrite(0, Rewrite::Erase, 1, 2, LATER);
        commit(&mut story, Rewrite::Erase, &targets);
        story.change_frame(1, &deleted(&views[0]));
        let next = story.checker.opened(1, 1, Some("old".to_owned()), LATER);
        story.checker.resync_required(next);
        if !also_lacks_three {
            story.checker.reloaded(next, &views[1], LATER);
        }
        story.checker.reloaded(next, &views[2], LATER);
        story.checker.reload_complete(next, LATER);
        let found: &[Kind] = if also_lacks_three {
            &[Kind::Skipped]
        } else {
            &[]
        };
        assert_eq!(story.found(), found);
        assert!(story.checker.changes_seen());
    }
}

#[test]
fn what_was_erased_behind_all_that_a_reload_shows_is_passed_over() {
    let (mut story, two) = erased_second();
    story.change_frame(1, &deleted(&two));
    let next = story.checker.opened(1, 1, Some("old".to_owned()), LATER);
    story.checker.resync_required(next);
    story.checker.reload_complete(next, LATER);
    let (_, three) = story.sent(3);
    story.frame(1, &three);
    story.frame(next, &three);
    assert_eq!(story.found(), []);
    assert_eq!(story.checker.seen_up_to(1, 0), (3, 3));
}

#[test]
fn what_another_attempt_may_store_again_is_not_erased() {
    let mut story = Story::new();
    let (key, view) = story.sent(1);
    for note in ["POST messages", "no answer in time", "POST messages"] {
        let at = story.tick();
        story.checker.attempt(key, Via::Http, 0, note, at);
    }
    story.acknowledge(key, &view);
    story.both(&view);
    let erased = story.checker.begin_rewrite(0, Rewrite::Erase, 1, 0, LATER);
    assert!(erased.is_empty());
    let softly = story.checker.begin_rewrite(0, Rewrite::Delete, 1, 0, LATER);
    assert_eq!(softly.len(), 1);
}

#[test]
fn one_change_of_a_message_at_a_time() {
    let (mut story, _, targets) = begun(Rewrite::Edit);
    let others = story.checker.begin_rewrite(0, Rewrite::Delete, 9, 0, LATER);
    assert_eq!(others.len(), 2);
    assert!(others.iter().all(|other| other.key != targets[0].key));
}

#[test]
fn an_edit_and_a_deletion_by_sql_are_held_to_what_those_of_the_service_are() {
    for what in [Rewrite::Edit, Rewrite::Delete] {
        let as_changed = |view: &MessageView| {
            let key = content::key_of(&view.content).unwrap();
            let [edited, deleted] = changed(key, view);
            if what == Rewrite::Edit {
                edited
            } else {
                deleted
            }
        };
        let (mut story, [one, two, three], targets) = begun(what);
        commit(&mut story, what, &targets);
        story.change_frame(1, &as_changed(&two));
        story.table(&[&one, &as_changed(&two), &three]);
        assert_eq!(story.found(), [Kind::ChangeUnseen], "{what:?}");

        let (mut story, [one, two, three], targets) = begun(what);
        commit(&mut story, what, &targets);
        story.change_frame(1, &as_changed(&two));
        story.change_frame(2, &as_changed(&two));
        story.table(&[&one, &two, &three]);
        assert_eq!(story.found(), [Kind::ChangeLost], "{what:?}");

        let (mut story, [_, two, _], targets) = begun(what);
        let at = story.tick();
        story.checker.rewrite_rolled_back(&targets, "rollback", at);
        story.change_frame(1, &as_changed(&two));
        assert_eq!(story.found(), [Kind::Altered], "{what:?}");
    }
}

#[test]
fn a_rewrite_that_found_no_row_is_a_loss() {
    let (mut story, _, targets) = begun(Rewrite::Delete);
    let at = story.tick();
    story
        .checker
        .rewrite_committed(&targets, Rewrite::Delete, &[], at);
    assert_eq!(story.found(), [Kind::Lost]);
}

#[test]
fn a_mark_that_another_program_has_committed_is_in_the_table() {
    let mut story = Story::new();
    let one = story.done(1);
    story.checker.read_asked(1, 0, 1);
    story.checker.read_committed(1, 0, 1);
    story.table(&[&one]);
    assert_eq!(story.found(), [Kind::ReadLost]);
}

/// It has no `clientMessageId` to tell it by.
#[test]
fn what_sql_has_written_is_known_by_its_id_when_it_is_deleted() {
    let mut story = Story::new();
    let (key, mut view) = story.sent(1);
    story.checker.messages[key as usize].via = Via::Sql;
    view.client_message_id = None;
    story.acknowledge(key, &view);
    story.both(&view);
    let now = story.tick();
    let targets = story.checker.begin_rewrite(0, Rewrite::Erase, 1, 0, now);
    commit(&mut story, Rewrite::Erase, &targets);
    story.change_frame(1, &deleted(&view));
    story.change_frame(2, &deleted(&view));
    story.table(&[]);
    assert_eq!(story.found(), []);
}

/// It was still there when the reload read it, so that its end is yet to be told.
#[test]
fn what_is_erased_after_a_reload_has_shown_it_must_be_told() {
    for is_gone in [false, true] {
        let mut story = Story::new();
        let one = story.done(1);
        let targets = story.checker.begin_rewrite(0, Rewrite::Erase, 1, 0, LATER);
        story.checker.resync_required(2);
        assert_eq!(story.checker.reload_from(2, 0), 0);
        if !is_gone {
            story.checker.reloaded(2, &one, LATER);
        }
        story.checker.reload_complete(2, LATER);
        commit(&mut story, Rewrite::Erase, &targets);
        story.change_frame(1, &deleted(&one));
        assert_eq!(story.checker.changes_seen(), is_gone);
        story.table(&[]);
        let found: &[Kind] = if is_gone { &[] } else { &[Kind::ChangeUnseen] };
        assert_eq!(story.found(), found);
    }
}
