use std::net::Ipv4Addr;

use super::super::checker::Faults;
use super::*;

/// One lane, and a socket of each participant.
fn board() -> Board {
    let users = [Uuid::from_u128(1), Uuid::from_u128(2)];
    let clients = (0..2)
        .map(|user| {
            let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
            Rc::new(Client::new(user, users[user].to_string(), user, from))
        })
        .collect();
    let lane = LaneSpec {
        conversation: Uuid::from_u128(3),
        sender: 0,
        recipient: 1,
    };
    Board::new(Dialect::Plain, vec![lane], clients, &users, 100).unwrap()
}

fn see(board: &Board, client: usize, number: u32) {
    let stamp = Stamp {
        lane: 0,
        number,
        intended: 5,
    };
    board.delivered(&board.clients[client], stamp, u64::from(number) + 1);
}

fn faults(board: &Board) -> Faults {
    board.count_missing();
    board.tally.borrow().faults
}

#[test]
fn a_message_is_complete_when_it_is_answered_and_seen_by_all() {
    let board = board();
    board.send(0, 5);
    board.answered(0, 0, true, String::new);
    see(&board, 0, 0);
    assert_eq!(board.under_way(), 1);
    see(&board, 1, 0);
    assert_eq!(board.under_way(), 0);
    assert!(!faults(&board).any());
    assert_eq!(board.tally.borrow().completed, 1);
    assert_eq!(board.tally.borrow().end_to_end.len(), 1);
}

#[test]
fn a_message_that_a_socket_did_not_get_is_lost() {
    let board = board();
    for number in 0..3 {
        board.send(0, 5);
        board.answered(0, number, true, String::new);
        see(&board, 0, number);
    }
    see(&board, 1, 0);
    see(&board, 1, 2);
    let faults = faults(&board);
    assert_eq!((faults.lost, faults.unanswered), (1, 0));
}

#[test]
fn a_message_that_comes_twice_or_late_is_counted() {
    let board = board();
    for number in 0..2 {
        board.send(0, 5);
        board.answered(0, number, true, String::new);
        see(&board, 0, number);
    }
    see(&board, 1, 1);
    see(&board, 1, 0);
    see(&board, 1, 1);
    let faults = faults(&board);
    assert_eq!(
        (faults.out_of_order, faults.doubled, faults.lost),
        (1, 1, 0)
    );
}

#[test]
fn a_repeat_after_a_resume_is_no_fault() {
    let board = board();
    board.send(0, 5);
    board.answered(0, 0, true, String::new);
    see(&board, 0, 0);
    see(&board, 1, 0);
    board.clients[1].resumed.set(true);
    see(&board, 1, 0);
    assert!(!faults(&board).any());
    assert_eq!(board.tally.borrow().repeats, 1);
}

#[test]
fn what_is_refused_or_never_answered_fails_the_run() {
    let board = board();
    board.send(0, 5);
    board.send(0, 5);
    board.answered(0, 0, false, || "503".to_owned());
    let faults = faults(&board);
    assert_eq!((faults.refused, faults.unanswered, faults.lost), (1, 1, 0));
    assert_eq!(board.tally.borrow().complaints, ["503"]);
    assert_eq!(board.tally.borrow().completed, 0);
}

#[test]
fn only_the_window_counts() {
    let board = board();
    board.window.set((u64::MAX - 1, u64::MAX));
    board.send(0, 5);
    board.answered(0, 0, true, String::new);
    see(&board, 0, 0);
    see(&board, 1, 0);
    let tally = board.tally.borrow();
    assert_eq!((tally.completed, tally.end_to_end.len()), (0, 0));
}
