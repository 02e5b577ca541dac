//! How much waits, and for how long.

use super::super::super::MAX_WAITING_BYTES;
use super::*;

#[test]
fn who_is_late_is_answered_whoever_has_a_turn() {
    let mut lane = Lane::new(100);
    let first = lane.push(1);
    lane.now += TIMEOUT / 2;
    let turn = lane.turn().expect("a turn");
    let behind = lane.push(1);
    let second = lane.push(2);
    lane.now += TIMEOUT / 2;
    lane.scheduler.expire(lane.now);
    assert_eq!(lane.answered(), [], "the first is on its way");
    lane.end(turn, &[]);
    let late = lane.scheduler.next_event(true).expect("late messages");
    assert!(late <= lane.now + SWEEP);
    lane.now = late;
    lane.scheduler.expire(lane.now);
    assert_eq!(lane.answered(), [first]);
    lane.now += TIMEOUT;
    lane.scheduler.expire(lane.now);
    let mut answered = lane.answered();
    answered.sort_unstable();
    assert_eq!(answered, [first, behind, second]);
    lane.assert_empty();
    assert!(lane.scheduler.next_event(false).is_none());
}

#[test]
fn more_than_may_wait_is_refused_those_on_their_way_included() {
    let mut lane = Lane::new(2);
    lane.push(1);
    lane.push(2);
    let turn = lane.turn().expect("a turn");
    let refused = lane.push(3);
    assert_eq!(lane.answered(), [refused]);
    lane.end(turn, &[1, 2]);
    lane.push(3);
    assert_eq!(lane.scheduler.len(), 1);
}

#[test]
fn more_bytes_than_may_wait_are_refused_and_what_is_answered_makes_room() {
    const LONG: usize = 1024 * 1024;
    let mut lane = Lane::new(1000);
    let share = MAX_WAITING_BYTES / LONG / 8;
    for _ in 0..share {
        lane.push_content(1, "x".repeat(LONG));
    }
    let refused = lane.push_content(1, "x".repeat(LONG));
    assert_eq!(lane.answered(), [refused]);
    let turn = lane.turn().expect("a turn");
    let stored = turn.messages.len();
    assert_eq!(stored, MAX_TURN_BYTES.div_ceil(LONG));
    lane.end(turn, &[1]);
    for _ in 0..stored {
        lane.push_content(1, "x".repeat(LONG));
    }
    assert_eq!(lane.scheduler.len(), share);
}
